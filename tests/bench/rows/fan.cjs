// One generation to a thousand clients: what a delivery costs beyond the system call.
'use strict';
const { compare } = require('../measure.cjs');
const { printCompared } = require('../table.cjs');

module.exports = {
  name: 'fan',
  order: 10,
  title: '1 generation to 1,000 clients at 50 events/s',
  full: { clients: 1000, rate: 50, warmup: 2, measure: 18, limit: 500 },
  quick: { clients: 1000, rate: 50, warmup: 1, measure: 4, rounds: 1 },
  run: (shape, context) => compare(context, 'fan', shape),
  print: printCompared,
  reached: (r) => [['broker CPU per event / bare loop', r.ratio.toFixed(2), '<= 1.05']],
};
