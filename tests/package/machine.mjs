// A Debian in a folder, with our packages installed by its own apt-get and its own systemd as process 1.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, statfs } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { eventually, until } from "../lib/wait.mjs";

const run = promisify(execFile);
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const AS_ROOT = process.getuid() === 0 ? [] : ["sudo", "-n"];

/** Runs a command as root; its output, or an error that has it. */
export async function asRoot(command, { timeout = 60000, ...more } = {}) {
  const [program, ...args] = [...AS_ROOT, ...command];
  try {
    return (await run(program, args, { timeout, maxBuffer: 1 << 24, ...more })).stdout;
  } catch (error) {
    error.message = `${command.join(" ")}: ${error.message}\n${error.stdout ?? ""}${error.stderr ?? ""}`.slice(-8000);
    throw error;
  }
}

/** The .deb files of this tree, made if it has changed. */
export async function packages() {
  const { stdout } = await run(path.join(ROOT, "tools/package.sh"), [], { timeout: 400000, maxBuffer: 1 << 24 });
  return stdout.trim().split("\n");
}

/** Where a system fits: in memory if there is room, since apt-get waits for a disk after every file. */
async function folderForRoot() {
  const { bavail, bsize } = await statfs("/dev/shm").catch(() => ({ bavail: 0, bsize: 0 }));
  return mkdtemp(path.join(bavail * bsize > 3e9 ? "/dev/shm" : path.join(ROOT, "build-package"), "tokencast-trial-"));
}

/** The pids that a process has started. */
async function children(pid) {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, "utf8")));
  return lists.join(" ").trim().split(/\s+/).filter(Boolean).map(Number);
}

/** The systemd among the descendants of a process. */
async function findSystemd(pid) {
  for (const child of await children(pid)) {
    if ((await readFile(`/proc/${child}/comm`, "utf8")) === "systemd\n") return child;
    const below = await findSystemd(child);
    if (below) return below;
  }
  return 0;
}

export class Machine {
  log = "";

  static async make(debs) {
    const made = new Machine();
    made.folder = await folderForRoot();
    made.root = path.join(made.folder, "root");
    await asRoot([path.join(ROOT, "tools/trial-root.sh"), made.root, ...debs], { timeout: 400000 });
    return made;
  }

  /** In the folder, without its systemd. */
  chroot(...command) {
    return asRoot(["chroot", this.root, ...command]);
  }

  async boot() {
    const [program, ...args] = [...AS_ROOT, path.join(ROOT, "tools/boot-root.sh"), this.root];
    this.child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    for (const out of [this.child.stdout, this.child.stderr]) {
      out.setEncoding("utf8").on("data", (text) => (this.log += text));
    }
    let over = false;
    this.gone = new Promise((resolve) => this.child.on("close", resolve)).then(() => (over = true));
    const look = async () => {
      if (over) throw new Error(`it does not boot: ${this.log}`);
      return findSystemd(this.child.pid).catch(() => 0); // a process may end while we look
    };
    this.systemd = await until(look, "systemd");
    // "degraded" would be a unit that has failed.
    await eventually(async () => (await this.run("systemctl", "is-system-running", "--wait")) === "running\n", "a booted system");
  }

  /** On the booted system. */
  run(...command) {
    return asRoot(["nsenter", "-t", String(this.systemd), "-a", ...command]);
  }

  /** With a shell of the booted system. */
  sh(script) {
    return this.run("sh", "-ec", script);
  }

  /** A file of the system, with all that leads to it. */
  write(file, text) {
    return this.run("sh", "-ec", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', "sh", file, text);
  }

  /** A program of this machine on the booted system's network. */
  curl(...args) {
    return asRoot(["nsenter", "-t", String(this.systemd), "-n", "curl", "-sS", "--max-time", "30", ...args]);
  }

  /** A unit's properties, by name. */
  async show(unit, ...names) {
    const text = await this.run("systemctl", "show", unit, `--property=${names.join(",")}`);
    return Object.fromEntries(text.trim().split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  }

  /** Waits until a unit's properties are so. */
  becomes(unit, wanted) {
    let last;
    const look = async () => {
      last = await this.show(unit, ...Object.keys(wanted));
      return Object.entries(wanted).every(([name, value]) => last[name] === value);
    };
    return until(look, () => `${unit}: ${JSON.stringify(wanted)}, not ${JSON.stringify(last)}`);
  }

  journal(unit) {
    return this.run("journalctl", "--no-pager", "-o", "cat", "-u", unit);
  }

  async halt() {
    this.child?.stdin.end();
    await this.gone;
  }

  async remove() {
    await this.halt();
    await asRoot(["rm", "-rf", "--one-file-system", this.folder]);
  }
}
