// The servers that people would use instead, each started like the broker: on this machine, in a directory of its own,
// ended by its handle. A peer is {name, missing(), version(), start(dir)}; start gives {port, pids, redisPids,
// loadArgs, paths(generations), begin(generations, {rate, events}), stop()}. What is missing is said, never installed.
// README.md says how each is configured, and why so.
'use strict';
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { Program } = require('../programs.cjs');

const MODULES = ['/usr/lib/nginx/modules', '/usr/share/nginx/modules', '/usr/lib64/nginx/modules'];
const workers = new Set(); // of nginx: they outlive a master that is killed

process.on('exit', () => {
  for (const pid of workers) kill(pid);
});

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

function isNginx(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'nginx';
  } catch {
    return false;
  }
}

const fileLimit = () => Number(/^Max open files\s+\d+\s+(\d+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8'))[1]);

function output(file, args) {
  try {
    return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  } catch {
    return '';
  }
}

// nginx can only be told a port; this one was free a moment ago.
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function startRedis(dir, port = 0) {
  const socket = path.join(dir, 'peer-redis.sock');
  const redis = new Program('redis-server', 'redis-server', ['--port', String(port), '--bind', '127.0.0.1',
    '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--dir', dir]);
  await redis.line((line) => /ready to accept connections/i.test(line) || undefined, 10);
  return { redis, socket };
}

async function stopAll(programs) {
  for (const one of programs) await one.stop();
}

const nginxBinary = () => ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find((f) => fs.existsSync(f));
const nchanModule = () => MODULES.map((dir) => path.join(dir, 'ngx_nchan_module.so')).find((f) => fs.existsSync(f));

function nginxMissing() {
  const lacks = [nginxBinary() ? '' : 'nginx', nchanModule() ? '' : 'libnginx-mod-nchan'].filter((s) => s !== '');
  return lacks.length > 0 ? `${lacks.join(' and ')} missing: apt-get install nginx libnginx-mod-nchan` : null;
}

function nginxConfig(dir, port, redisPort) {
  const files = Math.min(fileLimit(), 100000);
  const words = { MODULE: nchanModule(), DIR: dir, PORT: port, FILES: files, CONNECTIONS: files - 100,
    USER: process.getuid() === 0 ? 'user root;' : '',
    UPSTREAM: redisPort ? `upstream redis { nchan_redis_server 127.0.0.1:${redisPort}; }` : '',
    REDIS: redisPort ? 'nchan_redis_pass redis;' : '' };
  const template = fs.readFileSync(path.join(__dirname, 'nginx.conf'), 'utf8');
  return template.replace(/@([A-Z]+)@/g, (whole, word) => (word in words ? String(words[word]) : whole));
}

const publishes = async (port) => {
  const answer = await fetch(`http://127.0.0.1:${port}/publish/ready`, { method: 'POST', body: '{}',
    signal: AbortSignal.timeout(2000) });
  await answer.arrayBuffer();
  return answer.ok;
};

// Its log goes to a file: a worker that outlives a killed master would hold our pipes, and the master's end with them.
const runNginx = (dir, config) => new Program('nginx', '/bin/sh', ['-c',
  'log=$1; shift; exec "$@" </dev/null >"$log" 2>&1', 'nginx', path.join(dir, 'nginx.log'), nginxBinary(), '-p', dir,
  '-c', config]);

// nginx says nothing when it is ready, and answers 503 until it has found its Redis.
async function listening(dir, port, nginx, stores) {
  for (let tries = 0; tries < 200 && !nginx.ended; tries++) {
    if (await publishes(port).catch(() => false)) return;
    await sleep(50);
  }
  await stopAll([nginx, ...stores]);
  const log = fs.readFileSync(path.join(dir, 'nginx.log'), 'utf8');
  throw new Error(`nginx takes no messages: ${log.slice(0, 1000).trim()}`);
}

const children = (pid) => fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);

const publisher = (target) => async (generations, { rate, events }) => new Program('publisher', process.execPath,
  [path.join(__dirname, 'publisher.cjs'), '--to', target, '--generations', String(generations), '--rate',
    String(rate), '--events', String(events)]);

const paths = async (generations) => Array.from({ length: generations }, (_, n) => `/events/g${n}`);

async function stopNginx(nginx, pids, stores) {
  await stopAll([nginx, ...stores]);
  for (const pid of pids) {
    if (isNginx(pid)) kill(pid); // its master was killed
    workers.delete(pid);
  }
}

async function startNchan(dir, withRedis) {
  const stores = [];
  const redisPort = withRedis ? await freePort() : 0;
  if (withRedis) stores.push((await startRedis(dir, redisPort)).redis);
  const port = await freePort();
  const config = path.join(dir, 'nginx.conf');
  fs.writeFileSync(config, nginxConfig(dir, port, redisPort));
  const nginx = runNginx(dir, config);
  await listening(dir, port, nginx, stores);
  const pids = children(nginx.pid);
  for (const pid of pids) workers.add(pid);
  return { port, paths, pids, redisPids: stores.map((one) => one.pid), loadArgs: ['--foreign'],
    begin: publisher(`http:${port}`), stop: () => stopNginx(nginx, pids, stores) };
}

function npmMissing(...names) {
  const lacks = names.filter((name) => !fs.existsSync(path.join(__dirname, 'node_modules', name, 'package.json')));
  return lacks.length > 0 ? `npm packages ${lacks.join(', ')} missing: npm ci --prefix tests/bench/peers` : null;
}

const npmVersion = (name) =>
  JSON.parse(fs.readFileSync(path.join(__dirname, 'node_modules', name, 'package.json'))).version;

async function startNode(dir, script, takesInput) {
  const { redis, socket } = await startRedis(dir);
  const input = path.join(dir, 'input.sock');
  const server = new Program(script, process.execPath, [path.join(__dirname, script), socket, input]);
  const port = await server.field('listen', 10).catch(async (err) => {
    await stopAll([server, redis]);
    throw err;
  });
  return { port, paths, pids: [server.pid], redisPids: [redis.pid], loadArgs: [],
    begin: publisher(takesInput ? `lines:${input}` : `redis:${socket}`), stop: () => stopAll([server, redis]) };
}

const nchanVersion = () => `nginx ${(/nginx\/(\S+)/.exec(nginxVersionLine()) || [, '?'])[1]}, nchan ` +
  `${output('dpkg-query', ['-W', '-f', '${Version}', 'libnginx-mod-nchan']) || '?'}`;

function nginxVersionLine() { // nginx -v writes to standard error
  return output('/bin/sh', ['-c', 'exec "$0" -v 2>&1', nginxBinary()]);
}

const PEERS = [
  { name: 'nginx + nchan', missing: nginxMissing, version: nchanVersion, start: (dir) => startNchan(dir, false) },
  { name: 'nchan with Redis', missing: nginxMissing, version: nchanVersion, start: (dir) => startNchan(dir, true) },
  { name: 'Node, XREAD+res.write', missing: () => npmMissing('ioredis'),
    version: () => `Node ${process.versions.node}, ioredis ${npmVersion('ioredis')}`,
    start: (dir) => startNode(dir, 'node-server.cjs', false) },
  { name: 'resumable-stream', missing: () => npmMissing('ioredis', 'resumable-stream'),
    version: () => `Node ${process.versions.node}, resumable-stream ${npmVersion('resumable-stream')}`,
    start: (dir) => startNode(dir, 'resumable-server.cjs', true) },
];

module.exports = { PEERS };
