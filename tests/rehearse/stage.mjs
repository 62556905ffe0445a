// What a rehearsal plays on: Redis, a model server, HAProxy, and two tiers of real programs that members are added to
// and taken from as an operator would.
import { fork } from "node:child_process";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { Program, readyLine } from "../chaos/program.mjs";
import { RedisSingle } from "../chaos/redis-single.mjs";
import { BUILD } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { inTime } from "../lib/wait.mjs";
import { HaProxy } from "./haproxy.mjs";

const MODEL = fileURLToPath(new URL("model.mjs", import.meta.url));
const COMMON = ["--ops-listen", "127.0.0.1:0", "--log-format", "json", "--lease-ms", "2s"];

/** Programs of one kind. They are started from `build`, which may be changed: an upgrade. */
class Tier {
  members = [];
  #count = 0;

  constructor(stage, kind, args) {
    Object.assign(this, { stage, kind, args, build: BUILD });
  }

  async add() {
    const { stage, kind } = this;
    const name = `${kind}-${++this.#count}`;
    const file = path.join(stage.dir, `${name}.log`);
    const args = [...COMMON, "--redis", stage.redis.url, ...this.args];
    const program = new Program(name, file, path.join(this.build, "bin", `tokencast-${kind}`), args);
    const member = { name, program, leaving: false };
    stage.programs.push(program);
    void program.gone.then(() => {
      if (!member.leaving) stage.find("crash", `${name} ended by itself: ${JSON.stringify(program.status)}`);
    });
    const { listen, ops } = await program.until(readyLine, "ready line");
    member.ops = `http://${ops}`;
    if (kind === "broker") member.place = await stage.proxy.add({ listen, ops });
    this.members.push(member);
    return member;
  }

  async scale(count) {
    while (this.members.length < count) await this.add();
    await Promise.all(this.members.slice(count).map((member) => this.remove(member)));
  }

  /** SIGTERM, and its end; a broker's drain is written down. `signal`: to see what another one does. */
  async remove(member, signal = "SIGTERM") {
    const { stage } = this;
    this.members = this.members.filter((other) => other !== member);
    member.leaving = true;
    const drain = { name: member.name, place: member.place, from: Date.now() };
    if (member.place) {
      drain.connections = await metric(member, "tokencast_broker_streams");
      stage.drains.push(drain);
    }
    const asked = await member.program.end(signal, 60000);
    drain.until = Date.now();
    if (!asked || (signal === "SIGTERM" && member.program.status.code !== 0))
      stage.find("exit", `${member.name} after ${signal}: ${JSON.stringify(member.program.status)}`);
    if (member.place) await stage.proxy.remove(member.place);
  }

  /** One after another: the new one is there before the old one goes. */
  async roll() {
    for (const old of [...this.members]) {
      await this.add();
      await this.remove(old);
    }
  }
}

export class Stage {
  findings = [];
  programs = [];
  drains = []; // {name, place, from, until, connections}
  stalls = []; // {at, ms}: when this process did not get to run

  constructor({ dir, window, delay, grace, drainWindow = window, say }) {
    Object.assign(this, { dir, window, say });
    this.redis = new RedisSingle(dir, { pick: (list) => list.at(-1) }); // appendfsync everysec
    this.proxy = new HaProxy(dir);
    this.keyFile = path.join(dir, "provider.key");
    this.brokers = new Tier(this, "broker", [
      ...["--listen", "127.0.0.1:0", "--loops", "1", "--heartbeat", "1s", "--linger", "1s"],
      ...["--drain-delay", `${delay}ms`, "--drain-window", `${drainWindow}ms`, "--drain", "5s"],
    ]);
    this.workerArgs = [
      ...["--provider", "openai", "--model", "m", "--continue", "vllm", "--api-key-file", this.keyFile],
      ...["--settle", "1s", "--grace", `${grace}ms`],
    ];
  }

  find(name, what, more = {}) {
    this.findings.push({ name, what, ...more });
    this.say(`FINDING ${name}: ${what}`);
  }

  async start({ brokers, workers, key }) {
    this.#watch();
    await this.#startModel();
    await this.keys(key);
    this.workerKey(key);
    await this.redis.start();
    await this.proxy.start();
    const upstream = `http://127.0.0.1:${this.modelPort}/v1`;
    this.workers = new Tier(this, "worker", [...this.workerArgs, "--upstream", upstream]);
    await this.brokers.scale(brokers);
    await this.workers.scale(workers);
  }

  #watch() {
    let last = performance.now();
    this.watch = setInterval(() => {
      const late = performance.now() - last - 20;
      if (late > 50) this.stalls.push({ at: Date.now(), ms: late });
      last = performance.now();
    }, 20);
  }

  async #startModel() {
    this.model = fork(MODEL, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const [{ port }] = await inTime(once(this.model, "message"), "the model server");
    this.modelPort = port;
  }

  async #tellModel(message) {
    this.model.send(message);
    const [{ counts }] = await inTime(once(this.model, "message"), "an answer of the model server");
    return counts;
  }

  /** The keys that the model server takes from now on. */
  keys(...keys) {
    return this.#tellModel({ keys });
  }

  modelCounts() {
    return this.#tellModel({ ask: true });
  }

  /** The key that workers send, replaced in one moment, as a mounted secret is. */
  workerKey(key) {
    writeFileSync(`${this.keyFile}.new`, key, { mode: 0o600 });
    renameSync(`${this.keyFile}.new`, this.keyFile);
  }

  /** How long this process stood still between two moments. */
  stalled(from, until) {
    return this.stalls.filter(({ at }) => at >= from && at <= until).reduce((sum, stall) => sum + stall.ms, 0);
  }

  all() {
    return [...this.programs, this.proxy.program, ...this.redis.programs()].filter(Boolean);
  }

  async stop() {
    await Promise.all(
      [...this.brokers.members, ...(this.workers?.members ?? [])].map(async (member) => {
        member.leaving = true;
        if (!(await member.program.end("SIGTERM")))
          this.find("exit", `${member.name} was still there 20 s after SIGTERM`);
      }),
    );
    await this.proxy.stop();
    await this.redis.stop();
    this.model?.kill("SIGKILL");
    clearInterval(this.watch);
  }
}
