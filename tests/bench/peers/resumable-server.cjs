#!/usr/bin/env node
// resumable-stream on Node: the server that serves the first request runs the model, the library hands its stream to
// the others through Redis. The model is the publisher: lines on a unix socket, which costs less than a provider's HTTP
// stream would. Arguments: the Redis socket, the socket to take events on. Prints {"listen":PORT}.
'use strict';
const http = require('node:http');
const net = require('node:net');
const readline = require('node:readline');
const Redis = require('ioredis');
const { createResumableStreamContext } = require('resumable-stream/ioredis');

const [redis, input] = process.argv.slice(2);
const HEAD = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' };
const context = createResumableStreamContext({ waitUntil: null, publisher: new Redis({ path: redis }),
  subscriber: new Redis({ path: redis }) });
const models = new Map(); // generation -> controller of its stream

const makeStream = (name) => () => new ReadableStream({ start: (controller) => models.set(name, controller) });

function onLine(line, answer) {
  const [name, type, id, data] = line.split('\t');
  const model = models.get(name);
  answer(model ? '+\n' : '-\n');
  if (!model) return;
  model.enqueue(`event: ${type}\ndata: ${data}\nid: ${id}\n\n`);
  if (type !== 'done') return;
  models.delete(name);
  model.close();
}

net.createServer((connection) => {
  const answers = [];
  const flush = () => connection.write(answers.splice(0).join(''));
  readline.createInterface({ input: connection }).on('line', (line) =>
    onLine(line, (text) => answers.push(text) === 1 && setImmediate(flush)));
  connection.on('error', () => {});
}).listen(input);

async function serve(name, res) {
  const stream = await context.resumableStream(name, makeStream(name));
  if (!stream) {
    res.writeHead(stream === null ? 204 : 404).end();
    return;
  }
  res.writeHead(200, HEAD);
  res.flushHeaders();
  for await (const text of stream) if (text !== '') res.write(text);
  res.end();
}

const server = http.createServer((req, res) => {
  const name = /^\/events\/([A-Za-z0-9_-]+)$/.exec(req.url);
  if (!name) {
    res.writeHead(404).end();
    return;
  }
  serve(name[1], res).catch((err) => {
    console.error(`${name[1]}: ${err.message}`);
    res.destroy();
  });
});
server.requestTimeout = 0;
server.listen({ port: 0, host: '127.0.0.1', backlog: 16384 }, () =>
  console.log(JSON.stringify({ listen: server.address().port })));
process.on('SIGTERM', () => process.exit(0));
