// The images as the tests see them: built, looked into, and run without an engine. Needs root, buildah and mmdebstrap.
import { execFile, spawn } from "node:child_process";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { inTime, until } from "../lib/wait.mjs";

const run = promisify(execFile);
const HERE = path.dirname(fileURLToPath(import.meta.url));
export const ROOT = path.resolve(HERE, "../..");
const STORE = path.join(ROOT, "build-container");
/** A clean build takes a minute and a half on two cores. */
export const BUILD_MS = 840000;

async function buildah(...args) {
  const where = ["--root", path.join(STORE, "storage"), "--runroot", path.join(STORE, "run"), "--storage-driver", "vfs"];
  const { stdout } = await run("buildah", [...where, ...args], { timeout: 120000, maxBuffer: 1 << 24 });
  return stdout.trim();
}

/** Both images, made from these sources unless they are there. */
export async function build() {
  await run(path.join(ROOT, "deploy/container/build.sh"), [], { timeout: BUILD_MS, maxBuffer: 1 << 24 });
}

export const sourceVersion = async () => /^project\(tokencast VERSION (\S+)/m.exec(await readFile(path.join(ROOT, "CMakeLists.txt"), "utf8"))[1];

/** An image and a root made of it, to look at and to run. */
export class Image {
  static async open(tier) {
    const made = new Image();
    made.tier = tier;
    made.program = `tokencast-${tier}`;
    made.name = `localhost/tokencast/${tier}:${await sourceVersion()}`;
    const said = JSON.parse(await buildah("inspect", "--type", "image", made.name));
    made.config = said.OCIv1.config;
    made.healthcheck = said.Docker.config.Healthcheck;
    made.container = await buildah("from", made.name);
    try {
      made.root = await buildah("mount", made.container);
    } catch (error) {
      await made.close();
      throw error;
    }
    return made;
  }

  /** What it sets, with `more` over it. */
  env(more = {}) {
    const set = Object.fromEntries((this.config.Env ?? []).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
    return { ...set, ...more };
  }

  /** Places for what an engine mounts; they are no part of the image, so look at it before. */
  async mountPoints() {
    for (const name of ["proc", "etc"]) await mkdir(path.join(this.root, name), { recursive: true });
    await writeFile(path.join(this.root, "etc/hosts"), "", { flag: "a" });
  }

  /** Runs a command that ends: {status, said}. */
  async run(command, more = {}) {
    const container = new Container(this, { command, env: more });
    const { code, signal } = await container.ended();
    return { status: code ?? signal, said: container.log };
  }

  /** The same by buildah itself, whose isolation leaves the root writable: it checks that the entry point is found. */
  async runByBuildah(...command) {
    return buildah("run", "--isolation", "chroot", "--network", "host", this.container, "--", ...command);
  }

  async close() {
    await buildah("rm", this.container);
  }
}

/** What `COPY . .` takes along from a folder with a .dockerignore: the files' paths, sorted. */
export async function takenFrom(dir) {
  const image = "localhost/tokencast-context";
  await writeFile(path.join(dir, "Dockerfile"), "FROM scratch\nCOPY . .\n");
  await buildah("bud", "-q", "--isolation", "chroot", "--layers=false", "-t", image, dir);
  const container = await buildah("from", image);
  try {
    const files = await filesOf(await buildah("mount", container));
    return files.filter(([, entry]) => entry.isFile()).map(([name]) => name).sort();
  } finally {
    await buildah("rm", container);
    await buildah("rmi", image);
  }
}

/** A running image. `hosts` and `bundle` are files for /etc/hosts and for the certificates. */
export class Container {
  log = "";

  constructor(image, { command = image.config.Entrypoint, env = {}, hosts = "-", bundle = "-" } = {}) {
    this.image = image;
    const alone = ["--mount", "--pid", "--fork", "--propagation", "private"];
    const enter = [path.join(HERE, "enter.sh"), image.root, image.config.User, hosts, bundle];
    this.child = spawn("/usr/bin/unshare", [...alone, "--", ...enter, ...command], { env: image.env(env), stdio: ["ignore", "pipe", "pipe"] });
    this.gone = new Promise((resolve) => {
      this.child.on("error", (error) => (this.log += error));
      this.child.on("close", (code, signal) => resolve((this.end = { code, signal })));
    });
    for (const out of [this.child.stdout, this.child.stderr]) out.setEncoding("utf8").on("data", (some) => (this.log += some));
  }

  /** The line of its log that says so, with the addresses. */
  async ready() {
    const line = () => this.log.split("\n").find((text) => text.startsWith("{") && text.includes('"msg":"ready"'));
    await until(() => line() || this.end, () => `${this.image.program} is ready\n${this.log}`);
    if (this.end) throw new Error(`${this.image.program} ended before it was ready\n${this.log}`);
    Object.assign(this, JSON.parse(line()));
    return this;
  }

  /** Its process as this machine counts them, which unshare waits for; nothing to use once it has ended. */
  async pid() {
    const { pid } = this.child;
    const children = () => readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
    return until(async () => this.end || Number((await children()).trim()), `the process of ${this.image.program}`);
  }

  async proc(name) {
    return readFile(`/proc/${await this.pid()}/${name}`, "utf8");
  }

  ended() {
    return inTime(this.gone, `the end of ${this.image.program}`);
  }

  /** The signal goes to the program, as an engine's does. */
  async stop(signal = "SIGTERM") {
    const pid = await this.pid();
    if (!this.end) process.kill(pid, signal);
    return this.ended();
  }

  /** Whatever happened before, it is gone afterwards. Not by ending unshare: who changes the user outlives its parent. */
  async kill() {
    await this.stop("SIGKILL");
  }
}

/** Every file of a root, links not followed: [path from the root, Dirent]. */
export async function filesOf(root) {
  const found = await readdir(root, { recursive: true, withFileTypes: true });
  return found.map((entry) => [path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)), entry]);
}
