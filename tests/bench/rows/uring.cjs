// The first row through io_uring. The bare send() loop stays the denominator; the bare io_uring loop shows what there is
// to be had.
'use strict';
const { execFileSync } = require('node:child_process');
const { bareRound, brokerRound, costOf, takeTurns } = require('../measure.cjs');
const { bench, program } = require('../programs.cjs');
const { HEAD, costLine, grouped, line, title } = require('../table.cjs');

// Why it cannot be measured, or null.
async function missing() {
  const probe = bench('bare', ['--uring', '--clients', 1, '--deadline', 0.1]);
  try {
    await probe.field('listen', 10);
  } catch {
    return `bare io_uring loop: ${probe.lines[probe.lines.length - 1]}`;
  } finally {
    await probe.stop();
  }
  const help = execFileSync(program('tokencast-broker'), ['--help'], { encoding: 'utf8' });
  return /^ +--io\b/m.test(help) ? null : 'this broker has no --io';
}

module.exports = {
  name: 'uring',
  order: 30,
  title: 'the row fan with --io uring',
  full: { clients: 1000, rate: 50, warmup: 2, measure: 18, limit: 500 },
  quick: { clients: 1000, rate: 50, warmup: 1, measure: 4, rounds: 1 },
  async run(shape, context) {
    const skipped = await missing();
    const kinds = {
      bare: (what) => bareRound(context, what, shape),
      bareUring: (what) => bareRound(context, what, shape, ['--uring']),
      broker: (what) => brokerRound(context, what, shape, ['--io', 'uring']),
    };
    if (skipped !== null && skipped.startsWith('bare')) return { skipped };
    if (skipped !== null) delete kinds.broker;
    const rounds = await takeTurns('uring', Math.min(context.rounds, shape.rounds || 99), kinds);
    if (rounds === null) return null;
    const ratio = (kind) => (rounds[kind] ? costOf(rounds[kind]) / costOf(rounds.bare) : null);
    return { ...shape, rounds, bare_uring_ratio: ratio('bareUring'), ratio: ratio('broker'), without: skipped };
  },
  print(r) {
    title(`Through io_uring: one generation, ${grouped(r.clients)} clients, ${r.rate} events/s`);
    line('', ...HEAD);
    costLine('bare send() loop', r.rounds.bare);
    costLine('bare io_uring loop', r.rounds.bareUring);
    if (r.rounds.broker) costLine('broker --io uring', r.rounds.broker);
  },
  reached: (r) => [
    ['bare io_uring loop / bare send() loop', r.bare_uring_ratio.toFixed(2), '(0.79 measured before)'],
    ['broker --io uring / bare send() loop', r.ratio === null ? r.without : r.ratio.toFixed(2), '<= 0.85'],
  ],
};
