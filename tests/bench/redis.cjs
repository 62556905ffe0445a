// A Redis client for the benchmark's own questions and for logs that it writes itself: RESP2 over a unix socket,
// pipelined, replies in order.
'use strict';
const net = require('node:net');

const CRLF = Buffer.from('\r\n');

class RedisClient {
  static connect(socketPath) {
    return new Promise((resolve, reject) => {
      const client = new RedisClient();
      client.socket = net.connect(socketPath);
      client.socket.once('connect', () => resolve(client));
      client.socket.on('error', (err) => client.fail(err, reject));
      client.socket.on('close', () => client.fail(new Error('the connection to Redis was lost'), reject));
      client.socket.on('data', (data) => client.onData(data));
    });
  }

  constructor() {
    this.waiting = [];
    this.next = 0; // of `waiting`; those before it are answered
    this.buffer = Buffer.alloc(0);
  }

  fail(err, reject) {
    reject(err); // nothing happens if it was connected before
    for (const one of this.waiting.splice(this.next)) one.reject(err);
  }

  // Arguments are strings, numbers or buffers. A reply is a string, a number, null or an array of those.
  call(...args) {
    const parts = [Buffer.from(`*${args.length}\r\n`)];
    for (const arg of args) {
      const bytes = Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg));
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, CRLF);
    }
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.socket.write(Buffer.concat(parts));
    });
  }

  onData(data) {
    this.buffer = this.buffer.length === 0 ? data : Buffer.concat([this.buffer, data]);
    let at = 0;
    for (let one = parse(this.buffer, at); one !== null; one = parse(this.buffer, at)) {
      at = one.at;
      const waiter = this.waiting[this.next++];
      if (one.value instanceof Error) waiter.reject(one.value);
      else waiter.resolve(one.value);
    }
    this.buffer = this.buffer.subarray(at);
    if (this.next > 1000) this.waiting.splice(0, this.next), (this.next = 0);
  }

  close() {
    this.socket.removeAllListeners('close');
    this.socket.destroy();
  }
}

// {value, at: where the next reply begins}, or null if this one is not whole.
function parse(buffer, at) {
  const end = buffer.indexOf(CRLF, at);
  if (end < 0) return null;
  const rest = buffer.toString('utf8', at + 1, end);
  const number = Number(rest);
  switch (buffer[at]) {
    case 0x2b: // +
      return { value: rest, at: end + 2 };
    case 0x2d: // -
      return { value: new Error(rest), at: end + 2 };
    case 0x3a: // :
      return { value: number, at: end + 2 };
    case 0x24: // $
      if (number < 0) return { value: null, at: end + 2 };
      if (buffer.length < end + 4 + number) return null;
      return { value: buffer.toString('utf8', end + 2, end + 2 + number), at: end + 4 + number };
    default:
      return parseArray(buffer, end + 2, number);
  }
}

function parseArray(buffer, at, count) {
  const value = [];
  for (let i = 0; i < count; i++) {
    const one = parse(buffer, at);
    if (one === null) return null;
    value.push(one.value);
    at = one.at;
  }
  return { value, at };
}

module.exports = { RedisClient };
