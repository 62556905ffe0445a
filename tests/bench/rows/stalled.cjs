// A tenth of the clients stops reading: what the others notice of it, and what the broker and the kernel keep for the
// stalled. Events are large enough for a stalled socket to fill within the shortest run.
'use strict';
const fs = require('node:fs');
const { brokerRound, median, takeTurns } = require('../measure.cjs');
const { grouped, line, ms, title } = require('../table.cjs');

const PAGE_KIB = 4; // of /proc/net/sockstat, on every machine with pages of 4 KiB

const memory = (pid) => ({
  rss: Number(/^VmRSS:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]),
  tcp: Number(/^TCP:.* mem (\d+)/m.exec(fs.readFileSync('/proc/net/sockstat', 'utf8'))[1]) * PAGE_KIB,
});

// The most that there was above what there was at the window's beginning, KiB.
async function watch(stack, load) {
  await load.window(true, 60);
  const first = memory(stack.broker.pid);
  let rss = 0, tcp = 0;
  const timer = setInterval(() => {
    const now = memory(stack.broker.pid);
    rss = Math.max(rss, now.rss - first.rss);
    tcp = Math.max(tcp, now.tcp - first.tcp);
  }, 200);
  try {
    await load.window(false, 300);
  } finally {
    clearInterval(timer);
  }
  return { rss_growth_kib: rss, tcp_growth_kib: tcp };
}

module.exports = {
  name: 'stalled',
  order: 60,
  title: 'a tenth of 1,000 clients stops reading',
  full: { clients: 1000, stallers: 100, rate: 50, flush: 150, warmup: 3, measure: 60, rounds: 1, limit: 600 },
  quick: { clients: 1000, stallers: 100, rate: 50, flush: 150, warmup: 2, measure: 10, rounds: 1 },
  async run(shape, context) {
    const stall = ['--stall', shape.stallers, '--stall-seconds', shape.measure];
    const patient = ['--user-timeout', '10m']; // the default cuts them off after 45 s, and they would come back
    const rounds = await takeTurns('stalled', Math.min(context.rounds, shape.rounds), {
      none: (what) => brokerRound(context, what, shape, patient, [], watch),
      some: (what) => brokerRound(context, what, shape, patient, stall, watch),
    });
    if (rounds === null) return null;
    const p99 = (kind) => median(rounds[kind].map((o) => o.latency_us.p99));
    const growth = (name) => Math.max(...rounds.some.map((o) => o[name]));
    return { ...shape, rounds, p99_none_us: p99('none'), p99_some_us: p99('some'), ratio: p99('some') / p99('none'),
      rss_growth_kib: growth('rss_growth_kib'), tcp_growth_kib: growth('tcp_growth_kib') };
  },
  print(r) {
    title(`${grouped(r.stallers)} of ${grouped(r.clients)} clients stop reading for ${r.measure} s; ${r.rate} events/s of ` +
      `${grouped(r.flush * 7)} characters`);
    line('', 'others p50 ms', 'others p99 ms', 'RSS growth', 'TCP growth', 'gaps');
    for (const [label, list] of [['nobody stalls', r.rounds.none], ['stalled', r.rounds.some]])
      line(label, ms(median(list.map((o) => o.latency_us.p50))), ms(median(list.map((o) => o.latency_us.p99))),
        `${grouped(Math.max(...list.map((o) => o.rss_growth_kib)))} KiB`,
        `${grouped(Math.max(...list.map((o) => o.tcp_growth_kib)))} KiB`, grouped(median(list.map((o) => o.gaps))));
    console.log('  TCP memory is the whole machine\'s, the readers\' side of the loopback connections included.');
  },
  reached: (r) => [
    ['p99 of the others / without stalled ones', r.ratio.toFixed(2), '<= 1.2'],
    ['broker RSS growth a stalled client, KiB', (r.rss_growth_kib / r.stallers).toFixed(1), '<= 256 (--lag-bytes)'],
    ['TCP memory growth a stalled client, KiB', (r.tcp_growth_kib / r.stallers).toFixed(0), ''],
  ],
};
