// The publishing library by itself, as an inference server links it: two processes into one Redis, no model server, no
// jobs, nobody reads. What a worker's event costs without its provider.
'use strict';
const { bench } = require('../programs.cjs');
const { Stack } = require('../stack.cjs');
const { grouped, line, title } = require('../table.cjs');

const PROCESSES = 2;

async function publish(stack, shape, i) {
  const args = { redis: stack.redisUrl, name: `publish${i}`, generations: shape.generations / PROCESSES,
    rate: shape.rate, warmup: shape.warmup, measure: shape.measure };
  const one = bench('publish', Object.entries(args).flatMap(([name, value]) => [`--${name}`, value]));
  const result = await one.line((text) => (text.startsWith('{"said"') ? JSON.parse(text) : undefined),
    shape.warmup + shape.measure + 60);
  if ((await one.exited) !== 0) throw one.failure('failed');
  return result;
}

module.exports = {
  name: 'publish',
  order: 71,
  title: '2 processes with the publishing library into one Redis',
  full: { generations: 2000, rate: 50, warmup: 2, measure: 12 },
  quick: { generations: 2000, rate: 50, warmup: 1, measure: 4 },
  async run(shape, context) {
    const stack = new Stack();
    try {
      await stack.start(context.brokerArgs);
      await stack.broker.kill();
      const all = await Promise.all(Array.from({ length: PROCESSES }, (_, i) => publish(stack, shape, i)));
      const sum = (name) => all.reduce((total, one) => total + one[name], 0);
      const result = { ...shape, entries: sum('entries'), cpu_us: sum('cpu_us') / sum('entries'),
        words_an_entry: sum('said') / sum('entries') };
      context.progress(`publish: ${result.cpu_us.toFixed(2)} us/event`);
      return result;
    } finally {
      await stack.stop();
    }
  },
  print(r) {
    title(`${PROCESSES} processes, ${grouped(r.generations)} generations of ${r.rate} words/s; Redis without appendonly`);
    line('CPU us/event', r.cpu_us.toFixed(2));
    line('words an event', r.words_an_entry.toFixed(2));
  },
  reached: (r) => [['worker CPU per event without provider, us', r.cpu_us.toFixed(2), '<= 3']],
};
