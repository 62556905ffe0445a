// Real Redis deployments of several servers on loopback: a Cluster, and a master with its replica and sentinels. Each
// server has a directory and ports of its own and is ended by the process that was started here.
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

import { freePorts } from "../lib/ports.mjs";
import { once } from "../lib/redis.mjs";
import { eventually, until } from "../lib/wait.mjs";

const run = promisify(execFile);

class Server {
  log = "";

  /** `ca`: the file that its certificate is checked with, if it speaks TLS. */
  constructor(dir, port, args, ca) {
    this.port = port;
    this.ca = ca;
    this.child = spawn("redis-server", args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
    this.gone = new Promise((resolve) => {
      this.child.on("exit", resolve);
      this.child.on("error", resolve);
    });
    for (const out of [this.child.stdout, this.child.stderr]) out.on("data", (text) => (this.log += text));
  }

  /** One command. */
  do(...words) {
    return once({ host: "127.0.0.1", port: this.port, ca: this.ca }, ...words);
  }

  /** One section of INFO as an object. */
  async info(section) {
    const lines = (await this.do("info", section)).split(/\r?\n/);
    return Object.fromEntries(lines.filter((line) => line.includes(":")).map((line) => line.split(/:(.*)/s)));
  }

  async up() {
    await eventually(async () => (await this.do("ping")) === "PONG", `${this.port} up\n${this.log}`);
  }

  async isMaster() {
    return (await this.do("role"))[0] === "master";
  }

  async kill(signal = "SIGKILL") {
    this.child.kill("SIGCONT");
    this.child.kill(signal);
    await this.gone;
  }
}

class Servers {
  servers = [];

  /** `tls`: {ca, cert, key}, paths of files; then the servers speak nothing else. */
  async init(name, tls) {
    this.tls = tls ?? null;
    this.scheme = tls ? "rediss" : "redis";
    this.dir = await mkdtemp(path.join(tmpdir(), `tc-${name}-`));
    return this;
  }

  async serve(port, args) {
    const dir = path.join(this.dir, `${port}`);
    await mkdir(dir, { recursive: true });
    const plain = [...this.#listen(port).flatMap(([word, value]) => [`--${word}`, value]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir];
    return this.#add(new Server(dir, port, [...plain, ...args], this.tls?.ca));
  }

  /** What makes a server or a sentinel listen, and speak to its like. */
  #listen(port) {
    if (!this.tls) return [["port", `${port}`]];
    const { ca, cert, key } = this.tls;
    const files = [["tls-ca-cert-file", ca], ["tls-cert-file", cert], ["tls-key-file", key]];
    const speak = [["tls-auth-clients", "no"], ["tls-replication", "yes"], ["tls-cluster", "yes"]];
    return [["port", "0"], ["tls-port", `${port}`], ...files, ...speak];
  }

  /** A sentinel rewrites its configuration, so it gets a file. */
  async sentinel(port, lines) {
    const dir = path.join(this.dir, `${port}`);
    await mkdir(dir, { recursive: true });
    const file = path.join(dir, "sentinel.conf");
    await writeFile(file, [...this.#listen(port).map((words) => words.join(" ")), "bind 127.0.0.1", `dir ${dir}`, ...lines, ""].join("\n"));
    return this.#add(new Server(dir, port, [file, "--sentinel"], this.tls?.ca));
  }

  #add(server) {
    this.servers.push(server);
    return server;
  }

  async stop() {
    await Promise.all(this.servers.map((server) => server.kill()));
    await rm(this.dir, { recursive: true, force: true });
  }
}

/**
 * Waits until a replica of `master` has what was just written. That its link is up says less: a master feeds a new
 * replica only once that has acknowledged its copy (Redis 7.0, replication.c: repl_start_cmd_stream_on_ack), and what
 * is written until then is lost with the master.
 */
async function replicated(master) {
  await master.do("function", "flush"); // a write that needs no key, and so no slot
  await until(async () => {
    const { slave0, master_repl_offset: written } = await master.info("replication");
    return slave0?.includes("state=online") && slave0.includes(`offset=${written},`);
  }, `a replica that follows ${master.port}`);
}

/** Three masters with a replica each. */
export class Cluster extends Servers {
  static async start({ tls } = {}) {
    const made = await new Cluster().init("cluster", tls);
    try {
      const ports = await freePorts(6, 10000);
      const args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "3000", "--repl-diskless-sync-delay", "0"];
      for (const port of ports) await made.serve(port, args);
      for (const server of made.servers) await server.up();
      const addresses = ports.map((port) => `127.0.0.1:${port}`);
      const how = ["--cluster-replicas", "1", "--cluster-yes"];
      const cli = tls ? ["--tls", "--cacert", tls.ca] : [];
      await run("redis-cli", [...cli, "--cluster", "create", ...addresses, ...how], { timeout: 120000 });
      await made.settled();
      made.url = `${made.scheme}+cluster://${addresses.slice(0, 3).join(",")}`;
    } catch (error) {
      await made.stop();
      throw error;
    }
    return made;
  }

  /** Every node knows all slots covered, and every master that has some is followed by a replica. */
  async settled() {
    for (const server of this.#living)
      await until(async () => (await server.do("cluster", "info")).includes("cluster_state:ok"), "cluster ok");
    const owners = new Set((await this.#living[0].do("cluster", "slots")).map(([, , [, port]]) => port));
    for (const server of this.#living) if (owners.has(server.port)) await replicated(server);
  }

  get #living() {
    return this.servers.filter(({ child }) => child.exitCode === null && child.signalCode === null);
  }

  /** The master of a slot, by CLUSTER SLOTS. */
  async owner(slot) {
    const rows = await this.#living[0].do("cluster", "slots");
    const row = rows.find(([first, last]) => slot >= first && slot <= last);
    return this.servers.find((server) => server.port === row[2][1]);
  }

  slotOf(key) {
    return this.#living[0].do("cluster", "keyslot", key);
  }

  async masters() {
    const found = [];
    for (const server of this.#living) if (await server.isMaster()) found.push(server);
    return found;
  }

  async replicaOf(master) {
    for (const server of this.servers) {
      const { role, master_port: port } = await server.info("replication");
      if (role === "slave" && Number(port) === master.port) return server;
    }
    throw new Error(`${master.port} has no replica`);
  }

  /** Moves a slot while it is in use; `between` runs when half of it has moved. */
  async migrate(slot, { between = async () => {} } = {}) {
    const from = await this.owner(slot);
    const masters = await this.masters();
    const to = masters.find((server) => server !== from);
    const id = new Map();
    for (const server of masters) id.set(server, await server.do("cluster", "myid"));
    await to.do("cluster", "setslot", slot, "importing", id.get(from));
    await from.do("cluster", "setslot", slot, "migrating", id.get(to));
    const left = () => from.do("cluster", "getkeysinslot", slot, 1000);
    let keys = await left();
    await between();
    while (keys.length > 0) {
      for (const key of keys) {
        // What the first of two tries may have left behind is older than what is here.
        await from.do("migrate", "127.0.0.1", to.port, key, 0, 20000, "replace");
      }
      await between();
      keys = await left();
    }
    for (const server of [to, from, ...masters.filter((other) => other !== to && other !== from)])
      await server.do("cluster", "setslot", slot, "node", id.get(to));
    return { from, to };
  }
}

/** A master, its replica and three sentinels, which know it as `mymaster`. */
export class Sentinels extends Servers {
  static async start({ tls } = {}) {
    const made = await new Sentinels().init("sentinel", tls);
    try {
      const [first, second, ...ports] = await freePorts(5);
      const args = ["--repl-diskless-sync-delay", "0"];
      made.master = await made.serve(first, args);
      made.replica = await made.serve(second, [...args, "--replicaof", "127.0.0.1", `${first}`]);
      for (const server of [made.master, made.replica]) await server.up();
      await replicated(made.master);
      const lines = [
        `sentinel monitor mymaster 127.0.0.1 ${first} 2`,
        "sentinel down-after-milliseconds mymaster 2000",
        "sentinel failover-timeout mymaster 5000",
      ];
      made.sentinels = [];
      for (const port of ports) made.sentinels.push(await made.sentinel(port, lines));
      for (const sentinel of made.sentinels) await sentinel.up();
      for (const sentinel of made.sentinels)
        await until(async () => {
          const said = await sentinel.do("sentinel", "master", "mymaster");
          const of = (name) => said[said.indexOf(name) + 1];
          return of("num-slaves") === "1" && of("num-other-sentinels") === "2";
        }, "the sentinels know each other");
      made.url = `${made.scheme}+sentinel://${ports.map((port) => `127.0.0.1:${port}`).join(",")}/mymaster`;
    } catch (error) {
      await made.stop();
      throw error;
    }
    return made;
  }
}
