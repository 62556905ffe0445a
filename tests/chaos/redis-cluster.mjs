// Three masters with a replica each on loopback. Replication is asynchronous: a failover may lose a tail.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";

import { freePorts } from "../lib/ports.mjs";
import { once, stream } from "../lib/redis.mjs";
import { eventually, sleep } from "../lib/wait.mjs";
import { Program } from "./program.mjs";

const HOST = "127.0.0.1";
const BUS = 10000; // a node's bus listens on its port plus this

export class RedisCluster {
  lossy = true;
  faults = [
    ["redis-failover", 2],
    ["redis-kill", 2],
    ["redis-stop", 1],
    ["redis-clients-normal", 1],
    ["redis-clients-pubsub", 1],
  ];

  constructor(dir, random) {
    this.dir = path.join(dir, "redis");
    this.random = random;
    mkdirSync(this.dir, { recursive: true });
    this.nodes = [];
  }

  #run(node) {
    const dir = path.join(this.dir, String(node.port));
    mkdirSync(dir, { recursive: true });
    const args = ["--port", node.port, "--bind", HOST, "--dir", dir, "--save", "", "--appendonly", "yes"];
    args.push("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-replica-validity-factor", "0");
    args.push("--cluster-allow-replica-migration", "no");
    args.push("--repl-diskless-sync-delay", "0");
    node.program = new Program(`redis-${node.port}`, path.join(dir, "redis.log"), "redis-server", args.map(String));
  }

  #create() {
    const hosts = this.nodes.map(({ port }) => `${HOST}:${port}`);
    const child = spawn("redis-cli", ["--cluster", "create", ...hosts, "--cluster-replicas", "1", "--cluster-yes"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let log = "";
    for (const out of [child.stdout, child.stderr]) out.on("data", (text) => (log += text));
    const timer = setTimeout(() => child.kill("SIGKILL"), 60000);
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("exit", (code) => {
        clearTimeout(timer);
        if (code === 0) resolve();
        else reject(new Error(`redis-cli --cluster create: ${code}\n${log}`));
      });
    });
  }

  async start() {
    for (const port of await freePorts(6, BUS)) {
      const node = { port };
      this.nodes.push(node);
      this.#run(node);
    }
    await eventually(async () => {
      for (const { port } of this.nodes) await once({ port, host: HOST }, "PING");
      return true;
    }, "answer of every node");
    await this.#create();
    await this.#whole();
    this.url = `redis+cluster://${this.nodes
      .slice(0, 3)
      .map(({ port }) => `${HOST}:${port}`)
      .join(",")}`;
  }

  programs() {
    return this.nodes.map(({ program }) => program);
  }

  /** [{port, replicas}] of the masters, as some node that lives sees them. */
  async #masters() {
    for (const { port } of this.nodes) {
      try {
        const slots = await once({ port, host: HOST }, "CLUSTER", "SLOTS");
        const seen = new Map();
        for (const [, , master, ...replicas] of slots)
          seen.set(
            Number(master[1]),
            replicas.map((row) => Number(row[1])),
          );
        return [...seen].map(([at, replicas]) => ({ port: at, replicas }));
      } catch {
        // the next one
      }
    }
    return [];
  }

  /** Every node knows all slots, and every replica has its master. */
  async #whole() {
    await eventually(async () => {
      let replicas = 0;
      for (const { port } of this.nodes) {
        const info = await once({ port, host: HOST }, "CLUSTER", "INFO");
        if (!info.includes("cluster_state:ok") || !info.includes("cluster_slots_ok:16384")) return false;
        if ((await once({ port, host: HOST }, "INFO", "replication")).includes("master_link_status:up"))
          replicas += 1;
      }
      const masters = await this.#masters();
      return replicas === 3 && masters.length === 3 && masters.every((one) => one.replicas.length === 1);
    }, "whole cluster");
  }

  async fault(name, ms) {
    const masters = await this.#masters();
    const { port, replicas } = this.random.pick(masters.sort((a, b) => a.port - b.port));
    const node = this.nodes.find((one) => one.port === port);
    if (name === "redis-kill") {
      await node.program.end("SIGKILL");
      await eventually(async () => !(await this.#masters()).some((one) => one.port === port), "new master");
      this.#run(node);
    } else if (name === "redis-failover") {
      await once({ port: replicas[0], host: HOST }, "CLUSTER", "FAILOVER");
      const asked = Date.now();
      const over = () => Date.now() - asked > 10000; // Redis gives it up after 5 s (cluster.h: CLUSTER_MF_TIMEOUT)
      const leads = async () => (await this.#masters()).some((one) => one.port === replicas[0]);
      await eventually(async () => (await leads()) || over(), "new master");
      if (!(await leads())) return false;
    } else if (name === "redis-stop") {
      node.program.pause();
      await sleep(ms);
      node.program.resume();
      await sleep(1000);
    } else {
      await once({ port, host: HOST }, "CLIENT", "KILL", "TYPE", name.split("-").at(-1), "SKIPME", "yes");
    }
    await this.#whole();
  }

  async stream(key) {
    for (let port = this.nodes[0].port, hops = 0; ; hops++) {
      try {
        return await stream({ port, host: HOST }, key);
      } catch (error) {
        const moved = /^MOVED [0-9]+ [^:]*:([0-9]+)$/.exec(error.message);
        if (!moved || hops > 3) throw error;
        port = Number(moved[1]);
      }
    }
  }

  async stop() {
    await Promise.all(this.programs().map((program) => program.end("SIGKILL")));
  }
}
