// A thousand generations with one client each: what an event costs that cannot be shared. The bare loop sends to each
// client on a schedule of its own.
'use strict';
const { bareRound, costOf, generationsRound, median, takeTurns } = require('../measure.cjs');
const { HEAD, costLine, grouped, line, title } = require('../table.cjs');

module.exports = {
  name: 'generations',
  order: 40,
  title: '1,000 generations with 1 client each at 50 events/s',
  full: { clients: 1000, rate: 50, warmup: 1, measure: 15, limit: 500 },
  quick: { clients: 1000, rate: 50, warmup: 1, measure: 4, rounds: 1 },
  async run(shape, context) {
    const rounds = await takeTurns('generations', Math.min(context.rounds, shape.rounds || 99), {
      bare: (what) => bareRound(context, what, shape, ['--each']),
      broker: (what) => generationsRound(context, what, shape),
    });
    if (rounds === null) return null;
    const of = (name) => median(rounds.broker.map((o) => o.cpu_us_per_event[name]));
    return { ...shape, rounds, ratio: costOf(rounds.broker) / costOf(rounds.bare), redis: of('redis'),
      worker: of('worker') };
  },
  print(r) {
    title(`${grouped(r.clients)} generations, 1 client each, ${r.rate} events/s each; Redis without appendonly`);
    line('', ...HEAD);
    costLine('bare loop, --each', r.rounds.bare);
    costLine('broker, one loop', r.rounds.broker);
    line('ratio', r.ratio.toFixed(2));
    line('redis', r.redis.toFixed(2));
    line('worker', r.worker.toFixed(2));
  },
  reached: (r) => [
    ['broker CPU per event / bare loop', r.ratio.toFixed(2), '<= 1.3'],
    ['Redis CPU per event, us', r.redis.toFixed(2), '<= 6'],
    ['worker CPU per event, us (provider included)', r.worker.toFixed(2), ''],
  ],
};
