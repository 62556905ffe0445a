// What readers are told while nothing comes: queued, running, stalled; and what becomes of a generation whose workers,
// or whose job, are gone.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Harness, missing, post } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { pack } from "../lib/msgpack.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import { Log, Reader } from "./log.mjs";

const LEASE_MS = 2000;
const LEASE = ["--lease-ms", `${LEASE_MS}`];
const ARGS = [...LEASE, "--sweep", "200ms", "--heartbeat", "300ms", "--linger", "1s", "--loops", "1"];
const TEXT = Array.from({ length: 90 }, (_, i) => `word${i} `).join("");

describe("status", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  const workers = [];
  before(async () => {
    h = await Harness.start({ workers: 0, brokers: 2, brokerArgs: ARGS });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  afterEach(async () => {
    for (const worker of workers.splice(0)) await worker.stop("SIGKILL");
  });
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  async function work(args = []) {
    const worker = await h.worker([...LEASE, "--settle", "200ms", ...args]);
    workers.push(worker);
    return worker;
  }

  const events = (id, query = "", broker = h.brokers[0]) => `${broker.url}/v1/generations/${id}/events${query}`;
  const snapshot = async (id) => (await fetch(`${h.url}/v1/generations/${id}`)).json();
  const order = (reader) => reader.events.map(({ type, data }) => (type === "status" ? data.state : type));

  test("queued_becomes_running_when_the_start_is_seen", bounded, async () => {
    const { id } = await post(h.url, TEXT, { rate: 500, channel: "room_queued" });
    const room = await Reader.open(`${h.url}/v1/channels/room_queued/events`);
    const lines = await Reader.open(events(id), { accept: "application/x-ndjson" });
    const reader = await Reader.open(events(id));
    await reader.wait((r) => r.of("created").length > 0, "created");
    await room.wait((r) => r.of("created").length > 0, "created in the room");
    assert.equal(reader.of("open")[0].data.state, "queued");
    await work();
    await Promise.all([reader.over, lines.over]);
    for (const r of [reader, lines]) {
      assert.deepEqual(r.states(), ["running"]);
      assert.ok(order(r).indexOf("running") > order(r).indexOf("start"));
      assert.equal(r.text, TEXT);
      assert.ok(r.of("status").every((event) => event.id === undefined));
    }
    await room.wait((r) => r.of("done").length > 0, "done in the room");
    assert.deepEqual(room.of("status").map(({ data }) => [data.generation, data.state]), [[id, "running"]]);
    room.close();
    const late = await Reader.open(events(id));
    await late.over;
    assert.deepEqual(late.states(), []);
  });

  test("all_workers_gone_is_stalled_until_one_comes", bounded, async () => {
    const first = await work();
    const { id } = await post(h.url, TEXT, { rate: 20, channel: "room_stalled" });
    const reader = await Reader.open(events(id));
    const other = await Reader.open(events(id, "", h.brokers[1]), { accept: "application/x-ndjson" });
    const room = await Reader.open(`${h.url}/v1/channels/room_stalled/events`);
    await reader.wait((r) => r.text.includes("word8"), "text");
    await first.stop("SIGKILL");
    await Promise.all([reader, other, room].map((r) => r.wait((it) => it.states().includes("stalled"), "stalled")));
    assert.equal((await snapshot(id)).state, "stalled");
    const joined = await Reader.open(events(id));
    await joined.wait((r) => r.text.includes("word8"), "text so far");
    assert.equal(joined.of("open")[0].data.state, "stalled");
    const beats = reader.beats;
    await reader.wait((r) => r.beats > beats + 4, "heartbeats go on");
    assert.equal(reader.states().filter((state) => state === "stalled").length, 1, "told once");
    await work();
    await Promise.all([reader.over, other.over, joined.over]);
    for (const r of [reader, other, joined]) {
      assert.equal(r.states().at(-1), "running");
      assert.equal(r.text, TEXT);
      assert.deepEqual([r.of("done").length, r.of("error").length, r.end], [1, 0, "clean"]);
    }
    assert.deepEqual(joined.states(), ["running"]);
    await room.wait((r) => r.of("done").length > 0, "done in the room");
    assert.deepEqual(room.states().slice(-2), ["stalled", "running"]);
    assert.ok(room.of("status").every(({ data }) => data.generation === id));
    room.close();
    assert.ok((await metric(h.brokers[0], "tokencast_broker_stalls_total")) >= 1);
  });

  test("silent_model_is_not_stalled", bounded, async () => {
    await work();
    const { id } = await post(h.url, "slow word", { rate: 0.25 });
    const reader = await Reader.open(events(id));
    await reader.over;
    assert.ok(!reader.states().includes("stalled"), reader.states().join());
  });

  test("log_that_expires_without_workers_ends_honestly", bounded, async () => {
    const broker = await h.broker([...ARGS, "--retention", "8s"]);
    const worker = await work(["--retention", "8s"]);
    const { id } = await post(broker.url, TEXT, { rate: 20 });
    const reader = await Reader.open(events(id, "", broker));
    await reader.wait((r) => r.text.includes("word8"), "text");
    await worker.stop("SIGKILL");
    await reader.over;
    assert.ok(reader.states().includes("stalled"));
    assert.deepEqual(reader.events.slice(-2).map(({ type, data }) => data.code ?? type), ["log_expired", "done"]);
    assert.equal(reader.end, "clean");
    await broker.stop();
  });

  test("job_that_the_queue_lost_is_queued_again_once", bounded, async () => {
    const { id } = await post(h.url, TEXT, { rate: 500 });
    const readers = await Promise.all(h.brokers.flatMap((b) => [0, 1].map(() => Reader.open(events(id, "", b)))));
    await redis.do("DEL", "tc:jobs");
    await until(() => redis.do("XLEN", "tc:jobs"), "a job");
    await work();
    await Promise.all(readers.map((reader) => reader.over));
    for (const reader of readers) {
      assert.equal(reader.text, TEXT);
      assert.equal(reader.of("start").length, 1);
      assert.equal(reader.of("attempt").length, 0);
      assert.equal(reader.of("done").length, 1);
    }
    const requeued = await Promise.all(h.brokers.map((b) => metric(b, "tokencast_broker_jobs_requeued_total")));
    assert.equal(requeued[0] + requeued[1], 1, "by one of those who saw it");
  });

  test("job_without_a_name_in_meta_is_not_run_twice", bounded, async () => {
    // A broker died between the queue and meta: whoever names a job first decides, and others are dropped.
    const { id } = await post(h.url, TEXT, { rate: 500 });
    const log = new Log(redis, id);
    await redis.do("HDEL", log.meta, "job");
    const readers = await Promise.all(h.brokers.map((b) => Reader.open(events(id, "", b))));
    await until(() => redis.do("HGET", log.meta, "job"), "a job in meta");
    await work();
    await Promise.all(readers.map((reader) => reader.over));
    for (const reader of readers) {
      assert.equal(reader.text, TEXT);
      assert.equal(reader.of("start").length, 1);
    }
  });

  test("foreign_log_without_meta_is_never_stalled", bounded, async () => {
    const log = new Log(redis, "gen_foreign");
    await log.add("0-1", { type: "created", model: "m" });
    await log.start("1-2");
    const reader = await Reader.open(events(log.id));
    await sleep(LEASE_MS * 2);
    assert.deepEqual(reader.states(), []);
    await log.done("1-3");
    await reader.over;
  });

  test("stalled_generation_that_is_ended_is_not_called_running", bounded, async () => {
    const log = new Log(redis, "gen_ended_stalled");
    await log.create({ job: "1-1", channel: "room_ended" });
    await log.fence(5);
    await log.start("5-2");
    const announced = pack({ type: "generation", generation: log.id, model: "m", at: 1 });
    await redis.do("XADD", "tc:chan:{room_ended}:log", "1000-0", "e", announced);
    const reader = await Reader.open(events(log.id));
    const room = await Reader.open(`${h.url}/v1/channels/room_ended/events`);
    for (const r of [reader, room]) await r.wait((it) => it.states().includes("stalled"), "stalled");
    await log.add("5-3", { type: "error", code: "worker_lost", message: "gone", recoverable: false });
    for (const r of [reader, room]) await r.wait((it) => it.of("error").length > 0, "error");
    await log.done("5-4", "error");
    for (const r of [reader, room]) await r.wait((it) => it.of("done").length > 0, "done");
    for (const r of [reader, room]) assert.deepEqual(order(r).slice(-3), ["stalled", "error", "done"]);
    room.close();
    await reader.over;
  });
});
