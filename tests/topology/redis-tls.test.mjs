// Sentinel and Cluster where nothing listens but TLS: the way to what asks, to every master, and to the next one.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { watch } from "../../broker/web/client.js";
import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { until } from "../lib/wait.mjs";
import { Cluster, Sentinels } from "./redis-servers.mjs";

const run = promisify(execFile);
const TEXT = Array.from({ length: 400 }, (_, i) => `word${i}`).join(" ");
const bounded = { timeout: 120000 };

describe("redis topologies over TLS", { skip: missing() }, () => {
  let dir;
  let tls;
  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), "tc-tls-"));
    const file = (name) => path.join(dir, name);
    const make = (name, ...more) => {
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file(`${name}.key`)];
      const what = ["-days", "2", "-subj", `/CN=${name}`, ...more, "-out", file(`${name}.pem`)];
      return run("openssl", ["req", "-x509", ...key, ...what]);
    };
    await make("ca", "-addext", "keyUsage=critical,keyCertSign");
    const leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"];
    await make("server", "-CA", file("ca.pem"), "-CAkey", file("ca.key"), ...leaf);
    tls = { ca: file("ca.pem"), cert: file("server.pem"), key: file("server.key") };
  }, bounded);
  after(() => dir && rm(dir, { recursive: true }));

  /** Streams go on over the loss of the master that `victim` finds, and new ones can be started afterwards. */
  async function goesOn(h, victim) {
    const watched = [];
    for (let i = 0; i < 3; i++) {
      const { id } = await post(h.brokers[i % 2].url, TEXT, { rate: 60 });
      watched.push({ id, gen: watch(`${h.brokers[(i + 1) % 2].url}/v1/generations/${id}/events`) });
    }
    await until(() => watched.every(({ gen }) => gen.text.length > 100), "all have begun");
    await (await victim()).kill();
    await Promise.all(watched.map(({ gen }) => gen.finished));
    for (const { id, gen } of watched) {
      assert.deepEqual([gen.state, gen.reason, gen.reconnects], ["done", "stop", 0]);
      assert.deepEqual([gen.text, gen.position], [TEXT, (await ended(h.url, id)).position], id);
    }
    const unavailable = (error) => assert.match(error.message, /^POST: 503/); // until the new master is linked to
    const again = () => post(h.url, "Sealed again.", { rate: 500 }).catch(unavailable);
    const { id } = await until(again, "a new generation");
    assert.equal((await ended(h.brokers[1].url, id)).text, "Sealed again.");
  }

  /** Two brokers and a worker over TLS on `redis`, which ends with them. */
  async function survives(redis, victim) {
    let h;
    try {
      const args = ["--redis-ca-file", tls.ca];
      h = await Harness.start({ brokers: 2, redis: { url: redis.url }, brokerArgs: args, workerArgs: args });
      await h.explains(() => goesOn(h, victim));
    } finally {
      await h?.stop();
      await redis.stop();
    }
  }

  test("tls_sentinel_master_killed_in_mid_stream_whole", bounded, async () => {
    const redis = await Sentinels.start({ tls });
    assert.match(redis.url, /^rediss\+sentinel:/);
    await survives(redis, () => redis.master);
  });

  test("tls_cluster_master_killed_in_mid_stream_whole", bounded, async () => {
    const redis = await Cluster.start({ tls });
    assert.match(redis.url, /^rediss\+cluster:/);
    await survives(redis, async () => redis.owner(await redis.slotOf("tc:jobs")));
  });
});
