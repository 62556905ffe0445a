// Faults of Redis and of the way to it, on real programs: restarts with and without persistence, failovers that lose
// the tail, no memory, lost and trimmed logs, hangs, cut links, lost announcements. Each looks at what clients' one
// connection shows, and at the log, the metrics and the log lines. Workers' own faults are in faults-worker.test.mjs.
import assert from "node:assert/strict";
import { describe } from "node:test";

import { ModelServer, beginStream, formats } from "../integration/model-server.mjs";
import { logLines, metric } from "../lib/metrics.mjs";
import { inTime, sleep, until } from "../lib/wait.mjs";
import {
  assertHonestEnd,
  assertLog,
  assertRun,
  assertWhole,
  begin,
  fault,
  noJobs,
  said,
  wave,
  words,
} from "./faults-lib.mjs";

const B = "tokencast_broker_";
const W = "tokencast_worker_";
const TEXT = words(600); // seconds long, so that what befalls it comes in its middle on a busy machine too

const readiness = async (program) => (await fetch(`${program.ops}/readyz`)).status;

/** Generations at every stage: ended and watched, in the middle, at its last tokens, not begun, and a wave. */
async function stages(w, broker) {
  const settling = await begin(w, broker, words(3));
  await settling.reader.end();
  const middle = await begin(w, broker, TEXT);
  await middle.reader.until(said(30), "text");
  const waved = await wave(w, broker);
  const last = await begin(w, broker, words(20));
  await last.reader.until(said(18), "its last tokens");
  return { settling, middle, last, ...waved, first: await begin(w, broker, words(40)) };
}

/** Heartbeats come to a reader that sees nothing else. */
async function assertBeats({ reader }, n = 3) {
  const before = reader.beats;
  await until(() => reader.beats >= before + n, "heartbeats without Redis");
  assert.equal(reader.closed, false);
}

describe("redis", { concurrency: 3 }, () => {
  for (const signal of ["SIGTERM", "SIGKILL"]) {
    fault(`fault_1_redis_restarts_with_aof_${signal.toLowerCase()}`, async (w, t) => {
      // By default kill -9 may lose what waits behind an fsync: that is a lost tail, and another test.
      const redis = await w.redis({ aof: true, args: ["--appendfsync", "always"] });
      const broker = await w.broker(redis);
      const worker = await w.worker(redis, ["--settle", "3s"]);
      const runs = await stages(w, broker);
      const watched = w.watch(broker, runs.middle.id);
      const count = (name) => metric(broker, `${B}redis_${name}_total`);
      const before = { losses: await count("losses"), connects: await count("connects") };
      await redis.stop(signal);
      await assertBeats(runs.middle);
      const seen = runs.middle.reader.events.length;
      await redis.again();
      const up = performance.now();
      await runs.middle.reader.until(
        ({ events }) => events.slice(seen).some(({ type }) => type === "delta"),
        "more after the restart",
      );
      t.diagnostic(`text again ${(performance.now() - up).toFixed(0)} ms after Redis was ready`);
      for (const run of Object.values(runs)) await assertRun(redis, broker, run);
      assert.equal((await watched.finished).text, TEXT);
      assert.deepEqual([watched.reconnects, watched.missing], [0, []]);
      assert.ok((await count("losses")) >= before.losses + 1);
      await until(async () => (await count("connects")) >= before.connects + 2, "commands and announcements both linked");
      assert.ok((await metric(worker, `${W}redis_reconnects_total`)) >= 1);
      await noJobs(redis);
    });
  }

  fault("fault_2_redis_restarts_empty", async (w) => {
    const endless = async (response) => {
      beginStream(response);
      response.write(formats.openai.begin);
      while (!response.destroyed) {
        response.write(formats.openai.piece("on "));
        await sleep(20);
      }
    };
    const plain = (response) => {
      beginStream(response);
      response.end(formats.openai.begin + formats.openai.piece("Hi") + formats.openai.end);
    };
    const server = w.keep(await ModelServer.start({ endless, plain }));
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const upstream = ["--provider", "openai", "--upstream", server.url];
    const worker = await w.worker(redis, [...upstream, "--slots", "2", "--settle", "20s"]);
    const settling = await begin(w, broker, "", { model: "plain" });
    await settling.reader.end();
    const running = await Promise.all([1, 2].map(() => begin(w, broker, "", { model: "endless" })));
    for (const { reader } of running) await reader.until(said(10), "text");
    const queued = await begin(w, broker, "", { model: "endless" });
    await queued.reader.until(({ events }) => events.length >= 2, "open and created");
    await redis.stop("SIGKILL");
    await assertBeats(running[0]);
    await redis.again();
    for (const { reader } of [...running, queued]) assertHonestEnd(await reader.end(), ["redis_emptied"]);
    await Promise.all(server.of("endless").map(({ closed }) => inTime(closed, "end of a connection upstream")));
    await until(async () => (await metric(worker, `${W}jobs_dropped_total`)) >= 2, "dropped jobs");
    for (const { id } of [settling, ...running, queued]) {
      assert.equal(await redis.call("EXISTS", `tc:{${id}}:log`), 0, "never made again");
      assert.ok([404, 410].includes((await fetch(`${broker.url}/v1/generations/${id}`)).status));
    }
    await until(async () => (await readiness(broker)) === 200, "readiness");
    await assertRun(redis, broker, { ...(await begin(w, broker, "", { model: "plain" })), text: "Hi" });
  });

  fault("fault_2_another_broker_is_first_at_the_empty_redis", async (w) => {
    const redis = await w.redis();
    const late = await w.broker(redis);
    await w.worker(redis);
    const lost = await begin(w, late, TEXT);
    await lost.reader.until(said(10), "text");
    w.pause(late);
    await redis.stop("SIGKILL");
    await redis.again();
    await w.broker(redis);
    w.resume(late);
    assertHonestEnd(await lost.reader.end(), ["redis_emptied"]);
    const deleted = await begin(w, late, TEXT);
    await deleted.reader.until(said(10), "text");
    await redis.call("DEL", `tc:{${deleted.id}}:log`, `tc:{${deleted.id}}:meta`);
    assertHonestEnd(await deleted.reader.end(), ["log_deleted"]);
  });

  // ---- failover

  /** A master, a replica that can be kept behind, and the address that leads to whichever is in charge. */
  async function pair(w) {
    const args = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "60"];
    const master = await w.redis({ tcp: true, args });
    const replica = await w.redis({ tcp: true, args });
    const replication = await w.switch(master.port);
    const front = await w.switch(master.socket);
    await replica.call("REPLICAOF", "127.0.0.1", replication.port);
    const offset = async (server, name) =>
      Number(new RegExp(`${name}:(\\d+)`).exec(await server.call("INFO", "replication"))?.[1]);
    const info = () => replica.call("INFO", "replication");
    await until(async () => (await info()).includes("master_link_status:up"), "a replica that is linked");
    return {
      master,
      replica,
      front,
      /** From here on the replica hears of nothing; what was written before has arrived. */
      async behind() {
        const written = await offset(master, "master_repl_offset");
        await until(async () => (await offset(replica, "slave_repl_offset")) >= written, "a replica that is level");
        replication.sever();
      },
      async failOver({ kill = true } = {}) {
        if (kill) await master.stop("SIGKILL");
        await replica.call("REPLICAOF", "NO", "ONE");
        front.to(replica.socket);
        return replica;
      },
    };
  }

  for (const old of ["killed", "alive"]) {
    fault(`fault_3_failover_loses_the_tail_worker_alive_master_${old}`, async (w, t) => {
      const { front, behind, failOver } = await pair(w);
      const broker = await w.broker(front, ["--lease-ms", "50s"]); // it waits so long for what was lost to come back
      const worker = await w.worker(front, ["--settle", "10s"]);
      const middle = await begin(w, broker, words(1000));
      await middle.reader.until(said(20), "text");
      const watched = w.watch(broker, middle.id);
      const waved = await wave(w, broker);
      const ending = await begin(w, broker, words(60), { rate: 60 });
      await ending.reader.until(said(2), "its first words"); // nobody rewrites what the replica never had the start of
      await behind();
      await ending.reader.end(); // its `done` will be lost, and it is watched
      await middle.reader.until(said(middle.reader.text.split(" ").length + 60), "more text");
      const replica = await failOver({ kill: old === "killed" });
      const over = performance.now();
      const seen = middle.reader.events.length;
      await middle.reader.until(({ events }) => events.slice(seen).some(({ type }) => type === "delta"), "more text");
      t.diagnostic(`text again ${(performance.now() - over).toFixed(0)} ms after the failover`);
      for (const run of [middle, ...waved]) await assertRun(replica, broker, run);
      // The log of what had ended is whole again before the settle time is over, under the same ids.
      await until(async () => (await replica.entries(ending.id)).at(-1).type === "done", "done in the log again");
      await assertRun(replica, broker, ending);
      assert.deepEqual([(await watched.finished).text, watched.reconnects], [middle.text, 0]);
      assert.ok((await metric(worker, `${W}repeated_total`)) >= 10); // how many entries it was depends on the machine
      assert.equal(await metric(broker, `${B}gaps_total`), 0);
      await noJobs(replica);
    });
  }

  for (const fate of ["killed", "returns"]) {
    fault(`fault_4_failover_loses_the_tail_worker_${fate}`, async (w, t) => {
      const { front, behind, failOver } = await pair(w);
      const broker = await w.broker(front);
      const runs = await Promise.all([60, 100].map((rate) => begin(w, broker, words(6 * rate), { rate })));
      await behind(); // queued, and nothing more: the first second of an attempt is what gets lost
      const early = await w.worker(front);
      for (const { reader } of runs) await reader.until(said(30), "text");
      const watched = w.watch(broker, runs[0].id);
      await until(() => watched.text.length > 0, "text for the client module");
      if (fate === "killed") await early.stop("SIGKILL");
      else w.pause(early);
      const replica = await failOver();
      const over = performance.now();
      await w.worker(front);
      await runs[0].reader.until(({ events }) => events.some(({ type }) => type === "gap"), "gap");
      t.diagnostic(`gap ${(performance.now() - over).toFixed(0)} ms after the failover`);
      await runs[0].reader.until(said(10), "text of the next attempt");
      if (fate === "returns") {
        w.resume(early);
        await until(async () => (await metric(early, `${W}fenced_total`)) >= 1, "a fenced writer");
      }
      for (const run of runs) await assertRun(replica, broker, run, { lost: 1 });
      assert.deepEqual([(await watched.finished).text, watched.reconnects], [runs[0].text, 0]);
      assert.equal(await metric(broker, `${B}gaps_total`, 'reason="lost"'), runs.length + 1, "each reader was told");
      await noJobs(replica);
    });
  }

  fault("fault_4_failover_in_mid_attempt_worker_killed", async (w) => {
    const { front, behind, failOver } = await pair(w);
    const broker = await w.broker(front);
    const doomed = await w.worker(front);
    const on = { on_crash: "restart" };
    const run = await begin(w, broker, TEXT, on);
    await run.reader.until(said(20), "text");
    await behind();
    await run.reader.until(said(60), "text that will be lost");
    await doomed.stop("SIGKILL");
    const orphan = await begin(w, broker, TEXT); // nobody on the other side has ever heard of it
    await orphan.reader.until(({ events }) => events.length >= 2, "open and created");
    const replica = await failOver();
    await w.worker(front);
    await assertRun(replica, broker, run, { lost: 1 });
    assert.ok(run.reader.of("attempt").length >= 1);
    assertHonestEnd(await orphan.reader.end(), ["log_deleted", "redis_emptied"]);
  });

  // ---- memory, lost logs

  fault("fault_5_redis_out_of_memory_for_a_while", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const worker = await w.worker(redis, ["--buffer-bytes", "4k"]);
    const text = words(2000);
    const run = await begin(w, broker, text, { rate: 400 });
    await run.reader.until(said(100), "text");
    await redis.call("CONFIG", "SET", "maxmemory", 1);
    const refused = () => metric(worker, `${W}refused_total`);
    await until(async () => (await refused()) >= 3, "refused writes");
    // Reads go on: for whom is there, for whom comes, and for who asks.
    const late = w.record(broker, run.id);
    await late.until(said(100), "what there is");
    assert.equal((await fetch(`${broker.url}/v1/generations/${run.id}`)).status, 200);
    await assertBeats(run);
    const refusal = await fetch(`${broker.url}/v1/generations`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "m", prompt: "x" }),
    });
    assert.ok(refusal.status >= 500, `POST: ${refusal.status}`);
    assert.match(refusal.headers.get("content-type"), /^application\/problem\+json/);
    await redis.call("CONFIG", "SET", "maxmemory", 0);
    await assertRun(redis, broker, run);
    await assertRun(redis, broker, { ...run, reader: late });
    await noJobs(redis);
  });

  fault("fault_5_redis_out_of_memory_beyond_patience", async (w, t) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const worker = await w.worker(redis, ["--patience", "1s"]);
    const run = await begin(w, broker, TEXT, { rate: 50 });
    await run.reader.until(said(20), "text");
    await redis.call("CONFIG", "SET", "maxmemory", 1);
    await until(() => worker.log.includes("Redis refused writes for too long"), "the end of patience");
    await assertBeats(run);
    await redis.call("CONFIG", "SET", "maxmemory", 0);
    await run.reader.end();
    const log = await redis.entries(run.id);
    assertWhole(run.reader, log);
    const done = run.reader.events.at(-1).data;
    t.diagnostic(`ended with ${done.reason} after ${run.reader.of("attempt").length} takeovers`);
    if (done.reason === "error") assert.equal(run.reader.of("error").length, 1);
    else assert.equal(run.reader.text, TEXT);
    await noJobs(redis);
  });

  for (const how of ["deleted", "expired", "evicted"]) {
    fault(`fault_6_live_log_${how}`, async (w, t) => {
      const redis = await w.redis();
      if (how === "evicted") await redis.call("CONFIG", "SET", "maxmemory-policy", "volatile-random");
      const broker = await w.broker(redis);
      const worker = await w.worker(redis);
      const warned = () => logLines(broker).some(({ level, msg }) => level === "warn" && msg.includes("evicts"));
      if (how === "evicted") await until(warned, "a warning of a policy that evicts");
      const run = await begin(w, broker, TEXT);
      const other = await begin(w, broker, TEXT);
      await run.reader.until(said(20), "text");
      const key = `tc:{${run.id}}:log`;
      const gone = performance.now();
      if (how === "deleted") await redis.call("DEL", key);
      else if (how === "expired") await redis.call("PEXPIRE", key, 1);
      else {
        await redis.call("CONFIG", "SET", "maxmemory", 1);
        await until(async () => (await redis.call("EXISTS", key)) === 0, "evicted keys");
        await redis.call("CONFIG", "SET", "maxmemory", 0);
      }
      // A time to live that a stranger set looks like a deletion.
      assert.equal(warned(), how === "evicted");
      assertHonestEnd(await run.reader.end(), [how === "evicted" ? "log_evicted" : "log_deleted"]);
      t.diagnostic(`told ${(performance.now() - gone).toFixed(0)} ms after, sweep 200 ms`);
      await until(async () => (await metric(worker, `${W}jobs_dropped_total`)) >= 1, "a dropped job");
      assert.equal(await redis.call("EXISTS", key), 0, "never made again");
      if (how !== "evicted") await assertRun(redis, broker, other); // others are not touched
    });
  }

  fault("fault_7_log_trimmed_under_a_reader", async (w) => {
    const redis = await w.redis();
    const front = await w.switch(redis.socket);
    const broker = await w.broker(front);
    await w.worker(redis);
    const run = await begin(w, broker, TEXT);
    await run.reader.until(said(20), "text");
    front.hold();
    const at = Number(run.reader.position.split("-")[1]);
    const key = `tc:{${run.id}}:log`;
    await until(async () => (await redis.call("XLEN", key)) > at + 60, "a longer log");
    await redis.call("XTRIM", key, "MAXLEN", 10);
    const [[first]] = await redis.call("XRANGE", key, "-", "+", "COUNT", 1);
    front.release();
    await run.reader.end();

    const { events } = run.reader;
    const i = events.findIndex(({ type }) => type === "gap");
    const { data: gap } = events[i];
    const seqOf = (position) => Number(position.split("-")[1]);
    const before = events.slice(0, i).findLast(({ id }) => id);
    assert.equal(gap.reason, "trimmed");
    assert.deepEqual([seqOf(gap.from), seqOf(gap.to)], [seqOf(before.id) + 1, seqOf(first) - 1], "the exact range");
    const after = events.slice(i + 1).filter(({ id }) => id);
    after.forEach(({ id }, n) => assert.equal(seqOf(id), seqOf(first) + n, "then on, without a hole"));
    assert.deepEqual([run.reader.of("done").length, run.reader.of("gap").length], [1, 1]);
    assert.equal(events.at(-1).data.reason, "stop");

    const late = w.record(broker, run.id, { after: before.id });
    await late.end();
    const { data: told } = late.of("gap")[0];
    assert.deepEqual([told.from, told.to, told.reason], [gap.from, gap.to, "trimmed"], "told to late readers too");
    assert.equal(late.events.at(-1).type, "done");
  });

  // ---- hangs and links

  for (const ms of [1500, 8000]) {
    fault(`fault_8_redis_hangs_for_${ms}_ms`, async (w, t) => {
      const redis = await w.redis();
      const broker = await w.broker(redis);
      const workers = [await w.worker(redis), await w.worker(redis)];
      const runs = await stages(w, broker);
      w.pause(redis);
      const hung = performance.now();
      await assertBeats(runs.middle, Math.floor(ms / 400));
      await sleep(Math.max(0, ms - (performance.now() - hung)));
      if (ms > 6000) {
        await until(async () => (await metric(broker, `${B}redis_timeouts_total`)) >= 1, "a link given up");
        await until(async () => (await readiness(broker)) === 503, "readiness that says so");
      }
      w.resume(redis);
      const on = performance.now();
      const seen = runs.middle.reader.events.length;
      await runs.middle.reader.until(({ events }) => events.slice(seen).some(({ id }) => id), "more");
      t.diagnostic(`an event again ${(performance.now() - on).toFixed(0)} ms after SIGCONT`);
      for (const run of Object.values(runs)) await assertRun(redis, broker, run);
      await noJobs(redis);
      await until(async () => (await readiness(broker)) === 200, "readiness");
      assert.ok(workers.every(({ exited }) => !exited));
    });
  }

  for (const how of ["refused", "silent"]) {
    fault(`fault_9_broker_cut_off_from_redis_${how}`, async (w, t) => {
      const redis = await w.redis();
      const front = await w.switch(redis.socket);
      const broker = await w.broker(front);
      await w.worker(redis);
      const middle = await begin(w, broker, words(600), { rate: 60 });
      const waved = await wave(w, broker);
      const ending = await begin(w, broker, words(40), { rate: 60 });
      await middle.reader.until(said(20), "text");
      assert.equal(await readiness(broker), 200);
      if (how === "refused") front.sever();
      else front.hold();
      await until(async () => (await readiness(broker)) === 503, "readiness that says so");
      await assertBeats(middle);
      await until(async () => (await metric(broker, `${B}redis_up`)) === 0, "a metric that says so");
      const answer = await fetch(`${broker.url}/v1/generations/${middle.id}`);
      assert.equal(answer.status, 503);
      await until(async () => (await redis.entries(ending.id)).at(-1).type === "done", "an end in the log meanwhile");
      if (how === "refused") front.mend();
      else front.release();
      const mended = performance.now();
      const seen = middle.reader.events.length;
      await middle.reader.until(({ events }) => events.slice(seen).some(({ type }) => type === "delta"), "more");
      t.diagnostic(`text again ${(performance.now() - mended).toFixed(0)} ms after the link was mended`);
      for (const run of [...waved, ending, middle]) await assertRun(redis, broker, run);
      await until(async () => (await readiness(broker)) === 200, "readiness");
    });
  }

  /** The longest time from the worker's having an event to the reader's, in ms. */
  const lagOf = ({ events }, skew) =>
    Math.max(...events.filter(({ id }) => id).map(({ at, data }) => at + skew - data.at / 1000));

  fault("fault_28_announcements_lost", async (w, t) => {
    const redis = await w.redis();
    const broker = await w.broker(redis, ["--sweep", "1s"]);
    await w.worker(redis);
    const run = await begin(w, broker, words(600), { rate: 80 });
    const losses = () => metric(broker, `${B}redis_losses_total`);
    const skew = Date.now() - performance.now();
    await run.reader.until(said(10), "text");
    for (let n = 1; n <= 8; n++) {
      const before = await losses();
      const lost = async () => {
        await redis.call("CLIENT", "KILL", "TYPE", "pubsub"); // there is none while the link is being made again
        return (await losses()) > before;
      };
      await until(lost, "a lost link");
      await run.reader.until(said(10 + 15 * n), "text all the same");
    }
    await assertRun(redis, broker, run);
    const lag = lagOf(run.reader, skew);
    t.diagnostic(`longest lag ${lag.toFixed(0)} ms, sweep 1000 ms`);
    assert.ok(lag < 20000); // two sweeps, ten times over
  });

  fault("fault_28_nothing_is_ever_announced", async (w, t) => {
    const redis = await w.redis({ args: ["--rename-command", "PUBLISH", "nobody-says-this"] });
    const broker = await w.broker(redis, ["--sweep", "1s"]);
    await w.worker(redis);
    const run = await begin(w, broker, words(200), { rate: 80 });
    const skew = Date.now() - performance.now();
    await assertRun(redis, broker, run);
    const lag = lagOf(run.reader, skew);
    t.diagnostic(`longest lag ${lag.toFixed(0)} ms, sweep 1000 ms`);
    assert.ok(lag < 20000); // two sweeps, ten times over
    assert.equal(await metric(broker, `${B}events_announced_total`), 0);
    assert.ok((await metric(broker, `${B}log_reads_found_total`)) >= 1);
    assertLog(await redis.entries(run.id), run.text);
  });
});
