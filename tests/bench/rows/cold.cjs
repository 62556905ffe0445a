// A finished report of 50,000 tokens is read from a broker that does not know it, while a thousand others read a live
// generation on the same loop. Several such reports, one after the other, so that each is cold.
'use strict';
const { setTimeout: sleep } = require('node:timers/promises');
const { brokerRound, judge, median, results } = require('../measure.cjs');
const { bench } = require('../programs.cjs');
const { LogWriter } = require('../log.cjs');
const { grouped, line, ms, title } = require('../table.cjs');

async function writeReports(stack, shape) {
  const paths = [];
  for (let i = 0; i < shape.reports; i++) {
    const log = new LogWriter(stack.client, `gen_report_${i}`);
    await log.start();
    await log.deltas(shape.tokens, ' abcdef');
    await log.done();
    paths.push(log.path);
  }
  return paths;
}

const readReports = (context, shape, reads) => async (stack, load) => {
  const paths = reads ? await writeReports(stack, shape) : [];
  await load.window(true, 120);
  const reports = [];
  for (const path of paths) {
    const result = await results(bench('load', ['--port', stack.port, '--path', path, '--clients', 1, '--merged',
      '--deadline', 30]));
    judge(context, 'cold report', result);
    reports.push({ head_us: result.head_us.max, first_us: result.first_us.max, whole_us: result.whole_us.max,
      events: result.events, merged: result.merged });
    await sleep(200);
  }
  await load.window(false, 120);
  return { reports };
};

module.exports = {
  name: 'cold',
  order: 86,
  title: 'a finished report of 50,000 tokens from a cold broker',
  full: { clients: 1000, rate: 50, warmup: 20, measure: 6, reports: 8, tokens: 50000 },
  quick: { clients: 1000, rate: 50, warmup: 8, measure: 3, reports: 3, tokens: 50000 },
  async run(shape, context) {
    const quiet = await brokerRound(context, 'cold, the live readers alone', { ...shape, warmup: 1 }, [], [],
      readReports(context, shape, false));
    const busy = await brokerRound(context, 'cold, with reports', shape, [], [], readReports(context, shape, true));
    if (quiet === null || busy === null || busy.reports.length === 0) return null;
    const of = (name) => median(busy.reports.map((o) => o[name]));
    return { ...shape, quiet, busy, head_us: of('head_us'), first_us: of('first_us'), whole_us: of('whole_us'),
      events: of('events') };
  },
  print(r) {
    title(`A finished report of ${grouped(r.tokens)} tokens from a cold broker, medians of ${r.busy.reports.length}`);
    line('', 'head ms', 'first ms', 'whole ms', 'events');
    line('report', ms(r.head_us), ms(r.first_us), ms(r.whole_us), grouped(r.events));
    line('', 'p50 ms', 'p99 ms', 'max ms');
    for (const [label, one] of [['live readers, alone', r.quiet], ['… with reports', r.busy]])
      line(label, ms(one.latency_us.p50), ms(one.latency_us.p99), ms(one.latency_us.max));
  },
  reached: (r) => [
    ['first byte, ms', ms(r.head_us), '<= 20'],
    ['first event, ms', ms(r.first_us), ''],
    ['events that 50,000 tokens came as', grouped(r.events), 'few'],
    ['p99 of 1,000 live readers: alone, meanwhile, ms', `${ms(r.quiet.latency_us.p99)}, ${ms(r.busy.latency_us.p99)}`,
      'the same'],
  ],
};
