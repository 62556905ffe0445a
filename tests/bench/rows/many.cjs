// More than one send each can carry: what is pending must go in one call, and everybody must stay whole. The bare loop
// gets a shorter run: it sends event by event, and must still bring what it is behind.
'use strict';
const { bareRound, brokerRound, median, takeTurns } = require('../measure.cjs');
const { HEAD, costLine, grouped, line, ms, tellGaps, title } = require('../table.cjs');

module.exports = {
  name: 'many',
  order: 20,
  title: '10,000 clients at 50 events/s, 500,000 deliveries/s offered',
  full: { clients: 10000, rate: 50, warmup: 2, measure: 10, rounds: 2, bare: { warmup: 0.5, measure: 4 } },
  quick: { clients: 10000, rate: 50, warmup: 1, measure: 5, rounds: 1, bare: { warmup: 0.2, measure: 1 } },
  async run(shape, context) {
    const rounds = await takeTurns('many', Math.min(context.rounds, shape.rounds), {
      bare: (what) => bareRound(context, what, { ...shape, ...shape.bare }),
      broker: (what) => brokerRound(context, what, shape),
    });
    return rounds === null ? null : { ...shape, rounds };
  },
  print(r) {
    title(`One generation, ${grouped(r.clients)} clients, ${r.rate} events/s offered, ${r.measure} s`);
    line('', ...HEAD);
    costLine('bare send() loop', r.rounds.bare);
    costLine('broker, one loop', r.rounds.broker);
    tellGaps(r.rounds.broker);
  },
  reached: (r) => [
    ['deliveries/s', grouped(median(r.rounds.broker.map((o) => o.deliveries_per_second))), '>= 480,000'],
    ['p99, ms', ms(median(r.rounds.broker.map((o) => o.latency_us.p99))), '<= 200'],
  ],
};
