// Rules, alerts and dashboards against what the programs export and against Debian's Prometheus.
// Needs a build (TC_BUILD, default ../../build), redis-server, prometheus and promtool.
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { logLines, metric } from "../lib/metrics.mjs";
import { once } from "../lib/redis.mjs";
import { bounded, eventually, until } from "../lib/wait.mjs";
import { dashboardProblems, substituted } from "./dashboards.mjs";
import { Prometheus, checkMetrics, promtool } from "./prometheus.mjs";
import { learn, learnRecording, queryProblems } from "./promql.mjs";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const HERE = path.join(ROOT, "deploy/observability");

async function filesIn(folder, suffix) {
  const names = (await readdir(path.join(HERE, folder))).filter((name) => name.endsWith(suffix)).sort();
  assert.ok(names.length > 0, `${folder} has no ${suffix}`);
  return names.map((name) => path.join(HERE, folder, name));
}

const ruleFiles = () => filesIn("rules", ".yaml");
const ruleTests = () => filesIn("rules/tests", ".yaml");

async function boards() {
  const files = await filesIn("dashboards", ".json");
  return Promise.all(files.map(async (file) => ({ file: path.basename(file), board: JSON.parse(await readFile(file, "utf8")) })));
}

const textOf = async (files) => (await Promise.all(files.map((file) => readFile(file, "utf8")))).join("\n");

async function withFolder(body) {
  const folder = await mkdtemp(path.join(tmpdir(), "tc-observability-"));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

// ---- rules

test("rules_checked_by_promtool_are_right", bounded, async () => {
  const { ok, output } = await promtool("check", "rules", ...(await ruleFiles()));
  assert.ok(ok, output);
});

test("configuration_checked_by_promtool_is_right", bounded, async () => {
  const { ok, output } = await promtool("check", "config", path.join(HERE, "prometheus.yaml"));
  assert.ok(ok && output.includes("canary.yaml"), output);
});

test("rules_tested_by_promtool_pass", bounded, async () => {
  const { ok, output } = await promtool("test", "rules", ...(await ruleTests()));
  assert.ok(ok, output);
});

/** What promtool says of the tests when the rules were changed. */
function testedWith(file, change) {
  return withFolder(async (folder) => {
    await cp(path.join(HERE, "rules"), path.join(folder, "rules"), { recursive: true });
    const changed = path.join(folder, "rules", file);
    const was = await readFile(changed, "utf8");
    const is = change(was);
    assert.notEqual(is, was, "the change found its place");
    await writeFile(changed, is);
    return promtool("test", "rules", path.join(folder, "rules/tests", file));
  });
}

const FAULTS = [
  ["canary_that_allows_17_percent", "canary.yaml", (text) => text.replace("> 1.15", "> 1.17")],
  ["canary_that_allows_13_percent", "canary.yaml", (text) => text.replace("> 1.15", "> 1.13")],
  ["canary_that_believes_few_samples", "canary.yaml", (text) => text.replaceAll(">= 400", ">= 1")],
  ["canary_that_takes_a_rollback_for_new", "canary.yaml", (text) => text.replaceAll("[6h] offset 1h", "[1m] offset 1h")],
  ["canary_blind_within_a_bucket", "canary.yaml", (text) => text.replace("_sum:increase15m", "_mean:increase15m")],
  ["alert_without_patience", "alerts.yaml", (text) => text.replaceAll(/^ +for: .*\n/gm, "")],
  ["alert_of_removed_pods", "alerts.yaml", (text) => text.replaceAll("up == 0 and on", "up * 0 == 0 and on")],
];

for (const [name, file, change] of FAULTS) {
  test(`planted_${name}_is_caught`, bounded, async () => {
    const { ok, output } = await testedWith(file, change);
    assert.ok(!ok && output.includes("FAILED"), output);
  });
}

test("alerts_each_have_a_test_that_fires_one_that_does_not_and_a_word_in_the_document", bounded, async () => {
  const names = [...(await textOf(await ruleFiles())).matchAll(/^ +- alert: (\w+)$/gm)].map((found) => found[1]);
  assert.ok(names.length > 20, `only ${names.length} alerts`);
  const tests = await textOf(await ruleTests());
  const page = await readFile(path.join(ROOT, "docs/observability.md"), "utf8");
  const wrong = [];
  for (const name of names) {
    if (!new RegExp(`alertname: ${name}\\n +exp_alerts:\\n +- exp_labels`).test(tests)) wrong.push(`${name} never fires`);
    if (!tests.includes(`alertname: ${name}\n        exp_alerts: []`)) wrong.push(`${name} is never quiet`);
    if (!page.includes(`<a id="${name.toLowerCase()}"></a>`)) wrong.push(`${name} is not in docs/observability.md`);
  }
  assert.deepEqual(wrong, []);
});

// ---- against real programs

/** A stack that has met everything that makes a series: takeover, cancel, model servers that fail, garbage in the queue. */
async function startEventful() {
  const lease = ["--lease-ms", "600ms"];
  const h = await Harness.start({ workers: 0, brokerArgs: lease });
  try {
    await h.explains(async () => {
      const first = await h.worker(lease);
      const { id } = await post(h.url, "word ".repeat(60).trim(), { rate: 20 });
      await until(() => metric(first, "tokencast_worker_appends_total"), "first words");
      await first.stop("SIGKILL");
      h.heir = await h.worker(lease);
      assert.equal((await ended(h.url, id)).state, "done");
      await cancelOne(h);
      await once(h.redisUrl, "XADD", "tc:jobs", "*", "not", "a job");
      await until(() => metric(h.heir, "tokencast_worker_jobs_dropped_total"), "a dropped job");
      await failOne(h);
    });
    return h;
  } catch (error) {
    await h.stop();
    throw error;
  }
}

async function cancelOne(h) {
  const { id } = await post(h.url, "word ".repeat(2000).trim(), { rate: 20 });
  await until(() => metric(h.heir, "tokencast_worker_generations", 'state="running"'), "a running generation");
  assert.equal((await fetch(`${h.url}/v1/generations/${id}/cancel`, { method: "POST" })).status, 202);
  assert.equal((await ended(h.url, id)).state, "cancelled");
}

/** On a queue of its own, so that nobody else runs it. Nothing listens on port 1 of 127.0.0.1. */
async function failOne(h) {
  const queue = ["--queue", "failing"];
  h.other = await h.broker(queue);
  h.failing = await h.worker([...queue, "--provider", "openai", "--upstream", "http://127.0.0.1:1/v1", "--max-retries", "0"]);
  const { id } = await post(h.other.url, "unheard", { model: "m" });
  assert.equal((await ended(h.other.url, id)).state, "failed");
}

describe("observability_of_real_programs", { skip: missing() }, () => {
  let h;
  let folder;
  let prometheus;
  const known = new Map();

  before(async () => {
    h = await startEventful();
    folder = await mkdtemp(path.join(tmpdir(), "tc-observability-"));
    const host = (program) => new URL(program.ops).host;
    const brokers = [h.brokers[0], h.other];
    const workers = [h.heir, h.failing];
    const jobs = {
      brokers: { targets: brokers.map(host), labels: { namespace: "test", version: "of-the-pod" } },
      workers: { targets: workers.map(host), labels: { namespace: "test" } },
    };
    prometheus = await Prometheus.start(folder, jobs, await ruleFiles());
    for (const program of [...brokers, ...workers]) learn(known, await (await fetch(`${program.ops}/metrics`)).text());
    for (const rule of await prometheus.rules()) if (rule.type === "recording") learnRecording(known, rule.name, rule.labels);
  }, bounded);

  after(async () => {
    await prometheus?.stop();
    await h?.stop();
    if (folder) await rm(folder, { recursive: true, force: true });
  }, bounded);

  test("metrics_of_both_programs_pass_promtool", bounded, async () => {
    for (const program of [h.brokers[0], h.heir]) {
      const { ok, output } = await checkMetrics(await (await fetch(`${program.ops}/metrics`)).text());
      assert.ok(ok, output);
    }
  });

  test("programs_tell_their_version_their_loops_and_their_queue", bounded, async () => {
    const { version, loops } = logLines(h.brokers[0]).find(({ msg }) => msg === "ready");
    assert.equal(await metric(h.brokers[0], "tokencast_broker_build_info", `version="${version}"`), 1);
    assert.equal(await metric(h.brokers[0], "tokencast_broker_loops"), loops);
    // Two jobs for a queue whose only worker is full.
    const full = ["--queue", "full"];
    const broker = await h.broker(full);
    for (let i = 0; i < 3; i++) await post(broker.url, "word ".repeat(2000).trim(), { rate: 20 });
    const worker = await h.worker([...full, "--slots", "1"]);
    const jobs = (state) => metric(worker, "tokencast_worker_queue_jobs", `queue="tc:jobs:full",state="${state}"`);
    await until(async () => (await jobs("taken")) === 1 && (await jobs("waiting")) === 2, "the queue, counted");
    await Promise.all([worker, broker].map((program) => program.stop("SIGKILL")));
  });

  test("rules_loaded_by_prometheus_read_only_what_is_exported", bounded, async () => {
    const wrong = [];
    for (const rule of await prometheus.rules()) {
      for (const problem of queryProblems(known, rule.query)) wrong.push(`${rule.name}: ${problem}`);
    }
    assert.deepEqual(wrong, []);
  });

  test("rules_loaded_by_prometheus_evaluate_without_error_and_no_alert_fires", bounded, async () => {
    // Without samples every rule is right: first both tiers have to be there, with enough of them for a rate.
    for (const name of ["tokencast_broker_redis_up", "tokencast_worker_redis_up"]) {
      const seen = async () => (await prometheus.query(`count_over_time(${name}[1m]) > 3`)).length === 2;
      await eventually(seen, `samples of ${name}`);
    }
    const since = Date.now();
    let rules;
    const evaluated = async () => {
      rules = await prometheus.rules();
      return rules.every(({ lastEvaluation }) => Date.parse(lastEvaluation) > since);
    };
    await until(evaluated, () => `evaluation of ${JSON.stringify(rules)}`);
    assert.deepEqual(rules.filter(({ health, lastError }) => health !== "ok" || lastError).map(({ name, lastError }) => [name, lastError]), []);
    assert.deepEqual(rules.filter(({ state }) => state === "firing").map(({ name }) => name), []);
  });

  test("dashboards_are_valid_and_show_only_what_is_exported", bounded, async () => {
    const wrong = (await boards()).flatMap(({ file, board }) => dashboardProblems(board, known).map((problem) => `${file}: ${problem}`));
    assert.deepEqual(wrong, []);
    const uids = (await boards()).map(({ board }) => board.uid);
    assert.equal(new Set(uids).size, uids.length, "uids differ");
  });

  test("metrics_are_each_on_a_dashboard", bounded, async () => {
    const shown = (await boards()).flatMap(({ board }) => board.panels.flatMap((panel) => (panel.targets ?? []).map(({ expr }) => expr)));
    const histograms = [...known.keys()].filter((name) => name.endsWith("_bucket")).map((name) => name.slice(0, -"_bucket".length));
    const part = (name) => histograms.some((whole) => name === `${whole}_sum` || name === `${whole}_count`);
    const exported = [...known.keys()].filter((name) => name.startsWith("tokencast_") && !part(name));
    assert.ok(exported.length > 60, `only ${exported.length} metrics`);
    assert.deepEqual(exported.filter((name) => !shown.some((expr) => new RegExp(`\\b${name}\\b`).test(expr))), []);
  });

  test("dashboard_queries_all_have_an_answer_from_prometheus", bounded, async () => {
    for (const { file, board } of await boards()) {
      for (const panel of board.panels) {
        for (const { expr } of panel.targets ?? []) {
          if (/tokencast_\w+_canary/.test(expr)) continue; // needs hours of history: rules/tests/canary.yaml
          const query = substituted(expr, "30s");
          const what = `${file}: "${panel.title}": an answer to ${query}`;
          await eventually(async () => (await prometheus.query(query)).length > 0, what);
        }
      }
    }
  });

  test("versions_of_real_programs_reach_the_canary", bounded, async () => {
    const [version] = known.get("tokencast_worker_build_info").get("version");
    const times = "namespace_model_version:tokencast_worker_time_to_first_token_seconds_count:increase15m";
    await eventually(async () => (await prometheus.query(`${times}{model="replay", version="${version}"}`)).length === 1, times);
    for (const [tier, seen] of [["worker", version], ["broker", "of-the-pod"]]) {
      const [sample] = await prometheus.query(`namespace_version:tokencast_${tier}_new:count`);
      assert.equal(sample.metric.version, seen);
    }
  });

  test("document_queries_are_understood_and_read_only_what_is_exported", bounded, async () => {
    const page = await readFile(path.join(ROOT, "docs/observability.md"), "utf8");
    const queries = [...page.matchAll(/^```promql\n([\s\S]*?)^```$/gm)].map((found) => found[1].trim());
    assert.ok(queries.length > 0, "docs/observability.md has queries");
    for (const query of queries) {
      assert.deepEqual(queryProblems(known, query), [], query);
      await prometheus.query(query);
    }
  });

  const plant = (change) => async () => {
    const { board } = (await boards()).find(({ file }) => file === "brokers.json");
    const panels = board.panels.filter((panel) => panel.type === "timeseries");
    const wanted = change(panels, board);
    const problems = dashboardProblems(board, known).join("\n");
    assert.match(problems, wanted);
  };
  const wrongQuery = (expr, wanted) => (panels) => {
    panels[0].targets[0].expr = expr;
    return wanted;
  };
  const PLANTED = {
    metric_name: wrongQuery("sum(tokencast_broker_streamz)", /there is no metric tokencast_broker_streamz/),
    foreign_metric: wrongQuery("sum(rate(http_requests_total[5m]))", /there is no metric http_requests_total/),
    label: wrongQuery('sum(tokencast_broker_gaps_total{cause="lost"})', /has no label cause/),
    label_value: wrongQuery('sum(tokencast_broker_gaps_total{reason="lots"})', /has no reason="lots"/),
    grouping: wrongQuery("sum by (color) (tokencast_broker_streams)", /nothing has a label color/),
    legend: (panels) => ((panels[0].targets[0].legendFormat = "{{color}}"), /nothing has a label color/),
    unit: (panels) => (delete panels[0].fieldConfig.defaults.unit, /no unit/),
    title: (panels) => (delete panels[0].title, /no title/),
    id: (panels) => ((panels[0].id = panels[1].id), /two panels have the id/),
    data_source: (panels) => ((panels[0].datasource = { type: "prometheus", uid: "mine" }), /data source is not the variable/),
    place: (panels) => ((panels[0].gridPos = panels[1].gridPos), /lies over/),
    data_source_variable: (_, board) => (board.templating.list.shift(), /no variable for the data source/),
  };
  for (const [name, change] of Object.entries(PLANTED)) {
    test(`planted_wrong_${name}_in_a_dashboard_is_caught`, bounded, plant(change));
  }
});
