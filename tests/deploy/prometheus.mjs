// Debian's prometheus and promtool on files of the test's own folder.
import { execFile, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { freePort } from "../lib/ports.mjs";
import { eventually } from "../lib/wait.mjs";

const run = promisify(execFile);

/** {ok, output} of promtool. */
export async function promtool(...args) {
  try {
    const { stdout, stderr } = await run("promtool", args, { timeout: 120000, maxBuffer: 1 << 24 });
    return { ok: true, output: stdout + stderr };
  } catch (error) {
    return { ok: false, output: `${error.stdout}${error.stderr}${error.message}` };
  }
}

/** The same of `promtool check metrics`, which reads a page of metrics. */
export function checkMetrics(page) {
  return new Promise((resolve) => {
    const child = execFile("promtool", ["check", "metrics"], { timeout: 60000 }, (error, stdout, stderr) =>
      resolve({ ok: !error, output: stdout + stderr }),
    );
    child.stdin.end(page);
  });
}

/** jobs: {name: {targets: ["host:port", …], labels}}; rules: files. Everything is in JSON, which is YAML. */
function configuration(jobs, rules) {
  const scrapes = Object.entries(jobs).map(([name, each]) => ({ job_name: name, static_configs: [each] }));
  return JSON.stringify({
    global: { scrape_interval: "250ms", scrape_timeout: "250ms", evaluation_interval: "500ms" },
    rule_files: rules,
    scrape_configs: scrapes,
  });
}

export class Prometheus {
  #child;
  #gone;
  log = "";

  static async start(folder, jobs, rules) {
    const made = new Prometheus();
    const config = path.join(folder, "prometheus.json");
    await writeFile(config, configuration(jobs, rules));
    const port = await freePort();
    made.url = `http://127.0.0.1:${port}`;
    made.#child = spawn(
      "prometheus",
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${path.join(folder, "tsdb")}`,
        `--web.listen-address=127.0.0.1:${port}`,
        "--log.level=warn",
      ],
      { cwd: folder, stdio: ["ignore", "ignore", "pipe"] },
    );
    made.#gone = new Promise((resolve) => made.#child.on("close", resolve).on("error", resolve));
    made.#child.stderr.on("data", (text) => (made.log = (made.log + text).slice(-65536)));
    try {
      await eventually(async () => (await fetch(`${made.url}/-/ready`)).ok, "ready Prometheus");
    } catch (error) {
      error.message += `\n${made.log}`;
      await made.stop();
      throw error;
    }
    return made;
  }

  async #get(what, parameters = {}) {
    const answer = await (await fetch(`${this.url}/api/v1/${what}?${new URLSearchParams(parameters)}`)).json();
    if (answer.status !== "success") throw new Error(`${answer.error}: ${JSON.stringify(parameters)}`);
    return answer.data;
  }

  /** The samples of an instant query. */
  async query(query) {
    return (await this.#get("query", { query })).result;
  }

  /** Every rule that is loaded, with its health and, of an alert, its state. */
  async rules() {
    return (await this.#get("rules")).groups.flatMap((group) => group.rules);
  }

  async stop() {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 10000);
    await this.#gone;
    clearTimeout(timer);
  }
}
