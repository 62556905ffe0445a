// What a row needs to run: a redis-server on a socket in a directory of its own (nothing is written to disk), brokers,
// workers, generations, and what Redis and a broker say of themselves.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { Program, directory, program, removeDirectory } = require('./programs.cjs');
const { RedisClient } = require('./redis.cjs');

const POSTS = 32; // requests at a time
const TEXT_TOKENS = 500000; // what workers can replay at most

class Stack {
  constructor() {
    this.brokers = [];
    this.workers = [];
  }

  async startRedis() {
    this.dir = directory();
    this.socket = path.join(this.dir, 'redis.sock');
    this.redisUrl = `unix://${this.socket}`;
    this.redis = new Program('redis-server', 'redis-server', ['--port', '0', '--unixsocket', this.socket, '--save', '',
      '--appendonly', 'no', '--dir', this.dir]);
    await this.redis.line((line) => /ready to accept connections/i.test(line) || undefined, 10);
  }

  // Redis and one broker; workers come when they are wanted, so that clients can be there before.
  async start(brokerArgs = []) {
    await this.startRedis();
    this.text = path.join(this.dir, 'text');
    fs.writeFileSync(this.text, Array(TEXT_TOKENS).fill('abcdef').join(' '));
    this.client = await RedisClient.connect(this.socket);
    this.broker = await this.startBroker(brokerArgs);
    this.port = this.broker.port;
    return this;
  }

  // One loop unless the arguments say otherwise: the last of two equal options holds.
  async startBroker(brokerArgs = []) {
    const broker = new Program('tokencast-broker', program('tokencast-broker'), ['--listen', '127.0.0.1:0',
      '--ops-listen', '127.0.0.1:0', '--redis', this.redisUrl, '--loops', '1', '--log-format', 'json', ...brokerArgs]);
    this.brokers.push(broker);
    broker.listen = await broker.field('listen', 10, 'ready');
    broker.ops = await broker.field('ops', 10, 'ready');
    broker.port = Number(broker.listen.split(':').pop());
    return broker;
  }

  async startWorker(workerArgs = []) {
    const worker = new Program('tokencast-worker', program('tokencast-worker'), ['--redis', this.redisUrl,
      '--provider', 'replay', '--replay-file', this.text, '--ops-listen', '127.0.0.1:0', '--log-format', 'json', '--grace', '0ms', ...workerArgs]);
    this.workers.push(worker);
    await worker.field('msg', 10, 'ready');
    return worker;
  }

  // Starts a generation of `tokens` tokens of 7 bytes; the path of its stream.
  async generation(tokens, rate) {
    const answer = await fetch(`http://${this.broker.listen}/v1/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'benchmark', options: { rate, max_tokens: tokens } }),
      signal: AbortSignal.timeout(30000),
    });
    if (answer.status !== 202) throw new Error(`POST /v1/generations: ${answer.status} ${await answer.text()}`);
    return new URL((await answer.json()).events_url, `http://${this.broker.listen}`).pathname;
  }

  // The same `count` times.
  async generations(count, tokens, rate) {
    const paths = [];
    let left = count;
    const post = async () => {
      while (left-- > 0) paths.push(await this.generation(tokens, rate));
    };
    await Promise.all(Array.from({ length: Math.min(POSTS, count) }, post));
    return paths;
  }

  // How often Redis has run these commands since it was started.
  async commands(...names) {
    const text = await this.client.call('INFO', 'commandstats');
    return names.map((name) => Number((new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(text) || [, 0])[1]));
  }

  async stop() {
    for (const one of this.workers) await one.kill(); // their log goes with Redis
    for (const one of this.brokers) await one.stop();
    if (this.client) this.client.close();
    if (this.redis) await this.redis.stop();
    if (this.dir) removeDirectory(this.dir);
  }
}

// The figures of /metrics: name and labels, as they stand there, to number.
async function metrics(broker) {
  const answer = await fetch(`http://${broker.ops}/metrics`, { signal: AbortSignal.timeout(10000) });
  const found = new Map();
  for (const line of (await answer.text()).split('\n')) {
    const cut = line.lastIndexOf(' ');
    if (cut > 0 && line[0] !== '#') found.set(line.slice(0, cut), Number(line.slice(cut + 1)));
  }
  return found;
}

// The quantiles of one of its histograms between two looks, in microseconds: as exact as the buckets are.
function quantiles(before, after, name, wanted) {
  const buckets = [...after].filter(([key]) => key.startsWith(`${name}_bucket{`))
    .map(([key, count]) => ({ top: Number(/le="([^"]+)"/.exec(key)[1].replace('+Inf', 'Infinity')),
      count: count - (before.get(key) || 0) }))
    .sort((a, b) => a.top - b.top);
  const total = buckets.length > 0 ? buckets[buckets.length - 1].count : 0;
  return wanted.map((q) => {
    let low = { top: 0, count: 0 };
    for (const bucket of buckets) {
      if (bucket.count >= q * total && bucket.count > low.count) {
        const top = bucket.top === Infinity ? low.top : bucket.top;
        return 1e6 * (low.top + (top - low.top) * (q * total - low.count) / (bucket.count - low.count));
      }
      low = bucket;
    }
    return NaN;
  });
}

module.exports = { Stack, metrics, quantiles };
