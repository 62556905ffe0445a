// From a worker's having an event to a reader's having it: as the load generator sees it, from the entry's own time,
// and as the broker's histogram has it, which ends at the socket.
'use strict';
const { generationsRound, median } = require('../measure.cjs');
const { metrics, quantiles } = require('../stack.cjs');
const { grouped, line, ms, title } = require('../table.cjs');

const HISTOGRAM = 'tokencast_broker_log_to_socket_seconds';

async function look(stack, load) {
  await load.window(true, 60);
  const before = await metrics(stack.broker);
  await load.window(false, 120);
  const [p50, p99] = quantiles(before, await metrics(stack.broker), HISTOGRAM, [0.5, 0.99]);
  return { broker_p50_us: p50, broker_p99_us: p99 };
}

module.exports = {
  name: 'tail',
  order: 45,
  title: 'log to socket at 20,000 events/s in 1,000 generations',
  full: { clients: 1000, rate: 20, warmup: 1, measure: 15 },
  quick: { clients: 1000, rate: 20, warmup: 1, measure: 5, rounds: 1 },
  async run(shape, context) {
    const rounds = [];
    const count = Math.min(context.rounds, shape.rounds || 99);
    for (let i = 1; i <= count; i++) {
      const one = await generationsRound(context, `tail, round ${i} of ${count}`, shape, look);
      if (one !== null) rounds.push(one);
    }
    if (rounds.length === 0) return null;
    const of = (pick) => median(rounds.map(pick));
    return { ...shape, rounds, p50_us: of((o) => o.latency_us.p50), p99_us: of((o) => o.latency_us.p99),
      broker_p50_us: of((o) => o.broker_p50_us), broker_p99_us: of((o) => o.broker_p99_us),
      others_cores: of((o) => o.others_cores) };
  },
  print(r) {
    title(`${grouped(r.clients * r.rate)} events/s in ${grouped(r.clients)} generations, from the worker's time of an event`);
    line('', 'p50 ms', 'p99 ms');
    line('broker: to its socket', ms(r.broker_p50_us), ms(r.broker_p99_us));
    line('reader: to its read', ms(r.p50_us), ms(r.p99_us));
    console.log(`  other programs took ${r.others_cores.toFixed(2)} cores`);
  },
  reached: (r) => [
    ['log to socket p50, ms', ms(r.broker_p50_us), '<= 0.3'],
    ['log to socket p99, ms', ms(r.broker_p99_us), '<= 1.5'],
    ['log to reader p50 / p99, ms', `${ms(r.p50_us)} / ${ms(r.p99_us)}`, ''],
  ],
};
