// The ACL of docs/redis.md: enough for brokers and workers in everything that they do, and not more; with what it names
// in addition, also for a Cluster and behind Sentinel, over a failover.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe } from "node:test";

import { Random } from "../chaos/random.mjs";
import { RedisCluster } from "../chaos/redis-cluster.mjs";
import { RedisSentinel } from "../chaos/redis-sentinel.mjs";
import { assertRun, begin, fault, noJobs, said, words } from "../chaos/faults-lib.mjs";
import { ended, post } from "../clients/harness.mjs";
import { readyz } from "../lib/metrics.mjs";
import { Redis, once } from "../lib/redis.mjs";
import { until } from "../lib/wait.mjs";

const PAGE = new URL("../../docs/redis.md", import.meta.url);
const ADMIN = "user default on nopass ~* &* +@all"; // the test's own hand, by the Unix socket

/** {broker, worker}: the lines of the page. */
async function users() {
  const lines = [...(await readFile(PAGE, "utf8")).matchAll(/^user tokencast-(\w+) .*$/gm)];
  const found = Object.fromEntries(lines.map(([line, tier]) => [tier, line.replace(/>\S+/, ">pw")]));
  assert.deepEqual(Object.keys(found), ["broker", "worker"]);
  return found;
}

/** What a row of the page adds, as words of ACL SETUSER. */
async function additions(what) {
  const row = (await readFile(PAGE, "utf8")).split("\n").find((line) => line.startsWith(`| ${what} |`));
  return /`(\+[^`]*)`/.exec(row)[1].split(" ");
}

const commandsOf = (line) => [...line.matchAll(/ \+([a-z|]+)/g)].map(([, name]) => name);

/** A Redis with these users; `as(tier)` is where its programs connect. */
async function withUsers(w, lines) {
  const dir = await mkdtemp(path.join(tmpdir(), "tc-acl-"));
  w.keep({ stop: () => rm(dir, { recursive: true, force: true }) });
  const file = path.join(dir, "users.acl");
  await writeFile(file, `${[ADMIN, ...lines].join("\n")}\n`);
  const redis = await w.redis({ tcp: true, args: ["--aclfile", file] });
  return { redis, as: (tier) => ({ url: `redis://tokencast-${tier}:pw@127.0.0.1:${redis.port}` }) };
}

const TEXT = words(60);
const deniedRow = (row) => `${row[9]}: ${row[3]} ${row[7]}`;
const denied = async (redis) => (await redis.call("ACL", "LOG")).map(deniedRow);

/** Everything that the tiers do with Redis. */
async function everything(w, redis, as) {
  const broker = await w.broker(as("broker"), ["--linger", "0"]);
  const worker = await w.worker(as("worker"), ["--grace", "0"]);
  const plain = await begin(w, broker, TEXT, { channel: "room", on_abandon: { cancel_after_ms: 60000 } });
  const room = await fetch(`${broker.url}/v1/channels/room`);
  assert.equal((await room.json()).generations.length, 1);
  const live = await fetch(`${broker.url}/v1/channels/room/events`, { signal: AbortSignal.timeout(60000) });
  assert.match(new TextDecoder().decode((await live.body.getReader().read()).value), /^event: /);
  await assertRun(redis, broker, plain, { attempts: 0 });

  // Asked for again under its key, cancelled, read by position, not there.
  const key = { "idempotency-key": "one" };
  const first = await post(broker.url, TEXT, { rate: 20 }, key);
  assert.equal((await post(broker.url, TEXT, { rate: 20 }, key)).id, first.id);
  const reader = w.record(broker, first.id);
  await reader.until(said(3), "text");
  assert.equal((await fetch(`${broker.url}/v1/generations/${first.id}/cancel`, { method: "POST" })).status, 202);
  assert.equal((await ended(broker.url, first.id)).state, "cancelled");
  await w.record(broker, first.id, { after: "0-1" }).end();
  assert.equal((await fetch(`${broker.url}/v1/generations/gen_none`)).status, 404);

  // A reader of two connections keeps the generation from being abandoned; without readers it is.
  const left = await begin(w, broker, words(3000), { on_abandon: { cancel_after_ms: 500 } });
  await left.reader.until(said(3), "text");
  left.reader.close();
  await until(async () => (await redis.entries(left.id)).at(-1).type === "done", "an end of what nobody reads");

  // Handed back, then left by a worker that dies, then a queue that lost its job while somebody reads.
  const long = await begin(w, broker, words(200), { rate: 50 });
  await long.reader.until(said(5), "text");
  const second = await w.worker(as("worker"));
  await worker.stop("SIGTERM");
  await long.reader.until(({ events }) => events.some(({ type }) => type === "attempt"), "another attempt");
  const waiting = await begin(w, broker, TEXT);
  await waiting.reader.until(said(5), "text");
  await second.stop("SIGKILL");
  const queued = await begin(w, broker, TEXT);
  await queued.reader.until(({ events }) => events.length >= 2, "open and created");
  for (const [job] of await redis.call("XRANGE", "tc:jobs", "-", "+"))
    if ((await redis.call("HGET", `tc:{${queued.id}}:meta`, "job")) === job) await redis.call("XDEL", "tc:jobs", job);
  await until(async () => (await redis.call("XRANGE", "tc:jobs", "-", "+")).length === 3, "the lost job again");
  await w.worker(as("worker"));
  for (const run of [long, waiting, queued]) await assertRun(redis, broker, run);
  await noJobs(redis);
}

const topologies = {
  cluster: {
    Redis: RedisCluster,
    servers: ({ nodes }) => nodes,
    sentinels: () => [],
    row: "Cluster, on every node",
  },
  sentinel: {
    Redis: RedisSentinel,
    servers: ({ servers }) => servers,
    sentinels: ({ sentinels }) => sentinels,
    row: "Sentinel, on every server",
  },
};

/** The users of the page on every server and sentinel of a topology. */
async function setUsers({ servers, sentinels, row }, redis) {
  const set = ({ port }, tier, words) =>
    once({ port, host: "127.0.0.1" }, "ACL", "SETUSER", `tokencast-${tier}`, ...words);
  const asks = await additions("Sentinel, on the sentinels themselves");
  for (const [tier, line] of Object.entries(await users())) {
    const words = [...line.split(" ").slice(2), ...(await additions(row))];
    for (const server of servers(redis)) await set(server, tier, words);
    for (const sentinel of sentinels(redis)) await set(sentinel, tier, ["reset", "on", ">pw", ...asks]);
  }
}

describe("redis acl", { concurrency: 3 }, () => {
  fault("acl_of_the_page_is_enough_and_not_too_much", async (w) => {
    const lines = await users();
    const { redis, as } = await withUsers(w, Object.values(lines));
    await redis.call("CONFIG", "RESETSTAT");
    await everything(w, redis, as);
    assert.deepEqual(await denied(redis), []);
    const used = [...(await redis.call("INFO", "commandstats")).matchAll(/^cmdstat_([a-z|]+):/gm)].map(
      ([, name]) => name,
    );
    const idle = [...commandsOf(lines.broker), ...commandsOf(lines.worker)].filter((name) => !used.includes(name));
    assert.deepEqual([...new Set(idle)], [], "allowed, and never used");
  });

  for (const [name, topology] of Object.entries(topologies)) {
    fault(`acl_with_its_additions_is_enough_for_${name}_over_a_failover`, async (w) => {
      const dir = await mkdtemp(path.join(tmpdir(), "tc-acl-"));
      w.keep({ stop: () => rm(dir, { recursive: true, force: true }) });
      const redis = w.keep(new topology.Redis(dir, new Random(3)));
      await redis.start();
      await setUsers(topology, redis);
      const as = (tier) => ({ url: redis.url.replace("://", `://tokencast-${tier}:pw@`) });
      const broker = await w.broker(as("broker"));
      await w.worker(as("worker"));
      const runs = [];
      for (let i = 0; i < 6; i++) runs.push(await begin(w, broker, words(200), { rate: 40, channel: "room" }));
      await runs[0].reader.until(said(20), "text");
      await redis.fault("redis-failover", 0);
      for (const { reader, text } of runs) {
        await reader.end();
        assert.deepEqual([reader.text, reader.events.at(-1).type], [text, "done"]);
      }
      for (const { port } of [...topology.servers(redis), ...topology.sentinels(redis)]) {
        const log = await once({ port, host: "127.0.0.1" }, "ACL", "LOG");
        assert.deepEqual(log.map(deniedRow), [], `denied at ${port}`);
      }
    });
  }

  fault("acl_keeps_a_worker_from_the_secret_and_from_other_keys", async (w) => {
    const { as } = await withUsers(w, Object.values(await users()));
    const url = new URL(as("worker").url);
    const hand = await Redis.open({ port: Number(url.port), host: "127.0.0.1" });
    w.keep({ stop: () => hand.close() });
    await hand.do("AUTH", "tokencast-worker", "pw");
    for (const words of [
      ["GET", "tc:secret"],
      ["XADD", "tc:chan:{room}:log", "*", "e", "x"],
      ["HGET", "other:{a}:meta", "x"],
      ["FLUSHALL"],
      ["PUBLISH", "other", "x"],
    ])
      await assert.rejects(hand.do(...words), /NOPERM/, words.join(" "));
  });

  fault("acl_without_a_command_is_told", async (w) => {
    const lines = await users();
    const { redis, as } = await withUsers(w, [
      lines.broker.replace(" +eval", ""),
      lines.worker.replace(" +xreadgroup", ""),
    ]);
    const broker = await w.broker(as("broker"));
    const worker = await w.worker(as("worker"));
    const refused = await fetch(`${broker.url}/v1/generations`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "replay", prompt: "x" }),
    });
    assert.deepEqual(
      [refused.status, (await refused.json()).detail],
      [503, "Redis refused the new generation; nothing was started."],
    );
    await until(() => /NOPERM .*xreadgroup/.test(worker.log), "what Redis said");
    assert.deepEqual([...new Set(await denied(redis))].sort(), [
      "tokencast-broker: command eval",
      "tokencast-worker: command xreadgroup",
    ]);
    assert.equal((await readyz(broker)).status, 200);
  });
});
