// What the chart says to Redis, on real servers: the scripts in its pods, and the two numbers that KEDA scales workers by.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { freePort } from "../lib/ports.mjs";
import { withRedis } from "../lib/redis.mjs";
import { bounded } from "../lib/wait.mjs";
import { Sentinels } from "../topology/redis-servers.mjs";
import { Bundled, shell } from "./bundled.mjs";

/** @type {Bundled} */
let redis;
before(async () => (redis = await Bundled.start()), bounded);
after(() => redis?.stop(), bounded);

describe("the bundled Redis", () => {
  test("bundled_redis_wants_the_password_of_its_secret", bounded, async () => {
    assert.equal(await redis.do("ping"), "PONG");
    await assert.rejects(withRedis({ host: "127.0.0.1", port: redis.port }, (hand) => hand.do("ping")), /NOAUTH/);
  });

  test("bundled_redis_evicts_nothing_and_keeps_a_file", bounded, async () => {
    assert.deepEqual(await redis.do("config", "get", "maxmemory-policy"), ["maxmemory-policy", "noeviction"]);
    assert.deepEqual(await redis.do("config", "get", "appendonly"), ["appendonly", "yes"]);
    const [, most] = await redis.do("config", "get", "maxmemory");
    assert.ok(Number(most) > 1 << 20 && Number(most) < Number.parseInt(redis.container.resources.limits.memory) * (1 << 20), most);
  });

  test("bundled_redis_is_ready_only_with_its_password", bounded, async () => {
    const [program, dash, text] = redis.container.readinessProbe.exec.command;
    const probe = [program, dash, text.replace("redis-cli", `redis-cli -p ${redis.port}`)];
    assert.equal((await shell(probe, { PASSWORD_FILE: redis.path("password") })).status, 0);
    assert.notEqual((await shell(probe, { PASSWORD_FILE: await redis.file("wrong", "wrong") })).status, 0);
  });
});

describe("the workers' group", () => {
  test("group_is_made_before_a_worker_comes_and_once", bounded, async () => {
    const first = await redis.makeGroup("password", ...redis.here);
    assert.deepEqual([first.status, first.said.includes("OK")], [0, true], first.said);
    const again = await redis.makeGroup("password", ...redis.here);
    assert.deepEqual([again.status, again.said.includes("BUSYGROUP")], [0, true], again.said);
    assert.equal((await redis.do("xinfo", "groups", "tc:jobs"))[0][1], "workers");
  });

  test("group_is_made_where_the_workers_look", bounded, async () => {
    const made = await redis.makeGroup("password", ...redis.here, "--set", "shared.queue=chat,shared.prefix=x:,redis.database=3");
    assert.equal(made.status, 0, made.said);
    assert.equal((await redis.in(3, "xinfo", "groups", "x:jobs:chat"))[0][1], "workers");
  });

  test("group_that_cannot_be_made_fails_the_job", bounded, async () => {
    await redis.file("wrong", "wrong");
    const refused = await redis.makeGroup("wrong", ...redis.here);
    assert.deepEqual([refused.status, /NOAUTH|WRONGPASS/.test(refused.said)], [1, true], refused.said);
    const unread = await redis.makeGroup("no-such-file", ...redis.here);
    assert.equal(unread.status, 1, unread.said);
    const nobody = ["--set", "redis.bundled.enabled=false", "--set", `redis.addresses={127.0.0.1:${await freePort()}}`];
    const gone = await redis.makeGroup("password", ...nobody);
    assert.deepEqual([gone.status, /refused/.test(gone.said)], [1, true], gone.said);
  });

  test("group_is_made_at_the_master_that_sentinels_name", bounded, async () => {
    const sentinels = await Sentinels.start();
    try {
      const [first, second] = sentinels.sentinels.map((sentinel) => sentinel.port);
      await sentinels.sentinels[0].kill(); // the next one is asked
      await redis.file("none", "");
      const among = ["--set", "redis.bundled.enabled=false,redis.mode=sentinel", "--set", `redis.addresses={127.0.0.1:${first},127.0.0.1:${second}}`];
      const made = await redis.makeGroup("none", ...among);
      assert.equal(made.status, 0, made.said);
      assert.equal((await sentinels.master.do("xinfo", "groups", "tc:jobs"))[0][1], "workers");
      const unknown = await redis.makeGroup("none", ...among, "--set", "redis.sentinelMaster=another");
      assert.deepEqual([unknown.status, /no sentinel of .* names a master for another/.test(unknown.said)], [1, true], unknown.said);
    } finally {
      await sentinels.stop();
    }
  });
});

// Why workers need two triggers (see worker-scaling.yaml): what a worker does to its queue, command by command.
test("lag_counts_waiting_jobs_and_the_length_all_that_are_not_finished", bounded, async () => {
  const JOBS = "tc:jobs:keda";
  const look = async () => {
    const [group] = await redis.do("xinfo", "groups", JOBS);
    return { lag: group[group.indexOf("lag") + 1], length: await redis.do("xlen", JOBS) };
  };
  const take = () => redis.do("xreadgroup", "group", "workers", "w", "count", 1, "streams", JOBS, ">");
  await redis.do("xgroup", "create", JOBS, "workers", 0, "mkstream");
  assert.deepEqual(await look(), { lag: 0, length: 0 });
  const jobs = [await redis.do("xadd", JOBS, "*", "gen", "a"), await redis.do("xadd", JOBS, "*", "gen", "b")];
  assert.deepEqual(await look(), { lag: 2, length: 2 });
  await take();
  await take();
  assert.deepEqual(await look(), { lag: 0, length: 2 }, "what runs is no lag");
  await redis.do("xack", JOBS, "workers", jobs[1]);
  await redis.do("xdel", JOBS, jobs[1]);
  await redis.do("xadd", JOBS, "*", "gen", "c");
  assert.deepEqual(await look(), { lag: null, length: 2 }, "the lag is unknown once a later job was finished first");
});
