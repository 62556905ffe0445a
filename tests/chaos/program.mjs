// A process that the run started: its log in a file, its end by its own id.
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";

import { HANG_MS, sleep } from "../lib/wait.mjs";

export class Program {
  exited = false;
  stopped = false;

  constructor(name, file, command, args) {
    this.name = name;
    this.file = file;
    this.args = args;
    const out = openSync(file, "a");
    this.child = spawn(command, args, { stdio: ["ignore", out, out] });
    closeSync(out);
    this.gone = new Promise((resolve) => {
      const over = (code, signal) => {
        this.exited = true;
        this.status = { code, signal };
        resolve();
      };
      this.child.on("error", (error) => over(String(error), null));
      this.child.on("exit", over);
    });
  }

  get log() {
    return readFileSync(this.file, "utf8");
  }

  /** Waits until `find(log)` is truthy. */
  async until(find, what, ms = HANG_MS) {
    const deadline = Date.now() + ms;
    for (;;) {
      const found = find(this.log);
      if (found) return found;
      if (this.exited || Date.now() > deadline) throw new Error(`${this.name}: no ${what}\n${this.log.slice(-4000)}`);
      await sleep(20);
    }
  }

  signal(name) {
    if (!this.exited) this.child.kill(name);
  }

  pause() {
    this.stopped = true;
    this.signal("SIGSTOP");
  }

  resume() {
    this.stopped = false;
    this.signal("SIGCONT");
  }

  /** Ends it; after `ms` without mercy. Resolves whether it went by itself. */
  async end(signal = "SIGTERM", ms = 20000) {
    if (this.exited) return true;
    this.resume();
    this.signal(signal);
    const timer = setTimeout(() => this.signal("SIGKILL"), ms);
    await this.gone;
    clearTimeout(timer);
    return this.status.signal !== "SIGKILL" || signal === "SIGKILL";
  }
}

/** The parsed line of a JSON log that says "ready". */
export function readyLine(log) {
  for (const line of log.split("\n")) {
    if (!line.startsWith("{") || !line.includes('"ready"')) continue;
    try {
      const entry = JSON.parse(line);
      if (entry.msg === "ready") return entry;
    } catch {
      // half a line
    }
  }
  return null;
}
