// What workers put into one Redis when nobody reads: two real worker processes, each generation faster than its turn
// comes, so that Redis or the cores are the limit. An event is one entry; what a worker has to merge counts once.
'use strict';
const { setTimeout: sleep } = require('node:timers/promises');
const { cpuOf, machineCpu } = require('../programs.cjs');
const { Stack } = require('../stack.cjs');
const { grouped, line, title } = require('../table.cjs');

const WORKERS = 2;
const ALL = ['redis', ...Array.from({ length: WORKERS }, (_, i) => `worker ${i + 1}`)];

async function sample(stack) {
  const [entries] = await stack.commands('xadd');
  return { at: performance.now(), machine: machineCpu(), entries, cpu: [stack.redis, ...stack.workers].map((one) => cpuOf(one.pid)) };
}

// Every log must have come to its end; how many have not after some time.
async function unended(stack, paths, seconds) {
  const keys = paths.map((one) => `tc:{${one.split('/')[3]}}:log`);
  for (let tries = 0; ; tries++) {
    const tails = await Promise.all(keys.map((key) => stack.client.call('XREVRANGE', key, '+', '-', 'COUNT', 1)));
    const open = tails.filter((tail) => !(tail.length === 1 && tail[0][1][1].includes('text_length'))).length;
    if (open === 0 || tries === seconds) return open;
    await sleep(1000);
  }
}

async function measured(stack, shape) {
  await Promise.all(Array.from({ length: WORKERS },
    () => stack.startWorker(['--slots', String(Math.ceil(shape.generations / WORKERS))])));
  await sleep(shape.warmup * 1000);
  const first = await sample(stack);
  await sleep(shape.measure * 1000);
  const last = await sample(stack);
  const entries = last.entries - first.entries, seconds = (last.at - first.at) / 1000;
  const cpu = last.cpu.map((value, i) => value - first.cpu[i]);
  const each = (value) => (value * 1e6) / entries;
  const used = cpu.reduce((sum, value) => sum + value, 0);
  return { seconds, events: entries, events_per_second: entries / seconds,
    tokens_per_second: shape.generations * shape.rate, redis_us: each(cpu[0]),
    worker_us: each(cpu.slice(1).reduce((sum, value) => sum + value, 0)), cores: cpu.map((value) => value / seconds),
    others_cores: Math.max(0, last.machine - first.machine - used) / seconds };
}

module.exports = {
  name: 'workers',
  order: 70,
  title: '2 worker processes into one Redis, no broker',
  full: { generations: 2000, rate: 100, warmup: 4, measure: 12 },
  quick: { generations: 2000, rate: 100, warmup: 3, measure: 5 },
  async run(shape, context) {
    const stack = new Stack();
    try {
      await stack.start(context.brokerArgs);
      const paths = await stack.generations(shape.generations,
        Math.ceil(shape.rate * (shape.warmup + shape.measure + 1)), shape.rate);
      await stack.broker.kill();
      const result = { ...shape, ...(await measured(stack, shape)) };
      context.progress(`workers: ${grouped(result.events_per_second)} events/s`);
      const open = await unended(stack, paths, 60);
      if (open > 0) context.fail(`workers: ${open} of ${paths.length} logs have not come to their end`);
      return result;
    } finally {
      await stack.stop();
    }
  },
  print(r) {
    title(`${WORKERS} workers, ${grouped(r.generations)} generations of ${r.rate} tokens/s (${grouped(r.tokens_per_second)} ` +
      'tokens/s in all); Redis without appendonly; nobody reads');
    line('events/s', grouped(r.events_per_second));
    line('worker CPU us/event', r.worker_us.toFixed(2));
    line('redis CPU us/event', r.redis_us.toFixed(2));
    line('tokens an event', (r.tokens_per_second / r.events_per_second).toFixed(2));
    line('others took, cores', r.others_cores.toFixed(2));
    r.cores.forEach((cores, i) => line(`${ALL[i]}, cores`, cores.toFixed(2)));
  },
  reached: (r) => [
    ['events/s', grouped(r.events_per_second), '>= 150,000'],
    ['worker CPU per event, us (provider included)', r.worker_us.toFixed(2), ''],
    ['Redis CPU per event, us', r.redis_us.toFixed(2), ''],
  ],
};
