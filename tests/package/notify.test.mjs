// What a supervisor is told by the real programs: readiness, status, the way out, and a watchdog that any loop which
// hangs lets run out.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Harness, missing, post } from "../clients/harness.mjs";
import { Supervised } from "../lib/supervised.mjs";
import { bounded, until } from "../lib/wait.mjs";

const WATCHDOG_MS = 400;

describe("supervisor", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  const running = [];
  const start = (...args) => {
    const made = new Supervised(...args);
    running.push(made);
    return made;
  };
  const brokerArgs = (...more) => ["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", `--redis=${h.redisUrl}`, ...more];
  const workerArgs = (...more) => ["--ops-listen=127.0.0.1:0", `--redis=${h.redisUrl}`, ...more];

  before(async () => (h = await Harness.start({ brokers: 1, workers: 0 })), bounded);
  after(async () => {
    await Promise.all(running.map((one) => one.stop()));
    await h?.stop();
  }, bounded);

  for (const [program, args] of [
    ["tokencast-broker", () => brokerArgs("--loops=2")],
    ["tokencast-worker", () => workerArgs()],
  ]) {
    test(`${program}_tells_ready_status_and_stopping`, bounded, async () => {
      const one = start(program, args());
      await one.until((word) => word === "READY=1", "READY=1");
      await one.until((word) => word === "STATUS=ready", "its status");
      process.kill(one.pid, "SIGTERM");
      await one.gone;
      assert.equal(one.status, 0, one.log);
      const stopping = one.told.indexOf("STOPPING=1");
      assert.ok(stopping > one.told.indexOf("READY=1"), one.told.join(" "));
      assert.equal(one.told.filter((word) => word === "READY=1").length, 1);
      assert.ok(!one.told.includes("WATCHDOG=1"), "nobody asked for a watchdog");
    });

    test(`${program}_is_ready_without_redis_and_says_so`, bounded, async () => {
      const one = start(program, [...args(), "--redis=unix:///nowhere/redis.sock"]);
      await one.until((word) => word === "READY=1", "READY=1");
      await one.until((word) => /^STATUS=.*redis/i.test(word), "what is missing");
      assert.ok(!one.told.includes("STATUS=ready"));
      await one.stop();
    });

    test(`${program}_that_cannot_start_is_never_ready`, bounded, async () => {
      const taken = h.brokers[0].ops.replace("http://", "");
      const one = start(program, [...args(), `--ops-listen=${taken}`]);
      await one.gone;
      assert.equal(one.status, 1);
      assert.ok(!one.told.includes("READY=1"));
    });

    test(`${program}_that_is_stopped_feeds_no_watchdog`, bounded, async () => {
      const one = start(program, args(), WATCHDOG_MS);
      await one.beats();
      process.kill(one.pid, "SIGSTOP");
      await one.assertSilent("a stopped process said that it lives");
      process.kill(one.pid, "SIGCONT");
      await one.beats();
      await one.stop();
    });
  }

  for (const loop of [0, 1, 2]) {
    test(`broker_whose_loop_${loop}_hangs_feeds_no_watchdog`, bounded, async () => {
      const one = start("tokencast-broker", brokerArgs("--loops=3"), WATCHDOG_MS);
      await one.beats();
      await one.order(`hold ${loop}`);
      await one.assertSilent("one of its loops does not turn");
      await one.order("go");
      await one.beats();
      await one.stop();
    });
  }

  test("stopping_says_how_long_the_drain_may_take", bounded, async () => {
    const drain = ["--drain-delay=3s", "--drain-window=40s", "--drain=20s"];
    const broker = start("tokencast-broker", brokerArgs("--loops=1", ...drain), WATCHDOG_MS);
    const worker = start("tokencast-worker", workerArgs("--grace=50s"));
    for (const one of [broker, worker]) await one.until((word) => word === "READY=1", "READY=1");
    await post(h.url, "one two three ".repeat(100), { rate: 10 }); // holds the worker
    await until(async () => (await (await fetch(`${worker.ops}/metrics`)).text()).match(/generations{state="running"} 1/), "a job");
    for (const one of [broker, worker]) process.kill(one.pid, "SIGTERM");
    // The drain and ten seconds.
    await broker.until((word) => word === "EXTEND_TIMEOUT_USEC=73000000", "the broker's time");
    await worker.until((word) => word === "EXTEND_TIMEOUT_USEC=60000000", "the worker's time");
    await broker.until((word) => word === "STATUS=draining", "the broker's status");
    await worker.until((word) => word === "STATUS=stopping", "the worker's status");
    await broker.beats(); // on the way out, too
    for (const one of [broker, worker]) await one.stop();
  });
});
