// A program with a supervisor above it (supervisor.py), which can stop one of its threads alone.
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { BUILD } from "../clients/harness.mjs";
import { sleep, until } from "./wait.mjs";

const SUPERVISOR = path.join(path.dirname(fileURLToPath(import.meta.url)), "supervisor.py");

/** A program under a supervisor, and what it was told. */
export class Supervised {
  told = [];
  done = [];
  log = "";

  constructor(program, args, watchdogMs = 0) {
    this.watchdogMs = watchdogMs;
    const command = [SUPERVISOR, String(watchdogMs * 1000), path.join(BUILD, "bin", program), ...args];
    this.child = spawn("/usr/bin/python3", command, { stdio: ["pipe", "pipe", "pipe"] });
    this.child.stderr.setEncoding("utf8").on("data", (text) => (this.log += text));
    this.child.stdin.on("error", () => {});
    this.gone = new Promise((resolve) => this.child.on("close", resolve));
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      const said = JSON.parse(line);
      if (said.told) this.told.push(...said.told.trimEnd().split("\n"));
      if (said.did) this.done.push(said.did);
      if (said.pid) this.pid = said.pid;
      if (said.status !== undefined) this.status = said.status;
    });
  }

  /** Waits until something was told that fits. */
  until(fits, what) {
    return until(() => this.told.find(fits), () => `${what}; told: ${this.told.join(" ")}\n${this.log}`);
  }

  /** The address of the operations port that its log names; once it is ready. */
  get ops() {
    return `http://${this.log.match(/ready .*?\bops=(\S+)/)[1]}`;
  }

  async order(line) {
    const before = this.done.length;
    this.child.stdin.write(`${line}\n`);
    await until(() => this.done.length > before, () => `${line}\n${this.log}`);
  }

  /** From now on. */
  beats() {
    this.told = this.told.filter((word) => word !== "WATCHDOG=1");
    return this.until((word) => word === "WATCHDOG=1", "a sign of life");
  }

  /** What was on its way may still come; then nothing does, for many times as long as it took to say that it lives. */
  assertSilent(why) {
    const quiet = async () => {
      this.told = this.told.filter((word) => word !== "WATCHDOG=1");
      await sleep(this.watchdogMs * 3);
      return !this.told.includes("WATCHDOG=1");
    };
    return until(quiet, why, 20000);
  }

  async stop() {
    this.child.stdin.end();
    await this.gone;
  }
}
