// Runs the real programs for a test: redis-server in a directory of its own, brokers and workers from TC_BUILD, and a
// TCP proxy that cuts connections. Everything is ended by the process that was started here, never by name.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { until } from "../lib/wait.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
export const BUILD = path.resolve(HERE, process.env.TC_BUILD ?? "../../build");
const END_MS = 45000; // longer than a worker's grace

const bin = (name) => path.join(BUILD, "bin", name);

/** false: a reason to skip, for node:test's `skip`. */
export function missing() {
  for (const name of ["tokencast-broker", "tokencast-worker"]) {
    if (!existsSync(bin(name))) return `${name} is not built in ${BUILD}`;
  }
  return false;
}

/** A child with its log; `ready` is the parsed line that says so. */
class Program {
  log = "";
  exited = false;

  constructor(name, command, args) {
    this.name = name;
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.gone = new Promise((resolve) => {
      this.child.on("error", (error) => {
        this.log += String(error);
        this.exited = true;
        resolve();
      });
      // Not "exit": what it said last may still be in its pipe then.
      this.child.on("close", (code, signal) => {
        this.exited = true;
        this.status = { code, signal };
        resolve();
      });
    });
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.setEncoding("utf8");
      out.on("data", (text) => (this.log = (this.log + text).slice(-262144)));
    }
  }

  /** Waits until `find(log)` is truthy. */
  async until(find, what) {
    const look = () => find(this.log) || (this.exited && Promise.reject(new Error(`ended without ${what}`)));
    try {
      return await until(look, what);
    } catch (error) {
      error.message = `${this.name}: ${error.message}\n${this.log}`;
      throw error;
    }
  }

  /** Resolves once it is gone; `ms`: after which it is not asked any more. */
  async stop(signal = "SIGTERM", ms = END_MS) {
    if (this.exited) return;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), ms);
    await this.gone;
    clearTimeout(timer);
  }
}

function readyLine(log) {
  for (const line of log.split("\n")) {
    if (!line.startsWith("{")) continue;
    try {
      const entry = JSON.parse(line);
      if (entry.msg === "ready") return entry;
    } catch {
      // half a line
    }
  }
  return null;
}

export class Harness {
  #dir;
  #programs = [];

  /** `redis`: {args, url} for a server that is not reached by its Unix socket. */
  static async start({ brokers = 1, workers = 1, brokerArgs = [], workerArgs = [], redis = {} } = {}) {
    const made = new Harness();
    try {
      await made.#redis(redis);
      made.brokers = [];
      for (let i = 0; i < brokers; i++) made.brokers.push(await made.broker(brokerArgs));
      made.workers = [];
      for (let i = 0; i < workers; i++) made.workers.push(await made.worker(workerArgs));
    } catch (error) {
      await made.stop();
      throw error;
    }
    return made;
  }

  /** The first broker's address. */
  get url() {
    return this.brokers[0].url;
  }

  async #redis({ args: more = [], url }) {
    this.#dir = await mkdtemp(path.join(tmpdir(), "tc-"));
    const socket = path.join(this.#dir, "redis.sock");
    const args = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", this.#dir];
    this.redis = this.#add(new Program("redis-server", "redis-server", [...args, ...more]));
    await this.redis.until(
      (log) => log.includes("Ready to accept connections") || log.includes("ready to accept connections"),
      "ready line",
    );
    this.redisUrl = url ?? `unix://${socket}`;
  }

  #add(program) {
    this.#programs.push(program);
    return program;
  }

  /** `ready: false` does not wait: for a broker that is not to become ready. */
  async broker(args = [], { ready: wait = true } = {}) {
    const common = [
      "--listen",
      "127.0.0.1:0",
      "--ops-listen",
      "127.0.0.1:0",
      "--redis",
      this.redisUrl,
      "--log-format",
      "json",
    ];
    const program = this.#add(new Program("tokencast-broker", bin("tokencast-broker"), [...common, ...args]));
    if (!wait) return program;
    const ready = await program.until(readyLine, "ready line");
    program.url = `http://${ready.listen}`;
    program.ops = `http://${ready.ops}`;
    return program;
  }

  async worker(args = []) {
    const common = [
      "--provider",
      "replay",
      "--ops-listen",
      "127.0.0.1:0",
      "--redis",
      this.redisUrl,
      "--log-format",
      "json",
    ];
    const program = this.#add(new Program("tokencast-worker", bin("tokencast-worker"), [...common, ...args]));
    const ready = await program.until(readyLine, "ready line");
    program.ops = `http://${ready.ops}`;
    return program;
  }

  /** The end of every program's log, for the message of a test that failed. */
  logs(each = 4000) {
    return this.#programs.map((program) => `--- ${program.name}\n${program.log.slice(-each)}`).join("\n");
  }

  /** Runs `body`; what it throws has the logs behind its own words. */
  async explains(body) {
    try {
      return await body();
    } catch (error) {
      error.message += `\n${this.logs()}`;
      throw error;
    }
  }

  async stop() {
    for (const program of this.#programs.reverse()) await program.stop("SIGTERM", 10000);
    if (this.#dir) await rm(this.#dir, { recursive: true, force: true });
  }
}

/** Starts a generation by plain fetch; returns what the broker answered. */
export async function ask(url, request, headers = {}) {
  const response = await fetch(`${url}/v1/generations`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ prompt: "x", ...request }),
  });
  if (response.status !== 202) throw new Error(`POST: ${response.status} ${await response.text()}`);
  return response.json();
}

/** One that the replay provider says. */
export function post(url, text, { rate = 200, ...more } = {}, headers = {}) {
  return ask(url, { model: "replay", options: { text, rate }, ...more }, headers);
}

/** The snapshot, once the generation has ended. */
export async function ended(url, id) {
  let snapshot;
  const over = async () => {
    snapshot = await (await fetch(`${url}/v1/generations/${id}`)).json();
    return ["done", "failed", "cancelled"].includes(snapshot.state);
  };
  await until(over, () => `end of ${id}: ${JSON.stringify(snapshot)}`);
  return snapshot;
}

/**
 * A TCP proxy. `cut(n)`: the next connection is reset after n bytes of the answer's body (so that headers do not
 * count, chunk framing does); connections without a cut pass whole. `targets` take turns, one a connection.
 */
export class CuttingProxy {
  #server;
  #sockets = new Set();
  #cuts = [];
  connections = 0;
  /** the last answer's body, as it was on the wire */
  lastBody = Buffer.alloc(0);

  static async start(...targets) {
    const made = new CuttingProxy();
    made.targets = targets;
    made.#server = net.createServer((client) => made.#pass(client));
    await new Promise((ready) => made.#server.listen(0, "127.0.0.1", ready));
    made.url = `http://127.0.0.1:${made.#server.address().port}`;
    return made;
  }

  /** @param {number[]} bytes one connection each, in order */
  cut(...bytes) {
    this.#cuts.push(...bytes);
  }

  /** Takes back the cuts that no connection has met. */
  whole() {
    this.#cuts = [];
  }

  /** Resets what is open now. */
  reset() {
    for (const socket of this.#sockets) {
      // Node 20 never ends its process after a reset of a socket whose end() is under way.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  #pass(client) {
    const { hostname, port } = new URL(this.targets[this.connections % this.targets.length]);
    const server = net.connect(Number(port), hostname);
    const limit = this.#cuts.shift() ?? Infinity;
    let head = ""; // until the blank line after it
    let body = -1;
    this.connections += 1;
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.on("data", (bytes) => server.write(bytes));
    server.on("end", () => client.end());
    server.on("data", (bytes) => {
      let rest = bytes;
      if (body < 0) {
        head += bytes.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return void client.write(bytes);
        const before = bytes.length - (head.length - end - 4); // of this chunk, what is head
        client.write(bytes.subarray(0, before));
        rest = bytes.subarray(before);
        body = 0;
        this.lastBody = Buffer.alloc(0);
      }
      const room = limit - body;
      body += rest.length;
      this.lastBody = Buffer.concat([this.lastBody, rest]);
      if (rest.length < room) return void client.write(rest);
      // The bytes up to the cut must arrive, so the reset waits until they are written.
      return void client.write(rest.subarray(0, room), () => setImmediate(() => client.end(() => client.destroy())));
    });
  }

  async stop() {
    this.reset();
    await new Promise((closed) => this.#server.close(closed));
  }
}
