// A release without a cluster: the real programs with the commands and the configuration that the chart gives their
// pods, on its bundled Redis. Only addresses and the places of files are ours. Needs a build (TC_BUILD) and curl.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import path from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";

import { BUILD, missing } from "../clients/harness.mjs";
import { bounded, eventually, inTime, until } from "../lib/wait.mjs";
import { Bundled, TRIAL } from "./bundled.mjs";
import { CHART, RELEASE, component, containersOf, helm, render } from "./chart.mjs";

const run = promisify(execFile);
const QUICK = ["--set", "broker.drain.windowSeconds=1,broker.drain.cutoffSeconds=1,worker.graceSeconds=1"];

/** A container's program, with its log; `ready` is the line that says so. */
class Pod {
  log = "";

  constructor(container, config, ours) {
    const env = { PATH: path.join(BUILD, "bin"), ...config, ...ours };
    const [program, ...args] = container.command;
    this.container = container;
    this.child = spawn(path.join(BUILD, "bin", program), args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.gone = new Promise((resolve) => {
      this.child.on("error", (error) => (this.log += error));
      this.child.on("close", (code, signal) => resolve((this.end = { code, signal })));
    });
    for (const out of [this.child.stdout, this.child.stderr]) out.on("data", (some) => (this.log += some));
  }

  async ready() {
    const line = () => this.log.split("\n").find((text) => text.includes('"msg":"ready"'));
    await until(() => line() || this.end, () => `ready\n${this.log}`);
    assert.ok(line(), `ended before it was ready\n${this.log}`);
    return JSON.parse(line());
  }

  async stop(signal) {
    this.child.kill(signal);
    return inTime(this.gone, `the end of ${this.container.name}\n${this.log}`);
  }
}

describe("a release", { skip: missing() }, () => {
  let redis;
  let pods;
  let objects;
  beforeEach(async () => {
    pods = {};
    redis = await Bundled.start();
    objects = await render("-f", TRIAL, ...redis.here, ...QUICK);
    assert.equal((await redis.makeGroup("password", ...redis.here)).status, 0);
    for (const name of ["broker", "worker"]) {
      const config = component(objects, "ConfigMap", name).data;
      const ours = { TOKENCAST_OPS_LISTEN: "127.0.0.1:0", TOKENCAST_REDIS_PASSWORD_FILE: redis.path("password") };
      if (name === "broker") ours.TOKENCAST_LISTEN = "127.0.0.1:0";
      const [container] = containersOf(component(objects, "Deployment", name));
      pods[name] = new Pod(container, config, ours);
      Object.assign(pods[name], await pods[name].ready());
    }
  }, bounded);
  afterEach(async () => {
    await Promise.all(Object.values(pods).map((pod) => pod.stop("SIGKILL")));
    await redis?.stop();
  }, bounded);

  const start = async (body) => {
    const answer = await fetch(`http://${pods.broker.listen}/v1/generations`, { method: "POST", body: JSON.stringify(body) });
    assert.equal(answer.status, 202);
    return (await answer.json()).id;
  };
  const SLOW = { prompt: "x", options: { text: "word ".repeat(2000), rate: 20 } };

  test("line_of_the_notes_shows_a_whole_answer", bounded, async () => {
    const notes = (await helm("install", "--dry-run=client", RELEASE, CHART, "-f", TRIAL)).split("\nNOTES:\n")[1];
    const [line] = /^ *curl .*$/m.exec(notes);
    const { stdout } = await run("sh", ["-c", line.replace("127.0.0.1:8080", pods.broker.listen)], { timeout: 60000 });
    assert.match(stdout, /^event: delta$/m);
    assert.match(stdout, /^event: done$/m);
  });

  test("probes_of_both_tiers_say_yes", bounded, async () => {
    for (const { container, ops } of Object.values(pods)) {
      for (const kind of ["startupProbe", "livenessProbe", "readinessProbe"]) {
        await eventually(async () => (await fetch(`http://${ops}${container[kind].httpGet.path}`)).status === 200, `${container.name} ${kind}`);
      }
    }
  });

  test("broker_counts_the_streams_that_it_is_scaled_by", bounded, async () => {
    const { metric } = component(await render("-f", TRIAL, "--set", "broker.autoscaling.enabled=true"), "HorizontalPodAutoscaler", "broker").spec.metrics[0].pods;
    const count = async () => new RegExp(`^${metric.name} (\\d+)$`, "m").exec(await (await fetch(`http://${pods.broker.ops}/metrics`)).text())?.[1];
    assert.equal(await count(), "0");
    const leave = new AbortController();
    await fetch(`http://${pods.broker.listen}/v1/generations/${await start(SLOW)}/events`, { signal: leave.signal });
    await eventually(async () => (await count()) === "1", "one stream");
    leave.abort();
  });

  test("broker_that_is_stopped_sends_its_readers_away_and_ends_well", bounded, async () => {
    const stream = await fetch(`http://${pods.broker.listen}/v1/generations/${await start(SLOW)}/events`);
    const told = stream.text();
    const end = await pods.broker.stop("SIGTERM");
    assert.deepEqual(end, { code: 0, signal: null }, pods.broker.log);
    assert.match(await told, /^event: bye\nretry: \d+\ndata: .*"drain"/m);
  });

  test("worker_that_is_stopped_leaves_a_job_that_the_length_shows_and_the_lag_does_not", bounded, async () => {
    const numbers = async () => {
      const [group] = await redis.do("xinfo", "groups", "tc:jobs");
      return { lag: group[group.indexOf("lag") + 1], length: await redis.do("xlen", "tc:jobs") };
    };
    await start(SLOW);
    await eventually(async () => (await numbers()).lag === 0, "the job is taken");
    const end = await pods.worker.stop("SIGTERM");
    assert.deepEqual(end, { code: 0, signal: null }, pods.worker.log);
    assert.deepEqual(await numbers(), { lag: 0, length: 1 });
    const [[, consumer]] = await redis.do("xpending", "tc:jobs", "workers", "-", "+", 1);
    assert.equal(consumer, "handed-back");
  });
});
