// Runs of the load generator and what they measured, for the rows: the same crowd at a broker and at the bare loop.
'use strict';
const fs = require('node:fs');
const { bench } = require('./programs.cjs');
const { Stack } = require('./stack.cjs');
const { ms } = require('./table.cjs');

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

// The results that the load generator prints at its end.
async function results(load) {
  await load.exited;
  const last = load.lines[load.lines.length - 1] || '';
  if (!last.startsWith('{"clients"')) throw load.failure(load.ended);
  return JSON.parse(last);
}

// A client whose stream is not whole fails the run, whatever the figures are.
function judge(context, what, result) {
  if (result.whole === result.clients) return;
  const example = result.example ? `; client ${result.example.client} at ${result.example.position}: ` +
    `${result.example.fault} (status ${result.example.status})` : '';
  context.fail(`${what}: ${result.clients - result.whole} of ${result.clients} clients are not whole ` +
    `${JSON.stringify(result.faults)}${example}`);
}

// The figures of one run; `names` are those of the processes in --pids, in their order. The first is the server.
function figures(result, names = ['server', 'redis', 'worker', 'worker2']) {
  const w = result.window;
  if (!w || w.events === 0 || w.cpu[0] === null) return null;
  const each = (seconds) => (seconds * 1e6) / w.events;
  const cpu = {};
  w.cpu.forEach((seconds, i) => {
    if (seconds !== null) cpu[names[i]] = each(seconds);
  });
  return {
    clients: result.clients, whole: result.whole, begun_s: w.begun, seconds: w.seconds, events: w.events,
    deliveries_per_second: w.per_second, bytes_per_event: w.bytes / w.events,
    cpu_us_per_event: cpu, server_user_us_per_event: each(w.cpu_user[0]), load_cpu_us_per_event: each(w.own_cpu),
    latency_us: result.latency_us, merged: result.merged, gaps: result.gaps, dropped: result.dropped,
    others_cores: w.others_cores, stallers: result.stallers,
  };
}

// `spread`: seconds from the first generation's beginning to the last one's reader.
const tokensOf = (shape, spread = 0) => Math.ceil(shape.rate * (spread + shape.warmup + shape.measure + 1));
const spreadOf = (shape) => 2 + shape.clients / 500;
const loadArgs = (shape, port, pids) => ['--port', port, '--clients', shape.clients, '--sources', 250,
  '--pids', pids.join(','), '--warmup', shape.warmup, '--measure', shape.measure,
  '--deadline', 60 + 4 * (shape.warmup + shape.measure), ...(shape.nap_us ? ['--nap-us', shape.nap_us] : [])];

function finish(context, what, result) {
  judge(context, what, result);
  const one = figures(result);
  if (one === null) context.fail(`${what}: nothing was measured`);
  else context.progress(`${what}: ${one.cpu_us_per_event.server.toFixed(2)} us/event, p99 ${ms(one.latency_us.p99)} ms`);
  return one;
}

async function bareRound(context, what, shape, bareArgs = []) {
  const bare = bench('bare', ['--clients', shape.clients, '--rate', shape.rate, '--events', tokensOf(shape),
    ...bareArgs]);
  try {
    const port = (await bare.field('listen', 10)).split(':').pop();
    return finish(context, what, await results(bench('load', loadArgs(shape, port, [bare.pid]))));
  } finally {
    await bare.stop();
  }
}

// One generation that all clients read. loadMore: more options of the load generator. `during` as below.
async function brokerRound(context, what, shape, brokerArgs = [], loadMore = [], during = null) {
  const stack = new Stack();
  try {
    await stack.start([...context.brokerArgs, ...brokerArgs]);
    const flush = shape.flush || 1; // tokens an event
    const stream = await stack.generation(flush * tokensOf(shape), flush * shape.rate);
    const pids = [stack.broker.pid, stack.redis.pid];
    const load = bench('load', [...loadArgs(shape, stack.port, pids), '--path', stream, '--merged', ...loadMore]);
    await load.field('ready', 60);
    await stack.startWorker(['--flush-tokens', String(flush), '--flush-interval', '1s']);
    const seen = during === null ? {} : await during(stack, load);
    const one = finish(context, what, await results(load));
    return one === null ? null : { ...one, ...seen };
  } finally {
    await stack.stop();
  }
}

// A generation a client, each at its own time: they begin as they are asked for, and the readers come when all have.
// `during` may look at the stack while the load generator runs; its outcome is part of the figures.
async function generationsRound(context, what, shape, during = null) {
  const stack = new Stack();
  try {
    await stack.start(context.brokerArgs);
    for (let i = 0; i < (shape.workers || 1); i++)
      await stack.startWorker(['--slots', String(Math.ceil(shape.clients / (shape.workers || 1)) + 100)]);
    const paths = await stack.generations(shape.clients, tokensOf(shape, spreadOf(shape)), shape.rate);
    const list = `${stack.dir}/paths`;
    fs.writeFileSync(list, `${paths.join('\n')}\n`);
    const pids = [stack.broker.pid, stack.redis.pid, ...stack.workers.map((worker) => worker.pid)];
    const load = bench('load', [...loadArgs(shape, stack.port, pids), '--paths', list, '--merged', '--all-begun']);
    const seen = during === null ? {} : await during(stack, load);
    const one = finish(context, what, await results(load));
    return one === null ? null : { ...one, ...seen };
  } finally {
    await stack.stop();
  }
}

// The same from a bare writer through Redis and a bare relay: what the three processes' waking one another costs.
async function pipeRound(context, what, shape) {
  const stack = new Stack();
  const args = (events) => ['--socket', stack.socket, '--clients', shape.clients, '--rate', shape.rate, '--events', events];
  let relay, writer;
  try {
    await stack.startRedis();
    relay = bench('pipe', args(tokensOf(shape)));
    const port = (await relay.field('listen', 30)).split(':').pop();
    const load = bench('load', [...loadArgs(shape, port, [relay.pid, stack.redis.pid]), '--all-begun']);
    await relay.field('asked', 60);
    writer = bench('pipe', ['--write', ...args(tokensOf(shape))]);
    return finish(context, what, await results(load));
  } finally {
    for (const one of [writer, relay]) if (one) await one.stop();
    await stack.stop();
  }
}

// Runs each kind once a round, and takes turns with who is first. kinds: {name: (what) => figures or null}.
async function takeTurns(name, rounds, kinds) {
  const taken = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
  for (let round = 1; round <= rounds; round++) {
    const order = Object.keys(kinds);
    for (const kind of round % 2 === 1 ? order : order.reverse()) {
      const one = await kinds[kind](`${name} ${kind}, round ${round} of ${rounds}`);
      if (one !== null) taken[kind].push(one);
    }
  }
  return Object.values(taken).some((list) => list.length === 0) ? null : taken;
}

const costOf = (list) => median(list.map((one) => one.cpu_us_per_event.server));

// The broker against the bare loop; null if either was not measured.
async function compare(context, name, shape) {
  const taken = await takeTurns(name, Math.min(context.rounds, shape.rounds || 99), {
    bare: (what) => bareRound(context, what, shape),
    broker: (what) => brokerRound(context, what, shape),
  });
  if (taken === null) return null;
  return { ...shape, rounds: taken, bare_cpu_us_per_event: costOf(taken.bare),
    broker_cpu_us_per_event: costOf(taken.broker), ratio: costOf(taken.broker) / costOf(taken.bare) };
}

module.exports = { bareRound, brokerRound, compare, costOf, figures, finish, generationsRound, judge, loadArgs, median, pipeRound,
  results, takeTurns, tokensOf };
