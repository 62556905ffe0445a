// One generation to ten thousand clients, each event one write: what the number of sockets adds.
'use strict';
const { compare } = require('../measure.cjs');
const { printCompared } = require('../table.cjs');

module.exports = {
  name: 'fan10k',
  order: 11,
  title: '1 generation to 10,000 clients at 5 events/s',
  full: { clients: 10000, rate: 5, warmup: 2, measure: 18 },
  quick: { clients: 10000, rate: 5, warmup: 1, measure: 4, rounds: 1 },
  run: (shape, context) => compare(context, 'fan10k', shape),
  print: printCompared,
  reached: (r) => [['broker CPU per event / bare loop', r.ratio.toFixed(2), '<= 1.05']],
};
