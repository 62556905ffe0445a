// The random run: ./dev chaos --faults N --seed S [--redis single|sentinel|cluster] [--clients N] [--minutes M].
import { mkdirSync, mkdtempSync, readdirSync, rmSync, copyFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { Random } from "./random.mjs";
import { World, missing } from "./world.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const OUT = path.resolve(HERE, "../out");
const KINDS = ["single", "sentinel", "cluster"];

async function redisOf(kind, dir, random) {
  const made = await import(`./redis-${kind}.mjs`);
  return new made[`Redis${kind[0].toUpperCase()}${kind.slice(1)}`](dir, random);
}

/** What a run was like, in lines for people. */
export function report({ options, world, seconds }) {
  const { counts, findings } = world;
  const list = (object) =>
    Object.entries(object)
      .sort()
      .map(([name, n]) => `${name} ${n}`)
      .join(", ") || "none";
  const faults = Object.values(counts.faults).reduce((sum, n) => sum + n, 0);
  return [
    `seed ${options.seed}, redis ${options.redis}${world.redis.lossy ? " (may lose a tail)" : ""}, ${seconds} s`,
    `faults ${faults}: ${list(counts.faults)}${counts.skipped ? ` (${counts.skipped} found nothing to befall)` : ""}`,
    `generations ${counts.generations}: ${list(counts.ends)}; later attempts ${counts.attempts}`,
    `clients ${counts.clients}: ${counts.events} events, ${counts.gaps} gaps (${counts.lost} of lost branches), ${counts.reconnects} reconnects, ${counts.bytes} bytes`,
    ...(counts.excused
      ? [`ends that were shown and lost with their worker: ${counts.excused} (the exception of the protocol)`]
      : []),
    ...(counts.vanished ? [`generations that a failover lost from their very beginning: ${counts.vanished}`] : []),
    `connections refused or left: ${list(counts.trouble)}`,
    findings.length === 0 ? "verdict: the promises held" : `verdict: ${findings.length} findings`,
    ...Object.entries(Object.groupBy?.(findings, ({ name }) => name) ?? {}).map(
      ([name, all]) => `  ${name}: ${all.length}`,
    ),
  ];
}

function keep(dir, { options, world, lines }) {
  const out = path.join(OUT, `chaos-${options.seed}`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  for (const name of readdirSync(dir))
    if (name.endsWith(".log")) copyFileSync(path.join(dir, name), path.join(out, name));
  const json = (name, value) => writeFileSync(path.join(out, name), `${JSON.stringify(value, null, 1)}\n`);
  json("findings.json", world.findings);
  for (const [i, failed] of world.failed.entries()) json(`generation-${i}.json`, failed);
  writeFileSync(path.join(out, "report.txt"), `${lines.join("\n")}\n`);
  return out;
}

/** Runs once; resolves {findings, lines}. options: {faults, seed, redis, clients, minutes}; say(line). */
export async function chaos(options, say = () => {}) {
  const reason = missing();
  if (reason) throw new Error(reason);
  const began = Date.now();
  const elapsed = () => ((Date.now() - began) / 1000).toFixed(1);
  const dir = mkdtempSync(path.join(tmpdir(), "tc-chaos-"));
  const random = new Random(options.seed);
  const redis = await redisOf(options.redis, dir, random.fork());
  const world = new World({ ...options, dir, random, redis, say: (line) => say(`${elapsed()} ${line}`) });
  // Whoever stops the run does not leave its programs behind.
  const stopped = (signal) => {
    for (const program of [...world.programs, ...world.redis.programs()]) program?.signal("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
    process.stdout.write(`stopped by ${signal}\n`);
    process.exit(130);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, stopped);
  try {
    await world.start();
    await world.run(options);
  } catch (error) {
    world.find("world", String(error.stack ?? error));
  } finally {
    await world.stop().catch((error) => world.find("world", String(error.stack ?? error)));
  }
  for (const signal of signals) process.off(signal, stopped);
  const lines = report({ options, world, seconds: elapsed() });
  if (world.findings.length > 0) {
    const out = keep(dir, { options, world, lines });
    const more = options.minutes ? `--minutes ${options.minutes}` : `--faults ${options.faults}`;
    lines.push(`histories and logs: ${path.relative(process.cwd(), out)}`);
    lines.push(
      `again: ./dev chaos --seed ${options.seed} ${more} --redis ${options.redis} --clients ${options.clients}`,
    );
    lines.push("(a seed repeats every choice; when each takes effect also depends on the machine)");
  }
  rmSync(dir, { recursive: true, force: true });
  return { findings: world.findings, counts: world.counts, lines };
}

function wholeNumber(text, name, from, to) {
  const n = Number(text);
  if (!Number.isInteger(n) || n < from || n > to) throw new Error(`--${name} is a whole number from ${from} to ${to}`);
  return n;
}

function optionsOf(args) {
  const { values } = parseArgs({
    args,
    options: {
      faults: { type: "string", default: "40" },
      seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
      redis: { type: "string", default: "single" },
      clients: { type: "string", default: "120" },
      minutes: { type: "string" },
    },
  });
  if (!KINDS.includes(values.redis)) throw new Error(`--redis is ${KINDS.join(", ")}`);
  return {
    faults: wholeNumber(values.faults, "faults", 0, 100000),
    seed: wholeNumber(values.seed, "seed", 0, 4294967295),
    redis: values.redis,
    clients: wholeNumber(values.clients, "clients", 8, 5000),
    minutes: values.minutes === undefined ? undefined : wholeNumber(values.minutes, "minutes", 1, 10000),
  };
}

async function main() {
  let options;
  try {
    options = optionsOf(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`chaos: ${error.message}\n`);
    process.exit(2);
  }
  process.stdout.write(`seed ${options.seed}\n`);
  const { findings, lines } = await chaos(options, (line) => process.stdout.write(`${line}\n`));
  process.stdout.write(`${lines.join("\n")}\n`);
  process.exit(findings.length === 0 ? 0 : 1);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
