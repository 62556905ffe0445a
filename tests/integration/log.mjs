// A worker's hand on a log, and a raw reader of streams that notes what came and how it ended.
import http from "node:http";

import { pack } from "../lib/msgpack.mjs";
import { until } from "../lib/wait.mjs";

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

  /** One that exists and has begun, as attempt 1. */
  static async begun(redis, id) {
    const log = new Log(redis, id);
    await log.create();
    await log.start("1-2");
    return log;
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
