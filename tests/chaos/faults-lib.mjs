// What tests of faults share: a Redis that can be stopped, killed and started again at the same address, a TCP switch
// between programs and Redis, a recorder of one raw SSE connection, and what must hold for all that it recorded.
// Everything waits with a bound and ends only what was started here.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { comparePositions, watch } from "../../broker/web/client.js";
import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { freePort } from "../lib/ports.mjs";
import { once, withRedis } from "../lib/redis.mjs";
import { HANG_MS, sleep, until } from "../lib/wait.mjs";

/** A text of n pieces of which no two are alike, some beyond ASCII. */
export function words(n, mark = "w") {
  return Array.from({ length: n }, (_, i) => `${mark}${i}${i % 7 === 3 ? "é" : ""}${i % 11 === 5 ? "\u{1F98A}" : ""} `)
    .join("")
    .trim();
}

// ---- Redis

/** One redis-server in a folder of its own, by Unix socket, and by TCP too if `tcp`. */
export class RedisServer {
  log = "";
  child = null;

  /** @param {{aof?: boolean, tcp?: boolean, args?: string[]}} [opts] without `aof` a restart comes back empty */
  static async start({ aof = false, tcp = false, args = [] } = {}) {
    const made = new RedisServer();
    made.dir = await mkdtemp(path.join(tmpdir(), "tc-redis-"));
    made.socket = path.join(made.dir, "redis.sock");
    made.url = `unix://${made.socket}`;
    made.port = tcp ? await freePort() : 0;
    made.args = ["--port", made.port, "--bind", "127.0.0.1", "--unixsocket", made.socket, "--dir", made.dir];
    made.args.push("--save", "", "--appendonly", aof ? "yes" : "no", ...args);
    await made.again();
    return made;
  }

  /** Starts it (again), with the same address and folder. */
  async again() {
    const child = spawn("redis-server", this.args, { stdio: ["ignore", "pipe", "pipe"] });
    let fresh = "";
    this.child = child;
    this.gone = new Promise((resolve) => child.once("exit", resolve));
    for (const out of [child.stdout, child.stderr]) {
      out.setEncoding("utf8");
      out.on("data", (text) => {
        fresh += text;
        this.log = (this.log + text).slice(-65536);
      });
    }
    const ready = () => /ready to accept connections/i.test(fresh) || child.exitCode !== null;
    await until(ready, () => `redis-server that is ready: ${fresh}`);
    if (child.exitCode !== null) throw new Error(`redis-server ended: ${fresh}`);
  }

  async stop(signal = "SIGTERM") {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 10000);
    await this.gone;
    clearTimeout(timer);
  }

  /** One command on a connection of its own. */
  call(...words) {
    return once(this.url, ...words);
  }

  /** The log of a generation: [{position, type, …}], fences too. */
  entries(id) {
    return withRedis(this.url, (redis) => redis.entries(id));
  }

  /** Jobs that were taken and not acknowledged: [{job, consumer, idle, deliveries}]. */
  async pending() {
    const rows = await this.call("XPENDING", "tc:jobs", "workers", "-", "+", 1000);
    return rows.map(([job, consumer, idle, deliveries]) => ({ job, consumer, idle, deliveries }));
  }

  async remove() {
    await this.stop("SIGKILL");
    await rm(this.dir, { recursive: true, force: true });
  }
}

// ---- a switch between programs and Redis

/** Passes TCP connections to `target` (a Unix socket's path or a port), which can change: a virtual address. */
export class Switch {
  #sockets = new Set();
  #held = false;
  refusing = false;

  static async start(target) {
    const made = new Switch();
    made.target = target;
    made.server = net.createServer((client) => made.#pass(client));
    await new Promise((ready) => made.server.listen(0, "127.0.0.1", ready));
    made.port = made.server.address().port;
    made.url = `redis://127.0.0.1:${made.port}`;
    return made;
  }

  #pass(client) {
    if (this.refusing) {
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    const server = typeof this.target === "number" ? net.connect(this.target, "127.0.0.1") : net.connect(this.target);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.on("data", (bytes) => to.write(bytes));
      if (this.#held) from.pause();
    }
  }

  /** Nothing passes any more, and nobody is told: a dead network. */
  hold() {
    this.#held = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** What was held passes on. */
  release() {
    this.#held = false;
    for (const socket of this.#sockets) socket.resume();
  }

  /** What is open is reset, bytes under way are lost. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Resets, and refuses until `mend()`. */
  sever() {
    this.refusing = true;
    this.cut();
  }

  mend() {
    this.refusing = false;
  }

  /** From now on connections lead to `target`. */
  to(target) {
    this.target = target;
    this.release();
    this.cut();
  }

  async stop() {
    this.refusing = true;
    this.cut();
    await new Promise((closed) => this.server.close(closed));
  }
}

// ---- a reader of raw bytes

/** One SSE connection, never made again: what a client's session is. */
export class Recorder {
  /** {type, data, id, at} in the order they came; `at` in ms */
  events = [];
  beats = 0;
  retry = null;
  status = 0;
  closed = false;
  #event = {};

  /** @param {string} url of a broker @param {string} id @param {{after?: string, query?: string}} [opts] */
  constructor(url, id, { after, query = "" } = {}) {
    const headers = { accept: "text/event-stream", ...(after ? { "last-event-id": after } : {}) };
    this.id = id;
    this.ended = new Promise((resolve) => {
      this.request = http.get(`${url}/v1/generations/${id}/events${query}`, { headers, agent: false }, (response) => {
        let rest = "";
        this.status = response.statusCode;
        response.setEncoding("utf8");
        response.on("data", (text) => {
          const lines = (rest + text).split("\n");
          rest = lines.pop();
          for (const line of lines) this.#line(line);
        });
        response.on("error", (error) => (this.error = error));
        response.on("close", () => this.#close(resolve));
      });
      this.request.on("error", (error) => {
        this.error = error;
        this.#close(resolve);
      });
    });
  }

  #close(resolve) {
    this.closed = true;
    resolve(this);
  }

  /** A heartbeat is one line between events; an event ends with a blank line. */
  #line(line) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    const event = this.#event;
    if (line === "") this.#dispatch();
    else if (name === "") this.beats += 1;
    else if (name === "event") event.type = value;
    else if (name === "data") event.data = JSON.parse(value);
    else if (name === "id") event.id = value;
    else if (name === "retry") this.retry = Number(value);
  }

  #dispatch() {
    if (this.#event.data) this.events.push({ ...this.#event, at: performance.now() });
    this.#event = {};
  }

  of(type) {
    return this.events.filter((event) => event.type === type);
  }

  /** What this reader would show now. */
  get text() {
    return fold(this.events);
  }

  /** The last position that was told. */
  get position() {
    return this.events.findLast((event) => event.id)?.id;
  }

  until(find, what, ms = HANG_MS) {
    return until(
      () => find(this) || (this.closed && Promise.reject(new Error(`the connection ended: ${this.tail()}`))),
      () => `${what} at ${this.tail()}`,
      ms,
    );
  }

  /** Waits for the end of the connection, which must come. */
  async end() {
    await until(
      () => this.closed,
      () => `end at ${this.tail()}`,
    );
    return this;
  }

  tail() {
    return JSON.stringify(this.events.slice(-4).map(({ type, data, id }) => [id ?? type, data]));
  }

  close() {
    this.request.destroy();
  }
}

/** A delta applied to texts by kind and index; a hole fails. */
function put(texts, { kind = "text", index = 0, offset = 0, text }) {
  const key = `${kind}/${index}`;
  const before = texts[key] ?? "";
  assert.ok(offset <= before.length, `a hole in the text: ${offset} after ${before.length}`);
  texts[key] = before.slice(0, offset) + text;
}

function cut(texts, { mode, kept = [] }) {
  const lengths = Object.fromEntries(kept.map(({ kind = "text", index = 0, length }) => [`${kind}/${index}`, length]));
  for (const key of Object.keys(texts)) {
    texts[key] = mode === "continue" ? texts[key].slice(0, lengths[key] ?? 0) : "";
  }
}

/** The text that events of a connection or of a log add up to. */
export function fold(events, key = "text/0") {
  let texts = {};
  for (const event of events) {
    const data = event.data ?? event;
    if (event.type === "delta") put(texts, data);
    else if (event.type === "attempt") cut(texts, data);
    else if (event.type === "gap" && data.reason === "lost") texts = {};
  }
  return texts[key] ?? "";
}

// ---- what must hold

/** A log that ended: no hole, offsets that fit, one `done`, and nothing after it. */
export function assertLog(entries, text) {
  const events = entries.filter(({ position }) => !position.endsWith("-0"));
  events.forEach(({ position }, i) => assert.equal(position.split("-")[1], String(i + 1), "seq is contiguous"));
  assert.equal(events.at(-1).type, "done");
  assert.equal(events.filter(({ type }) => type === "done").length, 1, "one done in the log");
  if (text !== undefined) assert.equal(fold(events), text, "the log's text");
  return events;
}

/** Is `event` the log's entry, or the merge of what was skipped and it? */
function assertEntry(event, entry, skipped) {
  assert.equal(event.type, entry.type, `type at ${event.id}`);
  if (entry.type !== "delta") {
    assert.deepEqual(skipped, [], `left out before ${event.id}`);
    return;
  }
  const pieces = [...skipped, entry];
  const of = ({ type, kind = "text", index = 0, position }) => [type, kind, index, position.split("-")[0]].join("/");
  assert.ok(
    pieces.every((piece) => of(piece) === of(entry)),
    `left out before ${event.id}: ${JSON.stringify(skipped)}`,
  );
  assert.equal(event.data.text, pieces.map((piece) => piece.text).join(""), `text at ${event.id}`);
  assert.equal(event.data.offset, pieces[0].offset, `offset at ${event.id}`);
}

/**
 * One connection saw the log, every event once and in order, and its one end. What came before the last `gap: lost` is
 * void. Returns the gaps. `lost`, `gaps`: how many are right. `from`: the position it began behind.
 */
export function assertWhole(recorder, entries, { text, lost = 0, gaps = 0, from } = {}) {
  assert.equal(recorder.status, 200);
  assert.equal(recorder.error, undefined);
  const log = assertLog(entries, text);
  const last = recorder.events.findLastIndex(({ type, data }) => type === "gap" && data.reason === "lost");
  const told = recorder.of("gap");
  let next = from ? log.findIndex(({ position }) => position === from) + 1 : 0; // of the log, to be seen
  let before = null;
  recorder.events.forEach((event, i) => {
    if (event.type === "gap" && event.data.reason === "lost") {
      assert.equal(event.id, "0-0", "a lost branch takes the position with it");
      before = null;
      return;
    }
    if (event.type === "gap" && event.data.reason !== "lost" && i > last) {
      const seq = Number(event.data.to.split("-")[1]);
      assert.equal(Number(event.data.from.split("-")[1]), next + 1, "a gap begins at what comes next");
      next = seq;
    }
    if (!event.id) return;
    if (before) assert.ok(comparePositions(event.id, before) > 0, `${event.id} after ${before}`);
    before = event.id;
    if (i < last) return;
    const at = log.findIndex(({ position }) => position === event.id);
    assert.ok(at >= next, `${event.id} is not in the log, or came twice`);
    assertEntry(event, log[at], log.slice(next, at));
    next = at + 1;
  });
  assert.equal(next, log.length, "the whole log was told");
  assert.equal(recorder.of("done").length, 1, "one end");
  assert.equal(recorder.events.at(-1).type, "done", "the end comes last");
  if (text !== undefined && gaps === 0) assert.equal(recorder.text, text, "the reader's text");
  assert.equal(told.filter(({ data }) => data.reason === "lost").length, lost, "branches lost");
  assert.equal(told.filter(({ data }) => data.reason !== "lost").length, gaps, "gaps");
  return told.map(({ data }) => data);
}

/** The broker ended it by itself: `error` with one of the codes, then `done`, both without ids, and the connection. */
export function assertHonestEnd(recorder, codes) {
  const [error, done] = recorder.events.slice(-2);
  assert.deepEqual([error.type, done.type], ["error", "done"], recorder.tail());
  assert.deepEqual([error.id, done.id, done.data.reason], [undefined, undefined, "error"]);
  assert.ok(codes.includes(error.data.code), `code ${error.data.code}`);
  assert.ok(error.data.message.length > 0);
  assert.equal(recorder.of("done").length, 1, "one end");
}

// ---- programs

const LEASE = "2s"; // longer than a busy machine keeps a worker waiting: attempts are counted

/** The programs of one test. Everything made here is ended by stop(). */
export class World {
  #made = [];
  #paused = new Set();
  #harness;
  programs = [];

  async redis(opts) {
    return this.#keep(await RedisServer.start(opts));
  }

  async switch(target) {
    return this.#keep(await Switch.start(target));
  }

  /** Whatever has stop() or remove(). */
  keep(made) {
    return this.#keep(made);
  }

  #keep(made) {
    this.#made.push(made);
    return made;
  }

  async #program(kind, redis, args, more) {
    this.#harness ??= await Harness.start({ brokers: 0, workers: 0 });
    this.#harness.redisUrl = redis.url; // read before its first pause
    const program = await this.#harness[kind](args, more);
    program.title = `${kind} ${program.child.pid}`;
    this.programs.push(program);
    return program;
  }

  /** @param {{url: string}} redis a server or a switch */
  broker(redis, args = [], more = {}) {
    const common = ["--loops", "1", "--heartbeat", "200ms", "--sweep", "200ms", "--lease-ms", LEASE];
    return this.#program("broker", redis, [...common, ...args], more);
  }

  /** Leases of two seconds and settle times of half of one, unless args say otherwise. */
  worker(redis, args = []) {
    return this.#program("worker", redis, ["--lease-ms", LEASE, "--settle", "500ms", ...args]);
  }

  record(broker, id, opts) {
    const recorder = new Recorder(broker.url, id, opts);
    this.#keep({ stop: () => recorder.close() });
    return recorder;
  }

  /** The client module, which would come back for ever. */
  watch(broker, id) {
    const generation = watch(`${broker.url}/v1/generations/${id}/events`);
    this.#keep({ stop: () => generation.close() });
    return generation;
  }

  /** SIGSTOP and SIGCONT, for a program or a RedisServer. */
  pause(program) {
    this.#paused.add(program);
    program.child.kill("SIGSTOP");
  }

  resume(program) {
    this.#paused.delete(program);
    program.child.kill("SIGCONT");
  }

  logs() {
    return this.programs.map((program) => `--- ${program.title}\n${program.log.slice(-12000)}`).join("\n");
  }

  async stop() {
    for (const program of [...this.#paused]) this.resume(program);
    await this.#harness?.stop();
    for (const made of this.#made.reverse()) await (made.remove ? made.remove() : made.stop());
  }
}

// ---- generations

/** Starts a generation of the replay provider and records it: {id, text, reader}. */
export async function begin(w, broker, text, more = {}) {
  const { id } = await post(broker.url, text, { rate: 100, ...more });
  return { id, text, reader: w.record(broker, id) };
}

/** Short ones, begun one after the other, so that what happens now meets each of them at another token. */
export async function wave(w, broker, more = {}) {
  const runs = [];
  for (let n = 0; n < 10; n++) {
    runs.push(await begin(w, broker, words(24), { rate: 40, ...more }));
    await sleep(60);
  }
  return runs;
}

/** For Recorder.until: so many words were shown, however they came. */
export const said =
  (n) =>
  ({ text }) =>
    text.split(" ").length >= n;

/** The reader's end, checked against the log, the snapshot and the text that was asked for. */
export async function assertRun(redis, broker, { id, text, reader }, { attempts, ...wanted } = {}) {
  await reader.end();
  const log = await redis.entries(id);
  assertWhole(reader, log, { text, ...wanted });
  const snapshot = await ended(broker.url, id);
  assert.deepEqual([snapshot.text, snapshot.position], [text, log.at(-1).position]);
  if (attempts !== undefined) assert.equal(reader.of("attempt").length, attempts, `attempts of ${id}`);
}

/** The queue is empty: every job was acknowledged, by whoever. */
export const noJobs = (redis) =>
  until(async () => (await redis.pending()).length === 0, "acknowledged queue");

/** A test with a world of its own, whose logs tell of a failure. */
export function fault(name, run, { timeout = 240000 } = {}) {
  test(name, { timeout, skip: missing() }, async (t) => {
    const world = new World();
    try {
      await run(world, t);
    } catch (error) {
      error.message += `\n${world.logs()}`;
      throw error;
    } finally {
      await world.stop();
    }
  });
}
