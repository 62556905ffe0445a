// The programs that a benchmark needs, started as children and ended by their handles: redis-server on a socket in a
// directory of its own, one broker, one worker, the load generator and the bare server.
'use strict';
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

const BUILD = path.resolve(process.env.TC_BUILD || path.join(__dirname, '../../build'));
const running = new Set();
const directories = new Set();

class Program {
  constructor(name, file, args) {
    this.name = name;
    this.lines = [];
    this.waiting = new Set();
    this.child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.pid = this.child.pid;
    running.add(this);
    for (const stream of [this.child.stdout, this.child.stderr])
      readline.createInterface({ input: stream }).on('line', (line) => this.onLine(line));
    this.child.stdin.on('error', () => {}); // it may end before its input does
    this.exited = new Promise((resolve) => {
      this.child.on('error', (err) => this.onExit(resolve, `cannot be started: ${err.message}`));
      this.child.on('close', (code, signal) => this.onExit(resolve, `ended with ${signal || code}`, code));
    });
  }

  onLine(line) {
    this.lines.push(line);
    if (this.lines.length > 200) this.lines.shift(); // the end is what explains a failure
    for (const wait of this.waiting) wait();
  }

  onExit(resolve, why, code) {
    if (this.ended) return;
    this.ended = why;
    running.delete(this);
    for (const wait of this.waiting) wait();
    resolve(code);
  }

  failure(what) {
    return new Error(`${this.name} ${what}\n  ${this.lines.slice(-15).join('\n  ')}`);
  }

  // What `pick` makes of the first line for which it is not undefined.
  async line(pick, seconds) {
    let timer, wait;
    try {
      return await new Promise((resolve, reject) => {
        wait = () => {
          const found = this.lines.map(pick).find((value) => value !== undefined);
          if (found !== undefined) resolve(found);
          else if (this.ended) reject(this.failure(this.ended));
        };
        timer = setTimeout(() => reject(this.failure(`said nothing of use in ${seconds} s`)), seconds * 1000);
        this.waiting.add(wait);
        wait();
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(wait);
    }
  }

  // A field of the first JSON line that has it (and, if given, this "msg").
  field(name, seconds, msg) {
    return this.line((line) => {
      const value = json(line);
      return msg === undefined || value.msg === msg ? value[name] : undefined;
    }, seconds);
  }

  async stop() {
    if (this.ended) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10000);
    await this.exited;
    clearTimeout(timer);
  }
}

function json(line) {
  try {
    const value = JSON.parse(line);
    return value !== null && typeof value === 'object' ? value : {};
  } catch {
    return {};
  }
}

function program(name) {
  const folder = name.startsWith('tokencast-') ? 'bin' : 'bench';
  const file = path.join(BUILD, folder, name);
  if (!fs.existsSync(file)) throw new Error(`${file} is missing: build first, or set TC_BUILD`);
  return file;
}

const bench = (name, args) => new Program(name, program(name), args.map(String));

class Stack {
  // A Redis and a broker of their own; the worker comes when it is wanted, so that clients can be there before.
  async start(brokerArgs = []) {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tokencast-bench-'));
    directories.add(this.dir);
    const socket = path.join(this.dir, 'redis.sock');
    this.redisUrl = `unix://${socket}`;
    this.redis = new Program('redis-server', 'redis-server', ['--port', '0', '--unixsocket', socket, '--save', '',
      '--appendonly', 'no', '--dir', this.dir]);
    await this.redis.line((line) => /ready to accept connections/i.test(line) || undefined, 10);
    this.broker = new Program('tokencast-broker', program('tokencast-broker'), ['--listen', '127.0.0.1:0',
      '--ops-listen', '127.0.0.1:0', '--redis', this.redisUrl, '--loops', '1', '--log-format', 'json', ...brokerArgs]);
    this.listen = await this.broker.field('listen', 10, 'ready');
    this.port = Number(this.listen.split(':').pop());
    return this;
  }

  async startWorker() {
    this.worker = new Program('tokencast-worker', program('tokencast-worker'), ['--redis', this.redisUrl,
      '--provider', 'replay', '--ops-listen', '127.0.0.1:0', '--log-format', 'json']);
    await this.worker.field('msg', 10, 'ready');
  }

  // Starts a generation of `tokens` equal tokens; the path of its stream.
  async generation(tokens, rate) {
    const text = Array(tokens).fill('abcdef').join(' ');
    const answer = await fetch(`http://${this.listen}/v1/generations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'benchmark', options: { text, rate } }),
    });
    if (answer.status !== 202) throw new Error(`POST /v1/generations: ${answer.status} ${await answer.text()}`);
    return new URL((await answer.json()).events_url, `http://${this.listen}`).pathname;
  }

  async stop() {
    for (const one of [this.worker, this.broker, this.redis]) if (one) await one.stop();
    if (this.dir) fs.rmSync(this.dir, { recursive: true, force: true });
    directories.delete(this.dir);
  }
}

// However the benchmark ends, nothing that it started stays.
process.on('exit', () => {
  for (const one of running) one.child.kill('SIGKILL');
  for (const dir of directories) fs.rmSync(dir, { recursive: true, force: true });
});
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(code));

module.exports = { BUILD, Stack, bench, program };
