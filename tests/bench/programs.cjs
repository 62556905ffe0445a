// Programs started as children and ended by their handles, and directories that go with them: however the benchmark
// ends, nothing that it started stays.
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

  // The load generator's window begins, or ends.
  window(begins, seconds) {
    return this.line((line) => line === `{"window":${begins ? 1 : 0}}` || undefined, seconds);
  }

  async stop() {
    if (this.ended) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await this.exited;
    clearTimeout(timer);
  }

  // As a machine that loses its power would do it.
  async kill() {
    if (this.ended) return;
    this.child.kill('SIGKILL');
    await this.exited;
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

// Processor time of a process so far, in seconds: that of its threads, to the nanosecond.
function cpuOf(pid) {
  let ns = 0;
  for (const task of fs.readdirSync(`/proc/${pid}/task`))
    ns += Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  return ns / 1e9;
}

// The same of the whole machine, in steps of a clock tick of 10 ms.
function machineCpu() {
  const [user, nice, system, , , irq, softirq] = fs.readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/)
    .slice(1).map(Number);
  return (user + nice + system + irq + softirq) / 100;
}

function directory() {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tokencast-bench-'));
  directories.add(dir);
  return dir;
}

function removeDirectory(dir) {
  fs.rmSync(dir, { recursive: true, force: true });
  directories.delete(dir);
}

// Ends everything at once: for a row whose time is up.
async function killAll() {
  await Promise.all([...running].map((one) => one.kill()));
}

process.on('exit', () => {
  for (const one of running) one.child.kill('SIGKILL');
  for (const dir of directories) fs.rmSync(dir, { recursive: true, force: true });
});
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(code));

module.exports = { BUILD, Program, bench, cpuOf, directory, killAll, machineCpu, program, removeDirectory };
