// A hand on Redis: one connection, commands in order. Every command has an end: the connection's, at the latest.
import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";

import { unpack } from "./msgpack.mjs";

const LIMIT_MS = 30000; // bounds a hang, not a measurement

/** One RESP2 reply from `at`: {value, next}, or null if it is not whole yet. Bulk strings are Buffers. */
function parse(bytes, at) {
  const end = bytes.indexOf("\r\n", at);
  if (end < 0) return null;
  const kind = String.fromCharCode(bytes[at]);
  const line = bytes.toString("utf8", at + 1, end);
  let next = end + 2;
  if (kind === "+") return { value: line, next };
  if (kind === "-") return { value: new Error(line), next };
  if (kind === ":") return { value: Number(line), next };
  const n = Number(line);
  if (n < 0) return { value: null, next };
  if (kind === "$")
    return bytes.length < next + n + 2 ? null : { value: bytes.subarray(next, next + n), next: next + n + 2 };
  if (kind !== "*") throw new Error(`not a reply: ${line}`);
  const value = [];
  for (let i = 0; i < n; i++) {
    const item = parse(bytes, next);
    if (item === null) return null;
    value.push(item.value);
    next = item.next;
  }
  return { value, next };
}

function encode(words) {
  const parts = words.map((word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word))));
  const bulk = (part) => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from("\r\n")];
  return Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...parts.flatMap(bulk)]);
}

const readable = (reply) => {
  if (Buffer.isBuffer(reply)) return reply.toString("utf8");
  return Array.isArray(reply) ? reply.map(readable) : reply;
};

/** Where it is found: "unix://path", or {path}, or {port, host}; with {ca}, a file, by TLS. */
const targetOf = (target) => (typeof target === "string" ? { path: target.replace(/^unix:\/\//, "") } : target);

export class Redis {
  #socket;
  #waiting = [];
  #bytes = Buffer.alloc(0);

  static async open(target) {
    const made = new Redis();
    const { ca, ...at } = targetOf(target);
    const socket = ca ? tls.connect({ ...at, ca: readFileSync(ca) }) : net.connect(at);
    made.#socket = socket;
    socket.on("data", (chunk) => made.#take(chunk));
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => socket.destroy(new Error("Redis: no connection")), LIMIT_MS);
      socket.on("error", reject); // after the connection: nobody listens, and "close" tells
      socket.once(ca ? "secureConnect" : "connect", () => {
        clearTimeout(timer);
        resolve();
      });
      socket.once("close", () => {
        clearTimeout(timer);
        made.#fail(new Error("Redis: the connection is closed"));
      });
    });
    return made;
  }

  #take(chunk) {
    this.#bytes = this.#bytes.length > 0 ? Buffer.concat([this.#bytes, chunk]) : chunk;
    let at = 0;
    for (let reply; at < this.#bytes.length && (reply = parse(this.#bytes, at)); at = reply.next) {
      const { resolve, reject } = this.#waiting.shift();
      if (reply.value instanceof Error) reject(reply.value);
      else resolve(reply.value);
    }
    this.#bytes = this.#bytes.subarray(at);
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** A command of strings, numbers and Buffers; bulk strings of the reply as Buffers. */
  raw(...words) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return void reject(new Error("Redis: the connection is closed"));
      const timer = setTimeout(() => this.#socket.destroy(), LIMIT_MS);
      const over = (end) => (value) => {
        clearTimeout(timer);
        end(value);
      };
      this.#waiting.push({ resolve: over(resolve), reject: over(reject) });
      this.#socket.write(encode(words));
    });
  }

  /** The same with strings. */
  async do(...words) {
    return readable(await this.raw(...words));
  }

  /** The log of a generation: [{position, type, …}], fences too. */
  async entries(id) {
    const rows = await this.raw("XRANGE", `tc:{${id}}:log`, "-", "+");
    return rows.map(([position, [, e]]) => ({ ...unpack(e), position: String(position) }));
  }

  close() {
    this.#socket.destroy();
  }
}

/** Does something on a connection of its own. */
export async function withRedis(target, body) {
  const redis = await Redis.open(target);
  try {
    return await body(redis);
  } finally {
    redis.close();
  }
}

/** One command on a connection of its own, with strings. */
export const once = (target, ...words) => withRedis(target, (redis) => redis.do(...words));

/** [[id, bytes of the first field]] of a stream. */
export const stream = (target, key) =>
  withRedis(target, async (redis) => {
    const rows = await redis.raw("XRANGE", key, "-", "+");
    return rows.map(([id, fields]) => [String(id), fields[1]]);
  });
