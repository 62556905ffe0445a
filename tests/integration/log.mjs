// A worker's and an administrator's hand on Redis: commands over its Unix socket, entries as MessagePack, and a raw
// reader of streams that notes what came and how it ended.
import http from "node:http";
import net from "node:net";

const WAIT_MS = 60000; // bounds a hang, not a measurement

/** Reads one RESP value at `at`; {value, next} or null if it is not whole. Errors become Error objects. */
function parse(bytes, at) {
  const eol = bytes.indexOf("\r\n", at);
  if (eol < 0) return null;
  const text = bytes.toString("utf8", at + 1, eol);
  const kind = String.fromCharCode(bytes[at]);
  if (kind === "+") return { value: text, next: eol + 2 };
  if (kind === "-") return { value: new Error(text), next: eol + 2 };
  if (kind === ":") return { value: Number(text), next: eol + 2 };
  const count = Number(text);
  if (count < 0) return { value: null, next: eol + 2 };
  if (kind === "$") {
    if (bytes.length < eol + 2 + count + 2) return null;
    return { value: bytes.toString("utf8", eol + 2, eol + 2 + count), next: eol + 2 + count + 2 };
  }
  const value = [];
  let next = eol + 2;
  for (let i = 0; i < count; i++) {
    const item = parse(bytes, next);
    if (!item) return null;
    value.push(item.value);
    next = item.next;
  }
  return { value, next };
}

export class Redis {
  #socket;
  #bytes = Buffer.alloc(0);
  #waiting = [];

  /** @param {string} url unix://path */
  static async open(url) {
    const made = new Redis();
    made.#socket = net.connect(url.replace(/^unix:\/\//, ""));
    made.#socket.on("data", (bytes) => made.#take(bytes));
    made.#socket.on("error", () => {});
    made.#socket.on("close", () => made.#waiting.splice(0).forEach(({ reject }) => reject(new Error("Redis closed"))));
    await new Promise((resolve, reject) => made.#socket.once("connect", resolve).once("error", reject));
    return made;
  }

  #take(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (;;) {
      const found = this.#bytes.length > 0 ? parse(this.#bytes, 0) : null;
      if (!found) return;
      this.#bytes = this.#bytes.subarray(found.next);
      const { resolve, reject } = this.#waiting.shift();
      if (found.value instanceof Error) reject(found.value);
      else resolve(found.value);
    }
  }

  /** @param {...(string | number | Buffer)} args */
  do(...args) {
    const parts = [Buffer.from(`*${args.length}\r\n`)];
    for (const arg of args) {
      const bytes = Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg));
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n"));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.write(Buffer.concat(parts));
    });
  }

  close() {
    this.#socket.destroy();
  }
}

/** MessagePack of a string, an integer from 0, a boolean, or a flat map of them. */
export function pack(value) {
  if (typeof value === "boolean") return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === "number") {
    const out = Buffer.alloc(9);
    out[0] = 0xcf;
    out.writeBigUInt64BE(BigInt(value), 1);
    return out;
  }
  if (typeof value === "string") {
    const text = Buffer.from(value);
    const head = Buffer.alloc(5);
    head[0] = 0xdb;
    head.writeUInt32BE(text.length, 1);
    return Buffer.concat([head, text]);
  }
  const entries = Object.entries(value);
  return Buffer.concat([Buffer.from([0x80 | entries.length]), ...entries.flatMap(([k, v]) => [pack(k), pack(v)])]);
}

/** One generation's keys, written as a worker would. */
export class Log {
  constructor(redis, id, prefix = "tc:") {
    this.redis = redis;
    this.id = id;
    this.key = `${prefix}{${id}}:log`;
    this.meta = `${prefix}{${id}}:meta`;
    this.bell = `${prefix}{${id}}:bell`;
    this.offset = 0;
  }

  /** `bell: false` does not announce it. */
  async add(position, fields, { bell = true } = {}) {
    const e = Buffer.isBuffer(fields) ? fields : pack(fields);
    await this.redis.do("XADD", this.key, position, "e", e);
    if (bell) await this.redis.do("PUBLISH", this.bell, Buffer.concat([Buffer.from(`${position} `), e]));
  }

  async create(fields = {}) {
    await this.redis.do("HSET", this.meta, "model", "m", "created", 1, ...Object.entries(fields).flat());
    await this.add("0-1", { type: "created", model: "m" });
  }

  fence(attempt) {
    return this.add(`${attempt}-0`, { type: "fence", writer: "w" }, { bell: false });
  }

  start(position) {
    return this.add(position, { type: "start", model: "m", provider: "p" });
  }

  async text(position, text, more) {
    await this.add(position, { type: "delta", text, offset: this.offset }, more);
    this.offset += text.length;
  }

  done(position, reason = "stop") {
    return this.add(position, { type: "done", reason });
  }
}

export async function until(look, what) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not in time: ${typeof what === "function" ? what() : what}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

/** One connection to a stream. `events` are {type, data, id, retry, at}; `end`: undefined, "clean" or "reset". */
export class Reader {
  events = [];
  beats = 0;
  body = "";
  end = undefined;
  #request;
  #form;

  /** @param {string} url @param {{accept?: string, headers?: object}} [options] */
  static async open(url, { accept = "text/event-stream", headers = {} } = {}) {
    const made = new Reader();
    made.#form = accept;
    // Not fetch(): with `Connection: close` it takes a reset for the end of the body.
    const response = await new Promise((resolve, reject) => {
      made.#request = http.get(url, { headers: { accept, ...headers }, agent: false }, resolve);
      made.#request.once("error", reject);
    });
    made.#request.on("error", () => {}); // the body's reader is told too
    made.status = response.statusCode;
    made.headers = response.headers;
    made.over = made.#read(response);
    return made;
  }

  async #read(response) {
    response.setEncoding("utf8");
    try {
      for await (const chunk of response) {
        this.body += chunk;
        if (this.#form === "text/event-stream") this.#sse();
        else if (this.#form === "application/x-ndjson") this.#lines();
      }
      this.end = response.complete ? "clean" : "reset";
    } catch {
      this.end = "reset";
    }
  }

  #taken = 0;

  #lines() {
    for (let eol; (eol = this.body.indexOf("\n", this.#taken)) >= 0; this.#taken = eol + 1) {
      const { position, ...data } = JSON.parse(this.body.slice(this.#taken, eol));
      if (data.type === "ping") this.beats++;
      else this.events.push({ type: data.type, data, id: position, at: Date.now() });
    }
  }

  #event = {};

  #sse() {
    for (let eol; (eol = this.body.indexOf("\n", this.#taken)) >= 0; this.#taken = eol + 1) {
      const line = this.body.slice(this.#taken, eol);
      const [, name, value] = /^(\w*): ?(.*)$/.exec(line) ?? [];
      if (line === "") {
        if (this.#event.data) this.events.push({ ...this.#event, data: JSON.parse(this.#event.data), at: Date.now() });
        this.#event = {};
      } else if (line.startsWith(":")) this.beats++;
      else if (name === "event") this.#event.type = value;
      else this.#event[name] = value;
    }
  }

  of(type) {
    return this.events.filter((event) => event.type === type);
  }

  states() {
    return this.of("status").map((event) => event.data.state);
  }

  /** The text as a client folds it: a lost branch empties it. */
  get text() {
    let text = "";
    for (const { type, data } of this.events) {
      if (type === "gap" && data.reason === "lost") text = "";
      else if (type === "attempt" && data.mode === "restart") text = "";
      else if (type === "delta") text = text.slice(0, data.offset) + data.text;
    }
    return text;
  }

  /** Waits until look(this) is truthy. */
  wait(look, what = look) {
    return until(() => look(this), () => `${what}\n${JSON.stringify(this.events)} ${this.end} ${this.body.slice(-300)}`);
  }

  close() {
    this.#request.destroy();
  }
}

/** A metric's value, summed over its labels that contain `label`. */
export async function metric(ops, name, label = "") {
  const text = await (await fetch(`${ops}/metrics`)).text();
  const rows = text.split("\n").filter((row) => row.startsWith(name) && /^[{ ]/.test(row.slice(name.length)));
  return rows.filter((row) => row.includes(label)).reduce((sum, row) => sum + Number(row.split(" ").at(-1)), 0);
}
