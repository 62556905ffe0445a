// What a second loop brings. The load generator needs the other of two cores, so each loop is given a part of a core by
// quota, too little for what is offered: how often it comes round to a reader then is what it can carry.
'use strict';
const { brokerRound, median, takeTurns } = require('../measure.cjs');
const { available, limitThreads, release } = require('../quota.cjs');
const { metrics } = require('../stack.cjs');
const { HEAD, costLine, grouped, line, ms, title } = require('../table.cjs');

const SENDS = 'tokencast_broker_sends_total';

const limited = (loops, share) => async (stack, load) => {
  const threads = limitThreads(stack.broker.pid, loops, share);
  if (threads !== loops) throw new Error(`the broker has ${threads} threads for ${loops} loops`);
  await load.window(true, 60);
  const began = process.hrtime.bigint(), before = await metrics(stack.broker);
  await load.window(false, 120);
  const sends = (await metrics(stack.broker)).get(SENDS) - before.get(SENDS);
  return { sends_per_second: sends / (Number(process.hrtime.bigint() - began) / 1e9) };
};

module.exports = {
  name: 'loops',
  order: 90,
  title: '--loops 1 and 2, each loop with a quarter of a core, 4,000 clients at 50 events/s',
  full: { clients: 4000, rate: 50, share: 0.25, warmup: 3, measure: 10 },
  quick: { clients: 4000, rate: 50, share: 0.25, warmup: 2, measure: 4, rounds: 1 },
  async run(shape, context) {
    if (!available()) return { skipped: 'needs root and the cpu controller of cgroup v1' };
    try {
      const rounds = await takeTurns('loops', Math.min(context.rounds, shape.rounds || 99), {
        one: (what) => brokerRound(context, what, shape, ['--loops', '1'], [], limited(1, shape.share)),
        two: (what) => brokerRound(context, what, shape, ['--loops', '2'], [], limited(2, shape.share)),
      });
      if (rounds === null) return null;
      const of = (kind) => ({ sends: median(rounds[kind].map((o) => o.sends_per_second)),
        p50_us: median(rounds[kind].map((o) => o.latency_us.p50)) });
      return { ...shape, rounds, one: of('one'), two: of('two') };
    } finally {
      release();
    }
  },
  print(r) {
    title(`Loops: one generation, ${grouped(r.clients)} clients, ${r.rate} events/s offered, ${r.share} of a core a loop`);
    line('', ...HEAD);
    costLine('broker, one loop', r.rounds.one);
    costLine('broker, two loops', r.rounds.two);
    line('sends/s', grouped(r.one.sends), grouped(r.two.sends));
  },
  reached: (r) => [
    ['sends/s, two loops / one', (r.two.sends / r.one.sends).toFixed(2), 'near 2'],
    ['p50 ms, one loop; two', `${ms(r.one.p50_us)}; ${ms(r.two.p50_us)}`, ''],
  ],
};
