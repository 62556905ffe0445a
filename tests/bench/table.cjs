// How figures are written.
'use strict';

const ms = (us) => (us / 1000).toFixed(us < 10000 ? 2 : 0);
const grouped = (n) => Math.round(n).toLocaleString('en-US');
const line = (label, ...cells) =>
  console.log(`  ${label.padEnd(22)}${cells.map((cell) => String(cell).padStart(13)).join('')}`);
const title = (text) => console.log(`\n${text}`);

// One server's rounds as a line: cost, deliveries, latency.
const HEAD = ['CPU us/event', 'events/s', 'p50 ms', 'p99 ms', 'bytes/event', 'others took'];
function costLine(label, rounds) {
  const of = (pick) => {
    const sorted = rounds.map(pick).sort((a, b) => a - b);
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  };
  line(label, of((o) => o.cpu_us_per_event.server).toFixed(2), grouped(of((o) => o.deliveries_per_second)),
    ms(of((o) => o.latency_us.p50)), ms(of((o) => o.latency_us.p99)), of((o) => o.bytes_per_event).toFixed(0),
    rounds[0].others_cores === undefined ? '' : `${of((o) => o.others_cores).toFixed(2)} cores`);
}

function tellGaps(rounds) {
  const told = rounds.reduce((sum, o) => sum + o.gaps, 0);
  if (told > 0) console.log(`  ${grouped(told)} gaps were told to clients that fell behind`);
}

function printCompared(c) {
  title(`One generation, ${grouped(c.clients)} clients, ${c.rate} events/s offered, ${c.measure} s, ` +
    `medians of ${c.rounds.broker.length}`);
  line('', ...HEAD);
  costLine('bare send() loop', c.rounds.bare);
  costLine('broker, one loop', c.rounds.broker);
  const bare = c.rounds.bare.map((o) => o.cpu_us_per_event.server);
  const each = c.rounds.broker.slice(0, bare.length).map((o, i) => (o.cpu_us_per_event.server / bare[i]).toFixed(2));
  line('ratio', c.ratio.toFixed(2), `  rounds: ${each.join(', ')}`);
  tellGaps(c.rounds.broker);
}

module.exports = { HEAD, costLine, grouped, line, ms, printCompared, tellGaps, title };
