// What proxies cost a reader, with their defaults and with the files of deploy/proxies: tests/proxies/measure.mjs on this
// build. The proxies are packages of their own, so the row runs only by name.
'use strict';
const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const { BUILD } = require('../programs.cjs');
const { line, title } = require('../table.cjs');

const MEASURE = path.join(__dirname, '../../proxies/measure.mjs');
const LIMIT = 600; // seconds

module.exports = {
  name: 'proxies',
  order: 95,
  optional: true,
  title: 'first token and events through nginx, HAProxy and Caddy',
  full: { rounds: 5, limit: LIMIT },
  quick: { rounds: 2, limit: LIMIT },
  async run(shape) {
    const env = { ...process.env, TC_BUILD: BUILD };
    const options = { env, timeout: LIMIT * 1000, maxBuffer: 1 << 20 };
    const { stdout } = await promisify(execFile)(process.execPath, [MEASURE, String(shape.rounds), '--json'], options);
    return { ...shape, ways: JSON.parse(stdout) };
  },
  print(r) {
    title('Through a proxy: 100 events of one generation, 20 ms apart, to one reader');
    line('', 'first ms', 'p50 ms', 'p90 ms', 'p99 ms', 'together');
    for (const way of r.ways)
      line(way.way, ...[way.first, way.p50, way.p90, way.p99, way.together].map((value) => value.toFixed(1)));
  },
  reached: (r) => r.ways.map((way) => [`${way.way}: first, p50 ms`.slice(0, 47),
    `${way.first.toFixed(1)}, ${way.p50.toFixed(1)}`, '']),
};
