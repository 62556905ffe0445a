// From a worker's having an event to a reader's having it, beside a bare writer and a bare relay at one Redis: as the
// load generator sees it, from the entry's own time, and as the broker's histogram has it, which ends at the socket but
// is of the oldest event of each flush, and as exact as its buckets.
// Several workers: the built-in text comes by a timer of a millisecond, and what one worker says in the same tick would
// be measured as waiting for each other. A model server's tokens come one by one.
'use strict';
const { generationsRound, median, pipeRound, takeTurns } = require('../measure.cjs');
const { metrics, quantiles } = require('../stack.cjs');
const { HEAD, costLine, grouped, line, ms, title } = require('../table.cjs');

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
  full: { clients: 1000, rate: 20, workers: 4, warmup: 1, measure: 15 },
  quick: { clients: 1000, rate: 20, workers: 4, warmup: 1, measure: 5, rounds: 1 },
  async run(shape, context) {
    const rounds = await takeTurns('tail', Math.min(context.rounds, shape.rounds || 99), {
      bare: (what) => pipeRound(context, what, shape),
      broker: (what) => generationsRound(context, what, shape, look),
    });
    if (rounds === null) return null;
    const of = (kind, pick) => median(rounds[kind].map(pick));
    const reader = (kind) => ({ p50_us: of(kind, (o) => o.latency_us.p50), p99_us: of(kind, (o) => o.latency_us.p99) });
    return { ...shape, rounds, bare: reader('bare'), broker: reader('broker'),
      socket: { p50_us: of('broker', (o) => o.broker_p50_us), p99_us: of('broker', (o) => o.broker_p99_us) } };
  },
  print(r) {
    title(`${grouped(r.clients * r.rate)} events/s in ${grouped(r.clients)} generations, from the writer's time of an event`);
    line('', ...HEAD);
    costLine('bare pipeline', r.rounds.bare);
    costLine('workers, broker', r.rounds.broker);
    line('', 'p50 ms', 'p99 ms');
    line('broker: to its socket', ms(r.socket.p50_us), ms(r.socket.p99_us));
  },
  reached: (r) => [
    ['log to reader p50, ms', ms(r.broker.p50_us), '<= 0.3 to the socket'],
    ['log to reader p99, ms', ms(r.broker.p99_us), '<= 1.5 to the socket'],
    ['bare pipeline p50; p99, ms', `${ms(r.bare.p50_us)}; ${ms(r.bare.p99_us)}`, ''],
    ['to the socket, by the broker, p50; p99, ms', `${ms(r.socket.p50_us)}; ${ms(r.socket.p99_us)}`, ''],
  ],
};
