// A rehearsal of operations under load: ./dev rehearse [--minutes M] [--short] [--other DIR]; with
// --spoil kill|storm|key it does one thing wrong, to see that the checks notice.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { BUILD, missing } from "../clients/harness.mjs";
import { sleep } from "../lib/wait.mjs";
import { rows, storm, table } from "./figures.mjs";
import { Load } from "./load.mjs";
import { Stage } from "./stage.mjs";
import { stepsFor } from "./steps.mjs";

const OUT = fileURLToPath(new URL("../out/rehearse", import.meta.url));
const SPOILS = ["kill", "storm", "key"];
const LATE_MS = 90000; // for what is under way when all is over: bounds a hang

/** ms, but for the load: generations a second, those that go on, readers each, tokens on average, tokens a second. */
export const SHORT = {
  brokers: 2,
  workers: 2,
  window: 4000,
  delay: 2000,
  grace: 1000,
  hold: 2000,
  load: { perSecond: 3, endless: 12, readers: 5, tokens: 120, rate: 20 },
};
export const LONG = {
  brokers: 3,
  workers: 3,
  window: 10000,
  delay: 3000,
  grace: 5000,
  hold: 10000,
  load: { perSecond: 3, endless: 20, readers: 5, tokens: 300, rate: 20 },
};

/** Each drain by the readers who were on that broker when it began. */
function judgeDrains(stage, load, options) {
  let judged = 0;
  for (const drain of stage.drains) {
    const until = drain.until + 2000; // the longest `retry:`, and a little
    const mine = load.clients
      .flatMap(({ from }) => from)
      .filter(({ via, over }) => via === drain.place && over >= drain.from && over <= drain.until + 500)
      .map(({ back }) => back);
    drain.back = mine.length;
    if (mine.length >= 20) judged += 1;
    const stalled = stage.stalled(drain.from, until);
    const what = storm(mine, { connections: drain.connections, window: options.window, stalled });
    if (what) stage.find("storm", `${drain.name}: ${what}`);
  }
  return judged;
}

/** What the drain windows of a step make of the connections: reconnects a second if they are spread evenly. */
function expectedOf({ from, until }, drains, window) {
  const its = drains.filter((drain) => drain.from >= from && drain.from < until);
  const together = its.map((one) =>
    its
      .filter((other) => Math.abs(other.from - one.from) < window / 2)
      .reduce((sum, { connections }) => sum + connections, 0),
  );
  return its.length > 0 ? (1000 * Math.max(...together)) / window : null;
}

async function play(stage, load, options, say) {
  const steps = [];
  await stage.start({ ...options, key: "key-old" });
  const list = stepsFor(options);
  load.step = "until as many end as begin";
  const running = load.run();
  await sleep((1000 * options.load.tokens) / options.load.rate);
  for (const [name, body] of list) {
    load.step = name;
    const step = { name, from: Date.now() };
    say(`${name}: ${load.open} readers`);
    await body(stage, { ...options, load: { waiting: () => load.waiting() } });
    step.until = Date.now();
    steps.push(step);
  }
  load.stop(LATE_MS);
  await running;
  return steps;
}

export function linesOf({ stage, load, steps, helped, counts, options, seconds }) {
  for (const step of steps) step.expected = expectedOf(step, stage.drains, options.window);
  const { perSecond, endless, readers, tokens, rate } = options.load;
  const { findings } = stage;
  const names = new Map();
  for (const { name } of findings) names.set(name, (names.get(name) ?? 0) + 1);
  return [
    ...table(rows(steps, load.clients, load.generations)),
    "",
    `load: ${perSecond} generations/s of ${tokens} tokens and ${endless} that go on, ${rate} tokens/s, ` +
      `${readers} readers each; ` +
      `drain delay ${options.delay} ms, window ${options.window} ms`,
    `readers ${load.clients.length}, whole ${load.clients.filter(({ whole }) => whole).length}; ` +
      `generations ${load.generations.length}; ${seconds} s`,
    `starts repeated ${load.repeated}; HAProxy: ${helped.retries} connections tried again, ` +
      `${helped.redispatches} given to another broker, ${helped.errors} answers 5xx`,
    `model server: ${Object.entries(counts.byKey)
      .map(([key, n]) => `${key} ${n}`)
      .join(", ")}, refused ${counts.refused}, continued ${counts.continued}`,
    `readers without text while there was no worker: ${stage.waited ?? "-"}`,
    `this process stood still for ${Math.round(stage.stalled(0, Infinity))} ms in all`,
    findings.length === 0 ? "verdict: every reader whole, no storm" : `verdict: ${findings.length} findings`,
    ...[...names].map(([name, count]) => `  ${name}: ${count}`),
  ];
}

function keep(dir, stage, lines) {
  rmSync(OUT, { recursive: true, force: true });
  mkdirSync(OUT, { recursive: true });
  for (const name of readdirSync(dir))
    if (name.endsWith(".log")) copyFileSync(path.join(dir, name), path.join(OUT, name));
  writeFileSync(path.join(OUT, "findings.json"), `${JSON.stringify(stage.findings, null, 1)}\n`);
  writeFileSync(path.join(OUT, "report.txt"), `${lines.join("\n")}\n`);
}

/** Plays it once; resolves {findings, steps, drains, clients, generations, judged, counts, lines}. */
export async function rehearse(options, say = () => {}) {
  const reason = missing();
  if (reason) throw new Error(reason);
  const began = Date.now();
  const dir = mkdtempSync(path.join(tmpdir(), "tc-rehearse-"));
  const told = (line) => say(`${((Date.now() - began) / 1000).toFixed(1)} ${line}`);
  const drainWindow = options.spoil === "storm" ? 0 : options.window;
  const stage = new Stage({ ...options, dir, drainWindow, say: told });
  const load = new Load(stage, options.load);
  const stopped = () => {
    for (const program of stage.all()) program.signal("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
    process.exit(130);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, stopped);
  let steps = [];
  let helped = { retries: 0, redispatches: 0, errors: 0 };
  let counts = { byKey: {}, refused: 0, continued: 0 };
  try {
    steps = await play(stage, load, options, told);
    helped = await stage.proxy.helped();
    counts = await stage.modelCounts();
  } catch (error) {
    stage.find("rehearsal", String(error.stack ?? error));
    load.abandon();
  } finally {
    await stage.stop().catch((error) => stage.find("rehearsal", String(error.stack ?? error)));
  }
  for (const signal of signals) process.off(signal, stopped);
  const judged = judgeDrains(stage, load, options);
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  const lines = linesOf({ stage, load, steps, helped, counts, options, seconds });
  if (stage.findings.length > 0) {
    keep(dir, stage, lines);
    lines.push(`logs and findings: ${path.relative(process.cwd(), OUT)}`);
  }
  rmSync(dir, { recursive: true, force: true });
  const { findings, drains, waited } = stage;
  const { clients, generations } = load;
  return { findings, steps, drains, waited, clients, generations, judged, counts, helped, lines };
}

function optionsOf(args) {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: "string", default: "4" },
      short: { type: "boolean", default: false },
      other: { type: "string" },
      spoil: { type: "string" },
    },
  });
  const minutes = Number(values.minutes);
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > 120)
    throw new Error("--minutes is a whole number from 1 to 120");
  if (values.spoil && !SPOILS.includes(values.spoil)) throw new Error(`--spoil is ${SPOILS.join(", ")}`);
  const base = values.short ? SHORT : LONG;
  const hold = values.short ? base.hold : Math.max(1000, (minutes * 60000 - 150000) / 7);
  const other = values.other && path.resolve(values.other);
  return { ...base, hold, spoil: values.spoil, other, own: BUILD };
}

async function main() {
  let options;
  try {
    options = optionsOf(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`rehearse: ${error.message}\n`);
    process.exit(2);
  }
  const { findings, lines } = await rehearse(options, (line) => process.stdout.write(`${line}\n`));
  process.stdout.write(`${lines.join("\n")}\n`);
  process.exit(findings.length === 0 ? 0 : 1);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
