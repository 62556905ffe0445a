// Redis copied while it runs and put back later, as docs/redis.md says: what readers and generations then see.
import assert from "node:assert/strict";
import { cp, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { describe } from "node:test";

import { assertHonestEnd, assertRun, begin, fault, noJobs, said, words } from "../chaos/faults-lib.mjs";
import { ended, post } from "../clients/harness.mjs";
import { readyz } from "../lib/metrics.mjs";
import { until } from "../lib/wait.mjs";

const TEXT = words(240);
const SLOW = { rate: 30 }; // 8 s

const info = async (redis, name) => new RegExp(`${name}:(\\S+)`).exec(await redis.call("INFO", "persistence"))?.[1];

const ways = {
  /** An RDB file; Redis starts from it if it has no append-only file. */
  rdb: {
    args: ["--appendfsync", "everysec"],
    aof: false,
    async copy(redis) {
      const before = Number(await redis.call("LASTSAVE"));
      await until(() => Date.now() / 1000 > before + 1, "another second"); // LASTSAVE counts in them
      await redis.call("BGSAVE");
      await until(async () => Number(await redis.call("LASTSAVE")) > before, "a saved file");
      await cp(path.join(redis.dir, "dump.rdb"), path.join(redis.dir, "copy", "dump.rdb"));
    },
  },
  /** The folder of the append-only file, with nothing rewritten meanwhile. */
  aof: {
    args: ["--appendfsync", "everysec"],
    aof: true,
    async copy(redis) {
      await redis.call("CONFIG", "SET", "auto-aof-rewrite-percentage", "0");
      await until(async () => (await info(redis, "aof_rewrite_in_progress")) === "0", "no rewrite");
      await cp(path.join(redis.dir, "appendonlydir"), path.join(redis.dir, "copy", "appendonlydir"), {
        recursive: true,
      });
      await redis.call("CONFIG", "SET", "auto-aof-rewrite-percentage", "100");
    },
  },
};

/** Redis ends, and comes back as it was when the copy was made. */
async function putBack(redis) {
  await redis.stop("SIGKILL");
  const names = await readdir(path.join(redis.dir, "copy"));
  for (const name of ["dump.rdb", "appendonlydir"])
    await rm(path.join(redis.dir, name), { recursive: true, force: true });
  for (const name of names)
    await cp(path.join(redis.dir, "copy", name), path.join(redis.dir, name), { recursive: true });
  await redis.again();
}

describe("backup", { concurrency: 3 }, () => {
  for (const [name, { args, aof, copy }] of Object.entries(ways)) {
    fault(`${name}_put_back_under_live_readers_and_workers`, async (w, t) => {
      const redis = await w.redis({ aof, args });
      const broker = await w.broker(redis);
      await w.worker(redis, ["--settle", "500ms"]);
      const over = await begin(w, broker, words(20), { rate: 200 });
      await over.reader.end();
      const across = await begin(w, broker, TEXT, SLOW); // begun before the copy, ended after it was put back
      await across.reader.until(said(20), "text");
      await copy(redis);
      const within = await begin(w, broker, words(20), { rate: 200 }); // after the copy: that has none of it
      await within.reader.end();
      const behind = await begin(w, broker, TEXT, SLOW); // the same, and still running
      await behind.reader.until(said(10), "text");
      await putBack(redis);

      assertHonestEnd(await behind.reader.end(), ["redis_emptied", "log_deleted", "log_gone"]);
      t.diagnostic(`what began after the copy was ended with ${behind.reader.of("error")[0].data.code}`);
      assert.equal((await fetch(`${broker.url}/v1/generations/${within.id}`)).status, 404);
      await across.reader.end();
      t.diagnostic(`what ran: ${across.reader.of("gap").length} gaps, ${across.reader.of("attempt").length} attempts`);
      await assertRun(redis, broker, across, { lost: across.reader.of("gap").length });
      assert.equal((await ended(broker.url, over.id)).text, over.text);
      await assertRun(redis, broker, await begin(w, broker, words(20), { rate: 200 }));
      await noJobs(redis);
    });
  }

  fault("redis_that_lost_its_secret_is_given_it_again", async (w) => {
    const redis = await w.redis();
    const old = await w.broker(redis);
    const key = { "idempotency-key": "k" };
    const { id } = await post(old.url, "x", {}, key);
    await redis.stop("SIGKILL"); // without a file: it comes back empty
    await redis.again();
    await until(async () => (await redis.call("EXISTS", "tc:secret")) === 1, "the secret");
    const started = await w.broker(redis);
    assert.equal((await post(started.url, "x", {}, key)).id, id, "the same key, the same id, at any broker");
    assert.equal((await post(old.url, "x", {}, key)).id, id);
  });

  fault("an_old_copy_makes_a_generation_run_again_that_had_ended", async (w) => {
    const redis = await w.redis({ aof: true, args: ways.aof.args });
    const broker = await w.broker(redis, ["--linger", "0"]); // a feed that lingers would know the end
    const worker = await w.worker(redis);
    const run = await begin(w, broker, words(120), { rate: 60 });
    await run.reader.until(said(20), "text");
    await ways.aof.copy(redis);
    await assertRun(redis, broker, run);
    await noJobs(redis);
    await worker.stop();
    const position = run.reader.position;
    await putBack(redis);
    assert.equal((await redis.entries(run.id)).at(-1).type, "delta", "the copy knows no end");
    await until(async () => (await readyz(broker)).status === 200, "a broker that has Redis again");
    // One who had read to the end comes back: what the log no longer has is lost, and it is told again from its start.
    const late = w.record(broker, run.id, { after: position });
    await w.worker(redis);
    await late.until(({ events }) => events.some(({ type }) => type === "gap"), "a gap");
    await assertRun(redis, broker, { ...run, reader: late }, { lost: 1 });
    await noJobs(redis);
  });
});
