#!/usr/bin/env node
// What one writes without a broker: a Node server that follows each generation's Redis Stream with one XREAD, however
// many clients it has, and fans out by res.write. An event is framed once; a client that comes late first gets the log
// by XRANGE. Arguments: the Redis socket. Prints {"listen":PORT}.
'use strict';
const http = require('node:http');
const Redis = require('ioredis');

const [socket] = process.argv.slice(2);
const HEAD = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' };
const commands = new Redis({ path: socket });
const feeds = new Map();

function frame([id, fields]) {
  const field = (name) => fields[fields.indexOf(name) + 1];
  return `event: ${field('type')}\ndata: ${field('data')}\nid: ${id}\n\n`;
}

class Feed {
  constructor(name, after) {
    this.name = name;
    this.key = `bench:${name}`;
    this.last = after;
    this.clients = new Set();
    this.redis = commands.duplicate(); // XREAD BLOCK needs a connection of its own
    this.follow().catch((err) => console.error(`${name}: ${err.message}`)).finally(() => this.close());
  }

  async follow() {
    do {
      const answer = await this.redis.xread('COUNT', 1000, 'BLOCK', 15000, 'STREAMS', this.key, this.last);
      if (answer === null) {
        this.send(':\n\n');
        continue;
      }
      const entries = answer[0][1];
      this.last = entries[entries.length - 1][0];
      this.send(Buffer.from(entries.map(frame).join('')));
      if (entries[entries.length - 1][1].includes('done')) return;
    } while (this.clients.size > 0);
  }

  send(data) {
    for (const res of this.clients) res.write(data);
  }

  // What came before `last` by XRANGE; the loop above does not run between the answer and add().
  async join(res, after) {
    let from = after;
    while (from !== this.last) {
      const entries = await commands.xrange(this.key, `(${from}`, this.last, 'COUNT', 1000);
      if (entries.length === 0) break;
      from = entries[entries.length - 1][0];
      res.write(entries.map(frame).join(''));
    }
    if (this.closed) res.end();
    else this.clients.add(res);
    res.on('close', () => this.clients.delete(res));
  }

  close() {
    this.closed = true;
    feeds.delete(this.name);
    for (const res of this.clients) res.end();
    this.redis.disconnect();
  }
}

const server = http.createServer((req, res) => {
  const name = /^\/events\/([A-Za-z0-9_-]+)$/.exec(req.url);
  if (!name) {
    res.writeHead(404).end();
    return;
  }
  res.writeHead(200, HEAD);
  res.flushHeaders();
  const after = req.headers['last-event-id'] || '0-0';
  if (!feeds.has(name[1])) feeds.set(name[1], new Feed(name[1], after));
  feeds.get(name[1]).join(res, after).catch(() => res.destroy());
});
server.requestTimeout = 0;
server.listen({ port: 0, host: '127.0.0.1', backlog: 16384 }, () =>
  console.log(JSON.stringify({ listen: server.address().port })));
process.on('SIGTERM', () => process.exit(0));
