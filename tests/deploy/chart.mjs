// The chart as the tests see it: helm, rendered objects, and small looks into them.
import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { load, loadAll } from "js-yaml";

const run = promisify(execFile);
const LIMITS = { timeout: 60000, maxBuffer: 1 << 26 };

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
export const CHART = path.join(ROOT, "deploy/helm/tokencast");
export const RELEASE = "rel";

let program;
/** Helm's standard output. Its environment has no cluster and no configuration of whoever runs the tests. */
export async function helm(...args) {
  program ??= run(path.join(ROOT, "tools/helm.sh"), [], LIMITS).then(({ stdout }) => stdout.trim());
  const env = { PATH: process.env.PATH, HOME: "/nonexistent", KUBECONFIG: "/nonexistent" };
  const { stdout } = await run(await program, args, { ...LIMITS, env });
  return stdout;
}

/** What helm says when it refuses; fails if it does not. */
export async function refusal(...args) {
  try {
    await helm("template", RELEASE, CHART, ...args);
  } catch (error) {
    return error.stderr;
  }
  throw new Error(`helm took ${args.join(" ")}`);
}

export async function render(...args) {
  return loadAll(await helm("template", RELEASE, CHART, ...args)).filter(Boolean);
}

/** [{name, file, values}] of the chart's values files for tests. */
export async function valuesFiles() {
  const names = (await readdir(path.join(CHART, "ci"))).filter((name) => name.endsWith("-values.yaml")).sort();
  const files = names.map(async (name) => {
    const file = path.join(CHART, "ci", name);
    return { name: name.replace("-values.yaml", ""), file, values: load(await readFile(file, "utf8")) };
  });
  return Promise.all(files);
}

// ---- looks into objects

export const ofKind = (objects, ...kinds) => objects.filter(({ kind }) => kinds.includes(kind));
export const title = ({ kind, metadata }) => `${kind} ${metadata?.name}`;
export const named = (objects, kind, name) => objects.find((object) => object.kind === kind && object.metadata.name === name);

/** Everything that makes pods. */
export const workloads = (objects) => ofKind(objects, "Deployment", "StatefulSet", "Job");
export const podOf = (workload) => workload.spec.template.spec;
export const labelsOf = (workload) => workload.spec.template.metadata.labels;
export const containersOf = (workload) => [...(podOf(workload).initContainers ?? []), ...podOf(workload).containers];

export const component = (objects, kind, name) =>
  objects.find((object) => object.kind === kind && object.metadata.labels["app.kubernetes.io/component"] === name);

/** Whether labels have all that a selector's matchLabels want; one that wants nothing selects everything. */
export const selects = (wanted, labels) => Object.entries(wanted ?? {}).every(([key, value]) => labels?.[key] === value);

/** The environment of a container: its own, and that of its config maps. */
export function environment(objects, container) {
  const all = {};
  for (const { configMapRef } of container.envFrom ?? []) Object.assign(all, named(objects, "ConfigMap", configMapRef.name)?.data);
  for (const { name, value } of container.env ?? []) all[name] = value;
  return all;
}

/** "20s" in seconds, of the forms that the chart writes. */
export function seconds(duration) {
  const [, number, unit] = /^(\d+)(s?)$/.exec(duration ?? "") ?? [];
  return number === undefined ? NaN : unit === "s" ? Number(number) : Number(number) / 1000;
}

export const mebibytes = (amount) => Number.parseInt(amount) * (amount.endsWith("Gi") ? 1024 : 1);
