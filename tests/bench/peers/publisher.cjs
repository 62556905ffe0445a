#!/usr/bin/env node
// Gives a peer what a worker gives the broker: GENERATIONS logs of created, start, deltas at RATE each, done. In open
// loop: an event is stamped with the moment it was due, however late it is sent. Requests are written raw and in
// batches, answers are only counted, so that the publisher takes little of the cores that the peer runs on.
// Prints {"published":N,"errors":N,"late_ms":N} at the end.
'use strict';
const net = require('node:net');
const { performance } = require('node:perf_hooks');

const USAGE = `usage: publisher.cjs --to http:PORT|redis:SOCKET|lines:SOCKET [--generations N] [--rate R] [--events N]
  http   POST /publish/g<n> of nchan; the position is "id" in the data
  redis  XADD bench:g<n> 1-<seq> type <type> data <json>
  lines  g<n> TAB type TAB position TAB json LF`;

const MAX_OPEN = 20000; // requests without an answer; beyond it the peer sets the pace
const CONNECTIONS = 16; // of http: a generation keeps to one, which keeps its events in order
const TOKEN = ' abcdef';

function parse(argv) {
  const args = { to: null, generations: 1, rate: 50, events: 100 };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, '');
    if (!(name in args) || argv[i + 1] === undefined) throw new Error(USAGE);
    args[name] = name === 'to' ? argv[i + 1] : Number(argv[i + 1]);
  }
  const match = /^(http|redis|lines):(.+)$/.exec(args.to || '');
  const sane = (n, max) => n > 0 && n <= max;
  if (!match || !sane(args.generations, 100000) || !sane(args.rate, 100000) || !sane(args.events, 1e7))
    throw new Error(USAGE);
  [, args.kind, args.target] = match;
  return args;
}

// One event of a log; number 0 is created, 1 start, events + 2 done.
function event(args, number, at) {
  const inside = args.kind === 'http' ? `"id":"1-${number + 1}",` : '';
  if (number === 0) return ['created', `{"type":"created",${inside}"model":"bench","at":${at}}`];
  if (number === 1) return ['start', `{"type":"start",${inside}"model":"bench","at":${at}}`];
  const offset = (number - 2) * TOKEN.length;
  if (number === args.events + 2)
    return ['done', `{"type":"done",${inside}"reason":"stop","text_length":${offset},"at":${at}}`];
  return ['delta', `{"type":"delta",${inside}"text":"${TOKEN}","offset":${offset},"kind":"text","at":${at}}`];
}

const bulk = (text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
const REQUEST = {
  http: (name, type, number, data) => `POST /publish/${name} HTTP/1.1\r\nHost: localhost\r\n` +
    `X-EventSource-Event: ${type}\r\nContent-Length: ${data.length}\r\n\r\n${data}`,
  redis: (name, type, number, data) => `*7\r\n$4\r\nXADD\r\n${bulk(`bench:${name}`)}${bulk(`1-${number + 1}`)}` +
    `$4\r\ntype\r\n${bulk(type)}$4\r\ndata\r\n${bulk(data)}`,
  lines: (name, type, number, data) => `${name}\t${type}\t1-${number + 1}\t${data}\n`,
};
// How many answers, and how many of them good, a piece of what came back holds: counted by their first bytes.
const ANSWERS = { http: [/HTTP\/1\.1 /g, /HTTP\/1\.1 20/g], redis: [/^[$-]/gm, /^\$/gm], lines: [/^[+-]/gm, /^[+]/gm] };

class Lane { // a connection: batches what it is given until flush(), counts what is answered
  constructor(args) {
    this.kind = args.kind;
    this.batch = [];
    this.open = this.bad = 0;
    this.rest = '';
    const at = args.kind === 'http' ? { port: Number(args.target), host: '127.0.0.1' } : { path: args.target };
    this.socket = net.connect(at);
    this.socket.setEncoding('latin1');
    this.ready = new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.once('error', reject);
    });
    this.socket.on('data', (text) => this.onData(text));
    this.socket.on('close', () => fail(`the peer closed a publisher's connection with ${this.open} requests open`));
  }

  // A status line may be cut by the end of a read, so only whole lines are looked at.
  onData(text) {
    const all = this.rest + text;
    const cut = all.lastIndexOf('\n') + 1;
    this.rest = all.slice(cut);
    const lines = all.slice(0, cut);
    const [any, good] = ANSWERS[this.kind].map((re) => (lines.match(re) || []).length);
    this.open -= any;
    this.bad += any - good;
  }

  flush() {
    if (this.batch.length === 0) return;
    this.open += this.batch.length;
    this.socket.write(this.batch.join(''), 'latin1');
    this.batch.length = 0;
  }
}

function fail(why) {
  console.error(`publisher: ${why}`);
  process.exit(1);
}

// Event `n` over all generations in turn: the generations' events lie evenly between each other.
function plan(args) {
  const total = args.generations * (args.events + 3);
  const gap = 1000 / (args.rate * args.generations);
  return { total, due: (n) => n * gap, of: (n) => [n % args.generations, Math.floor(n / args.generations)] };
}

async function main() {
  const args = parse(process.argv.slice(2));
  const lanes = Array.from({ length: args.kind === 'http' ? Math.min(CONNECTIONS, args.generations) : 1 },
    () => new Lane(args));
  await Promise.all(lanes.map((lane) => lane.ready));
  const { total, due, of } = plan(args);
  const began = performance.now();
  const beganUs = Math.round((performance.timeOrigin + began) * 1000);
  const sum = (pick) => lanes.reduce((all, lane) => all + lane[pick], 0);
  let next = 0, late = 0;
  const tick = () => {
    const now = performance.now() - began;
    let room = MAX_OPEN - sum('open');
    for (; next < total && due(next) <= now && room > 0; next++, room--) {
      const [generation, number] = of(next);
      const [type, data] = event(args, number, beganUs + Math.round(due(next) * 1000));
      const lane = lanes[generation % lanes.length];
      lane.batch.push(REQUEST[args.kind](`g${generation}`, type, number, data));
      late = Math.max(late, now - due(next));
    }
    for (const lane of lanes) lane.flush();
    if (next < total || sum('open') > 0) setTimeout(tick, 1);
    else finish(sum('bad'));
  };
  const finish = (errors) => {
    console.log(JSON.stringify({ published: total, errors, late_ms: Math.round(late) }));
    process.exit(errors === 0 ? 0 : 1);
  };
  tick();
}

main().catch((err) => fail(err.message));
