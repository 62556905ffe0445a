// What the faults of clients and brokers need: a reader that keeps account of what it is told and comes back with its
// position, raw sockets, and the numbers that /proc holds.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import net from "node:net";

import { comparePositions } from "../../broker/web/client.js";
import { Harness } from "../clients/harness.mjs";
import { HANG_MS, until } from "../lib/wait.mjs";

/** Words that differ, so that a piece in a wrong place shows. */
export const words = (n) => Array.from({ length: n }, (_, i) => `w${i} `).join("");

export const many = (n, make) => Array.from({ length: n }, (_, i) => make(i));

/** For until(): more than `length` characters at every reader. */
export const under = (readers, length) => () => readers.every((r) => r.text.length > length);

/**
 * The test's body gets a harness, `read` and `raw` of which make a Reader and a Raw. All is ended whatever happens; a
 * failure shows the programs' logs.
 */
export async function within(options, body) {
  const h = await Harness.start(options);
  const clients = [];
  const note = (client) => {
    clients.push(client);
    return client;
  };
  h.read = (...args) => note(new Reader(...args));
  h.raw = (...args) => note(new Raw(...args));
  try {
    await h.explains(() => body(h));
  } finally {
    for (const client of clients) client.leave();
    for (const worker of h.workers) worker.child.kill("SIGKILL"); // it would finish what it has begun
    await h.stop();
  }
}

// ---- numbers

const status = (program, field) => {
  const text = readFileSync(`/proc/${program.child.pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, "m").exec(text)[1]) * 1024;
};
/** Bytes of memory that the process has, and of addresses. */
export const rss = (program) => status(program, "VmRSS");
export const addresses = (program) => status(program, "VmSize");

/** The lowest number that its next descriptor may not get, if it is to get none. */
export function firstFree(program) {
  const open = new Set(readdirSync(`/proc/${program.child.pid}/fd`).map(Number));
  for (let n = 0; ; n++) if (!open.has(n)) return n;
}

/** Seconds of processor time so far. */
export function cpu(program) {
  const text = readFileSync(`/proc/${program.child.pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

// ---- programs

/** Runs `command`; resolves {code, out} and fails when it does not end. */
export function run(command, args, { limit = HANG_MS } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), limit);
    let out = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (out += text));
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, out });
    });
  });
}

/** Changes a limit of a process that runs: `--nofile=64:`, the colon for the one that can be raised again. */
export async function limit(program, ...what) {
  const { code, out } = await run("prlimit", ["--pid", String(program.child.pid), ...what]);
  assert.equal(code, 0, out);
}

/** What `start` spawns gets these variables too. */
export function withEnvironment(variables, start) {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  try {
    return start(); // spawning is the first thing it does, before anything is awaited
  } finally {
    for (const name of Object.keys(variables)) {
      if (name in before) process.env[name] = before[name];
      else delete process.env[name];
    }
  }
}

// ---- readers

/**
 * A client of one generation over Server-Sent Events, on a connection of its own. It checks while it reads: positions
 * rise, offsets meet the text, nothing follows the end. `follow`: after a lost connection or a `bye` it goes on with
 * its position at the next of `urls`, until the end has come. `paused`: reads nothing until it is resumed. `broken` is
 * the first thing found wrong.
 */
export class Reader {
  position = null;
  text = "";
  counts = {};
  gaps = [];
  byes = [];
  retries = [];
  statuses = [];
  opened = 0;
  refused = 0;
  beats = 0;
  dones = [];
  errors = [];
  broken = null;
  over = false; // nothing more will come
  #turn = 0;
  #retry = 1000;
  #hole = false;
  #stopped = false;

  constructor(urls, id, options = {}) {
    const { follow = true, query = "", headers = {}, after, keep = false, from, waitRetry = false, paused } = options;
    this.urls = [urls].flat();
    this.path = `/v1/generations/${id}/events${query}`;
    this.headers = headers;
    this.options = { follow, from, waitRetry, paused };
    this.position = after ?? null;
    this.events = keep ? [] : null;
    this.ended = new Promise((resolve) => (this.#finish = resolve));
    this.#connect();
  }
  #finish;

  #connect() {
    if (this.#stopped) return;
    const url = new URL(this.urls[this.#turn % this.urls.length]);
    const headers = { accept: "text/event-stream", ...this.headers };
    if (this.position) headers["last-event-id"] = this.position;
    this.buffer = "";
    this.request = http.get(
      { host: url.hostname, port: url.port, path: this.path, headers, agent: false, localAddress: this.options.from },
      (response) => this.#answer(response),
    );
    this.request.on("error", () => this.#lost());
  }

  #answer(response) {
    this.status = response.statusCode;
    this.response = response;
    if (this.status === 200) this.opened += 1;
    else if (this.status !== 204) this.refused += 1;
    response.setEncoding("utf8");
    response.on("data", (text) => (this.status === 200 ? this.#take(text) : (this.body = (this.body ?? "") + text)));
    response.on("error", () => {});
    response.on("close", () => {
      this.complete = response.complete;
      this.#lost();
    });
    if (this.options.paused) response.pause();
  }

  #lost() {
    if (this.#gone === this.request) return;
    this.#gone = this.request;
    const final = this.dones.length > 0 || this.status === 204 || (this.status >= 400 && this.status < 500);
    if (final || this.#stopped || !this.options.follow) {
      this.over = true;
      this.#finish(this);
      return;
    }
    this.#turn += 1;
    setTimeout(() => this.#connect(), this.options.waitRetry ? this.#retry : 20 + Math.random() * 80);
  }
  #gone = null;

  #take(text) {
    this.buffer += text;
    for (;;) {
      const end = this.buffer.indexOf("\n\n");
      if (end < 0) return;
      const block = this.buffer.slice(0, end);
      this.buffer = this.buffer.slice(end + 2);
      const event = {};
      for (const line of block.split("\n")) {
        if (line.startsWith(":")) this.beats += 1;
        else if (line.startsWith("data: ")) event.data = line.slice(6);
        else if (line.startsWith("event: ")) event.type = line.slice(7);
        else if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("retry: ")) event.retry = Number(line.slice(7));
        else if (line !== "") this.#wrong(`a line that is none: ${line}`);
      }
      if (event.data !== undefined) this.#event({ ...event, data: JSON.parse(event.data) });
    }
  }

  #wrong(what) {
    this.broken ??= `${what} (at ${this.position}, connection ${this.opened})`;
  }

  #event(event) {
    const { type, data, id, retry } = event;
    this.events?.push(event);
    this.counts[type] = (this.counts[type] ?? 0) + 1;
    if (retry !== undefined) this.#retry = retry;
    if (this.dones.length > 0 && type !== "bye") this.#wrong(`${type} after the end`);
    if (id !== undefined) {
      const behind = this.position && comparePositions(id, this.position) <= 0;
      if (behind && type !== "gap") this.#wrong(`${id} after ${this.position}`); // a lost branch goes back to 0-0
      this.position = id;
    }
    if (type === "delta" && (data.kind ?? "text") === "text" && (data.index ?? 0) === 0) {
      if (data.offset !== this.text.length && !this.#hole) this.#wrong(`offset ${data.offset} in ${this.text.length}`);
      this.#hole = false;
      this.text = this.text.slice(0, data.offset).padEnd(data.offset, "\u0000") + data.text;
    } else if (type === "gap") {
      this.gaps.push(data);
      if (data.reason === "lost") {
        this.text = "";
        if (id !== "0-0") this.#wrong(`a lost branch puts back to ${id}`);
      } else {
        this.#hole = true;
        this.position = data.to;
      }
    } else if (type === "attempt" && data.mode === "restart") this.text = "";
    else if (type === "bye") {
      this.byes.push(data);
      this.retries.push(retry);
    } else if (type === "status") this.statuses.push(data.state);
    else if (type === "done") this.dones.push(data);
    else if (type === "error") this.errors.push(data);
  }

  pause() {
    this.response.pause();
  }
  resume() {
    this.options.paused = false;
    this.response?.resume();
  }

  /** Leaves for good, as a closed tab does. */
  leave() {
    this.#stopped = true;
    this.request?.destroy();
  }

  /** Fails unless every event came once and the text is this one. */
  whole(text) {
    assert.equal(this.broken, null);
    assert.equal(this.dones.length, 1, `one end: status ${this.status}, ${JSON.stringify(this.counts)}`);
    assert.deepEqual(this.gaps, []);
    assert.equal(this.text.length, text.length);
    assert.ok(this.text === text, "the text differs");
    assert.equal(this.dones[0].reason, "stop");
  }
}

/** Until every one of them has come to its end. */
export async function allEnded(readers, limit = HANG_MS) {
  let left = readers.length;
  for (const reader of readers) void reader.ended.then(() => (left -= 1));
  await until(
    () => left === 0,
    () => {
      const stuck = readers.filter((r) => !r.over);
      const of = stuck.slice(0, 3).map((r) => `${r.position} ${r.status} ${r.opened} ${JSON.stringify(r.counts)}`);
      return `${stuck.length} of ${readers.length} readers do not end: ${of.join("; ")}`;
    },
    limit,
  );
}

// ---- raw requests

/** A TCP connection to the broker; `closed` resolves with all that it answered. */
export class Raw {
  answer = "";
  over = false;

  constructor(url, bytes = "", { from } = {}) {
    const { hostname, port } = new URL(url);
    this.socket = net.connect({ host: hostname, port: Number(port), localAddress: from });
    this.connected = new Promise((resolve) => this.socket.once("connect", resolve).once("close", resolve));
    this.socket.on("data", (chunk) => (this.answer = (this.answer + chunk.toString("latin1")).slice(0, 1 << 20)));
    this.socket.on("error", (error) => (this.error = error.code));
    this.closed = new Promise((resolve) =>
      this.socket.on("close", () => {
        this.over = true;
        resolve(this.answer);
      }),
    );
    if (bytes !== "") this.write(bytes);
  }

  write(bytes) {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  get status() {
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.answer)?.[1] ?? 0);
  }

  leave() {
    this.socket.destroy();
  }
}

/** The whole answer, bounded. */
export async function exchange(url, bytes, limit = HANG_MS) {
  const raw = new Raw(url, bytes);
  try {
    await until(() => raw.over, () => `the end of the connection; so far: ${raw.answer.slice(0, 300)}`, limit);
  } finally {
    raw.leave();
  }
  return raw;
}
