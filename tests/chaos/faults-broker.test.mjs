// Faults of brokers and of the machine below them, on real programs; the numbers are those of the list of faults.
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";

import { ended, missing, post } from "../clients/harness.mjs";
import { metric, readyz } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import {
  Raw,
  addresses,
  allEnded,
  cpu,
  firstFree,
  limit,
  many,
  under,
  withEnvironment,
  within,
  words,
} from "./faults-lib2.mjs";

const SHORT = ["--lease-ms", "1s", "--linger", "200ms"];

describe("faults of brokers", { skip: missing(), concurrency: false }, () => {
  test("fault_10_broker_killed_with_many_clients_resume_elsewhere_whole", bounded, () =>
    within({ brokers: 2, brokerArgs: ["--loops", "2"] }, async (h) => {
      const [first, second] = h.brokers;
      const text = words(500);
      const ids = [];
      for (let i = 0; i < 4; i++) ids.push((await post(second.url, text, { rate: 25 })).id);
      const readers = many(1000, (i) => h.read([first.url, second.url], ids[i % ids.length]));
      await until(under(readers, 20), "some text at every reader");
      assert.equal(await metric(first, "tokencast_broker_streams"), 1000);
      assert.equal(await metric(second, "tokencast_broker_streams"), 0);

      first.child.kill("SIGKILL");
      await allEnded(readers);
      for (const reader of readers) {
        reader.whole(text);
        assert.equal(reader.opened, 2, "one stream at each broker");
        assert.deepEqual(reader.byes, [], "nobody was there to say it");
      }
      assert.equal(first.status.signal, "SIGKILL");
      const complete = () => metric(second, "tokencast_broker_streams_closed_total", 'how="complete"');
      await until(async () => (await complete()) >= 1000, "the streams' count");
      assert.equal(await complete(), 1000);
      await until(async () => (await metric(second, "tokencast_broker_streams")) === 0, "the streams' end");
    }),
  );

  test("fault_11_broker_terminated_sheds_with_jitter_and_exits_whole", bounded, () =>
    within({ brokers: 2, brokerArgs: ["--loops", "1", "--drain", "3s"] }, async (h) => {
      const [first, second] = h.brokers;
      const text = words(800);
      const { id } = await post(second.url, text, { rate: 50 });
      // One that does not read holds the drain up, so that what a draining broker says can be looked at.
      const long = await post(second.url, words(100000), { rate: 1000000 });
      const stuck = h.read(first.url, long.id, { follow: false, query: "?overflow=merge", paused: true });
      await until(() => stuck.opened === 1, "the stream that is to stall");
      const readers = many(300, () => h.read([first.url, second.url], id, { waitRetry: true }));
      await until(under(readers, 20), "some text at every reader");
      assert.equal((await readyz(first)).status, 200);

      first.child.kill("SIGTERM");
      const answer = await until(async () => {
        const now = await readyz(first);
        return now.status !== 200 && now;
      }, "the end of readiness");
      assert.equal(answer.status, 503, `it says so before it goes: ${answer.text}`);
      assert.match(answer.text, /drain/);
      await until(() => first.exited, "the broker's end");
      assert.deepEqual(first.status, { code: 0, signal: null });

      await allEnded(readers);
      for (const reader of readers) {
        reader.whole(text);
        assert.deepEqual(
          reader.byes.map((bye) => bye.reason),
          ["drain"],
        );
      }
      const retries = readers.map((reader) => reader.retries[0]);
      assert.ok(
        retries.every((ms) => ms >= 100 && ms <= 60000),
        `${retries}`,
      );
      assert.ok(new Set(retries).size > 100, `jittered: ${new Set(retries).size} different ones of 300`);
      assert.match(first.log, /"msg":"stopped"/);
    }),
  );

  test("fault_22_clock_jumps_timers_and_leases_hold", bounded, async () => {
    const library = ["x86_64", "aarch64"]
      .map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketimeMT.so.1`)
      .find((file) => existsSync(file));
    assert.ok(library, "libfaketime is installed");
    const dir = await mkdtemp(path.join(tmpdir(), "tc-clock-"));
    const file = path.join(dir, "offset");
    const jump = (seconds) => writeFileSync(file, `${seconds < 0 ? "" : "+"}${seconds}\n`);
    const clock = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    jump(0);
    try {
      await within({ brokers: 0, workers: 0 }, async (h) => {
        const start = (what) => withEnvironment(clock, what);
        const lease = ["--lease-ms", "5s"]; // longer than a busy machine keeps a worker waiting, shorter than the jumps
        const broker = await start(() => h.broker(["--heartbeat", "200ms", "--sweep", "100ms", ...lease]));
        const workers = [];
        for (let i = 0; i < 2; i++) workers.push(await start(() => h.worker([...lease, "--settle", "1s"])));
        const redis = await Redis.open(h.redisUrl);
        const text = words(800);
        // Half a second between two pieces: the stream shows its heartbeats, and leases are renewed while it is quiet.
        const slow = await post(broker.url, words(12), { rate: 2, on_abandon: { cancel_after_ms: 60000 } });
        const { id } = await post(broker.url, text, { rate: 50 });
        const readers = [h.read(broker.url, id), h.read(broker.url, slow.id, { keep: true })];
        await until(under(readers, 0), "the first text");

        jump(3600);
        const forward = readers[0].text.length;
        await until(() => readers[0].text.length > forward + 300, "text after the jump forward");
        const during = await post(broker.url, "born in the future", { rate: 1000 });
        assert.equal((await ended(broker.url, during.id)).text, "born in the future");

        jump(-3600);
        const back = readers[0].text.length;
        const after = await post(broker.url, "born in the past", { rate: 1000 });
        const snapshot = await ended(broker.url, after.id);
        assert.equal(snapshot.text, "born in the past");
        assert.ok(snapshot.duration_ms >= 0 && snapshot.duration_ms < 3600000, JSON.stringify(snapshot));
        await until(() => readers[0].text.length > back + 100, "text after the jump back");
        await allEnded(readers);

        readers[0].whole(text);
        readers[1].whole(words(12));
        assert.ok(readers[1].beats > 3, `heartbeats: ${readers[1].beats}`);
        for (const reader of readers) assert.equal(reader.counts.attempt, undefined, "nobody took it over");
        const times = (await redis.entries(id)).filter((e) => e.type === "delta").map((e) => e.at / 1e6);
        const jumps = times.map((at, i) => (i ? at - times[i - 1] : 0));
        assert.ok(jumps.some((s) => s > 3000) && jumps.some((s) => s < -6000), "the clocks did jump");
        let taken = 0;
        for (const worker of workers) {
          const of = (how) => metric(worker, "tokencast_worker_jobs_taken_total", `how="${how}"`);
          assert.equal(await of("claimed"), 0);
          taken += await of("new");
          assert.equal(await metric(worker, "tokencast_worker_fenced_total"), 0);
          assert.equal(await metric(worker, "tokencast_worker_redis_timeouts_total"), 0);
        }
        assert.equal(taken, 4);
        assert.equal(await metric(broker, "tokencast_broker_redis_timeouts_total"), 0);
        redis.close();
      });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  test("fault_23_out_of_descriptors_accept_pauses_streams_live_on", bounded, () =>
    within({ brokerArgs: ["--loops", "1"] }, async (h) => {
      const [broker] = h.brokers;
      const text = words(800);
      const { id } = await post(h.url, text, { rate: 50 });
      const live = many(10, () => h.read(h.url, id, { keep: true }));
      await until(under(live, 10), "some text at every reader");
      const leaving = many(10, () => h.read(h.url, id, { follow: false }));
      await until(under(leaving, 10), "the ones that are to leave");
      await limit(broker, `--nofile=${firstFree(broker)}:`);

      const late = many(20, () => h.read(h.url, id));
      const before = { cpu: cpu(broker), text: live[0].text.length };
      await sleep(3000);
      assert.equal(late.filter((reader) => reader.opened > 0).length, 0, "there is no room for them");
      // Spinning would take a whole core; 3 s of ten pauses a second and fifty pieces to ten readers take little.
      const used = cpu(broker) - before.cpu;
      assert.ok(used < 1, `${used} s of processor time in 3 s`);
      assert.ok(live[0].text.length > before.text, "the streams live on");
      assert.match(broker.log, /accepting pauses/);

      for (const reader of leaving) reader.leave();
      await until(() => late.filter((reader) => reader.opened > 0).length >= 5, "room for newcomers");
      await limit(broker, "--nofile=1024:");
      await allEnded([...live, ...late]);
      for (const reader of [...live, ...late]) reader.whole(text);
      for (const reader of live) assert.equal(reader.opened, 1, "never interrupted");
      const pauses = await metric(broker, "tokencast_broker_connections_refused_total", 'why="descriptors"');
      assert.ok(pauses > 0 && pauses < 1000, `${pauses} pauses: some, and not one a turn of the loop`);
      assert.equal(broker.log.match(/accepting pauses/g).length, 1, "one line, not a flood");
    }),
  );

  test("fault_24_out_of_memory_newest_refused_streams_live_on", bounded, () =>
    within({ brokerArgs: ["--loops", "1", "--max-body-bytes", "4m"] }, async (h) => {
      const [broker] = h.brokers;
      const text = words(800);
      const { id } = await post(h.url, text, { rate: 50 });
      const live = many(10, () => h.read(h.url, id));
      await until(under(live, 10), "some text at every reader");
      const space = addresses(broker) + (48 << 20);
      await limit(broker, `--as=${space}:`);

      // Each would have 2 MiB of a body kept; together far more than there is.
      const head = "POST /v1/generations HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
      const body = Buffer.alloc(2 << 20, "x");
      const hogs = [];
      for (let i = 0; i < 60; i++) {
        const hog = new Raw(h.url, head);
        hog.write(body);
        hogs.push(hog);
        await sleep(10);
      }
      const refused = await until(() => hogs.find((hog) => hog.over), "a refusal");
      assert.ok([0, 503].includes(refused.status), `refused for want of memory, not with ${refused.status}`);
      const length = live[0].text.length;
      assert.equal(broker.exited, false);
      assert.ok(addresses(broker) <= space);
      await until(() => live[0].text.length > length, "the streams live on");

      for (const hog of hogs) hog.leave();
      const late = h.read(h.url, id);
      await allEnded([...live, late]);
      for (const reader of [...live, late]) reader.whole(text);
      for (const reader of live) assert.equal(reader.opened, 1, "never interrupted");
      assert.equal(broker.exited, false);
    }),
  );

  test("fault_29_every_reader_left_one_broker_dead_cancelled_after_grace_and_lease", bounded, () =>
    within(
      {
        brokers: 2,
        brokerArgs: ["--lease-ms", "3s", "--linger", "200ms"],
        workerArgs: ["--lease-ms", "1s"],
      },
      async (h) => {
        const [first, second] = h.brokers;
        const redis = await Redis.open(h.redisUrl);
        const policy = { rate: 10, on_abandon: { cancel_after_ms: 1000 } };
        const viewed = await post(first.url, words(2000), policy);
        const left = await post(first.url, words(2000), policy);
        const stays = h.read(first.url, viewed.id);
        const readers = [first, second].map((broker) => h.read(broker.url, left.id, { follow: false }));
        await until(under([stays, ...readers], 5), "text at every reader");
        const viewers = () => redis.do("ZCOUNT", `tc:{${left.id}}:viewers`, Date.now(), "+inf");
        await until(async () => (await viewers()) === 2, "both brokers' leases");

        readers[0].leave();
        await until(async () => (await viewers()) === 1, "the end of the lease of the first broker");
        await sleep(2500);
        const grown = readers[1].text.length;
        await until(() => readers[1].text.length > grown, "text for the one that is left");
        const score = (await redis.do("ZRANGE", `tc:{${left.id}}:viewers`, 0, -1, "WITHSCORES")).at(-1);
        second.child.kill("SIGKILL");
        await second.gone;

        const cancelled = await ended(first.url, left.id);
        assert.equal(cancelled.state, "cancelled");
        const log = await redis.entries(left.id);
        const done = log.at(-1);
        assert.equal(done.type, "done");
        assert.equal(done.reason, "cancelled");
        // The lease that was left behind is over, and then the grace; both by Redis's clock, which is this machine's.
        const early = Number(score) + 1000 - done.at / 1000;
        assert.ok(early < 100, `cancelled ${early} ms too early`);
        assert.ok(early > -30000, `cancelled ${-early} ms late: the dead broker's lease was not let run out`);
        assert.equal(log.filter((e) => e.type === "done").length, 1);
        assert.equal(stays.over, false, "a generation that is watched goes on");
        const [worker] = h.workers;
        assert.equal(await metric(worker, "tokencast_worker_cancels_total", 'by="viewers"'), 1);
        const again = h.read(first.url, left.id);
        await allEnded([again]);
        assert.equal(again.dones[0].reason, "cancelled");
        assert.equal(again.broken, null);
        redis.close();
      },
    ),
  );

  test("fault_29_reader_back_within_grace_goes_on", bounded, () =>
    within({ brokers: 2, brokerArgs: SHORT, workerArgs: ["--lease-ms", "1s"] }, async (h) => {
      const [first, second] = h.brokers;
      const text = words(160);
      const { id } = await post(first.url, text, { rate: 20, on_abandon: { cancel_after_ms: 20000 } });
      const reader = h.read(first.url, id);
      await until(under([reader], 5), "text");
      reader.leave();
      await sleep(2000);
      const back = h.read(second.url, id);
      await allEnded([back]);
      back.whole(text);
    }),
  );

  test("fault_30_same_key_at_two_brokers_at_once_one_generation", bounded, () =>
    within({ brokers: 2, workers: 2, brokerArgs: ["--loops", "2"], workerArgs: ["--settle", "0"] }, async (h) => {
      const [first, second] = h.brokers;
      const redis = await Redis.open(h.redisUrl);
      const text = words(30);
      const ids = new Set();
      for (let round = 0; round < 15; round++) {
        const key = { "Idempotency-Key": `round ${round}` };
        const answers = await Promise.all(
          many(6, (i) => post((i % 2 ? first : second).url, text, { rate: 500, channel: "room" }, key)),
        );
        assert.equal(new Set(answers.map((a) => a.id)).size, 1, "one id");
        ids.add(answers[0].id);
      }
      assert.equal(ids.size, 15);
      for (const id of ids) {
        assert.equal((await ended(first.url, id)).text, text);
        const log = await redis.entries(id);
        const count = (type) => log.filter((e) => e.type === type).length;
        assert.deepEqual(["created", "fence", "start", "attempt", "done"].map(count), [1, 1, 1, 0, 1]);
        assert.equal(await redis.do("XLEN", `tc:{${id}}:log`), log.length);
      }
      let started = 0;
      for (const broker of h.brokers)
        started += await metric(broker, "tokencast_broker_generations_started_total", 'how="new"');
      assert.equal(started, 15, "each counted once as new");
      const announced = () => redis.do("XRANGE", "tc:chan:{room}:log", "-", "+");
      await until(async () => (await announced()).length >= 15, "announcements");
      assert.equal((await announced()).length, 15, "each announced once");
      const other = await fetch(`${first.url}/v1/generations`, {
        method: "POST",
        headers: { "content-type": "application/json", "Idempotency-Key": "round 1" },
        body: JSON.stringify({ model: "replay", prompt: "another" }),
      });
      assert.equal(other.status, 422);
      redis.close();
    }),
  );

  test("fault_11_operations_answer_until_the_last_loop_has_drained", bounded, () =>
    within({ brokers: 4, brokerArgs: ["--loops", "2", "--drain", "6s"] }, async (h) => {
      // One reader that does not read holds one of two loops up, by chance the main one or not: of four brokers, some.
      const { id } = await post(h.url, words(100000), { rate: 1000000 });
      await ended(h.url, id);
      const stuck = h.brokers.map((broker) => h.read(broker.url, id, { follow: false, paused: true }));
      await until(() => stuck.every((reader) => reader.opened === 1), "the streams that are to stall");
      await Promise.all(
        h.brokers.map(async (broker) => {
          broker.child.kill("SIGTERM");
          await until(async () => (await readyz(broker)).status !== 200, "the end of readiness");
          await sleep(500);
          assert.equal(broker.exited, false, "it drains");
          const answer = await readyz(broker);
          assert.equal(answer.status, 503, answer.text);
        }),
      );
    }),
  );

  test("fault_30_duplicate_of_a_job_does_not_hold_up_the_right_one", bounded, () =>
    within({ workers: 0 }, async (h) => {
      const redis = await Redis.open(h.redisUrl);
      const { id } = await post(h.url, words(10), { rate: 500 });
      const second = String(await redis.do("XADD", "tc:jobs", "*", "gen", id));
      await redis.do("HSET", `tc:{${id}}:meta`, "job", second); // whose HSETNX came first is the job
      const reader = h.read(h.url, id);
      h.workers.push(await h.worker(["--lease-ms", "60s"]));
      await allEnded([reader], 40000); // not only when the lease is over
      reader.whole(words(10));
      redis.close();
    }),
  );
});
