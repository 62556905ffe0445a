// A Redis client that is just enough for the tests: one connection, commands in order, replies as Buffers and lists.
import net from "node:net";

/** One reply from `at`: {value, next}, or null if it is not whole yet. */
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

export class Resp {
  #waiting = [];
  #bytes = Buffer.alloc(0);

  /** target: {path} or {port, host}. */
  static async connect(target, ms = 5000) {
    const made = new Resp();
    made.socket = net.connect(target);
    await new Promise((resolve, reject) => {
      made.socket.once("connect", resolve);
      made.socket.once("error", reject);
      setTimeout(() => reject(new Error("Redis: no connection")), ms).unref();
    });
    made.socket.on("data", (chunk) => made.#take(chunk));
    made.socket.on("error", () => {});
    made.socket.on("close", () => made.#fail(new Error("Redis: the connection is closed")));
    return made;
  }

  #take(chunk) {
    this.#bytes = this.#bytes.length ? Buffer.concat([this.#bytes, chunk]) : chunk;
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

  command(...words) {
    const parts = words.map((word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word))));
    const head = (part) => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from("\r\n")];
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return void reject(new Error("Redis: the connection is closed"));
      const timer = setTimeout(() => this.socket.destroy(), 15000);
      const over = (end) => (value) => {
        clearTimeout(timer);
        end(value);
      };
      this.#waiting.push({ resolve: over(resolve), reject: over(reject) });
      this.socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...parts.flatMap(head)]));
    });
  }

  close() {
    this.socket.destroy();
  }
}

/** One command on a connection of its own. */
export async function once(target, ...words) {
  const redis = await Resp.connect(target);
  try {
    return await redis.command(...words);
  } finally {
    redis.close();
  }
}
