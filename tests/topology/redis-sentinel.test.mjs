// Broker and worker behind real sentinels: the master is killed, or demoted while it lives, in mid-stream.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { watch } from "../../broker/web/client.js";
import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { bounded, until } from "../lib/wait.mjs";
import { Sentinels } from "./redis-servers.mjs";

const TEXT = Array.from({ length: 500 }, (_, i) => `word${i}`).join(" ");

describe("redis sentinel", { skip: missing() }, () => {
  /** @type {Sentinels} */
  let redis;
  /** @type {Harness} */
  let h;
  beforeEach(async () => {
    redis = await Sentinels.start();
    h = await Harness.start({ brokers: 2, redis: { url: redis.url } });
  }, bounded);
  afterEach(async () => {
    await h?.stop();
    await redis?.stop();
  });

  async function start(count, rate) {
    const watched = [];
    for (let i = 0; i < count; i++) {
      const { id } = await post(h.brokers[i % 2].url, TEXT, { rate });
      for (const broker of h.brokers) {
        const seen = { id, positions: [], gaps: [] };
        seen.gen = watch(`${broker.url}/v1/generations/${id}/events`, {
          onEvent: (event) => event.position && event.type !== "open" && seen.positions.push(event.position),
          onGap: (gap) => seen.gaps.push(gap),
        });
        watched.push(seen);
      }
    }
    await until(() => watched.every(({ gen }) => gen.text.length > 100), "all have begun");
    return watched;
  }

  /** Over and equal to the log, on the first connection; a failover may cost the end of a log, which is told. */
  async function assertWhole(watched) {
    await Promise.all(watched.map(({ gen }) => gen.finished));
    for (const { id, gen, positions, gaps } of watched) {
      assert.deepEqual([id, gen.state, gen.reason, gen.reconnects], [id, "done", "stop", 0]);
      assert.deepEqual([gen.text, gen.position], [TEXT, (await ended(h.url, id)).position], id);
      assert.ok(gaps.every((gap) => gap.reason === "lost"), `${id}: ${JSON.stringify(gaps)}`);
      if (gaps.length === 0) assert.equal(new Set(positions).size, positions.length, `${id}: an event twice`);
    }
  }

  const promoted = () => until(() => redis.replica.isMaster(), "promotion");

  const tested = (name, body) => test(name, bounded, () => h.explains(body));

  tested("sentinel_master_killed_in_mid_stream_whole", async () => {
    const watched = await start(4, 40);
    await redis.master.kill();
    await promoted();
    await assertWhole(watched);
    await assertWhole(await start(2, 300)); // the queue is there, too
  });

  tested("sentinel_failover_away_from_a_living_master_whole", async () => {
    const watched = await start(4, 40);
    await redis.sentinels[0].do("sentinel", "failover", "mymaster");
    await promoted();
    await assertWhole(watched);
    await assertWhole(await start(2, 300));
  });

  tested("sentinel_left_alone_is_enough_to_start", async () => {
    await redis.sentinels[0].kill();
    await redis.sentinels[1].kill();
    const late = await h.broker();
    h.brokers.push(late);
    await assertWhole(await start(1, 300));
  });
});
