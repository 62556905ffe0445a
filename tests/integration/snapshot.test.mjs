// How a snapshot reads a log: in pages that follow from what its entries weigh, each one bounded answer of Redis.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Harness, missing } from "../clients/harness.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded } from "../lib/wait.mjs";
import { Log } from "./log.mjs";

describe("snapshot", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  before(async () => {
    h = await Harness.start({ workers: 0 });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const pages = async () =>
    Number(/^cmdstat_xrange:calls=(\d+)/m.exec(`${await redis.do("INFO", "commandstats")}`)?.[1] ?? 0);

  /** The pages that the snapshot of a log of so many pieces took; its text must be whole. */
  async function pagesOf(id, count, bytes) {
    const log = new Log(redis, id);
    await log.create();
    await log.fence(5);
    await log.start("5-2");
    const piece = (i) => `${i} `.padEnd(bytes, "x");
    for (let i = 0; i < count; i++) await log.text(`5-${i + 3}`, piece(i));
    const before = await pages();
    const answer = await fetch(`${h.url}/v1/generations/${id}`);
    assert.equal(answer.status, 200);
    const { text, position } = await answer.json();
    assert.equal(position, `5-${count + 2}`);
    assert.ok(text === Array.from({ length: count }, (_, i) => piece(i)).join(""), `a text of ${text.length}`);
    return (await pages()) - before;
  }

  test("log_of_large_entries_is_read_in_small_pages", bounded, async () => {
    // 64 entries are 6 MB, so the next pages have 32; without that, 64 and 128 and the rest would be three.
    assert.equal(await pagesOf("gen_large", 200, 96 << 10), 6);
  });

  test("log_of_small_entries_is_read_in_few_pages", bounded, async () => {
    assert.equal(await pagesOf("gen_small", 2000, 8), 7); // 64, 128, 256, and then 512 each
  });
});
