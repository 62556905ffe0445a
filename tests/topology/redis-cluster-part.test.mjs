// A Cluster without one of its masters, which nobody replaces: what lies on the others goes on as if nothing had
// happened, and what lies on it gets an answer that says so.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { watch } from "../../broker/web/client.js";
import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { until } from "../lib/wait.mjs";
import { Cluster } from "./redis-servers.mjs";

const TEXT = Array.from({ length: 300 }, (_, i) => `word${i}`).join(" ");
const bounded = { timeout: 120000 };

describe("redis cluster without one master", { skip: missing() }, () => {
  /** @type {Cluster} */
  let cluster;
  /** @type {Harness} */
  let h;
  let there; // a stream that does not end by itself
  let made = 0;
  beforeEach(async () => {
    cluster = await Cluster.start();
    const masters = await cluster.masters();
    // Without this Redis itself refuses every command as soon as one slot has no server.
    for (const master of masters) await master.do("config", "set", "cluster-require-full-coverage", "no");
    for (const server of cluster.servers.filter((other) => !masters.includes(other))) await server.kill();
    h = await Harness.start({ brokers: 2, redis: { url: cluster.url } });
  }, bounded);
  afterEach(async () => {
    there?.close();
    await h?.stop();
    await cluster?.stop();
  });

  const ownerOf = async (key) => cluster.owner(await cluster.slotOf(key));

  /** An id whose log lies on that master, or on any but that one. */
  async function idOn(master, wanted = true) {
    for (;;) {
      const id = `gen_${(made += 1)}`;
      if (((await ownerOf(`tc:{${id}}:log`)) === master) === wanted) return id;
    }
  }

  const start = (more = {}, headers = {}, broker = h.brokers[0]) =>
    fetch(`${broker.url}/v1/generations`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ model: "replay", prompt: "x", options: { text: "Short.", rate: 500 }, ...more }),
    });

  async function assertUnavailable(response) {
    assert.equal(response.status, 503, await response.text());
    assert.ok(Number(response.headers.get("retry-after")) > 0);
  }

  const readyz = async (broker) => {
    const answer = await fetch(`${broker.ops}/readyz`);
    return `${answer.status} ${(await answer.text()).trim()}`;
  };

  /** Kills it, and waits until every broker has seen that. */
  async function lose(master) {
    await master.kill();
    for (const broker of h.brokers)
      await until(async () => (await readyz(broker)) === "200 ready, but a part of redis is down", "the loss is seen");
  }

  /** A master that has no jobs. */
  async function expendable() {
    const jobs = await ownerOf("tc:jobs");
    return (await cluster.masters()).find((master) => master !== jobs);
  }

  const tested = (name, body) => test(name, bounded, () => h.explains(body));

  tested("cluster_without_a_master_streams_on_the_others_go_on", async () => {
    const victim = await expendable();
    const watched = [];
    for (let i = 0; i < 4; i++) {
      const seen = { statuses: [], id: await idOn(victim, false) };
      await post(h.brokers[i % 2].url, TEXT, { rate: 60, id: seen.id });
      seen.gen = watch(`${h.brokers[(i + 1) % 2].url}/v1/generations/${seen.id}/events`, {
        onEvent: (event) => event.type === "status" && seen.statuses.push(event.state),
      });
      watched.push(seen);
    }
    const stuck = await idOn(victim);
    await post(h.url, TEXT, { rate: 20, id: stuck });
    const statuses = [];
    there = watch(`${h.url}/v1/generations/${stuck}/events`, {
      onEvent: (event) => event.type === "status" && statuses.push(event.state),
    });
    await until(() => [...watched.map(({ gen }) => gen), there].every(({ text }) => text.length > 100), "all have begun");
    await lose(victim);
    await until(() => statuses.includes("recovering"), "its reader is told");
    await Promise.all(watched.map(({ gen }) => gen.finished));
    for (const { gen, id, statuses: told } of watched) {
      const held = told.includes("recovering");
      assert.deepEqual([id, gen.text, gen.state, gen.reconnects, held], [id, TEXT, "done", 0, false]);
    }
    assert.equal(there.state, "recovering"); // held, not ended
  });

  tested("cluster_without_a_master_post_draws_ids_on_the_others", async () => {
    const victim = await expendable();
    await lose(victim);
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => start({}, {}, h.brokers[i % 2])));
    for (const answer of answers) {
      assert.equal(answer.status, 202);
      const { id } = await answer.json();
      assert.equal((await ended(h.url, id)).text, "Short.");
    }
  });

  tested("cluster_without_a_master_fixed_ids_on_it_are_unavailable", async () => {
    const victim = await expendable();
    await lose(victim);
    await assertUnavailable(await start({ id: await idOn(victim) }));
    await assertUnavailable(await fetch(`${h.url}/v1/generations/${await idOn(victim)}`));
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, i) => start({}, { "idempotency-key": `key${i}` })),
    );
    const statuses = answers.map(({ status }) => status);
    assert.ok(statuses.includes(202) && statuses.includes(503), `${statuses}`); // a third lies there
    assert.ok(statuses.every((status) => status === 202 || status === 503), `${statuses}`);
  });

  tested("cluster_without_the_master_of_the_queue_post_is_unavailable", async () => {
    const victim = await ownerOf("tc:jobs");
    const id = await idOn(victim, false);
    await post(h.url, TEXT, { rate: 60, id });
    const gen = watch(`${h.brokers[1].url}/v1/generations/${id}/events`);
    await until(() => gen.text.length > 100, "it has begun");
    await lose(victim);
    for (let i = 0; i < 4; i++) await assertUnavailable(await start({}, {}, h.brokers[i % 2]));
    await gen.finished; // its worker cannot renew the lease, and nobody else can take it over
    assert.deepEqual([gen.text, gen.state, gen.reconnects], [TEXT, "done", 0]);
  });

  tested("cluster_without_a_master_from_the_start_becomes_ready", async () => {
    const victim = await expendable();
    await lose(victim);
    const late = await h.broker();
    h.brokers.push(late);
    assert.equal(await readyz(late), "200 ready, but a part of redis is down");
    await h.workers[0].stop();
    h.workers[0] = await h.worker();
    await until(async () => (await readyz(h.workers[0])).startsWith("200"), "a worker that is ready");
    const answer = await start({}, {}, late);
    assert.equal(answer.status, 202);
    assert.equal((await ended(late.url, (await answer.json()).id)).text, "Short.");
  });
});
