#!/usr/bin/env node
// The benchmark. A broker's price is told against the least that a process can do: the same events to the same clients
// by a bare send() loop, in the same run and in turns, because absolute figures change with the machine and the hour.
// Speed is reported, never judged; a client whose stream is not whole fails the run.
'use strict';
const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { describe } = require('./machine.cjs');
const { BUILD, Stack, bench, program } = require('./stack.cjs');

const USAGE = `usage: ./dev bench [--quick] [--json FILE] [--only NAMES] [--rounds N] [--broker-arg ARG]...
  --quick        shorter rounds, and without the largest crowd
  --json FILE    also writes what was measured to FILE
  --only NAMES   some of fan,idle,many, with commas
  --rounds N     rounds of broker and bare loop (3)
  --broker-arg A passed on to the broker; may be repeated
The programs are taken from TC_BUILD (default: build/). Needs redis-server.`;

const FULL = {
  fan: { clients: 1000, rate: 50, warmup: 2, measure: 18 },
  idle: { warm: 200, clients: 5000 },
  many: { clients: 10000, rate: 50, warmup: 2, measure: 10 },
};
const QUICK = {
  fan: { clients: 1000, rate: 50, warmup: 1, measure: 6 },
  idle: { warm: 200, clients: 5000 },
};

const failures = [];
const progress = (text) => process.stderr.write(`  ${text}\n`);
const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

function parseArgs(argv) {
  const args = { quick: false, json: null, only: null, rounds: 3, brokerArgs: [] };
  const value = (i) => {
    if (i >= argv.length) throw new Error(`${argv[i - 1]} wants a value\n${USAGE}`);
    return argv[i];
  };
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--help' || argv[i] === '-h') {
      console.log(USAGE);
      process.exit(0);
    } else if (argv[i] === '--quick') args.quick = true;
    else if (argv[i] === '--json') args.json = value(++i);
    else if (argv[i] === '--only') args.only = value(++i).split(',');
    else if (argv[i] === '--rounds') args.rounds = Number(value(++i));
    else if (argv[i] === '--broker-arg') args.brokerArgs.push(value(++i));
    else throw new Error(`unknown argument ${argv[i]}\n${USAGE}`);
  }
  const known = ['fan', 'idle', 'many'];
  if (args.only && !args.only.every((name) => known.includes(name)))
    throw new Error(`--only takes some of ${known.join(',')}`);
  if (!Number.isInteger(args.rounds) || args.rounds < 1 || args.rounds > 99)
    throw new Error('--rounds is a number from 1 to 99');
  return args;
}

function judge(what, result) {
  if (result.whole === result.clients) return;
  const example = result.example ? `; client ${result.example.client} at ${result.example.position}: ` +
    `${result.example.fault}` : '';
  failures.push(`${what}: ${result.clients - result.whole} of ${result.clients} clients are not whole ` +
    `${JSON.stringify(result.faults)}${example}`);
}

// The results that the load generator prints at its end.
async function results(load) {
  await load.exited;
  const last = load.lines[load.lines.length - 1] || '';
  if (!last.startsWith('{"clients"')) throw load.failure(load.ended);
  return JSON.parse(last);
}

function figures(result) {
  const w = result.window;
  if (!w || w.events === 0 || w.cpu[0] === null) return null;
  return {
    clients: result.clients, whole: result.whole, seconds: w.seconds, events: w.events,
    deliveries_per_second: w.per_second, bytes_per_event: w.bytes / w.events,
    cpu_us_per_event: (w.cpu[0] * 1e6) / w.events,
    redis_cpu_us_per_event: w.cpu.length > 1 && w.cpu[1] !== null ? (w.cpu[1] * 1e6) / w.events : undefined,
    load_cpu_us_per_event: (w.own_cpu * 1e6) / w.events,
    latency_us: result.latency_us, merged: result.merged, gaps: result.gaps, dropped: result.dropped,
  };
}

const tokensOf = (shape) => Math.ceil(shape.rate * (shape.warmup + shape.measure + 1));
const loadArgs = (shape, port, pids) => ['--port', port, '--clients', shape.clients, '--sources', 250,
  '--pids', pids.join(','), '--warmup', shape.warmup, '--measure', shape.measure,
  '--deadline', 60 + 4 * (shape.warmup + shape.measure)];

function finish(what, result) {
  judge(what, result);
  const one = figures(result);
  if (one === null) failures.push(`${what}: nothing was measured`);
  else progress(`${what}: ${one.cpu_us_per_event.toFixed(2)} us/event, p99 ${ms(one.latency_us.p99)} ms`);
  return one;
}

async function bareRound(what, shape) {
  const bare = bench('bare', ['--clients', shape.clients, '--rate', shape.rate, '--events', tokensOf(shape)]);
  try {
    const port = (await bare.field('listen', 10)).split(':').pop();
    return finish(what, await results(bench('load', loadArgs(shape, port, [bare.pid]))));
  } finally {
    await bare.stop();
  }
}

async function brokerRound(what, shape, brokerArgs) {
  const stack = new Stack();
  try {
    await stack.start(brokerArgs);
    const stream = await stack.generation(tokensOf(shape), shape.rate);
    const pids = [stack.broker.pid, stack.redis.pid];
    const load = bench('load', [...loadArgs(shape, stack.port, pids), '--path', stream, '--merged']);
    await load.field('ready', 60);
    await stack.startWorker();
    return finish(what, await results(load));
  } finally {
    await stack.stop();
  }
}

// Broker and bare loop take turns, and the first place too.
async function compare(name, shape, rounds, brokerArgs) {
  const taken = { broker: [], bare: [] };
  for (let round = 1; round <= rounds; round++) {
    for (const kind of round % 2 === 1 ? ['bare', 'broker'] : ['broker', 'bare']) {
      const what = `${name} ${kind}, round ${round} of ${rounds}`;
      const one = kind === 'bare' ? await bareRound(what, shape) : await brokerRound(what, shape, brokerArgs);
      if (one !== null) taken[kind].push(one);
    }
  }
  if (taken.broker.length === 0 || taken.bare.length === 0) return null;
  const cost = (kind) => median(taken[kind].map((one) => one.cpu_us_per_event));
  return { ...shape, rounds: taken, bare_cpu_us_per_event: cost('bare'), broker_cpu_us_per_event: cost('broker'),
    ratio: cost('broker') / cost('bare') };
}

function memoryOf(pid) {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)[1]);
  return { rss_kib: kib('Rss'), pss_kib: kib('Pss') };
}

// The generation waits for a worker that does not come. Some connections are there before the first look, so that what
// a broker needs once is not counted as the connections'.
async function idle(shape, brokerArgs) {
  const stack = new Stack();
  try {
    await stack.start(brokerArgs);
    const stream = await stack.generation(10, 1);
    const crowd = async (clients) => {
      const load = bench('load', ['--port', stack.port, '--path', stream, '--clients', clients, '--sources', 250,
        '--hold', '--deadline', 120]);
      await load.field('ready', 60);
      return load;
    };
    const warm = await crowd(shape.warm);
    await sleep(1000);
    const before = memoryOf(stack.broker.pid);
    const load = await crowd(shape.clients);
    await sleep(2000);
    const after = memoryOf(stack.broker.pid);
    for (const [what, one] of [['idle, warm', warm], ['idle', load]]) {
      one.child.stdin.end();
      judge(what, await results(one));
    }
    const each = (name) => ((after[name] - before[name]) * 1024) / shape.clients;
    progress(`idle: ${each('rss_kib').toFixed(0)} bytes a connection`);
    return { ...shape, before, after, rss_bytes_each: each('rss_kib'), pss_bytes_each: each('pss_kib') };
  } finally {
    await stack.stop();
  }
}

const ms = (us) => (us / 1000).toFixed(us < 10000 ? 2 : 0);
const grouped = (n) => Math.round(n).toLocaleString('en-US');

function printCompared(c) {
  const row = (label, ...cells) => console.log(`  ${label.padEnd(20)}${cells.map((x) => x.padStart(13)).join('')}`);
  const of = (kind, pick) => median(c.rounds[kind].map(pick));
  console.log(`\nOne generation, ${grouped(c.clients)} clients, ${c.rate} events/s offered, ${c.measure} s, ` +
    `medians of ${c.rounds.broker.length}`);
  row('', 'CPU us/event', 'events/s', 'p50 ms', 'p99 ms', 'bytes/event');
  for (const [label, kind] of [['bare send() loop', 'bare'], ['broker, one loop', 'broker']])
    row(label, c[`${kind}_cpu_us_per_event`].toFixed(2), grouped(of(kind, (o) => o.deliveries_per_second)),
      ms(of(kind, (o) => o.latency_us.p50)), ms(of(kind, (o) => o.latency_us.p99)),
      of(kind, (o) => o.bytes_per_event).toFixed(0));
  const bare = c.rounds.bare.map((o) => o.cpu_us_per_event);
  const each = c.rounds.broker.slice(0, bare.length).map((o, i) => (o.cpu_us_per_event / bare[i]).toFixed(2));
  row('ratio', c.ratio.toFixed(2), `  rounds: ${each.join(', ')}`);
  const told = c.rounds.broker.reduce((sum, o) => sum + o.gaps, 0);
  if (told > 0) console.log(`  ${grouped(told)} gaps were told to clients that fell behind`);
}

function print(report) {
  const m = report.machine;
  console.log(`\n${m.tokencast}; ${m.cpu}, ${m.cores} cores, ${m.memory_gib} GiB; ${m.kernel}; libuv ${m.libuv}; ` +
    `redis ${m.redis}; ${m.compiler}; ${m.build_type}${m.sanitizers ? `, ${m.sanitizers}: NOT A FAIR BUILD` : ''}`);
  console.log('The load generator shares the cores: latency and deliveries/s are its own as well.');
  if (report.fan) printCompared(report.fan);
  if (report.many) printCompared(report.many);
  if (report.idle) {
    console.log(`\n${grouped(report.idle.clients)} idle connections: the broker's own memory, without the kernel's`);
    console.log(`  ${grouped(report.idle.rss_bytes_each)} bytes each (RSS ${grouped(report.idle.before.rss_kib)} -> ` +
      `${grouped(report.idle.after.rss_kib)} KiB; PSS ${grouped(report.idle.pss_bytes_each)} bytes each)`);
  }
  for (const failure of failures) console.log(`\nFAILED ${failure}`);
}

async function main() {
  const args = parseArgs(process.argv.slice(2));
  const shapes = args.quick ? QUICK : FULL;
  const wanted = (name) => shapes[name] && (!args.only || args.only.includes(name));
  const report = { date: new Date().toISOString(), quick: args.quick,
    machine: describe(BUILD, program('tokencast-broker')) };
  if (wanted('fan')) report.fan = await compare('fan', shapes.fan, args.rounds, args.brokerArgs);
  if (wanted('idle')) report.idle = await idle(shapes.idle, args.brokerArgs);
  if (wanted('many')) report.many = await compare('many', shapes.many, 1, args.brokerArgs);
  report.failures = failures;
  print(report);
  if (args.json) fs.writeFileSync(args.json, `${JSON.stringify(report, null, 2)}\n`);
  return failures.length === 0 ? 0 : 1;
}

main().then((code) => process.exit(code), (err) => {
  console.error(`bench: ${err.message}`);
  process.exit(2);
});
