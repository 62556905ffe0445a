// Logs, meta and jobs of a version that is newer than these programs, with fields and events that they do not know:
// what brokers show of them, and workers that go on behind them. docs/upgrading.md rests on this.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { watch } from "../../broker/web/client.js";
import { Harness, ended, missing } from "../clients/harness.mjs";
import { Log, Reader } from "../integration/log.mjs";
import { metric } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, inTime, until } from "../lib/wait.mjs";

const NEW = { shade: "blue", weight: 0.5, nested: { a: [1, null, true] } };

describe("a newer version's writing", { skip: missing() }, () => {
  let h;
  let redis;
  before(async () => {
    h = await Harness.start({ workers: 0, brokerArgs: ["--sweep", "200ms", "--heartbeat", "300ms", "--loops", "1"] });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const url = (log) => `${h.url}/v1/generations/${log.id}/events`;

  async function created(id, fields = {}) {
    const log = new Log(redis, id);
    await log.create({ mood: "new", ...fields });
    return log;
  }

  /** Half an answer, as a newer worker would leave it. */
  async function half(log, kind = "song") {
    await log.fence(5);
    await log.add("5-2", { type: "start", model: "m", provider: "p", ...NEW });
    await log.add("5-3", { type: "delta", text: "one ", offset: 0, ...NEW });
    await log.add("5-4", { type: "mood", of: "the model", ...NEW });
    await log.add("5-5", { type: "delta", text: "la", offset: 0, kind, ...NEW });
    await log.add("5-6", { type: "delta", text: "two", offset: 4, ...NEW });
  }

  async function whole(log) {
    await half(log);
    await log.add("5-7", { type: "done", reason: "bored", usage: { thoughts: 3 }, ...NEW });
  }

  const known = ({ shade, weight, nested }) => ({ shade, weight, nested });

  const FORMS = ["text/event-stream", "application/x-ndjson"];

  function assertCarried(reader, form) {
    const [mood] = reader.of("mood");
    assert.deepEqual([mood.id ?? mood.data.position, mood.data.of, known(mood.data)], ["5-4", "the model", NEW], form);
    assert.deepEqual(known(reader.of("start")[0].data), NEW, form);
    assert.deepEqual([reader.of("done")[0].data.reason, known(reader.of("done")[0].data)], ["bored", NEW], form);
    assert.equal(reader.of("gap").length, 0, form);
  }

  test("unknown_fields_and_events_reach_live_readers", bounded, async () => {
    const log = await created("gen_live");
    const readers = await Promise.all(FORMS.map((accept) => Reader.open(url(log), { accept })));
    const bare = await Reader.open(url(log), { accept: "text/plain" });
    for (const reader of readers) await until(() => reader.of("created").length === 1, "created");
    await whole(log);
    for (const [i, reader] of readers.entries()) {
      await inTime(reader.over, "an end");
      assertCarried(reader, FORMS[i]);
      assert.deepEqual(
        reader.of("delta").map(({ data }) => known(data)),
        [NEW, NEW, NEW],
      );
    }
    await inTime(bare.over, "an end");
    assert.deepEqual([bare.body, bare.end], ["one two", "clean"]);
  });

  test("unknown_fields_and_events_of_the_past_are_carried_through_in_every_form", bounded, async () => {
    const log = await created("gen_newer");
    await whole(log);
    for (const accept of FORMS) {
      const reader = await Reader.open(url(log), { accept });
      await inTime(reader.over, "an end");
      assertCarried(reader, accept);
    }
    const bare = await Reader.open(url(log), { accept: "text/plain" });
    await inTime(bare.over, "an end");
    assert.deepEqual([bare.body, bare.end], ["one two", "clean"]);
    const snapshot = await ended(h.url, log.id);
    assert.deepEqual([snapshot.text, snapshot.state, snapshot.position], ["one two", "done", "5-7"]);
    const watched = watch(url(log));
    assert.equal((await inTime(watched.finished, "the client module's end")).text, "one two");
    assert.deepEqual(watched.missing, []);
    watched.close();
  });

  test("known_field_of_another_type_costs_its_entry_and_nothing_else", bounded, async () => {
    const log = await created("gen_retyped");
    const live = await Reader.open(url(log));
    await until(() => live.of("created").length === 1, "created");
    const count = () => metric(h.brokers[0], "tokencast_broker_malformed_entries_total");
    const before = await count();
    await log.add("5-2", { type: "delta", text: "one ", offset: 0 });
    await log.add("5-3", { type: "delta", text: 5, offset: 4 });
    await log.add("5-4", { type: "delta", text: "two", offset: 4 });
    await log.add("5-5", { type: "done", reason: "stop" });
    await inTime(live.over, "an end");
    assert.equal((await count()) - before, 1);
    const late = await Reader.open(url(log));
    await inTime(late.over, "an end");
    for (const reader of [live, late]) {
      const ids = reader.events.map(({ id }) => id).filter(Boolean);
      assert.deepEqual([reader.text, ids.at(-2), reader.of("gap").length], ["one two", "5-4", 0]);
      assert.ok(!ids.includes("5-3"));
    }
  });

  for (const [kind, mode] of [
    ["reasoning", "continue"],
    ["song", "restart"],
  ])
    test(`worker_takes_over_behind_unknown_events_and_the_kind_${kind}`, bounded, async () => {
      const options = { text: "one two three", reasoning: "la la", rate: 100 };
      const request = JSON.stringify({ model: "replay", prompt: "x", options, tone: "new" });
      const log = await created(`gen_taken_${kind}`, { request, on_crash: "continue" });
      await half(log, kind);
      const reader = await Reader.open(url(log));
      await redis.do("XGROUP", "CREATE", "tc:jobs", "workers", "0", "MKSTREAM");
      const job = await redis.do("XADD", "tc:jobs", "*", "gen", log.id, "priority", "high");
      await redis.do("HSET", log.meta, "job", job);
      await redis.do("XREADGROUP", "GROUP", "workers", "newer", "COUNT", "1", "STREAMS", "tc:jobs", ">");
      const worker = await h.worker(["--lease-ms", "1s", "--settle", "300ms"]);
      await inTime(reader.over, "an end");
      const [attempt] = reader.of("attempt");
      assert.deepEqual([attempt.data.reason, attempt.data.mode], ["worker_lost", mode]);
      assert.equal((await ended(h.url, log.id)).text, "one two three");
      assert.equal(reader.of("mood").length, 1);
      await until(async () => (await redis.do("XLEN", "tc:jobs")) === 0, "an acknowledged job");
      await worker.stop();
      await redis.do("DEL", "tc:jobs");
    });
});
