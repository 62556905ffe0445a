// One redis-server with an append-only file, on a Unix socket. With appendfsync always, what it acknowledged survives
// kill -9. With everysec it holds writes back for up to 2 s while an fsync is under way: kill -9 may lose a tail then.
import { mkdirSync } from "node:fs";
import path from "node:path";

import { once, stream } from "../lib/redis.mjs";
import { eventually, sleep } from "../lib/wait.mjs";
import { Program } from "./program.mjs";

export class RedisSingle {
  faults = [
    ["redis-kill", 2],
    ["redis-stop", 2],
    ["redis-clients-normal", 2],
    ["redis-clients-pubsub", 2],
  ];

  constructor(dir, random) {
    this.dir = path.join(dir, "redis");
    this.fsync = random.pick(["always", "everysec"]);
    this.lossy = this.fsync === "everysec";
    mkdirSync(this.dir, { recursive: true });
    // A path of a Unix socket has at most 107 bytes: the folder's own may be longer.
    this.socket = path.join(dir, "r.sock");
    this.url = `unix://${this.socket}`;
  }

  #run() {
    const args = ["--port", "0", "--unixsocket", this.socket, "--dir", this.dir, "--save", ""];
    args.push("--appendonly", "yes", "--appendfsync", this.fsync, "--maxmemory-policy", "noeviction");
    this.server = new Program("redis", path.join(this.dir, "redis.log"), "redis-server", args);
  }

  async #ready() {
    const answers = async () => this.server.exited || (await once(this.url, "PING")) === "PONG";
    await eventually(answers, "answer of Redis");
    if (this.server.exited) throw new Error(`Redis ended: ${this.server.log.slice(-2000)}`);
  }

  async start() {
    this.#run();
    await this.#ready();
  }

  programs() {
    return [this.server];
  }

  /** One of `faults`; resolves once it is over. `ms`: for those that last. */
  async fault(name, ms) {
    if (name === "redis-kill") {
      await this.server.end("SIGKILL");
      await sleep(ms / 4);
      this.#run();
      await this.#ready();
    } else if (name === "redis-stop") {
      this.server.pause();
      await sleep(ms);
      this.server.resume();
    } else {
      await once(this.url, "CLIENT", "KILL", "TYPE", name.split("-").at(-1), "SKIPME", "yes");
    }
  }

  /** [[id, entry bytes]] of a stream. */
  stream(key) {
    return stream(this.url, key);
  }

  async stop() {
    await this.server?.end("SIGKILL");
  }
}
