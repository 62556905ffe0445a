// What the chart says to Redis, on real servers: the scripts in its pods, and the two numbers that KEDA scales workers by.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once as event } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { freePort } from "../lib/ports.mjs";
import { withRedis } from "../lib/redis.mjs";
import { bounded, eventually } from "../lib/wait.mjs";
import { Sentinels } from "../topology/redis-servers.mjs";
import { CHART, component, containersOf, environment, ofKind, podOf, render } from "./chart.mjs";

const run = promisify(execFile);
const trial = path.join(CHART, "ci/trial-values.yaml");
const PASSWORD = "only-a-trial";

/** A container's script in an environment of its own and with files of ours: {status, said}. */
async function shell([program, dash, text], env) {
  try {
    const { stdout } = await run(program, [dash, text], { env: { PATH: process.env.PATH, ...env }, timeout: 60000 });
    return { status: 0, said: stdout };
  } catch (error) {
    return { status: error.code ?? error.signal, said: `${error.stdout}${error.stderr}` };
  }
}

describe("scripts in pods", () => {
  let dir;
  let port;
  let server; // the bundled Redis, as its pod would run it
  let redis;
  let log = "";
  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), "tc-helm-"));
    port = await freePort();
    const objects = await render("-f", trial);
    redis = component(objects, "StatefulSet", "redis");
    const config = component(objects, "ConfigMap", "redis").data["redis.conf"];
    assert.match(config, /^port 6379$/m);
    await writeFile(path.join(dir, "redis.conf"), `${config.replace("port 6379", `port ${port}\nbind 127.0.0.1`).replace("dir /data", `dir ${dir}`)}`);
    const [secret] = ofKind(objects, "Secret");
    await writeFile(path.join(dir, "password"), Buffer.from(secret.data.password, "base64"));
    const [program, ...args] = containersOf(redis)[0].command;
    const env = { PATH: process.env.PATH, CONFIG: path.join(dir, "redis.conf"), PASSWORD_FILE: path.join(dir, "password"), WRITABLE: await mkdtemp(path.join(dir, "tmp-")) };
    server = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const out of [server.stdout, server.stderr]) out.on("data", (some) => (log += some));
    await eventually(() => command("ping"), () => `the bundled Redis\n${log}`);
  }, bounded);
  after(async () => {
    if (server?.exitCode === null) {
      server.kill("SIGTERM");
      await event(server, "exit");
    }
    await rm(dir, { recursive: true, force: true });
  }, bounded);

  const command = (...words) =>
    withRedis({ host: "127.0.0.1", port }, async (hand) => {
      await hand.do("auth", PASSWORD);
      return hand.do(...words);
    });

  test("bundled_redis_wants_the_password_of_its_secret", bounded, async () => {
    assert.equal(await command("ping"), "PONG");
    await assert.rejects(withRedis({ host: "127.0.0.1", port }, (hand) => hand.do("ping")), /NOAUTH/);
  });

  test("bundled_redis_evicts_nothing_and_keeps_a_file", bounded, async () => {
    assert.deepEqual(await command("config", "get", "maxmemory-policy"), ["maxmemory-policy", "noeviction"]);
    assert.deepEqual(await command("config", "get", "appendonly"), ["appendonly", "yes"]);
    const [, most] = await command("config", "get", "maxmemory");
    assert.ok(Number(most) > 1 << 20 && Number(most) < Number.parseInt(containersOf(redis)[0].resources.limits.memory) * (1 << 20), most);
  });

  test("bundled_redis_is_ready_only_with_its_password", bounded, async () => {
    const [program, dash, text] = containersOf(redis)[0].readinessProbe.exec.command;
    const probe = [program, dash, text.replace("redis-cli", `redis-cli -p ${port}`)];
    assert.equal((await shell(probe, { PASSWORD_FILE: path.join(dir, "password") })).status, 0);
    await writeFile(path.join(dir, "wrong"), "wrong");
    assert.notEqual((await shell(probe, { PASSWORD_FILE: path.join(dir, "wrong") })).status, 0);
  });

  /** The job's script as the values would have it, with our files. */
  async function makeGroup(password, ...args) {
    const objects = await render("-f", trial, ...args);
    const [container] = containersOf(component(objects, "Job", "queue"));
    assert.equal(podOf(component(objects, "Job", "queue")).restartPolicy, "OnFailure");
    return shell(container.command, { ...environment(objects, container), PASSWORD_FILE: path.join(dir, password) });
  }
  const there = () => ["--set", "redis.bundled.enabled=false", "--set", `redis.addresses={127.0.0.1:${port}}`];

  test("group_is_made_before_a_worker_comes_and_once", bounded, async () => {
    const first = await makeGroup("password", ...there());
    assert.deepEqual([first.status, first.said.includes("OK")], [0, true], first.said);
    const again = await makeGroup("password", ...there());
    assert.deepEqual([again.status, again.said.includes("BUSYGROUP")], [0, true], again.said);
    assert.equal((await command("xinfo", "groups", "tc:jobs"))[0][1], "workers");
  });

  test("group_is_made_where_the_workers_look", bounded, async () => {
    const made = await makeGroup("password", ...there(), "--set", "shared.queue=chat,shared.prefix=x:,redis.database=3");
    assert.equal(made.status, 0, made.said);
    const found = await withRedis({ host: "127.0.0.1", port }, async (hand) => {
      await hand.do("auth", PASSWORD);
      await hand.do("select", 3);
      return hand.do("xinfo", "groups", "x:jobs:chat");
    });
    assert.equal(found[0][1], "workers");
  });

  test("group_that_cannot_be_made_fails_the_job", bounded, async () => {
    await writeFile(path.join(dir, "wrong"), "wrong");
    const refused = await makeGroup("wrong", ...there());
    assert.deepEqual([refused.status, /NOAUTH|WRONGPASS/.test(refused.said)], [1, true], refused.said);
    const gone = await makeGroup("no-such-file", ...there());
    assert.equal(gone.status, 1, gone.said);
    const nobody = await makeGroup("password", "--set", "redis.bundled.enabled=false", "--set", `redis.addresses={127.0.0.1:${await freePort()}}`);
    assert.deepEqual([nobody.status, /refused/.test(nobody.said)], [1, true], nobody.said);
  });

  test("group_is_made_at_the_master_that_sentinels_name", bounded, async () => {
    const sentinels = await Sentinels.start();
    try {
      const [first, second] = sentinels.sentinels.map((sentinel) => sentinel.port);
      await sentinels.sentinels[0].kill(); // the next one is asked
      await writeFile(path.join(dir, "none"), "");
      const set = (master) => ["--set", "redis.bundled.enabled=false,redis.mode=sentinel", "--set", `redis.addresses={127.0.0.1:${first},127.0.0.1:${second}}`, "--set", `redis.sentinelMaster=${master}`];
      const made = await makeGroup("none", ...set("mymaster"));
      assert.equal(made.status, 0, made.said);
      assert.equal((await sentinels.master.do("xinfo", "groups", "tc:jobs"))[0][1], "workers");
      const unknown = await makeGroup("none", ...set("another"));
      assert.deepEqual([unknown.status, /no sentinel of .* names a master for another/.test(unknown.said)], [1, true], unknown.said);
    } finally {
      await sentinels.stop();
    }
  });

  // Why workers need two triggers (see worker-scaling.yaml): what a worker does to its queue, command by command.
  describe("the numbers that KEDA reads", () => {
    const JOBS = "tc:jobs:keda";
    const look = async () => {
      const [group] = await command("xinfo", "groups", JOBS);
      return { lag: group[group.indexOf("lag") + 1], length: await command("xlen", JOBS) };
    };
    const take = () => command("xreadgroup", "group", "workers", "w", "count", 1, "streams", JOBS, ">");

    test("lag_counts_waiting_jobs_and_the_length_all_that_are_not_finished", bounded, async () => {
      await command("xgroup", "create", JOBS, "workers", 0, "mkstream");
      assert.deepEqual(await look(), { lag: 0, length: 0 });
      const jobs = [await command("xadd", JOBS, "*", "gen", "a"), await command("xadd", JOBS, "*", "gen", "b")];
      assert.deepEqual(await look(), { lag: 2, length: 2 });
      await take();
      await take();
      assert.deepEqual(await look(), { lag: 0, length: 2 }, "what runs is no lag");
      await command("xclaim", JOBS, "workers", "handed-back", 0, jobs[0], "idle", 60000, "justid");
      assert.deepEqual(await look(), { lag: 0, length: 2 }, "what was handed back is no lag");
      for (const verb of [["xack", JOBS, "workers"], ["xdel", JOBS]]) await command(...verb, jobs[1]);
      await command("xadd", JOBS, "*", "gen", "c");
      assert.deepEqual(await look(), { lag: null, length: 2 }, "the lag is unknown once a later job was finished first");
    });
  });
});
