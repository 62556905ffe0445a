// Generations that wait for a worker, and what watching them costs Redis.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Harness, missing, post } from "../clients/harness.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep } from "../lib/wait.mjs";
import { Reader } from "./log.mjs";

const WAITING = 300;
const LOOKS_A_SECOND = 10; // at the queue, for one loop
const WATCHED_MS = 7000; // more than three times the lease
// A sweep of 2 s looks at the queue every second.
const ARGS = ["--lease-ms", "1500", "--sweep", "2s", "--loops", "1"];

describe("queue", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  before(async () => {
    h = await Harness.start({ workers: 0, brokerArgs: ARGS });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  /** How often each command ran, and what all answers weighed. */
  async function asked() {
    const text = `${await redis.do("INFO", "everything")}`;
    const calls = (name) => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, "m").exec(text)?.[1] ?? 0);
    return {
      at: Date.now(),
      groups: calls("xinfo\\|groups"),
      pending: calls("xpending"),
      ranges: calls("xrange"),
      bytes: Number(/^total_net_output_bytes:(\d+)/m.exec(text)[1]),
    };
  }

  test("queued_generations_are_watched_by_looks_that_grow_with_time", bounded, async (t) => {
    const ids = [];
    for (let i = 0; i < WAITING; i++) ids.push((await post(h.url, "x")).id);
    const before = await asked();
    const readers = [];
    for (const id of ids) readers.push(await Reader.open(`${h.url}/v1/generations/${id}/events`));
    for (const [i, reader] of readers.entries()) {
      await reader.wait((r) => r.of("open").length > 0, "open");
      const { state, queue_ahead: ahead } = reader.of("open")[0].data;
      assert.deepEqual([state, ahead], ["queued", i]);
    }
    await sleep(WATCHED_MS);
    const now = await asked();
    const seconds = (now.at - before.at) / 1000;
    const more = Object.fromEntries(Object.keys(now).map((key) => [key, now[key] - before[key]]));
    t.diagnostic(JSON.stringify(more));
    assert.ok(more.groups > 0);
    assert.ok(more.groups <= seconds * LOOKS_A_SECOND + 2, `${more.groups} looks in ${seconds} s`);
    assert.ok(more.pending < WAITING, `${more.pending} looks for a worker of a job that waits`);
    for (const reader of readers) assert.deepEqual(reader.states(), []);

    // A worker comes, and everybody is told.
    await h.worker();
    for (const reader of readers) await reader.over;
    for (const reader of readers) assert.deepEqual([reader.text, reader.of("done").length], ["x", 1]);
  });
});
