// Broker and worker on a real Cluster: generations on many slots, a master killed, a slot moved while it is written.
// What every client must see: its connection stays, every event once, text equal to the model's, one end.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { watch } from "../../broker/web/client.js";
import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import { Cluster } from "./redis-servers.mjs";

const TEXT = Array.from({ length: 500 }, (_, i) => `word${i}`).join(" ");

describe("redis cluster", { skip: missing() }, () => {
  /** @type {Cluster} */
  let cluster;
  /** @type {Harness} */
  let h;
  let made = 0;
  before(async () => {
    cluster = await Cluster.start();
    h = await Harness.start({ brokers: 2, workerArgs: ["--slots", "64"], redis: { url: cluster.url } });
  }, bounded);
  after(async () => {
    await h?.stop();
    await cluster?.stop();
  });

  /** Ids of generations, as many on each master. */
  async function spread(count) {
    const masters = await cluster.masters();
    const ids = [];
    const taken = new Map(masters.map((master) => [master, 0]));
    while (ids.length < count) {
      const id = `gen_${(made += 1)}`;
      const owner = await cluster.owner(await cluster.slotOf(`tc:{${id}}:log`));
      if (taken.get(owner) >= count / masters.length) continue;
      taken.set(owner, taken.get(owner) + 1);
      ids.push(id);
    }
    return ids;
  }

  /** Starts `count` generations at both brokers, each watched at both. */
  async function start(count, rate) {
    const watched = [];
    for (const [i, id] of (await spread(count)).entries()) {
      await post(h.brokers[i % 2].url, TEXT, { rate, id });
      for (const broker of h.brokers) {
        const seen = { id, positions: [], gaps: [] };
        seen.gen = watch(`${broker.url}/v1/generations/${id}/events`, {
          onEvent: (event) => event.position && event.type !== "open" && seen.positions.push(event.position),
          onGap: (gap) => seen.gaps.push(gap),
        });
        watched.push(seen);
      }
    }
    return watched;
  }

  /** All of them are over and whole, on their first connection. */
  async function assertWhole(watched) {
    await Promise.all(watched.map(({ gen }) => gen.finished));
    for (const { id, gen, positions, gaps } of watched) {
      assert.deepEqual([id, gen.state, gen.reason, gen.reconnects], [id, "done", "stop", 0]);
      assert.equal(gen.text, TEXT, id);
      assert.equal(gen.position, (await ended(h.url, id)).position, id);
      if (gaps.length === 0) assert.equal(new Set(positions).size, positions.length, `${id}: an event twice`);
      assert.ok(gaps.every((gap) => gap.reason === "lost"), `${id}: ${JSON.stringify(gaps)}`);
    }
  }

  const middle = (watched) => until(() => watched.every(({ gen }) => gen.text.length > 100), "all have begun");

  const tested = (name, body) => test(name, bounded, () => h.explains(body));

  tested("cluster_generations_on_all_masters_whole", async () => {
    const watched = await start(12, 500);
    await assertWhole(watched);
    assert.ok(watched.every(({ gaps }) => gaps.length === 0));
  });

  tested("cluster_announcements_reach_the_other_broker", async () => {
    const before = await metric(h.brokers[1], "tokencast_broker_events_announced_total");
    const [, there] = await start(1, 500);
    await there.gen.finished;
    // How many entries the text makes depends on the machine; without announcements there would be none.
    assert.ok((await metric(h.brokers[1], "tokencast_broker_events_announced_total")) - before > 3, "by SPUBLISH, not by the sweep");
  });

  tested("cluster_cancel_reaches_the_worker", async () => {
    const { id } = await post(h.brokers[0].url, TEXT, { rate: 20 });
    await fetch(`${h.brokers[1].url}/v1/generations/${id}/cancel`, { method: "POST" });
    assert.equal((await ended(h.url, id)).state, "cancelled");
  });

  tested("cluster_slots_migrated_in_mid_stream_whole", async () => {
    const watched = await start(3, 25);
    await middle(watched);
    const keys = [...new Set(watched.map(({ id }) => `tc:{${id}}:log`)), "tc:jobs"];
    const slots = await Promise.all(keys.map((key) => cluster.slotOf(key)));
    // One after another: MIGRATE blocks both servers, and two of them that send to each other wait for each other.
    for (const slot of slots) await cluster.migrate(slot, { between: () => sleep(100) });
    assert.ok(watched.some(({ gen }) => gen.state === "running"), "the slots moved too late to matter");
    await assertWhole(watched);
    assert.ok(watched.every(({ gaps }) => gaps.length === 0), "nothing is lost in a migration");
    await assertWhole(await start(4, 500)); // the queue has moved, too
  });

  // CLUSTER FAILOVER: the former master lives on as a replica, and so do the links to it.
  tested("cluster_master_replaced_while_it_lives_whole", async () => {
    await cluster.settled();
    const watched = await start(3, 70);
    await middle(watched);
    const old = await cluster.owner(await cluster.slotOf("tc:jobs"));
    const replica = await cluster.replicaOf(old);
    await replica.do("cluster", "failover");
    await until(() => replica.isMaster(), "promotion");
    await assertWhole(watched);
    await assertWhole(await start(3, 500));
  });

  // It has a third of the generations, and the queue of jobs.
  tested("cluster_master_killed_in_mid_stream_whole", async () => {
    await cluster.settled();
    const watched = await start(9, 60);
    await middle(watched);
    const victim = await cluster.owner(await cluster.slotOf("tc:jobs"));
    await victim.kill();
    await assertWhole(watched);
    await until(async () => {
      const ready = await Promise.all(h.brokers.map((broker) => fetch(`${broker.ops}/readyz`)));
      return ready.every((answer) => answer.status === 200);
    }, "both brokers ready again");
    await assertWhole(await start(6, 500));
  });
});
