// Faults of workers and of the model servers behind them, on real programs: what every client's one connection shows,
// what the log, the metrics and the queue say. The Redis side is in faults-redis.test.mjs.
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe } from "node:test";

import { ended } from "../clients/harness.mjs";
import { ModelServer, beginStream, formats, sendTorn } from "../integration/model-server.mjs";
import { logLines, metric } from "../lib/metrics.mjs";
import { sleep, until } from "../lib/wait.mjs";
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

const P = "tokencast_worker_";
// Seconds long, so that what befalls them comes in their middle on a busy machine too.
const TEXT = words(500);
const LONG = words(600);

const startedTries = ({ events }) => events.filter(({ type }) => type === "start").length;

/** One metric of several programs. */
async function sum(programs, name) {
  const values = await Promise.all(programs.map((program) => metric(program, name)));
  return values.reduce((all, one) => all + one, 0);
}

/** Ends as SIGKILL does, at once. */
const kill = (program) => program.stop("SIGKILL");

describe("workers", { concurrency: 3 }, () => {
  for (const policy of ["restart", "continue"]) {
    fault(`fault_12_worker_killed_taken_over_${policy}`, async (w, t) => {
      const redis = await w.redis();
      const broker = await w.broker(redis);
      const doomed = await w.worker(redis, ["--settle", "20s"]);
      const on = { on_crash: policy };
      const settling = await begin(w, broker, words(3), on);
      await settling.reader.end();
      const running = await Promise.all([60, 100, 600].map((rate) => begin(w, broker, LONG, { ...on, rate })));
      const waved = await wave(w, broker, on);
      const last = await begin(w, broker, words(24), { ...on, rate: 60 });
      const heir = await w.worker(redis);
      const watched = w.watch(broker, running[0].id);
      await last.reader.until(said(23), "its last token but one");
      const first = await begin(w, broker, TEXT, { ...on, rate: 400 }); // without its first token, or nearly
      await kill(doomed);
      const killed = performance.now();

      for (const run of [...running, ...waved, first, last]) await assertRun(redis, broker, run);
      const [{ at, data }] = running[0].reader.of("attempt");
      assert.deepEqual([data.try, data.reason], [2, "worker_lost"]);
      assert.equal(data.mode, policy);
      assert.ok(at - killed < 30000, `taken over after ${at - killed} ms`); // lease, and a third of it between looks
      t.diagnostic(`taken over ${(at - killed).toFixed(0)} ms after SIGKILL, lease 2000 ms`);
      assert.equal((await watched.finished).text, LONG);
      assert.deepEqual([watched.reconnects, watched.missing], [0, []]);
      await assertRun(redis, broker, settling, { attempts: 0 });
      await noJobs(redis);
      assert.ok((await metric(heir, `${P}jobs_taken_total`, 'how="claimed"')) >= 4);
    });
  }

  fault("fault_12_policy_fail_ends_honestly", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const doomed = await w.worker(redis);
    const run = await begin(w, broker, TEXT, { on_crash: "fail" });
    await run.reader.until(said(20), "text");
    await kill(doomed);
    await w.worker(redis);
    await run.reader.end();
    const log = await redis.entries(run.id);
    assertWhole(run.reader, log);
    const [error, done] = run.reader.events.filter(({ id }) => id).slice(-2);
    assert.deepEqual([error.type, error.data.code, done.data.reason], ["error", "worker_lost", "error"]);
    assert.ok(run.reader.text.length > 0 && TEXT.startsWith(run.reader.text));
    assert.equal((await ended(broker.url, run.id)).state, "failed");
    await noJobs(redis);
  });

  fault("fault_13_worker_stopped_past_its_lease_and_continued", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const zombie = await w.worker(redis);
    const waved = await wave(w, broker);
    const policies = ["restart", "continue", "restart"];
    const rates = [40, 100, 200]; // pieces a second, for six seconds
    const runs = await Promise.all(
      policies.map((on_crash, i) => begin(w, broker, words(6 * rates[i]), { on_crash, rate: rates[i] })),
    );
    await runs[1].reader.until(said(20), "text");
    w.pause(zombie);
    const heir = await w.worker(redis);
    // It comes back to one log that is being written, and to others that may have ended and be watched.
    await runs[0].reader.until(({ events }) => events.filter(({ type }) => type === "attempt").length === 1, "attempt");
    await runs[2].reader.end();
    w.resume(zombie);
    await until(async () => (await metric(zombie, `${P}fenced_total`)) >= 1, "a fenced writer");
    for (const run of runs) await assertRun(redis, broker, run, { attempts: 1 });
    for (const run of waved) await assertRun(redis, broker, run);
    await noJobs(redis);
    assert.equal(await metric(heir, `${P}fenced_total`), 0);
    // It works on: the next job may well be its own.
    await kill(heir);
    await assertRun(redis, broker, await begin(w, broker, words(20)));
  });

  fault("fault_14_worker_told_to_stop_finishes_and_takes_no_more", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const leaving = await w.worker(redis, ["--grace", "30s"]);
    const old = await begin(w, broker, TEXT);
    await old.reader.until(said(20), "text");
    const stopped = leaving.stop();
    await until(() => logLines(leaving).some(({ msg }) => msg === "draining"), "draining");
    const fresh = await begin(w, broker, words(20));
    await sleep(700); // longer than a read of the queue: it would have been taken
    assert.equal(startedTries(fresh.reader), 0);
    const other = await w.worker(redis);
    await assertRun(redis, broker, old, { attempts: 0 });
    await assertRun(redis, broker, fresh, { attempts: 0 });
    await stopped;
    assert.deepEqual(leaving.status, { code: 0, signal: null });
    await noJobs(redis); // the settle time that it did not wait for is watched by the other
    assert.equal(await metric(other, `${P}jobs_dropped_total`), 0);
  });

  fault("fault_14_worker_told_to_stop_hands_back_at_once", async (w, t) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const args = ["--lease-ms", "60s", "--grace", "0", "--max-attempts", "2"];
    let worker = await w.worker(redis, args);
    const run = await begin(w, broker, TEXT, { rate: 40, on_crash: "restart" });
    await run.reader.until(said(10), "text");
    // Once more than the attempts that may fail: a job that was handed back killed nobody.
    for (let tries = 1; tries <= 3; tries++) {
      const next = await w.worker(redis, args);
      const told = performance.now();
      await worker.stop();
      assert.deepEqual(worker.status, { code: 0, signal: null });
      await run.reader.until(() => startedTries(run.reader) > tries, "its next worker");
      const [{ at }] = run.reader.of("start").slice(-1);
      assert.ok(at - told < 60000, `not before the lease is over: ${at - told} ms`);
      t.diagnostic(`handed over ${(at - told).toFixed(0)} ms after SIGTERM, lease 60000 ms`);
      worker = next;
    }
    await assertRun(redis, broker, run, { attempts: 3 });
    assert.equal(run.reader.of("error").length, 0);
  });

  fault("fault_15_all_workers_gone_heartbeats_and_on_when_one_comes", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const doomed = await w.worker(redis);
    const run = await begin(w, broker, TEXT);
    await run.reader.until(said(20), "text");
    await kill(doomed);
    const queued = await begin(w, broker, words(20));
    const beats = run.reader.beats;
    const seen = run.reader.events.length;
    await until(() => run.reader.beats >= beats + 10, "heartbeats while nobody works");
    assert.ok(run.reader.events.slice(seen).every(({ type }) => type === "delta" || type === "status"));
    await w.worker(redis);
    await assertRun(redis, broker, run, { attempts: 1 });
    await assertRun(redis, broker, queued, { attempts: 0 });
    await noJobs(redis);
  });

  fault("fault_15_all_workers_gone_stalled_is_told_within_the_lease", async (w, t) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const doomed = await w.worker(redis);
    const run = await begin(w, broker, TEXT);
    await run.reader.until(said(20), "text");
    await kill(doomed);
    const killed = performance.now();
    const states = () => run.reader.of("status").map(({ data }) => data.state);
    await run.reader.until(() => states().at(-1) === "stalled", "stalled");
    t.diagnostic(`stalled told ${(performance.now() - killed).toFixed(0)} ms after SIGKILL, lease 2000 ms`);
    assert.ok(performance.now() - killed < 30000); // lease, a third of it between looks, a sweep
    assert.equal((await (await fetch(`${broker.url}/v1/generations/${run.id}`)).json()).state, "stalled");
    const late = w.record(broker, run.id);
    await late.until(said(20), "what there is");
    assert.ok([late.events[0].data.state, ...late.of("status").map(({ data }) => data.state)].includes("stalled"));
    const beats = run.reader.beats;
    await until(() => run.reader.beats >= beats + 5, "heartbeats");
    await w.worker(redis);
    await assertRun(redis, broker, run, { attempts: 1 });
    await assertRun(redis, broker, { ...run, reader: late }, { attempts: 1 });
    const told = states();
    assert.deepEqual([told.filter((state) => state === "stalled").length, told.at(-1)], [1, "running"], `${told}`);
  });

  fault("fault_15_nobody_ever_comes_an_honest_end", async (w, t) => {
    const redis = await w.redis();
    const broker = await w.broker(redis, ["--retention", "8s"]);
    const doomed = await w.worker(redis, ["--retention", "8s"]);
    const run = await begin(w, broker, TEXT);
    await run.reader.until(said(20), "text");
    await kill(doomed);
    const killed = performance.now();
    assertHonestEnd(await run.reader.end(), ["log_expired"]);
    t.diagnostic(`ended ${(performance.now() - killed).toFixed(0)} ms after SIGKILL, retention 8000 ms`);
    assert.ok(run.reader.of("status").some(({ data }) => data.state === "stalled"));
    assert.equal((await fetch(`${broker.url}/v1/generations/${run.id}`)).status, 410);
  });

  fault("fault_16_job_that_kills_every_worker", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const args = ["--max-attempts", "3"];
    let run = null;
    for (let tries = 1; tries <= 3; tries++) {
      const doomed = await w.worker(redis, args);
      run ??= await begin(w, broker, TEXT, { rate: 20 });
      await run.reader.until(() => startedTries(run.reader) === tries, `start ${tries}`);
      await kill(doomed);
    }
    const survivor = await w.worker(redis, args);
    await run.reader.end();
    assertWhole(run.reader, await redis.entries(run.id));
    const [error, done] = run.reader.events.filter(({ id }) => id).slice(-2);
    assert.deepEqual([error.type, error.data.code, done.data.reason], ["error", "too_many_attempts", "error"]);
    assert.equal(startedTries(run.reader), 3);
    assert.equal((await ended(broker.url, run.id)).state, "failed");
    await noJobs(redis);
    assert.equal(await metric(survivor, `${P}generations_finished_total`, 'reason="error"'), 1);
  });

  fault("fault_26_cancel_while_the_last_token_is_written", async (w) => {
    const redis = await w.redis();
    const brokers = [await w.broker(redis), await w.broker(redis)];
    await w.worker(redis);
    const text = words(12);
    const runs = await Promise.all(
      Array.from({ length: 16 }, async (_, i) => {
        // The first is far from its end, so that one at least is cancelled.
        const run = await begin(w, brokers[0], i === 0 ? words(400) : text, { rate: 40 });
        const other = w.record(brokers[1], run.id);
        // From two tokens before the end to after it, in steps of 4 ms.
        await run.reader.until(said(10), "its last tokens but two");
        await sleep(4 * i);
        const { status } = await fetch(`${brokers[i % 2].url}/v1/generations/${run.id}/cancel`, { method: "POST" });
        return { ...run, other, status };
      }),
    );
    const reasons = new Set();
    for (const { id, text: whole, reader, other, status } of runs) {
      assert.ok([200, 202, 204].includes(status), `cancel: ${status}`);
      await Promise.all([reader.end(), other.end()]);
      const log = assertLog(await redis.entries(id));
      const { reason } = log.at(-1);
      reasons.add(reason);
      const state = { stop: "done", cancelled: "cancelled" }[reason];
      assert.ok(state, `reason ${reason}`);
      for (const one of [reader, other]) {
        assertWhole(one, log);
        assert.equal(one.events.at(-1).data.reason, reason);
        assert.ok(reason === "stop" ? one.text === whole : whole.startsWith(one.text));
      }
      for (const broker of brokers) {
        const snapshot = await ended(broker.url, id);
        assert.deepEqual([snapshot.state, snapshot.text], [state, reader.text]);
      }
    }
    assert.ok(reasons.has("cancelled"), "the first of them came before the end");
    await noJobs(redis);
  });

  fault("fault_27_two_workers_claim_one_job", async (w) => {
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const args = ["--max-attempts", "50"];
    const workers = [await w.worker(redis, args), await w.worker(redis, args), await w.worker(redis, args)];
    const on = { on_crash: "restart", rate: 60 };
    const runs = await Promise.all(Array.from({ length: 4 }, () => begin(w, broker, TEXT, on)));
    await runs[0].reader.until(said(10), "text");
    // Its worker lives, but the queue says otherwise: somebody else claims what it is writing, three times over.
    for (let round = 1; round <= 3; round++) {
      const fenced = async () => {
        for (const { job } of await redis.pending()) {
          await redis.call("XCLAIM", "tc:jobs", "workers", "nobody", 0, job, "IDLE", 600000, "JUSTID");
        }
        return sum(workers, `${P}fenced_total`);
      };
      await until(async () => (await fenced()) >= round * 2, `fenced writers in round ${round}`);
    }
    // And the same job twice in the queue.
    for (const { id } of runs) await redis.call("XADD", "tc:jobs", "*", "gen", id);
    for (const run of runs) await assertRun(redis, broker, run);
    await until(async () => (await sum(workers, `${P}jobs_dropped_total`)) >= runs.length, "dropped duplicates");
    await noJobs(redis);
    assert.equal(await sum(workers, `${P}jobs_dropped_total`), runs.length, "each duplicate is dropped once");
  });
});

// ---- model servers

const HALF = "Half an ans";

/** Scripts of one format: what each does, and how its generation must end. */
function scriptsOf(format, heard) {
  const refuse = (response, status, headers = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end('{"type":"error","error":{"type":"some_error","message":"Not now."}}');
  };
  const all = Buffer.from(format.begin + format.piece(TEXT) + format.end);
  const whole = (response) => sendTorn(response, all);
  const half = (response) => {
    beginStream(response);
    response.write(format.begin + format.piece(HALF));
  };
  return {
    torn_utf8: { reason: "stop", script: (response) => sendTorn(response, all, 1) },
    stalls_before: { reason: "error", script: (response) => beginStream(response) },
    stalls_within: { reason: "error", text: HALF, script: half },
    rate_limited: {
      reason: "stop",
      notes: 1,
      script: (response, { count }) => (count === 1 ? refuse(response, 429, { "retry-after": "1" }) : whole(response)),
    },
    unavailable: {
      reason: "stop",
      notes: 2,
      script: (response, { count }) => (count <= 2 ? refuse(response, 503) : whole(response)),
    },
    always_500: { reason: "error", notes: 2, script: (response) => refuse(response, 500) },
    reset_first: {
      reason: "stop",
      notes: 1,
      script: (response, { count }) => (count === 1 ? response.socket.resetAndDestroy() : whole(response)),
    },
    reset_within: {
      reason: "error",
      text: HALF,
      script: async (response) => {
        half(response);
        await heard("reset_within"); // a reset throws away what the reader has not taken yet
        response.socket.resetAndDestroy();
      },
    },
    eof_within: {
      reason: "error",
      text: HALF,
      script: async (response) => {
        half(response);
        await turn();
        response.end();
      },
    },
    malformed: {
      reason: "error",
      text: HALF,
      script: async (response) => {
        half(response);
        await turn();
        response.end("data: {\"choices\": [{]\n\ndata: not json\n\n");
      },
    },
  };
}

for (const provider of ["openai", "anthropic"]) {
  fault(`fault_25_model_server_fails_${provider}`, async (w) => {
    const readers = new Map(); // by what befalls them
    const heard = (name) => until(() => readers.get(name)?.text === HALF, `half a text of ${name}`);
    const scripts = scriptsOf(formats[provider], heard);
    const server = w.keep(await ModelServer.start({}));
    for (const [name, { script }] of Object.entries(scripts)) server.scripts[name] = script;
    const redis = await w.redis();
    const broker = await w.broker(redis);
    const timeouts = ["--first-token-timeout", "3s", "--idle-timeout", "3s", "--max-retries", "2"];
    const worker = await w.worker(redis, ["--provider", provider, "--upstream", server.url, ...timeouts]);
    const runs = await Promise.all(
      Object.entries(scripts).map(async ([name, wanted]) => {
        const run = await begin(w, broker, "", { model: name });
        readers.set(name, run.reader);
        return { name, wanted, ...run };
      }),
    );
    for (const { name, id, wanted, reader } of runs) {
      await reader.end();
      assertWhole(reader, await redis.entries(id));
      const text = wanted.text ?? (wanted.reason === "stop" ? TEXT : "");
      const errors = reader.of("error");
      assert.deepEqual([reader.of("done")[0].data.reason, reader.text], [wanted.reason, text], name);
      assert.equal(errors.length, wanted.reason === "error" ? 1 : 0, name);
      if (errors.length > 0) assert.ok(errors[0].data.code && errors[0].data.message, name);
      if (wanted.notes) assert.equal(reader.of("note").length, wanted.notes, `${name}: waiting is told`);
      assert.equal((await ended(broker.url, id)).state, wanted.reason === "error" ? "failed" : "done", name);
    }
    const failed = runs.filter(({ wanted }) => wanted.reason === "error").length;
    const errors = () => metric(worker, `${P}upstream_errors_total`);
    await until(async () => (await errors()) >= failed, "counted errors");
    assert.equal(await errors(), failed);
    await noJobs(redis);
  });
}
