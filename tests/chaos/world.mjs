// The world of a random run: Redis, brokers, workers, generations and readers, and the faults that befall them. Every
// choice comes from the seed; when things happen also depends on the machine, so that a seed repeats the plan, not
// the exact interleaving.
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { unpack } from "../lib/msgpack.mjs";
import { sleep } from "../lib/wait.mjs";
import { checkGap, checkSnapshot } from "./afterwards.mjs";
import { judge } from "./checker.mjs";
import { Client, RoomClient } from "./client.mjs";
import { Log, judgeLog } from "./log.mjs";
import { Program, readyLine } from "./program.mjs";
import { byGeneration, historiesOf } from "./room.mjs";
import { generationSpec, readerSpec } from "./spec.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const BUILD = path.resolve(HERE, process.env.TC_BUILD ?? "../../build");
const LEASE_MS = 1500;
const SETTLE_MS = 2000;
const WIND_DOWN_MS = 90000; // after the last fault: bounds a hang, not a measurement
const COMMON = ["--ops-listen", "127.0.0.1:0", "--log-format", "json", "--lease-ms", `${LEASE_MS}ms`];
const BROKERS = [
  ["--loops", "2"],
  ["--loops", "1", "--lag-events", "128", "--lag-bytes", "32k"],
  ["--loops", "2", "--lag-events", "64", "--lag-bytes", "16k", "--io", "uring"],
];
const WORKERS = [[], ["--flush-interval", "5ms"], ["--flush-tokens", "8"]];

/** false: a reason why nothing can run. */
export function missing() {
  for (const name of ["tokencast-broker", "tokencast-worker"])
    if (!existsSync(path.join(BUILD, "bin", name))) return `${name} is not built in ${BUILD}`;
  return false;
}

/** A place for a program; one that was ended is followed by another. */
class Slot {
  constructor(world, name, args) {
    Object.assign(this, { world, name, args, generation: 0, busy: false });
  }

  get up() {
    return !this.busy && this.program && !this.program.exited;
  }

  async start() {
    const { world, name } = this;
    const binary = `tokencast-${name.split("-")[0]}`;
    const file = path.join(world.dir, `${name}.${++this.generation}.log`);
    const program = new Program(file, file, path.join(BUILD, "bin", binary), [
      ...COMMON,
      "--redis",
      world.redis.url,
      ...this.args,
    ]);
    program.expected = false;
    this.program = program;
    world.programs.push(program);
    void program.gone.then(() => {
      if (!program.expected)
        world.find("crash", `${name}: ended by itself: ${JSON.stringify(program.status)}`, { log: file });
    });
    const ready = await program.until(readyLine, "ready line");
    this.url = ready.listen ? `http://${ready.listen}` : null;
  }

  /** Ends it, waits, and starts another. */
  async replace(signal, pause) {
    this.busy = true;
    const { program } = this;
    program.expected = true;
    const kind = await program.end(signal);
    if (!kind) this.world.find("exit", `${this.name}: still there 20 s after ${signal}`, { log: program.file });
    else if (signal === "SIGTERM" && program.status.code !== 0)
      this.world.find("exit", `${this.name}: ${JSON.stringify(program.status)} after ${signal}`, { log: program.file });
    await sleep(pause);
    await this.start();
    this.busy = false;
  }

  async freeze(ms) {
    this.busy = true;
    this.program.pause();
    await sleep(ms);
    this.program.resume();
    this.busy = false;
  }
}

const KEPT = 10; // histories of generations that were not right; each is large

const FAULTS = [
  ["worker-kill", 4],
  ["worker-term", 2],
  ["worker-stop", 3],
  ["broker-kill", 3],
  ["broker-term", 2],
  ["broker-stop", 1],
  ["client-cut", 4],
  ["client-sleep", 3],
  ["cancel", 2],
];

export class World {
  findings = [];
  programs = [];
  counts = {
    faults: {},
    skipped: 0,
    generations: 0,
    clients: 0,
    events: 0,
    gaps: 0,
    attempts: 0,
    excused: 0,
    vanished: 0,
    lost: 0,
    reconnects: 0,
    bytes: 0,
    ends: {},
    trouble: {},
  };
  generations = new Map();
  inRooms = []; // {gen, channel}
  failed = []; // what to keep of generations that were not right
  deadline = Infinity;
  stopping = false;

  constructor({ dir, random, seed, redis, clients, say }) {
    Object.assign(this, { dir, random, seed, redis, say });
    this.perGeneration = 8;
    this.live = Math.max(2, Math.round(clients / this.perGeneration));
    this.brokers = BROKERS.map((args, i) => new Slot(this, `broker-${i}`, [...BROKER_ARGS, ...args]));
    this.workers = WORKERS.map((args, i) => new Slot(this, `worker-${i}`, [...WORKER_ARGS, ...args]));
  }

  find(name, what, more = {}) {
    this.findings.push({ name, what, ...more });
    this.say(`FINDING ${name}: ${what} ${JSON.stringify(more)}`);
  }

  async start() {
    await this.redis.start();
    await Promise.all([...this.brokers, ...this.workers].map((slot) => slot.start()));
  }

  pool = () => this.brokers.map(({ url }) => url).filter(Boolean);

  // ---- generations and their readers

  /** Tries brokers until one takes it: repeating under one key is always right. */
  async #post(route, body, headers = {}) {
    const deadline = Date.now() + 60000;
    for (let tries = 0; Date.now() < deadline; tries++) {
      const base = this.pool()[(this.counts.generations + tries) % this.brokers.length];
      try {
        const response = await fetch(`${base}${route}`, {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body,
          signal: AbortSignal.timeout(15000),
        });
        const text = await response.text();
        if (response.status < 300) return JSON.parse(text);
        // Its beginning was lost; with 410 its worker has written a hint since.
        if (this.redis.lossy && [404, 410].includes(response.status)) return null;
        if (response.status !== 503 && response.status !== 429) {
          this.find("post", `${route}: ${response.status} ${text.slice(0, 200)}`);
          return null;
        }
      } catch {
        // away: the next one
      }
      await sleep(100);
    }
    this.find("post", `${route}: no broker took it for a minute`);
    return null;
  }

  async generation(number, random) {
    const spec = generationSpec(random, number, this.seed);
    const readers = Array.from({ length: random.int(4, 2 * this.perGeneration - 4) }, () =>
      readerSpec(random, spec.kind),
    );
    if (!readers.some(({ policy }) => !policy.leaves && policy.from !== "now"))
      readers.push({ policy: {}, habits: { form: "sse", cuts: 0, sleepy: 0 } });
    const answer = await this.#post("/v1/generations", JSON.stringify(spec.body), { "idempotency-key": spec.key });
    if (!answer) return;
    const gen = answer.id;
    if (spec.body.channel) this.inRooms.push({ gen, channel: spec.body.channel, at: Date.now() });
    const clients = readers.map(
      ({ policy, habits }, i) =>
        new Client({
          name: `g${number}c${i}`,
          gen,
          policy,
          habits,
          pool: this.pool,
          random: random.fork(),
          limit: () => this.deadline,
        }),
    );
    const entry = { number, gen, spec, clients, ended: false };
    this.generations.set(gen, entry);
    this.counts.generations += 1;
    this.counts.clients += clients.length;
    if (spec.cancelAfter !== null) setTimeout(() => this.cancel(entry), spec.cancelAfter);
    await Promise.all(clients.map((client) => client.run()));
    entry.ended = true;
    await sleep(SETTLE_MS + LEASE_MS); // the log may still be repaired
    await this.#judge(entry);
    this.generations.delete(gen);
  }

  cancel(entry) {
    if (entry.ended || this.stopping) return;
    if (!entry.spec.reasons.includes("cancelled")) entry.spec.reasons.push("cancelled");
    void this.#post(`/v1/generations/${entry.gen}/cancel`, "");
  }

  async #log(gen) {
    const rows = await this.redis.stream(`tc:{${gen}}:log`);
    return new Log(
      gen,
      rows.map(([id, bytes]) => ({ id, event: unpack(bytes) })),
    );
  }

  /** Waits for the end of a log whose readers have all left. */
  async #finalLog(gen) {
    for (;;) {
      try {
        const log = await this.#log(gen);
        const never = this.redis.lossy && log.events.length === 0;
        if (log.done || never || Date.now() > this.deadline) return log;
      } catch (error) {
        if (Date.now() > this.deadline) throw error;
      }
      await sleep(500);
    }
  }

  /** Asks brokers until one answers: they are being killed meanwhile. */
  async #ask(check) {
    for (let tries = 0; ; tries++) {
      try {
        const found = await check(this.pool()[tries % this.brokers.length]);
        if (found.every(({ what }) => !/^(429|503) /.test(what))) return found;
      } catch (error) {
        if (Date.now() > this.deadline) throw error;
      }
      await sleep(200);
    }
  }

  async #judge(entry) {
    const { gen, spec, clients } = entry;
    const log = await this.#finalLog(gen);
    // A failover may lose the very beginning, with all that would say that it ever was.
    if (log.events.length === 0 && this.redis.lossy) return void (this.counts.vanished += 1);
    const histories = clients.map((client) => client.history());
    const found = judgeLog(log, { text: spec.text, reasons: spec.reasons });
    for (const history of histories) {
      const its = judge(history, log, { lossy: this.redis.lossy });
      this.counts.excused += its.filter(({ excused }) => excused).length;
      found.push(...its.filter(({ excused }) => !excused));
      this.#count(history);
    }
    if (log.done) {
      found.push(...(await this.#ask((base) => checkSnapshot(base, log))));
      const slow = histories.find(({ events }) => events.some(({ type }) => type === "gap"));
      if (slow) found.push(...(await this.#ask((base) => checkGap(base, log, slow))));
    }
    this.counts.attempts += Math.max(0, log.attempts - 1);
    this.counts.ends[log.done?.event.reason] = (this.counts.ends[log.done?.event.reason] ?? 0) + 1;
    if (found.length === 0) return;
    for (const one of found.slice(0, 20)) this.find(one.name, one.what, one);
    if (this.failed.length < KEPT) this.failed.push({ spec, log: log.entries, histories, found });
  }

  #count({ events, connections, trouble }) {
    const { counts } = this;
    counts.events += events.filter(({ id }) => id !== null).length;
    counts.lost += events.filter(({ type, data }) => type === "gap" && data.includes('"lost"')).length;
    counts.gaps += events.filter(({ type }) => type === "gap").length;
    counts.reconnects += Math.max(0, connections.length - 1);
    for (const { bytes } of connections) counts.bytes += bytes;
    for (const [reason, n] of Object.entries(trouble)) counts.trouble[reason] = (counts.trouble[reason] ?? 0) + n;
  }

  /** Two readers of every room, from before its first generation to the end of the last. */
  #enterRooms() {
    const random = this.random.fork();
    this.rooms = [0, 1, 2, 0, 1, 2].map(
      (room, i) =>
        new RoomClient({
          name: `room${room}-${i}`,
          gen: `room${room}`,
          policy: {},
          habits: {
            form: i % 2 ? "ndjson" : "sse",
            hop: i > 2,
            cuts: random.pick([0, 0.3]),
            cutBytes: 30000,
            sleepy: 0,
          },
          pool: this.pool,
          random: random.fork(),
          limit: () => this.deadline,
        }),
    );
    return Promise.all(this.rooms.map((room) => room.run()));
  }

  /** Every generation of a room has to come to its readers, as whole as to its own. */
  async #leaveRooms() {
    for (const room of this.rooms) {
      // Before its first position a reader that is cut off cannot say where it was.
      const since = room.events.find(({ id }) => id !== null)?.at ?? Infinity;
      const all = this.inRooms.filter(({ channel, at }) => channel === room.gen && at >= since).map(({ gen }) => gen);
      const missing = () => all.filter((gen) => !room.over.has(gen) && !room.leftOut.has(gen));
      // What tells a room of a generation may be lost like any other entry.
      const limit = this.redis.lossy ? Math.min(this.deadline, Date.now() + 10000) : this.deadline;
      while (missing().length > 0 && Date.now() < limit) await sleep(100);
      room.end ??= missing().length > 0 ? "limit" : "done";
      room.cut();
      for (const gen of this.redis.lossy ? [] : missing().slice(0, 5))
        this.find("no-end", "a room's reader did not get the end", { client: room.name, gen });
      await this.#judgeRoom(room);
    }
  }

  async #judgeRoom(room) {
    const kept = [];
    for (const [gen, shown] of byGeneration(room)) {
      if (room.leftOut.has(gen)) continue;
      const log = await this.#log(gen);
      if (log.events.length === 0 && this.redis.lossy) continue;
      for (const history of historiesOf(room, shown, log, this.redis)) {
        const found = judge(history, log, { lossy: this.redis.lossy }).filter(
          ({ name, excused }) => !excused && name !== "no-end",
        );
        for (const one of found.slice(0, 5)) this.find(one.name, one.what, one);
        if (found.length > 0) kept.push({ found, history, log: log.entries });
      }
    }
    this.#count(room);
    this.counts.clients += 1;
    if (kept.length > 0) this.failed.push({ room: room.name, connections: room.connections, kept });
  }

  /** Keeps as many generations running as the run has room for, until it is told to stop. */
  async traffic() {
    const random = this.random.fork();
    const running = new Set();
    for (let number = 0; !this.stopping; number++) {
      const one = this.generation(number, random.fork()).catch((error) =>
        this.find("world", String(error.stack ?? error)),
      );
      running.add(one);
      void one.then(() => running.delete(one));
      await sleep(random.int(20, 300));
      while (!this.stopping && [...this.generations.values()].filter(({ ended }) => !ended).length >= this.live)
        await sleep(50);
    }
    await Promise.all(running);
  }

  // ---- faults

  #slot(slots, random) {
    const first = random.int(0, slots.length - 1);
    return slots.map((_, i) => slots[(first + i) % slots.length]).find((slot) => slot.up);
  }

  #clients(random, share) {
    return [...this.generations.values()]
      .flatMap(({ clients }) => clients.filter(({ end }) => end === null))
      .filter(() => random.chance(share));
  }

  /** One fault; false if there was nothing that it could befall. */
  async #fault(name, random) {
    const [what, how] = name.split("-");
    const ms = random.int(300, 2 * LEASE_MS + 500);
    if (what === "redis") return this.redis.fault(name, ms);
    if (what === "worker" || what === "broker") {
      const slot = this.#slot(what === "worker" ? this.workers : this.brokers, random);
      if (!slot) return false;
      if (how === "stop") await slot.freeze(ms);
      else await slot.replace(how === "kill" ? "SIGKILL" : "SIGTERM", random.int(0, 1000));
    } else if (what === "client") {
      for (const client of this.#clients(random, 0.3)) how === "cut" ? client.cut() : client.sleep(ms);
    } else {
      const entries = [...this.generations.values()].filter(({ ended }) => !ended);
      if (entries.length === 0) return false;
      this.cancel(random.pick(entries));
    }
  }

  /** The faults, one after another begun, several at once under way; resolves when all are over. */
  async faults(count, until) {
    const random = this.random.fork();
    const kinds = [...FAULTS, ...this.redis.faults];
    const under = new Set();
    let redis = Promise.resolve();
    for (let n = 0; until ? Date.now() < until : n < count; n++) {
      await sleep(random.int(100, 1200));
      const name = random.weighted(kinds);
      const its = random.fork();
      const begin = () => this.#fault(name, its);
      // Two faults of Redis at once would be one that nobody planned.
      const one = (name.startsWith("redis") ? (redis = redis.then(begin)) : begin()).then(
        (done) => {
          if (done === false) this.counts.skipped += 1;
          else this.counts.faults[name] = (this.counts.faults[name] ?? 0) + 1;
        },
        (error) => this.find("world", `${name}: ${error.stack ?? error}`),
      );
      redis = redis.catch(() => {});
      under.add(one);
      void one.then(() => under.delete(one));
      this.say(`${name}`);
    }
    await Promise.all(under);
  }

  /** Everything: traffic under faults, then peace until everybody has got the end. */
  async run({ faults, minutes }) {
    const rooms = this.#enterRooms();
    const traffic = this.traffic();
    await sleep(1000);
    await this.faults(faults, minutes ? Date.now() + minutes * 60000 : null);
    this.say("no more faults");
    this.stopping = true;
    this.deadline = Date.now() + WIND_DOWN_MS;
    await traffic;
    await this.#leaveRooms();
    await rooms;
  }

  async stop() {
    this.stopping = true;
    await Promise.all(
      [...this.brokers, ...this.workers].map(async ({ program, name }) => {
        if (!program || program.exited) return;
        program.expected = true;
        if (!(await program.end("SIGTERM")))
          this.find("exit", `${name}: still there 20 s after SIGTERM`, { log: program.file });
      }),
    );
    await this.redis.stop();
  }
}

const BROKER_ARGS = ["--listen", "127.0.0.1:0", "--heartbeat", "1s", "--drain", "2s", "--linger", "1s"];
const WORKER_ARGS = ["--provider", "replay", "--settle", `${SETTLE_MS}ms`, "--grace", "1s", "--max-attempts", "100"];
