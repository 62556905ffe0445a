// The same events through one broker and one Redis, and through two brokers and a Cluster of three masters: whether
// what a tier does for an event stays the same when there is more of it. The machine is the same, so a tier of more
// processes is not faster here; its cost is what is looked at.
'use strict';
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { figures, generationsRound, judge, loadArgs, results, tokensOf } = require('../measure.cjs');
const { Program, bench, directory } = require('../programs.cjs');
const { Stack } = require('../stack.cjs');
const { grouped, line, title } = require('../table.cjs');

const MASTERS = 3;

// Ports that were free a moment ago and leave room for the cluster bus, which listens 10,000 above each.
async function freePorts(count) {
  const free = (port) => new Promise((resolve) => {
    const server = net.createServer().once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => {
      const found = server.address().port;
      server.close(() => resolve(found));
    });
  });
  const ports = [];
  for (let tries = 0; ports.length < count && tries < 1000; tries++) {
    const port = await free(0);
    if (port !== null && port < 55000 && !ports.includes(port) && (await free(port + 10000)) !== null) ports.push(port);
  }
  return ports;
}

class ClusterStack extends Stack {
  async start(brokerArgs = []) {
    this.dir = directory();
    this.text = path.join(this.dir, 'text');
    fs.writeFileSync(this.text, Array(100000).fill('abcdef').join(' '));
    this.servers = [];
    const ports = await freePorts(MASTERS);
    for (const port of ports) {
      const dir = path.join(this.dir, `${port}`);
      fs.mkdirSync(dir);
      const server = new Program(`redis-server ${port}`, 'redis-server', ['--port', `${port}`, '--bind', '127.0.0.1',
        '--cluster-enabled', 'yes', '--save', '', '--appendonly', 'no', '--dir', dir]);
      this.servers.push(server);
      await server.line((text) => /ready to accept connections/i.test(text) || undefined, 10);
    }
    const addresses = ports.map((port) => `127.0.0.1:${port}`);
    const made = new Program('redis-cli', 'redis-cli', ['--cluster', 'create', ...addresses, '--cluster-yes']);
    if ((await made.exited) !== 0) throw made.failure('could not make a Cluster');
    for (const server of this.servers) await server.line((text) => /Cluster state changed: ok/.test(text) || undefined, 30);
    this.redisUrl = `redis+cluster://${addresses.join(',')}`;
    this.broker = await this.startBroker(brokerArgs);
    this.other = await this.startBroker(brokerArgs);
    return this;
  }

  async stop() {
    await super.stop();
    for (const server of this.servers) await server.stop();
  }
}

// Half of the readers at each broker. What the tiers used is taken from the first half's window and told for an event
// of both.
async function spread(context, shape) {
  const stack = new ClusterStack();
  try {
    await stack.start(context.brokerArgs);
    const worker = await stack.startWorker(['--slots', String(shape.clients + 100)]);
    const paths = await stack.generations(shape.clients, tokensOf(shape, 4 + shape.clients / 250), shape.rate);
    const half = { ...shape, clients: shape.clients / 2 };
    const pids = [stack.broker, stack.other, ...stack.servers, worker].map(({ pid }) => pid);
    const loads = [stack.broker, stack.other].map((broker, i) => {
      const list = `${stack.dir}/paths${i}`;
      fs.writeFileSync(list, `${paths.slice(i * half.clients, (i + 1) * half.clients).join('\n')}\n`);
      return bench('load', [...loadArgs(half, broker.port, pids), '--paths', list, '--merged', '--all-begun']);
    });
    const found = await Promise.all(loads.map(results));
    found.forEach((one, i) => judge(context, `cluster, half ${i + 1}`, one));
    const names = ['broker1', 'broker2', 'redis1', 'redis2', 'redis3', 'worker'];
    const [first, second] = found.map((one) => figures(one, names));
    if (first === null || second === null) return null;
    const share = first.deliveries_per_second / (first.deliveries_per_second + second.deliveries_per_second);
    const sum = (prefix) => names.filter((name) => name.startsWith(prefix))
      .reduce((total, name) => total + first.cpu_us_per_event[name] * share, 0);
    return { broker: sum('broker'), redis: sum('redis'), worker: sum('worker'), others: first.others_cores,
      per_second: first.deliveries_per_second + second.deliveries_per_second };
  } finally {
    await stack.stop();
  }
}

module.exports = {
  name: 'cluster',
  order: 72,
  title: 'two brokers and a Cluster of three masters against one of each',
  full: { clients: 1000, rate: 20, warmup: 1, measure: 10 },
  quick: { clients: 1000, rate: 20, warmup: 1, measure: 4 },
  async run(shape, context) {
    const single = await generationsRound(context, 'cluster, one of each', shape);
    const many = await spread(context, shape);
    if (single === null || many === null) return null;
    const { server: broker, redis, worker } = single.cpu_us_per_event;
    return { ...shape, many,
      single: { broker, redis, worker, per_second: single.deliveries_per_second, others: single.others_cores } };
  },
  print(r) {
    title(`${grouped(r.clients)} generations of ${r.rate} events/s with a reader each; CPU us/event of each tier`);
    line('', 'brokers', 'Redis', 'workers', 'events/s', 'others took');
    for (const [label, o] of [['1 broker, 1 Redis', r.single], [`2 brokers, ${MASTERS} masters`, r.many]])
      line(label, o.broker.toFixed(2), o.redis.toFixed(2), o.worker.toFixed(2), grouped(o.per_second),
        `${o.others.toFixed(2)} cores`);
  },
  reached: (r) => ['broker', 'redis', 'worker'].map((tier) =>
    [`${tier}: CPU per event, several / one`, (r.many[tier] / r.single[tier]).toFixed(2), '<= 1.2']),
};
