// A broker with ten thousand clients dies, and all of them come to another at once, 500 events behind, while the
// generation goes on. Its log must be read for the generation, not for each of them.
'use strict';
const { setTimeout: sleep } = require('node:timers/promises');
const { judge, results } = require('../measure.cjs');
const { bench } = require('../programs.cjs');
const { Stack } = require('../stack.cjs');
const { LogWriter } = require('../log.cjs');
const { grouped, line, ms, title } = require('../table.cjs');

const READS = ['xrange', 'xrevrange', 'xread'];
const TOKEN = ' abcdef';

// Writes at a steady rate until told to stop.
function play(log, rate) {
  let on = true;
  const ended = (async () => {
    while (on) {
      await log.delta(TOKEN);
      await sleep(1000 / rate);
    }
  })();
  return () => {
    on = false;
    return ended;
  };
}

async function storm(stack, shape, clients) {
  const log = new LogWriter(stack.client, 'gen_storm');
  await log.start();
  const other = await stack.startBroker();
  const load = bench('load', ['--port', stack.port, '--path', log.path, '--clients', clients, '--sources', 250,
    '--merged', '--resume-port', other.port, '--resume-events', shape.behind, '--connect-rate', 100000,
    '--pids', other.pid, '--deadline', 120]);
  await load.field('ready', 60);
  let stop = play(log, shape.rate);
  await sleep(2000);
  await stack.broker.kill();
  await load.field('deserted', 60);
  await stop();
  await log.deltas(shape.behind, TOKEN);
  const before = await stack.commands(...READS);
  stop = play(log, shape.rate);
  load.child.stdin.end();
  const caught = await load.field('caught_up', 90);
  await stop();
  const after = await stack.commands(...READS);
  await log.done();
  return { caught, reads: Object.fromEntries(READS.map((name, i) => [name, after[i] - before[i]])),
    result: await results(load) };
}

module.exports = {
  name: 'storm',
  order: 85,
  title: '10,000 clients lose their broker and resume 500 events back on another',
  full: { clients: 10000, rate: 5, behind: 500 },
  quick: { clients: 10000, rate: 5, behind: 500 },
  async run(shape, context) {
    const stack = new Stack();
    try {
      await stack.start(context.brokerArgs);
      const { caught, reads, result } = await storm(stack, shape, context.fitting(shape.clients));
      judge(context, 'storm', result);
      context.progress(`storm: the last of ${caught} is whole after ${ms(result.caught_up_us.max)} ms`);
      return { ...shape, clients: result.clients, caught, reads, caught_up_us: result.caught_up_us,
        log_reads: Object.values(reads).reduce((sum, n) => sum + n, 0) };
    } finally {
      await stack.stop();
    }
  },
  print(r) {
    title(`${grouped(r.clients)} clients lose their broker at once and resume ${r.behind} events back on another`);
    line('', 'p50 ms', 'p99 ms', 'last ms');
    line('caught up after', ms(r.caught_up_us.p50), ms(r.caught_up_us.p99), ms(r.caught_up_us.max));
    line('reads of the log', ...READS.map((name) => `${name} ${r.reads[name]}`));
  },
  reached: (r) => [
    ['the last of all is whole after, ms', ms(r.caught_up_us.max), '<= 3,000'],
    ['reads of the log', String(r.log_reads), 'a few for the generation, none a client'],
  ],
};
