// What people would use instead, beside the broker, in one run: the same events at the same pace to the same crowd.
// Peers that are not installed are named with how to get them; one that loses events says so in its line, since that
// is a figure of its own and no failure of ours. How each is configured: peers/README.md.
'use strict';
const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { bareRound, brokerRound, figures, generationsRound, judge, loadArgs, results, tokensOf } =
  require('../measure.cjs');
const { PEERS } = require('../peers/peers.cjs');
const { bench, directory, removeDirectory } = require('../programs.cjs');
const { Stack } = require('../stack.cjs');
const { grouped, line, ms, title } = require('../table.cjs');

const BARE = 'bare send() loop';
const BROKER = 'broker, one loop';

// Our own rounds are those of the other rows.
const OWN = {
  fan: [[BARE, bareRound], [BROKER, brokerRound]],
  generations: [[BARE, (context, what, shape) => bareRound(context, what, shape, ['--each'])],
    [BROKER, generationsRound]],
  idle: [],
};

// The broker behind the face of a peer, for what needs no events. The generation waits for a worker that never comes.
const IDLE_BROKER = { name: BROKER, own: true, missing: () => null, async start(dir, context) {
  const stack = new Stack();
  try {
    await stack.start(context.brokerArgs);
  } catch (err) {
    await stack.stop();
    throw err;
  }
  return { port: stack.port, pids: [stack.broker.pid], redisPids: [stack.redis.pid], loadArgs: [],
    paths: async () => [await stack.generation(10, 1)], stop: () => stack.stop() };
} };

// A source that failed will not bring the rest: the crowd gets a moment to find out, and no more.
async function lost(source) {
  const code = await source.exited;
  if (code === 0) await new Promise(() => {});
  await sleep(5000);
  throw source.failure(source.ended);
}

// The clients are there first, so that all of them get every event as it comes.
async function round(server, dir, shape, generations) {
  const paths = await server.paths(generations);
  const list = `${dir}/paths`;
  fs.writeFileSync(list, `${paths.join('\n')}\n`);
  const load = bench('load', [...loadArgs(shape, server.port, [...server.pids, ...server.redisPids]),
    ...(paths.length === 1 ? ['--path', paths[0]] : ['--paths', list]), '--all-begun', ...server.loadArgs]);
  try {
    await load.field('ready', 60);
    const source = await server.begin(generations, { rate: shape.rate, events: tokensOf(shape) });
    const result = await Promise.race([results(load), lost(source)]);
    await source.stop();
    return result;
  } finally {
    await load.kill();
  }
}

function memory(pids) {
  const rss = (pid) => Number(/^Rss:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]);
  return pids.reduce((sum, pid) => sum + rss(pid), 0);
}

// Nothing is published; the first crowd warms what a server needs once.
async function idle(server, dir, shape) {
  const [stream] = await server.paths(1);
  const crowds = [];
  const come = async (clients) => {
    const load = bench('load', ['--port', server.port, '--path', stream, '--clients', clients, '--sources', 250,
      '--hold', '--deadline', 120, ...server.loadArgs]);
    crowds.push(load);
    await load.field('ready', 90);
    await sleep(2000);
    return memory(server.pids);
  };
  try {
    const before = await come(shape.warm);
    const after = await come(shape.clients);
    const redisKib = memory(server.redisPids);
    for (const load of crowds) load.child.stdin.end();
    const [, last] = await Promise.all(crowds.map(results));
    return { ...last, before_kib: before, after_kib: after, redis_kib: redisKib,
      rss_bytes_each: ((after - before) * 1024) / shape.clients };
  } finally {
    for (const load of crowds) await load.kill();
  }
}

const PARTS = {
  fan: (server, dir, shape) => round(server, dir, shape, 1),
  generations: (server, dir, shape) => round(server, dir, shape, shape.clients),
  idle,
};

function told(context, part, one) {
  const figure = one.cpu ? `${one.cpu.server.toFixed(2)} us/event, p99 ${ms(one.latency_us.p99)} ms`
    : one.rss_bytes_each ? `${grouped(one.rss_bytes_each)} bytes a connection` : one.missing || one.failed;
  context.progress(`peers ${part}, ${one.name}: ${figure}`);
  return one;
}

// One server through one part. Only our own streams are judged.
async function measure(context, part, one, shape) {
  const missing = one.missing();
  if (missing !== null) return { name: one.name, missing };
  const dir = directory();
  let server = null;
  try {
    server = await one.start(dir, context);
    const result = await PARTS[part](server, dir, shape);
    if (one.own) judge(context, `peers ${part}, ${one.name}`, result);
    const taken = part === 'idle' ? result : figures(result, ['server', 'redis']);
    if (taken === null) return { name: one.name, failed: 'nothing was measured', faults: result.faults };
    return { name: one.name, ...taken, cpu: taken.cpu_us_per_event, faults: result.faults };
  } catch (err) {
    if (one.own) throw err;
    return { name: one.name, failed: err.message.split('\n').slice(0, 3).join('; ') };
  } finally {
    if (server !== null) await server.stop();
    removeDirectory(dir);
  }
}

// A row whose time is up has its programs killed, and must not go on with the next one beside another row.
async function part(context, name, shape, end) {
  const fit = context.fitting(shape.clients + (shape.warm || 0)) - (shape.warm || 0);
  const fitting = { ...shape, clients: fit };
  const taken = [];
  for (const [label, run] of OWN[name]) {
    const one = await run(context, `peers ${name}, ${label}`, fitting);
    if (one !== null) taken.push({ name: label, ...one, cpu: one.cpu_us_per_event });
  }
  for (const one of name === 'idle' ? [IDLE_BROKER, ...PEERS] : PEERS) {
    if (Date.now() >= end) throw new Error('the time is up');
    taken.push(told(context, name, await measure(context, name, one, fitting)));
  }
  return { ...fitting, taken };
}

const faultsOf = (one) => Object.entries(one.faults || {}).map(([fault, n]) => `${grouped(n)} ${fault}`).join(', ');
const wholeOf = (one) => (one.whole === one.clients ? 'all whole' : `NOT WHOLE: ${faultsOf(one)}`);

function printPart(r, head, cells) {
  line('', ...head);
  for (const one of r.taken) {
    if (one.missing || one.failed) console.log(`  ${one.name.padEnd(22)} ${one.missing || `failed: ${one.failed}`}`);
    else line(one.name, ...cells(one));
  }
}

const HEAD = ['CPU us/event', 'Redis us', 'events/s', 'p50 ms', 'p99 ms', 'bytes/event', 'others took', ''];
const costCells = (one) => [one.cpu.server.toFixed(2), one.cpu.redis === undefined ? '-' : one.cpu.redis.toFixed(2),
  grouped(one.deliveries_per_second), ms(one.latency_us.p50), ms(one.latency_us.p99), one.bytes_per_event.toFixed(0),
  one.others_cores === undefined ? '-' : `${one.others_cores.toFixed(2)} cores`, `  ${wholeOf(one)}`];

const idleCells = (one) => [grouped(one.rss_bytes_each), grouped(one.before_kib), grouped(one.after_kib),
  one.redis_kib > 0 ? grouped(one.redis_kib) : '-', `  ${wholeOf(one)}`];

module.exports = {
  name: 'peers',
  order: 900,
  optional: true,
  title: 'nginx with nchan, a Node server on Redis and resumable-stream beside the broker',
  full: { fan: { clients: 1000, rate: 50, warmup: 2, measure: 12 }, idle: { warm: 200, clients: 10000 },
    generations: { clients: 1000, rate: 50, warmup: 2, measure: 8 }, limit: 1500 },
  quick: { fan: { clients: 1000, rate: 50, warmup: 1, measure: 4 }, idle: { warm: 200, clients: 5000 },
    generations: { clients: 1000, rate: 50, warmup: 1, measure: 3 }, limit: 900 },
  async run(shape, context) {
    const present = PEERS.filter((one) => one.missing() === null);
    const result = { versions: [...new Set(present.map((one) => one.version()))] };
    const end = Date.now() + shape.limit * 1000;
    for (const name of Object.keys(PARTS)) result[name] = await part(context, name, shape[name], end);
    return result;
  },
  print(r) {
    title(`Peers. ${r.versions.join('; ')}`);
    title(`One generation, ${grouped(r.fan.clients)} clients, ${r.fan.rate} events/s`);
    printPart(r.fan, HEAD, costCells);
    title(`${grouped(r.generations.clients)} generations, 1 client each, ${r.generations.rate} events/s each`);
    printPart(r.generations, HEAD, costCells);
    title(`${grouped(r.idle.clients)} idle connections: the server's own memory, without the kernel's`);
    printPart(r.idle, ['bytes each', 'KiB before', 'KiB after', 'Redis KiB', ''], idleCells);
  },
  reached(r) {
    const cost = (name) => r.fan.taken.find((one) => one.name === name && one.cpu);
    const broker = cost(BROKER);
    if (!broker) return [];
    return r.fan.taken.filter((one) => one.cpu && one !== broker).map((one) =>
      [`fan: CPU of ${one.name} / broker`, (one.cpu.server / broker.cpu.server).toFixed(2), '']);
  },
};
