// Whether an event costs the same however many generations or clients there are: the same events a second in more and
// more generations, the same deliveries a second to more and more clients. The bare loop shows what of a rise is the
// kernel's, whose sockets no longer fit its caches.
// The readers are not woken by each send, but look every half a millisecond: a reader on the same machine that is
// quicker than its server sleeps again before the next event, and the server pays for waking it. Then the slower of two
// servers would pay for more than it does.
'use strict';
const { bareRound, brokerRound, generationsRound } = require('../measure.cjs');
const { grouped, line, title } = require('../table.cjs');

const last = (list) => list[list.length - 1];
const rise = (list, pick) => (list.length < 2 ? 'not measured' : (pick(last(list)) / pick(list[0])).toFixed(2));
const server = (point) => point.broker.cpu_us_per_event.server;
const own = (point) => point.broker.server_user_us_per_event;
const redis = (point) => point.broker.cpu_us_per_event.redis;
const bare = (point) => point.bare.cpu_us_per_event.server;

const ratios = (list) => [list[0], last(list)].map((point) => (server(point) / bare(point)).toFixed(2)).join('; ');

async function measure(context, shape, points, what, broker, bareArgs) {
  const found = [];
  for (const clients of points) {
    const fit = context.fitting(clients);
    const one = { ...shape, clients: fit, rate: shape.per_second / fit };
    const point = { clients: fit, rate: one.rate, broker: await broker(context, `scale, ${fit} ${what}`, one),
      bare: await bareRound(context, `scale, ${fit} ${what}, bare`, one, bareArgs) };
    if (point.broker !== null && point.bare !== null) found.push(point);
  }
  return found;
}

function table(what, points) {
  title(what);
  line('', 'broker', 'of it user', 'redis', 'worker', 'bare', 'p99 ms', 'begun after', 'others took');
  for (const p of points)
    line(grouped(p.clients), server(p).toFixed(2), own(p).toFixed(2), redis(p).toFixed(2),
      p.broker.cpu_us_per_event.worker === undefined ? '' : p.broker.cpu_us_per_event.worker.toFixed(2),
      bare(p).toFixed(2), (p.broker.latency_us.p99 / 1000).toFixed(2), `${p.broker.begun_s.toFixed(1)} s`, `${p.broker.others_cores.toFixed(2)} cores`);
}

module.exports = {
  name: 'scale',
  order: 80,
  title: 'cost per event from 100 to 10,000 generations, 1,000 to 15,000 clients',
  full: {
    generations: { per_second: 20000, nap_us: 500, warmup: 2, measure: 12, points: [100, 1000, 10000] },
    clients: { per_second: 45000, nap_us: 500, warmup: 2, measure: 12, points: [1000, 5000, 15000] }, limit: 500,
  },
  quick: {
    generations: { per_second: 10000, nap_us: 500, warmup: 1, measure: 4, points: [100, 4000] },
    clients: { per_second: 30000, nap_us: 500, warmup: 1, measure: 4, points: [1000, 15000] },
  },
  async run(shape, context) {
    const { generations, clients } = shape;
    const result = {
      generations: await measure(context, generations, generations.points, 'generations', generationsRound, ['--each']),
      clients: await measure(context, clients, clients.points, 'clients', brokerRound, []),
    };
    return result.generations.length > 0 && result.clients.length > 0 ? result : null;
  },
  print(r) {
    const rate = (points) => grouped(points[0].clients * points[0].rate);
    table(`CPU us an event, ${rate(r.generations)} events/s in so many generations of one client each`, r.generations);
    table(`CPU us an event, ${rate(r.clients)} deliveries/s to so many clients of one generation`, r.clients);
  },
  reached: (r) => [
    ['generations: broker CPU per event, last / first', rise(r.generations, server), '<= 1.2'],
    ['generations: outside the kernel, last / first', rise(r.generations, own), ''],
    ['generations: Redis CPU per event, last / first', rise(r.generations, redis), '<= 1.2'],
    ['generations: bare loop, last / first', rise(r.generations, bare), ''],
    ['generations: broker / bare loop, first; last', ratios(r.generations), '<= 1.3'],
    ['clients: broker CPU per event, last / first', rise(r.clients, server), '<= 1.2'],
    ['clients: bare loop, last / first', rise(r.clients, bare), ''],
    ['clients: broker / bare loop, first; last', ratios(r.clients), ''],
  ],
};
