// A master that was replaced and does not know it: it was stopped while the sentinels chose another, and goes on. What
// it does not have may well exist.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { until } from "../lib/wait.mjs";
import { Sentinels } from "./redis-servers.mjs";

const bounded = { timeout: 120000 };

describe("redis sentinel, a former master", { skip: missing() }, () => {
  /** @type {Sentinels} */
  let redis;
  /** @type {Harness} */
  let h;
  beforeEach(async () => {
    redis = await Sentinels.start();
    h = await Harness.start({ workers: 0, redis: { url: redis.url } });
  }, bounded);
  afterEach(async () => {
    await h?.stop();
    await redis?.stop();
  });

  const snapshot = (broker, id) => fetch(`${broker.url}/v1/generations/${id}`);

  const tested = (name, body) => test(name, bounded, () => h.explains(body));

  tested("sentinel_healthy_absent_generation_is_not_found", async () => {
    const answers = await Promise.all([
      ...Array.from({ length: 20 }, (_, i) => snapshot(h.brokers[0], `gen_${i}`)),
      fetch(`${h.url}/v1/generations/gen_x/events`),
      fetch(`${h.url}/v1/generations/gen_x/cancel`, { method: "POST" }),
    ]);
    for (const answer of answers) assert.equal(answer.status, 404, await answer.text());
  });

  tested("sentinel_former_master_is_not_believed", async () => {
    const asleep = redis.sentinels[2];
    // This broker knows only the sentinel that will miss the failover, and so stays with the former master.
    h.redisUrl = `redis+sentinel://127.0.0.1:${asleep.port}/mymaster`;
    const behind = await h.broker();
    h.brokers.push(behind);
    for (const server of [asleep, redis.master]) server.child.kill("SIGSTOP");
    await until(() => redis.replica.isMaster(), "promotion");
    h.redisUrl = redis.url;
    h.workers.push(await h.worker());
    const unavailable = (error) => assert.match(error.message, /^POST: 503/);
    const start = () => post(h.brokers[0].url, "Where is it?", { rate: 500 }).catch(unavailable);
    const { id } = await until(start, "the other broker follows");
    assert.equal((await ended(h.brokers[0].url, id)).text, "Where is it?");

    redis.master.child.kill("SIGCONT"); // it takes itself for the master until a sentinel tells it otherwise
    await until(async () => (await fetch(`${behind.ops}/readyz`)).status === 200, "its link to the former master");
    const doubted = await snapshot(behind, id);
    const held = fetch(`${behind.url}/v1/generations/${id}/events`);
    assert.ok(await redis.master.isMaster(), "it was demoted too soon to matter");
    assert.equal(doubted.status, 503, await doubted.text());
    assert.ok(Number(doubted.headers.get("retry-after")) > 0);

    asleep.child.kill("SIGCONT");
    const seen = [];
    await until(async () => seen.push((await snapshot(behind, id)).status) && seen.at(-1) === 200, "it is found");
    assert.ok(seen.every((status) => status === 503 || status === 200), `${seen}`);
    const stream = await held; // was asked while nobody knew, and waited
    assert.equal(stream.status, 200);
    assert.match(await stream.text(), /Where is it\?/);
    await until(async () => (await snapshot(behind, "gen_never")).status === 404, "what never was is not found");
  });
});
