// A master, two replicas and three sentinels on loopback. Replication is asynchronous: a failover may lose a tail.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { freePorts } from "../lib/ports.mjs";
import { once, stream } from "../lib/redis.mjs";
import { eventually, sleep } from "../lib/wait.mjs";
import { Program } from "./program.mjs";

const NAME = "mymaster";
const HOST = "127.0.0.1";

export class RedisSentinel {
  lossy = true;
  faults = [
    ["redis-failover", 2],
    ["redis-kill", 2],
    ["redis-stop", 1],
    ["redis-clients-normal", 1],
    ["redis-clients-pubsub", 1],
  ];

  constructor(dir) {
    this.dir = path.join(dir, "redis");
    mkdirSync(this.dir, { recursive: true });
    this.servers = [];
    this.sentinels = [];
  }

  #server(i) {
    const server = this.servers[i];
    const dir = path.join(this.dir, String(server.port));
    mkdirSync(dir, { recursive: true });
    const args = ["--port", server.port, "--bind", HOST, "--dir", dir, "--save", "", "--appendonly", "yes"];
    args.push("--repl-diskless-sync-delay", "0", "--repl-timeout", "5");
    // Whoever was master may be so no more: it comes back as a replica of the one that is.
    if (server.of) args.push("--replicaof", `${HOST} ${server.of}`);
    server.program = new Program(`redis-${server.port}`, path.join(dir, "redis.log"), "redis-server", args.map(String));
  }

  #sentinel(port, master) {
    const file = path.join(this.dir, `sentinel-${port}.conf`);
    const lines = [`port ${port}`, `bind ${HOST}`, `dir ${this.dir}`, `sentinel monitor ${NAME} ${HOST} ${master} 2`];
    lines.push(`sentinel down-after-milliseconds ${NAME} 1000`, `sentinel failover-timeout ${NAME} 2000`);
    writeFileSync(file, `${lines.join("\n")}\n`);
    const log = path.join(this.dir, `sentinel-${port}.log`);
    return { port, program: new Program(`sentinel-${port}`, log, "redis-server", [file, "--sentinel"]) };
  }

  async start() {
    const [first, ...ports] = await freePorts(6);
    for (const [i, port] of [first, ...ports.splice(0, 2)].entries()) {
      this.servers.push({ port, of: i > 0 ? first : null });
      this.#server(i);
    }
    await eventually(() => this.#replicated(2), "replicas");
    for (const port of ports) this.sentinels.push(this.#sentinel(port, first));
    await eventually(async () => {
      for (const { port } of this.sentinels) await once({ port, host: HOST }, "SENTINEL", "CKQUORUM", NAME);
      return true;
    }, "quorum of sentinels");
    this.url = `redis+sentinel://${this.sentinels.map(({ port }) => `${HOST}:${port}`).join(",")}/${NAME}`;
  }

  programs() {
    return [...this.servers, ...this.sentinels].map(({ program }) => program);
  }

  /** The port of the master, as the sentinels agree. */
  async #master() {
    for (const { port } of this.sentinels) {
      try {
        const [, master] = await once({ port, host: HOST }, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME);
        return Number(master);
      } catch {
        // the next one
      }
    }
    return this.servers[0].port;
  }

  async #failsOver() {
    const said = await once({ port: this.sentinels[0].port, host: HOST }, "SENTINEL", "MASTER", NAME);
    return said[said.indexOf("flags") + 1].includes("failover_in_progress");
  }

  async #replicated(count) {
    const port = await this.#master();
    const info = await once({ port, host: HOST }, "INFO", "replication");
    return info.includes("role:master") && (info.match(/state=online/g) ?? []).length >= count;
  }

  async #whole() {
    await eventually(() => this.#replicated(2), "master with two replicas");
  }

  async fault(name, ms) {
    const port = await this.#master();
    const server = this.servers.find((one) => one.port === port);
    if (name === "redis-kill") {
      await server.program.end("SIGKILL");
      await eventually(async () => (await this.#master()) !== port, "new master");
      server.of = await this.#master();
      this.#server(this.servers.indexOf(server));
    } else if (name === "redis-failover") {
      try {
        await once({ port: this.sentinels[0].port, host: HOST }, "SENTINEL", "FAILOVER", NAME);
      } catch (error) {
        if (!/^(INPROG|NOGOODSLAVE) /.test(error.message)) throw error;
        return false; // the last one is not over for it
      }
      // It may give up, as when the replica it chose is too far behind; then nothing has happened.
      await eventually(async () => (await this.#master()) !== port || !(await this.#failsOver()), "new master");
      if ((await this.#master()) === port) return false;
    } else if (name === "redis-stop") {
      server.program.pause();
      await sleep(ms);
      server.program.resume();
      await sleep(2000); // the sentinels may have chosen another meanwhile
    } else {
      await once({ port, host: HOST }, "CLIENT", "KILL", "TYPE", name.split("-").at(-1), "SKIPME", "yes");
    }
    await this.#whole();
    return true;
  }

  async stream(key) {
    return stream({ port: await this.#master(), host: HOST }, key);
  }

  async stop() {
    await Promise.all(this.programs().map((program) => program.end("SIGKILL")));
  }
}
