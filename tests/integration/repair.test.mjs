// What happens to Redis and to the logs in it, seen by readers: each case on a real Redis, its log written here as a
// worker would, so that every entry is known.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";

import { EventSource } from "eventsource";

import { Harness, missing } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { pack } from "../lib/msgpack.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import { Log, Reader } from "./log.mjs";

const LEASE_MS = 1500;
const ARGS = ["--lease-ms", `${LEASE_MS}`, "--sweep", "200ms", "--heartbeat", "300ms", "--linger", "1s", "--loops", "1"];
let serial = 0;

describe("repair", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  let patient; // a broker that waits longer than any test for a worker to write again what was lost
  /** @type {Redis} */
  let redis;
  before(async () => {
    h = await Harness.start({ workers: 0, brokerArgs: ARGS });
    patient = await h.broker([...ARGS, "--lease-ms", "50s"]);
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const url = (log, query = "", broker = h.brokers[0]) => `${broker.url}/v1/generations/${log.id}/events${query}`;

  /** A generation that has begun; three pieces of it are written. */
  async function begun(fields) {
    const log = new Log(redis, `gen_repair_${serial++}`);
    await log.create(fields);
    await log.fence(5);
    await log.start("5-2");
    for (const [i, piece] of ["one ", "two ", "three "].entries()) await log.text(`5-${i + 3}`, piece);
    return log;
  }

  async function watched(log, query, options) {
    const reader = await Reader.open(url(log, query), options);
    assert.equal(reader.status, 200);
    return reader;
  }

  const at = (position) => (reader) => reader.events.some((event) => event.id === position);
  const ids = (reader) => reader.events.filter((event) => event.id).map((event) => event.id);

  // ---- announcements and links

  test("announcements_lost_are_found_by_the_sweep", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    const found = () => metric(h.brokers[0], "tokencast_broker_log_reads_found_total");
    const before = await found();
    await log.text("5-6", "four ", { bell: false });
    await reader.wait(at("5-6"));
    await until(async () => (await found()) > before, "a read of the log that found something");
    await log.done("5-7");
    await reader.over;
    assert.equal(reader.text, "one two three four ");
    assert.deepEqual(ids(reader).slice(-2), ["5-6", "5-7"]);
    assert.equal(reader.end, "clean");
  });

  for (const type of ["pubsub", "normal"]) {
    test(`${type}_connection_killed_loses_nothing`, bounded, async () => {
      const log = await begun();
      const reader = await watched(log);
      await reader.wait(at("5-5"));
      await redis.do("CLIENT", "KILL", "TYPE", type, "SKIPME", "yes");
      for (let i = 6; i < 60; i++) await log.text(`5-${i}`, `${i} `);
      await log.done("5-60");
      await reader.over;
      assert.equal(new Set(ids(reader)).size, ids(reader).length, "an event twice");
      assert.equal(reader.of("gap").length, 0);
      assert.ok(reader.text.endsWith("58 59 "));
      const states = reader.states();
      assert.ok(["", "recovering", "recovering,running"].includes(states.join()), states.join());
    });
  }

  test("redis_that_hangs_is_waited_for_with_heartbeats", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    process.kill(h.redis.child.pid, "SIGSTOP");
    const late = await Reader.open(url(log, "?after=0-1")); // served from the history: needs no Redis
    try {
      const beats = reader.beats;
      await reader.wait((r) => r.states().includes("recovering"), "recovering");
      await sleep(Math.max(0, 10000 - (Date.now() - reader.of("open")[0].at)));
      await reader.wait((r) => r.beats > beats + 5, "heartbeats go on");
      await until(async () => (await fetch(`${h.brokers[0].ops}/readyz`)).status === 503, "not ready");
    } finally {
      process.kill(h.redis.child.pid, "SIGCONT");
    }
    // Before the end, which is announced on a link that was not given up, perhaps before the other one is back.
    await reader.wait((r) => r.states().includes("running"), "running");
    await log.text("5-6", "four ");
    await log.done("5-7");
    await Promise.all([reader.over, late.over]);
    for (const r of [reader, late]) assert.equal(r.text, "one two three four ");
    // Perhaps also "stalled" after that, on a slow machine: this log has no worker that would renew it.
    assert.deepEqual(reader.states().slice(0, 2), ["recovering", "running"]);
    assert.equal(reader.of("gap").length + reader.of("error").length, 0);
  });

  test("stream_asked_for_while_redis_is_away_is_told_to_come_back", bounded, async (t) => {
    const log = await begun({ channel: "room_away" });
    const room = `${h.url}/v1/channels/room_away/events`;
    const ask = async (where, accept) => {
      const answer = await fetch(where, { headers: { accept } });
      return [answer.status, (await answer.text()).replace(/^retry: (1|2)\d{3}$/m, "retry: soon")];
    };
    const bye = '{"type":"bye","reason":"unavailable"}';
    const told = [200, `event: bye\nretry: soon\ndata: ${bye}\n\n`];
    let source;
    const seen = [];
    process.kill(h.redis.child.pid, "SIGSTOP");
    try {
      await until(async () => (await fetch(`${h.brokers[0].ops}/readyz`)).status === 503, "not ready");
      source = new EventSource(url(log));
      t.after(() => source.close());
      for (const type of ["delta", "bye", "done"]) source.addEventListener(type, ({ data }) => seen.push(JSON.parse(data)));
      const [asked, rooms, lines, text, poll] = await Promise.all([
        ask(url(log), "text/event-stream"),
        ask(room, "text/event-stream"),
        ask(url(log), "application/x-ndjson"),
        ask(url(log), "text/plain"), // has no word for it
        ask(url(log, "?wait=1000"), "application/json"),
      ]);
      assert.deepEqual([asked, rooms], [told, told]);
      assert.deepEqual(lines, [200, `${bye}\n`]);
      assert.deepEqual([text[0], poll[0]], [503, 503]);
      assert.ok((await metric(h.brokers[0], "tokencast_broker_byes_total", 'reason="unavailable"')) >= 3);
      await until(() => seen.length > 0, "what the EventSource is told");
      assert.equal(seen[0].type, "bye");
    } finally {
      process.kill(h.redis.child.pid, "SIGCONT");
    }
    await until(() => seen.some(({ type }) => type === "delta"), "text");
    await log.done("5-6");
    await until(() => seen.at(-1).type === "done", "the end");
    assert.equal(seen.map(({ text = "" }) => text).join(""), "one two three ");
  });

  // ---- trimmed

  test("log_trimmed_under_readers_tells_the_exact_range", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    const lines = await watched(log, "", { accept: "application/x-ndjson" });
    const bare = await watched(log, "", { accept: "text/plain" });
    await reader.wait(at("5-5"));
    await lines.wait(at("5-5"));
    await bare.wait((r) => r.body === "one two three ", "bare text");
    await redis.do("MULTI");
    for (let i = 6; i <= 9; i++) await log.redis.do("XADD", log.key, `5-${i}`, "e", "x");
    await log.redis.do("XADD", log.key, "5-10", "e", pack({ type: "delta", text: "ten", offset: 40 }));
    await redis.do("XTRIM", log.key, "MINID", "5-10");
    await redis.do("EXEC");
    for (const r of [reader, lines]) {
      await r.wait(at("5-10"));
      assert.deepEqual(
        r.of("gap").map(({ data }) => data),
        [{ type: "gap", from: "5-6", to: "5-9", dropped: 4, reason: "trimmed" }],
      );
    }
    await bare.over;
    assert.equal(bare.end, "reset", "bare text with a hole must not look whole");
    const late = await watched(log);
    await late.wait(at("5-10"));
    assert.deepEqual(late.of("gap")[0].data, { type: "gap", from: "0-1", to: "5-9", dropped: 9, reason: "trimmed" });
    await log.done("5-11");
    await Promise.all([reader.over, lines.over, late.over]);
    for (const r of [reader, lines, late]) assert.deepEqual([r.events.at(-1).type, r.end], ["done", "clean"]);
  });

  test("log_whose_tail_a_failover_took_is_not_told_as_trimmed", bounded, async () => {
    // The history is short and the next sweep far: a reader comes back before the feed has noticed.
    const short = await h.broker([...ARGS, "--lag-events", "16", "--sweep", "16s"]);
    const log = await begun();
    const early = await Reader.open(url(log, "", short));
    for (let i = 6; i <= 40; i++) await log.text(`5-${i}`, `${i} `);
    await early.wait(at("5-40"));
    const kept = await redis.raw("XRANGE", log.key, "-", "5-10");
    await redis.do("MULTI");
    await redis.do("DEL", log.key);
    for (const [position, fields] of kept) await redis.do("XADD", log.key, `${position}`, ...fields);
    await redis.do("EXEC");
    const late = await Reader.open(url(log, "?after=5-10", short));
    await late.wait((reader) => reader.of("gap").length > 0, "what became of the rest");
    assert.deepEqual(late.of("gap").map(({ data }) => data.reason), ["lost"]);
    await log.done("5-11");
    await Promise.all([early.over, late.over]);
    assert.equal(late.text, early.text);
  });

  test("log_trimmed_past_a_takeover_is_told_as_lost", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    await redis.do("MULTI");
    await log.redis.do("XADD", log.key, "7-0", "e", "x");
    await log.redis.do("XADD", log.key, "7-6", "e", pack({ type: "delta", text: "six", offset: 40 }));
    await redis.do("XTRIM", log.key, "MINID", "7-0");
    await redis.do("EXEC");
    await reader.wait(at("7-6"));
    // Nothing tells whether attempt 7 went on behind 5-5 or behind less.
    assert.deepEqual(
      reader.of("gap").map(({ data: { from, to, reason } }) => [from, to, reason]),
      [
        ["0-1", "5-5", "lost"],
        ["0-1", "7-5", "trimmed"],
      ],
    );
    await log.done("7-7");
    await reader.over;
  });

  test("log_emptied_by_trimming_goes_on_with_a_gap", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    await redis.do("XTRIM", log.key, "MAXLEN", 0);
    await sleep(600);
    assert.equal(reader.of("error").length, 0, "the log is still there");
    await log.text("5-7", "seven", { bell: false });
    await reader.wait(at("5-7"));
    assert.deepEqual(reader.of("gap")[0].data, { type: "gap", from: "5-6", to: "5-6", dropped: 1, reason: "trimmed" });
    await log.done("5-8");
    await reader.over;
  });

  // ---- gone

  /** Three forms of readers, one of them still catching up; `fault` makes the log vanish. */
  async function vanishes(log, fault, code) {
    const reader = await watched(log);
    const lines = await watched(log, "", { accept: "application/x-ndjson" });
    const bare = await watched(log, "", { accept: "text/plain" });
    const ahead = await watched(log, "?after=5-900");
    await reader.wait(at("5-5"));
    await bare.wait((r) => r.body === "one two three ", "bare text");
    await fault();
    await Promise.all([reader.over, lines.over, bare.over, ahead.over]);
    for (const r of [reader, lines, ahead]) {
      const [error, done] = r.events.slice(-2);
      assert.deepEqual([error.type, error.data.code, error.data.recoverable], ["error", code, false]);
      assert.deepEqual([done.type, done.data.reason, r.end], ["done", "error", "clean"]);
      assert.deepEqual([error.id, done.id], [undefined, undefined]);
      assert.equal(r.of("done").length, 1);
    }
    assert.equal(bare.end, "reset");
    const gone = code === "redis_emptied" ? [404, 410] : [410];
    await until(async () => gone.includes((await fetch(url(log))).status), "410");
  }

  test("log_deleted_ends_its_readers_within_a_sweep", bounded, async () => {
    const log = await begun();
    await vanishes(log, () => redis.do("DEL", log.key), "log_deleted");
  });

  test("log_expired_ends_its_readers", bounded, async () => {
    const log = await begun();
    await vanishes(log, () => redis.do("PEXPIRE", log.key, 3000), "log_expired"); // several sweeps see it coming
  });

  test("log_replaced_by_something_else_ends_its_readers", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    await redis.do("SET", log.key, "x");
    await reader.over;
    assert.deepEqual(reader.events.slice(-2).map(({ type, data }) => data.code ?? type), ["log_replaced", "done"]);
    await redis.do("DEL", log.key);
  });

  // As after a failover that took all of it, and whoever asked for it asks once more under the same key.
  test("log_made_again_after_it_vanished_is_read", bounded, async () => {
    const broker = await h.broker([...ARGS, "--linger", "60s"]); // longer than the test
    const log = await begun();
    const announce = (id) =>
      redis.do("XADD", "tc:chan:{room_again}:log", id, "e", pack({ type: "generation", generation: log.id, model: "m", at: 1 }));
    await announce("1000-0");
    const room = await Reader.open(`${broker.url}/v1/channels/room_again/events`);
    const reader = await Reader.open(url(log, "", broker));
    await Promise.all([reader.wait(at("5-5")), room.wait((r) => r.text === "one two three ", "the room")]);
    await redis.do("DEL", log.key, log.meta);
    await reader.over;
    await room.wait((r) => r.of("done").length === 1, "its end in the room");
    assert.equal((await Reader.open(url(log, "", broker))).status, 404);

    await log.create();
    await log.fence(7);
    await log.start("7-2");
    log.offset = 0;
    await log.text("7-3", "again");
    await log.done("7-4");
    await announce("1001-0");
    const anew = await Reader.open(url(log, "", broker));
    assert.equal(anew.status, 200);
    await anew.over;
    assert.deepEqual([anew.text, anew.end], ["again", "clean"]);
    await room.wait((r) => r.of("done").length === 2, "its second end in the room");
    assert.deepEqual(room.of("delta").at(-1).data.text, "again");
    room.close();
    await broker.stop();
  });

  // Its announcement was lost, or came when the broker had no memory for it.
  test("room_is_told_late_of_more_than_its_broker_keeps_and_comes_back_for_it", bounded, async () => {
    const short = await h.broker([...ARGS, "--lag-events", "16"]);
    const room = `${short.url}/v1/channels/room_late/events`;
    const early = await Reader.open(room);
    await early.wait((r) => r.beats > 0, "that it stands at the head");
    const log = await begun();
    for (let i = 6; i < 60; i++) await log.text(`5-${i}`, `${i} `);
    const announced = pack({ type: "generation", generation: log.id, model: "m", at: 1 });
    await redis.do("XADD", "tc:chan:{room_late}:log", "1000-0", "e", announced);
    await early.over;
    assert.deepEqual(early.events.slice(-2).map(({ type, data }) => data.reason ?? type), ["generation", "behind"]);
    assert.equal(early.end, "clean");

    const back = await Reader.open(room, { headers: { "last-event-id": ids(early).at(-1) } });
    await log.done("5-60");
    await back.wait((r) => r.of("done").length === 1, "the end");
    const pieces = ["one ", "two ", "three ", ...Array.from({ length: 54 }, (_, i) => `${i + 6} `)];
    assert.equal(back.text, pieces.join(""));
    assert.equal(back.of("gap").length, 0);
    back.close();
    await short.stop();
  });

  // ---- branches

  /** The log is written anew, as a failover that lost its tail would leave it. */
  async function rewrite(log, entries) {
    await redis.do("MULTI");
    await redis.do("DEL", log.key);
    log.offset = 0;
    for (const [position, fields] of entries) await log.add(position, fields, { bell: false });
    await redis.do("EXEC");
  }

  const piece = (text, offset) => ({ type: "delta", text, offset });
  const base = [
    ["0-1", { type: "created", model: "m" }],
    ["5-0", { type: "fence" }],
    ["5-2", { type: "start", model: "m", provider: "p" }],
    ["5-3", piece("one ", 0)],
  ];

  for (const [name, attempt] of [
    ["higher", 9],
    ["lower", 4],
  ]) {
    test(`branch_lost_to_a_${name}_attempt_is_told_and_read_again`, bounded, async () => {
      const log = await begun();
      const forms = ["text/event-stream", "application/x-ndjson"];
      const readers = await Promise.all(forms.map((accept) => watched(log, "", { accept })));
      const filtered = await watched(log, "?include=text&pace=word&overflow=merge");
      const bare = await watched(log, "", { accept: "text/plain" });
      for (const r of readers) await r.wait(at("5-5"));
      await filtered.wait((r) => r.text.startsWith("one two"), "filtered");
      await bare.wait((r) => r.body === "one two three ", "bare text");
      const from = attempt > 5 ? base : base.map(([p, f]) => [p.replace(/^5/, "3"), f]);
      await rewrite(log, [...from, [`${attempt}-0`, { type: "fence" }], [`${attempt}-4`, piece("ZWEI ", 4)]]);
      for (const r of [...readers, filtered]) {
        await r.wait((it) => it.of("gap").length > 0, "gap");
        assert.deepEqual(r.of("gap")[0].data, { type: "gap", from: "0-1", to: "5-5", dropped: 5, reason: "lost" });
      }
      await bare.over;
      assert.equal(bare.end, "reset");
      await log.add(`${attempt}-5`, piece("end", 9));
      await log.done(`${attempt}-6`);
      await Promise.all([...readers, filtered].map((r) => r.over));
      for (const r of [...readers, filtered]) {
        assert.equal(r.text, "one ZWEI end");
        assert.deepEqual([r.of("gap").length, r.of("done").length, r.end], [1, 1, "clean"]);
      }
      assert.equal((await watched(log, "", { accept: "text/plain" }).then(async (r) => (await r.over, r))).body, "one ZWEI end");
    });
  }

  test("lost_tail_that_is_written_again_goes_unnoticed", bounded, async () => {
    const log = await begun();
    const reader = await Reader.open(url(log, "", patient));
    await reader.wait(at("5-5"));
    await rewrite(log, base);
    const reads = () => metric(patient, "tokencast_broker_log_reads_total");
    const sweeps = await reads();
    await until(async () => (await reads()) > sweeps + 1, "looks");
    log.offset = 4;
    await log.text("5-4", "two ");
    await log.text("5-5", "three ");
    await log.text("5-6", "four ");
    await log.done("5-7");
    await reader.over;
    assert.equal(reader.text, "one two three four ");
    assert.equal(reader.of("gap").length, 0);
    assert.deepEqual(ids(reader).slice(-2), ["5-6", "5-7"]);
  });

  test("lost_tail_that_nobody_writes_again_is_told_after_a_lease", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    const begin = Date.now();
    await rewrite(log, base);
    await reader.wait((r) => r.of("gap").length > 0, "gap");
    assert.ok(Date.now() - begin >= LEASE_MS * 0.9);
    await log.done("5-4");
    await reader.over;
    assert.equal(reader.text, "one ");
  });

  test("redis_flushed_and_log_written_anew_is_a_lost_branch", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    await redis.do("MULTI");
    await redis.do("FLUSHALL");
    for (const [position, fields] of base) await log.add(position, fields, { bell: false });
    await redis.do("EXEC");
    await reader.wait((r) => r.of("gap").length > 0, "gap");
    await log.done("5-4");
    await reader.over;
    assert.equal(reader.text, "one ");
    assert.equal(reader.of("gap")[0].data.reason, "lost");
  });

  test("redis_flushed_ends_its_readers", bounded, async () => {
    const log = await begun();
    await vanishes(log, () => redis.do("FLUSHALL"), "redis_emptied");
  });

  // ---- positions

  test("position_ahead_of_an_ended_log_starts_over_at_once", bounded, async () => {
    const log = await begun();
    await log.done("5-6");
    for (const accept of ["text/event-stream", "application/x-ndjson"]) {
      const reader = await watched(log, "?after=6-9", { accept });
      await reader.over;
      assert.deepEqual(reader.of("gap")[0].data, { type: "gap", from: "0-1", to: "6-9", dropped: 9, reason: "lost" });
      assert.equal(reader.text, "one two three ");
      assert.equal(reader.of("done").length, 1);
    }
    const bare = await watched(log, "?after=6-9", { accept: "text/plain" });
    await bare.over;
    assert.equal(bare.end, "reset");
  });

  test("position_ahead_of_a_log_that_stays_behind_starts_over_after_a_lease", bounded, async () => {
    const log = await begun();
    const begin = Date.now();
    const reader = await watched(log, "?after=5-9");
    await reader.wait((r) => r.of("gap").length > 0, "gap");
    assert.ok(reader.of("gap")[0].at - begin >= LEASE_MS * 0.9, "a worker has a lease to write it again");
    assert.ok(reader.beats > 0, "heartbeats meanwhile");
    await log.done("5-6");
    await reader.over;
    assert.equal(reader.text, "one two three ");
  });

  test("position_ahead_that_is_written_again_goes_on_without_a_word", bounded, async () => {
    const log = await begun();
    const reader = await Reader.open(url(log, "?after=5-6", patient));
    await sleep(300);
    await log.text("5-6", "four ");
    await log.text("5-7", "five");
    await log.done("5-8");
    await reader.over;
    assert.deepEqual(ids(reader), ["5-7", "5-8"]);
    assert.equal(reader.of("gap").length, 0);
  });

  test("position_of_a_higher_attempt_over_a_log_that_grows_is_lost_without_waiting", bounded, async () => {
    const log = await begun();
    const reader = await Reader.open(url(log, "?after=8-6", patient));
    await sleep(300);
    await log.text("5-6", "four ");
    await reader.wait((r) => r.of("gap").length > 0, "gap");
    await log.done("5-7");
    await reader.over;
    assert.equal(reader.text, "one two three four ");
  });

  for (const position of ["18446744073709551615-18446744073709551615", "0-18446744073709551615", "5-0", "999-0"]) {
    test(`position_${position}_has_an_end`, bounded, async () => {
      const log = await begun();
      await log.done("5-6");
      const reader = await watched(log, "", { headers: { "last-event-id": position } });
      await reader.over;
      assert.equal(reader.text, "one two three ");
      assert.equal(reader.of("done").length, 1);
    });
  }

  // ---- garbage

  test("garbage_and_bombs_are_skipped_and_counted", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    const before = await metric(h.brokers[0], "tokencast_broker_malformed_entries_total");
    const bombs = [
      Buffer.from("not msgpack"),
      Buffer.alloc(0),
      Buffer.concat([Buffer.from([0x81, 0xa1, 0x78]), Buffer.alloc(60000, 0x91)]), // arrays in arrays
      Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]), // a map of four billion
      Buffer.from([0x81, 0xdb, 0xff, 0xff, 0xff, 0xff]), // a key of four gigabytes
      Buffer.alloc(2 * 1024 * 1024, 0xc0),
    ];
    for (const [i, bomb] of bombs.entries()) await log.add(`5-${6 + i}`, bomb, { bell: i % 2 === 0 });
    await redis.do("XADD", log.key, "5-12", "other", "field");
    await redis.do("PUBLISH", log.bell, "no position");
    await redis.do("PUBLISH", log.bell, "");
    await log.add("5-13", { type: "martian", colour: "green" });
    await log.text("5-14", "four");
    await log.done("5-15");
    await reader.over;
    assert.equal(reader.text, "one two three four");
    assert.equal(reader.of("martian")[0].data.colour, "green");
    assert.equal(reader.of("gap").length, 0);
    assert.ok((await metric(h.brokers[0], "tokencast_broker_malformed_entries_total")) >= before + 7);
    const late = await watched(log);
    await late.over;
    assert.equal(late.text, "one two three four");
  });

  // ---- eviction

  test("start_warns_of_a_policy_that_evicts", bounded, async () => {
    const warned = (broker) => broker.log.includes("maxmemory_policy");
    assert.ok(!warned(h.brokers[0]), "noeviction is what is wanted");
    await redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    try {
      const broker = await h.broker(["--loops", "2"]);
      await broker.until(() => warned(broker), "warning");
      assert.equal(broker.log.match(/maxmemory_policy/g).length, 1);
      await broker.stop();
    } finally {
      await redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction");
    }
  });

  test("start_that_a_full_redis_refuses_is_503_and_logged_once", bounded, async () => {
    const broker = await h.broker(ARGS);
    const start = () =>
      fetch(`${broker.url}/v1/generations`, { method: "POST", body: '{"prompt":"hello","model":"m"}' });
    await redis.do("CONFIG", "SET", "maxmemory", "1");
    try {
      for (let i = 0; i < 3; i++) assert.equal((await start()).status, 503);
    } finally {
      await redis.do("CONFIG", "SET", "maxmemory", "0");
    }
    await broker.until((log) => log.includes("Redis refused a new generation"), "Redis's own word");
    assert.equal(broker.log.match(/Redis refused a new generation.*OOM/g).length, 1);
    assert.equal((await start()).status, 202);
    await broker.stop();
  });

  test("log_evicted_is_said_to_be", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    await redis.do("CONFIG", "SET", "maxmemory-policy", "allkeys-random");
    await redis.do("CONFIG", "SET", "maxmemory", "1");
    try {
      await reader.over;
    } finally {
      await redis.do("CONFIG", "SET", "maxmemory", "0");
      await redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction");
    }
    assert.deepEqual(reader.events.slice(-2).map(({ type }) => type), ["error", "done"]);
    assert.ok(["log_evicted", "redis_emptied"].includes(reader.of("error")[0].data.code));
  });

  // ---- a lost branch takes the position with it

  /** Between a client and the broker: cuts the first stream right behind `gap`; `came` are the positions it asks with. */
  async function cutBehindGap(t) {
    const came = [];
    const cut = { done: false };
    const server = http.createServer(async (request, response) => {
      came.push(request.headers["last-event-id"] ?? null);
      const first = came.length === 1;
      const { accept, "last-event-id": last } = request.headers;
      const upstream = http.get(`${h.url}${request.url}`, { agent: false, headers: { accept, ...(last && { "last-event-id": last }) } });
      response.on("close", () => upstream.destroy());
      upstream.on("error", () => response.destroy());
      upstream.on("response", (from) => {
        response.writeHead(from.statusCode, from.headers);
        let seen = "";
        from.on("data", (chunk) => {
          seen += chunk;
          const end = first && seen.includes('"lost"') ? seen.indexOf("\n\n", seen.indexOf('"lost"')) : -1;
          if (end < 0) return response.write(chunk);
          response.write(seen.slice(seen.length - chunk.length, end + 2), () => response.destroy());
          cut.done = true;
          return from.destroy();
        });
        from.on("end", () => response.end());
        from.on("error", () => response.destroy());
      });
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return { came, cut, base: `http://127.0.0.1:${server.address().port}` };
  }

  const STREAM = ["created", "start", "delta", "gap", "status", "done"];

  function eventsource(url, take) {
    const source = new EventSource(url);
    for (const type of STREAM) source.addEventListener(type, ({ data }) => take(type, JSON.parse(data)));
    return () => source.close();
  }

  function fetchEventSource(url, take) {
    // The package is written for browsers; these are all it touches.
    globalThis.window ??= globalThis;
    globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
    const abort = new AbortController();
    import("@microsoft/fetch-event-source").then(({ fetchEventSource: read }) =>
      read(url, {
        openWhenHidden: true,
        signal: abort.signal,
        onopen: async () => {},
        onmessage: ({ event, data }) => take(event, JSON.parse(data)),
        onclose() {
          throw new Error("come back"); // Node's fetch takes a reset for the end of the body
        },
        onerror: () => 50,
      }).catch(() => {}),
    );
    return () => abort.abort();
  }

  for (const [name, read] of Object.entries({ eventsource, fetchEventSource })) {
    test(`${name}_cut_off_behind_a_lost_branch_comes_back_without_its_position`, bounded, async (t) => {
      const log = await begun();
      const { came, cut, base: proxy } = await cutBehindGap(t);
      let text = "";
      let done = false;
      const close = read(`${proxy}/v1/generations/${log.id}/events`, (type, data) => {
        if (type === "gap" && data.reason === "lost") text = "";
        else if (type === "delta") text = text.slice(0, data.offset) + data.text;
        else if (type === "done") done = true;
      });
      t.after(close);
      await until(() => text === "one two three ", "text");
      await rewrite(log, base);
      await until(() => cut.done, "cut off");
      // 5-5 is where the reader was told to forget it; now it is there again.
      await log.add("5-4", piece("ZWEI ", 4));
      await log.add("5-5", piece("three ", 9));
      await until(() => text === "one ZWEI three ", () => JSON.stringify([text, came]));
      await log.done("5-6");
      await until(() => done, "done");
      assert.deepEqual(came.slice(0, 2), [null, "0-0"]);
    });
  }

  test("lost_branch_is_told_with_a_position_that_forgets", bounded, async () => {
    const log = await begun();
    const lines = await watched(log, "", { accept: "application/x-ndjson" });
    const reader = await watched(log);
    for (const r of [reader, lines]) await r.wait(at("5-5"));
    await rewrite(log, [...base, ["9-0", { type: "fence" }], ["9-4", piece("ZWEI", 4)]]);
    for (const r of [reader, lines]) {
      await r.wait(at("9-4"));
      const gap = r.of("gap")[0];
      assert.deepEqual([gap.data.reason, gap.id], ["lost", "0-0"]);
      const again = await watched(log, "", { headers: { "last-event-id": gap.id } });
      await again.wait(at("9-4"));
      assert.deepEqual([ids(again)[0], again.text, again.of("gap").length], ["0-1", "one ZWEI", 0]);
      again.close();
    }
    const poll = async (after) =>
      (await fetch(url(log, `?wait=20000&after=${after}`), { headers: { accept: "application/json" } })).json();
    assert.deepEqual((await poll("5-5")).events[0].position, "0-0");
    assert.deepEqual((await poll("0-0")).events[0].position, "0-1");
    await log.done("9-5");
    await Promise.all([reader.over, lines.over]);
  });

  test("room_tells_a_lost_branch_with_a_position_that_forgets", bounded, async () => {
    const log = await begun({ channel: "room_lost" });
    await redis.do("XADD", "tc:chan:{room_lost}:log", "1000-0", "e", pack({ type: "generation", generation: log.id, model: "m", at: 1 }));
    const room = `${h.url}/v1/channels/room_lost/events`;
    const composite = (position) => `1000-0~${log.id}:${position}`;
    const live = await Reader.open(room);
    await live.wait(at(composite("5-5")));
    const old = await Reader.open(room, { headers: { "last-event-id": composite("5-900") } });
    await rewrite(log, [...base, ["9-0", { type: "fence" }], ["9-4", piece("ZWEI", 4)]]);
    for (const reader of [live, old]) {
      await reader.wait(at(composite("9-4")));
      const gap = reader.of("gap")[0];
      assert.deepEqual([gap.data.generation, gap.data.reason, gap.id], [log.id, "lost", composite("0-0")]);
    }
    const again = await Reader.open(room, { headers: { "last-event-id": composite("0-0") } });
    await again.wait(at(composite("9-4")));
    assert.equal(again.text, "one ZWEI");
    for (const reader of [live, old, again]) reader.close();
    await log.done("9-5");
  });

  // ---- each cause only where it is true

  /** Evicts what the policy allows it to. */
  async function evict(policy) {
    await redis.do("CONFIG", "SET", "maxmemory-policy", policy);
    await redis.do("CONFIG", "SET", "maxmemory", "1");
    await redis.do("GET", "any"); // a command makes room first
    await redis.do("CONFIG", "SET", "maxmemory", "0");
    await redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction");
  }

  async function codeOf(log, fault) {
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    // The broker knows the counter of evicted keys by now: it asks when it has something to follow.
    let own = 0;
    const samples = async () =>
      Number(/cmdstat_info:calls=(\d+)/.exec(await redis.do("INFO", "commandstats"))?.[1] ?? 0) - own++;
    const before = await samples();
    await until(async () => (await samples()) > before + 10, "samples");
    await fault();
    await reader.over;
    assert.deepEqual(reader.events.slice(-2).map(({ type }) => type), ["error", "done"]);
    return reader.of("error")[0].data.code;
  }

  test("log_evicted_alone_is_said_to_be", bounded, async () => {
    const log = await begun();
    await redis.do("PEXPIRE", log.key, 3600000);
    assert.equal(await codeOf(log, () => evict("volatile-random")), "log_evicted");
    assert.equal(await redis.do("EXISTS", log.meta), 1);
  });

  test("log_evicted_with_everything_else_is_not_called_emptied", bounded, async () => {
    assert.equal(await codeOf(await begun(), () => evict("allkeys-random")), "log_evicted");
  });

  test("log_deleted_long_after_an_eviction_is_not_called_evicted", bounded, async () => {
    await redis.do("SET", "bait", "x", "EX", 3600);
    await evict("volatile-random");
    const log = await begun();
    assert.equal(await codeOf(log, () => redis.do("DEL", log.key)), "log_deleted");
  });

  test("redis_flushed_long_after_an_eviction_is_called_emptied", bounded, async () => {
    await redis.do("SET", "bait", "x", "EX", 3600);
    await evict("volatile-random");
    assert.equal(await codeOf(await begun(), () => redis.do("FLUSHALL")), "redis_emptied");
  });

  test("log_deleted_after_the_mark_of_the_data_was_lost_is_not_called_emptied", bounded, async () => {
    const log = await begun();
    const reader = await watched(log);
    await reader.wait(at("5-5"));
    const marked = () => until(async () => (await redis.do("EXISTS", "tc:epoch")) === 1, "a mark");
    await marked(); // the test before may have emptied Redis
    await redis.do("DEL", "tc:epoch");
    const taken = await begun();
    assert.equal(await codeOf(taken, () => redis.do("DEL", taken.key, taken.meta)), "redis_emptied");
    await marked();
    assert.equal(await codeOf(log, () => redis.do("DEL", log.key, log.meta)), "log_deleted");
    await reader.over;
  });

  test("log_deleted_with_its_meta_is_not_called_emptied", bounded, async () => {
    const log = await begun();
    assert.equal(await codeOf(log, () => redis.do("DEL", log.key, log.meta)), "log_deleted");
  });

  // ---- bare text

  const BARE = { accept: "text/plain" };
  const restart = { type: "attempt", attempt: 7, try: 2, reason: "worker_lost", mode: "restart" };

  test("bare_text_of_a_restart_goes_on_while_it_is_the_same", bounded, async () => {
    const log = await begun();
    const live = [await watched(log, "", BARE), await watched(log, "?pace=word", BARE)];
    for (const r of live) await r.wait((it) => it.body === "one two three ", "text");
    await log.fence(7);
    await log.add("7-6", restart);
    await log.add("7-7", piece("one t", 0));
    const late = await watched(log, "", BARE); // has nothing that could be void
    await late.wait((r) => r.body === "one t", "text of the second attempt");
    await log.add("7-8", piece("wo three fo", 5));
    await log.add("7-9", piece("ur", 16));
    await log.done("7-10");
    for (const r of [...live, late]) {
      await r.over;
      assert.deepEqual([r.body, r.end], ["one two three four", "clean"]);
    }
  });

  test("bare_text_of_a_restart_that_says_something_else_is_reset", bounded, async () => {
    const log = await begun();
    const live = await watched(log, "", BARE);
    const late = await watched(log, "?after=5-4", BARE);
    await live.wait((r) => r.body === "one two three ", "text");
    await late.wait((r) => r.body === "three ", "text");
    await log.fence(7);
    await log.add("7-6", restart);
    await log.add("7-7", piece("one TWO three four", 0));
    for (const r of [live, late]) {
      await r.over;
      assert.equal(r.end, "reset");
    }
    assert.equal(live.body, "one two three ");
    const anew = await watched(log, "", BARE);
    await anew.wait((r) => r.body === "one TWO three four", "the second attempt alone");
    await log.done("7-8");
    await anew.over;
    assert.equal(anew.end, "clean");
  });

  test("bare_text_of_a_restart_that_says_less_is_reset", bounded, async () => {
    const log = await begun();
    const live = await watched(log, "", BARE);
    await live.wait((r) => r.body === "one two three ", "text");
    await log.fence(7);
    await log.add("7-6", restart);
    await log.add("7-7", piece("one two", 0));
    await log.done("7-8");
    await live.over;
    assert.equal(live.end, "reset");
  });

  test("bare_text_of_a_takeover_that_goes_on_says_white_space_once", bounded, async () => {
    const log = await begun();
    const live = await watched(log, "", BARE);
    await live.wait((r) => r.body === "one two three ", "text");
    const packed = (kept) => Buffer.concat([
      Buffer.from([0x83]), ...["type", "attempt", "mode", "continue", "kept"].map(pack),
      Buffer.from([0x91]), pack({ kind: "text", index: 0, length: kept }),
    ]);
    await log.fence(7);
    await log.add("7-6", packed(13));
    await log.add("7-7", piece(" four", 13));
    await log.done("7-8");
    await live.over;
    assert.deepEqual([live.body, live.end], ["one two three four", "clean"]);
  });

  test("bare_text_of_a_lost_branch_goes_on_while_it_is_the_same", bounded, async () => {
    const log = await begun();
    const live = await watched(log, "", BARE);
    await live.wait((r) => r.body === "one two three ", "text");
    await rewrite(log, [...base, ["9-0", { type: "fence" }], ["9-4", piece("two ", 4)]]);
    const reader = await watched(log, "", {});
    await reader.wait(at("9-4"));
    await log.add("9-5", piece("three four", 8));
    await log.done("9-6");
    await live.over;
    assert.deepEqual([live.body, live.end], ["one two three four", "clean"]);
    await reader.over;
  });
});
