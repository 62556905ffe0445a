// Memory of an idle connection. The generation waits for a worker that does not come. Some connections are there before
// the first look, so that what a broker needs once is not counted as the connections'.
'use strict';
const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { judge, results } = require('../measure.cjs');
const { bench } = require('../programs.cjs');
const { Stack } = require('../stack.cjs');
const { grouped, line, title } = require('../table.cjs');

function memoryOf(pid) {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)[1]);
  return { rss_kib: kib('Rss'), pss_kib: kib('Pss') };
}

async function crowd(stack, stream, clients) {
  const load = bench('load', ['--port', stack.port, '--path', stream, '--clients', clients, '--sources', 250,
    '--hold', '--deadline', 120]);
  await load.field('ready', 60);
  return load;
}

async function hold(context, warmClients, clients) {
  const stack = new Stack();
  try {
    await stack.start(context.brokerArgs);
    const stream = await stack.generation(10, 1);
    const warm = await crowd(stack, stream, warmClients);
    await sleep(1000);
    const before = memoryOf(stack.broker.pid);
    const load = await crowd(stack, stream, clients);
    await sleep(2000);
    const after = memoryOf(stack.broker.pid);
    for (const [what, one] of [['idle, warm', warm], ['idle', load]]) {
      one.child.stdin.end();
      judge(context, what, await results(one));
    }
    const each = (name) => ((after[name] - before[name]) * 1024) / clients;
    context.progress(`idle, ${clients}: ${each('rss_kib').toFixed(0)} bytes a connection`);
    return { clients, before, after, rss_bytes_each: each('rss_kib'), pss_bytes_each: each('pss_kib') };
  } finally {
    await stack.stop();
  }
}

module.exports = {
  name: 'idle',
  order: 50,
  title: 'memory of an idle connection',
  full: { warm: 200, clients: [5000, 15000] },
  quick: { warm: 200, clients: [5000, 15000] },
  async run(shape, context) {
    const held = [];
    for (const clients of shape.clients) {
      const fit = context.fitting(clients + shape.warm) - shape.warm;
      held.push(await hold(context, shape.warm, fit));
    }
    const [few, lots] = [held[0], held[held.length - 1]];
    return { held, slope: ((lots.after.rss_kib - few.after.rss_kib) * 1024) / (lots.clients - few.clients) };
  },
  print(r) {
    title('Idle connections: the broker\'s own memory, without the kernel\'s');
    line('connections', 'RSS each', 'PSS each', 'RSS KiB');
    for (const h of r.held)
      line(grouped(h.clients), `${grouped(h.rss_bytes_each)} B`, `${grouped(h.pss_bytes_each)} B`,
        `${grouped(h.before.rss_kib)}>${grouped(h.after.rss_kib)}`);
  },
  reached: (r) => [
    ...r.held.map((h) => [`${grouped(h.clients)} connections, bytes each`, grouped(h.rss_bytes_each), '<= 1,024']),
    ['from the fewer to the more, bytes each', grouped(r.slope), '<= 1,024'],
  ],
};
