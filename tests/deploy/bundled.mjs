// The chart's bundled Redis and the job that makes the consumer group, run as their pods would run them: their own
// scripts in an environment of their own, with a free port and files in a folder of the test's.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once as event } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

import { freePort } from "../lib/ports.mjs";
import { withRedis } from "../lib/redis.mjs";
import { eventually } from "../lib/wait.mjs";
import { CHART, component, containersOf, environment, ofKind, render } from "./chart.mjs";

const run = promisify(execFile);
export const TRIAL = path.join(CHART, "ci/trial-values.yaml");

/** What `sh -c` says and how it ends: {status, said}. */
export async function shell([program, dash, text], env) {
  try {
    const { stdout } = await run(program, [dash, text], { env: { PATH: process.env.PATH, ...env }, timeout: 60000 });
    return { status: 0, said: stdout };
  } catch (error) {
    return { status: error.code ?? error.signal, said: `${error.stdout}${error.stderr}` };
  }
}

export class Bundled {
  log = "";

  static async start() {
    const made = new Bundled();
    made.dir = await mkdtemp(path.join(tmpdir(), "tc-helm-"));
    try {
      await made.#start();
    } catch (error) {
      await made.stop();
      throw error;
    }
    return made;
  }

  async #start() {
    this.port = await freePort();
    const objects = await render("-f", TRIAL);
    [this.container] = containersOf(component(objects, "StatefulSet", "redis"));
    const config = component(objects, "ConfigMap", "redis").data["redis.conf"];
    assert.match(config, /^port 6379\ndir \/data$/m);
    await this.file("redis.conf", config.replace("port 6379", `port ${this.port}\nbind 127.0.0.1`).replace("dir /data", `dir ${this.dir}`));
    const [secret] = ofKind(objects, "Secret");
    this.password = Buffer.from(secret.data.password, "base64").toString();
    await this.file("password", this.password);
    const [program, ...args] = this.container.command;
    const files = { CONFIG: this.path("redis.conf"), PASSWORD_FILE: this.path("password"), WRITABLE: await mkdtemp(this.path("tmp-")) };
    this.server = spawn(program, args, { env: { PATH: process.env.PATH, ...files }, stdio: ["ignore", "pipe", "pipe"] });
    for (const out of [this.server.stdout, this.server.stderr]) out.on("data", (some) => (this.log += some));
    await eventually(() => this.do("ping"), () => `the bundled Redis\n${this.log}`);
  }

  path(name) {
    return path.join(this.dir, name);
  }

  /** Makes a file in the folder; its path. */
  async file(name, text) {
    await writeFile(this.path(name), text);
    return this.path(name);
  }

  /** A command with the password; `database` first, if there is one. */
  do(...words) {
    return this.in(0, ...words);
  }

  in(database, ...words) {
    return withRedis({ host: "127.0.0.1", port: this.port }, async (hand) => {
      await hand.do("auth", this.password);
      await hand.do("select", database);
      return hand.do(...words);
    });
  }

  /** The job's script for the trial with other values, and a password file in the folder. */
  async makeGroup(passwordFile, ...args) {
    const objects = await render("-f", TRIAL, ...args);
    const [container] = containersOf(component(objects, "Job", "queue"));
    return shell(container.command, { ...environment(objects, container), PASSWORD_FILE: this.path(passwordFile) });
  }

  /** The values that lead to this server as if it were somebody's own. */
  get here() {
    return ["--set", "redis.bundled.enabled=false", "--set", `redis.addresses={127.0.0.1:${this.port}}`];
  }

  async stop() {
    if (this.server?.exitCode === null && this.server.signalCode === null) {
      this.server.kill("SIGTERM");
      await event(this.server, "exit");
    }
    await rm(this.dir, { recursive: true, force: true });
  }
}
