// What a second loop brings. Where the load generator shares two cores with the broker, nothing is left for it: only
// the cost of a delivery can be compared there.
'use strict';
const { brokerRound, costOf, median, takeTurns } = require('../measure.cjs');
const { HEAD, costLine, grouped, line, title } = require('../table.cjs');

module.exports = {
  name: 'loops',
  order: 90,
  title: '10,000 clients at 50 events/s with --loops 1 and 2',
  full: { clients: 10000, rate: 50, warmup: 2, measure: 8, rounds: 2 },
  quick: { clients: 10000, rate: 50, warmup: 1, measure: 3, rounds: 1 },
  async run(shape, context) {
    const rounds = await takeTurns('loops', Math.min(context.rounds, shape.rounds), {
      one: (what) => brokerRound(context, what, shape, ['--loops', '1']),
      two: (what) => brokerRound(context, what, shape, ['--loops', '2']),
    });
    if (rounds === null) return null;
    const carried = (kind) => median(rounds[kind].map((o) => o.deliveries_per_second));
    return { ...shape, rounds, gain: carried('two') / carried('one'), cost: costOf(rounds.two) / costOf(rounds.one) };
  },
  print(r) {
    title(`Loops: one generation, ${grouped(r.clients)} clients, ${r.rate} events/s offered`);
    line('', ...HEAD);
    costLine('broker, one loop', r.rounds.one);
    costLine('broker, two loops', r.rounds.two);
    console.log('  The load generator needs a core of its own, and more at two loops: on two cores this cannot show a gain.');
  },
  reached: (r) => [
    ['deliveries/s, two loops / one', r.gain.toFixed(2), 'near 2 where two cores are free'],
    ['CPU per event, two loops / one', r.cost.toFixed(2), ''],
  ],
};
