// Two brokers behind each proxy: one drains, dies, hangs; all are away for a while; readers of a generation meet at one.
// The reader is an EventSource, which no page can help: a 502 or 503 ends it for good.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Harness, missing, post } from "../clients/harness.mjs";
import { Log, Reader } from "../integration/log.mjs";
import { metric } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import { Follower } from "./follower.mjs";
import { NAMES, Proxy } from "./proxy.mjs";

const ARGS = ["--loops", "1", "--drain-window", "200ms"];
const WORDS = 60;
const TEXT = Array.from({ length: WORDS }, (_, i) => `word${i} `).join("");
const PACE = { rate: 30 };
/** What each says when no broker is there. */
const NOBODY = { nginx: 502, haproxy: 503, caddy: 502, envoy: 503, traefik: 502 };
/** Who says so even to an EventSource, whatever is done. */
const CURT = ["envoy", "traefik"];

/** Our files with the hash in place of what counts streams. */
const HASHED = {
  nginx: [["    least_conn;\n", ""], ["#hash $tokencast_subject", "hash $tokencast_subject"]],
  haproxy: [["    balance leastconn\n    # Instead", "    # Instead"], ["#balance hash", "balance hash"], ["#hash-type", "hash-type"]],
  caddy: [["\t\tlb_policy least_conn\n", ""], ["#lb_policy uri_hash", "lb_policy uri_hash"]],
  envoy: [["lb_policy: LEAST_REQUEST", "lb_policy: RING_HASH"], ["#hash_policy", "hash_policy"]],
};

describe("brokers behind a proxy", { skip: missing(), concurrency: 4 }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  before(async () => {
    h = await Harness.start({ brokers: 1, workers: 1, brokerArgs: ["--loops", "1"] });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const pair = async (args = ARGS) => [await h.broker(args), await h.broker(args)];
  const streams = (broker) => metric(broker, "tokencast_broker_streams");
  const events = (proxy, id) => `${proxy.url}/v1/generations/${id}/events`;

  async function through(name, kind, brokers, more, body) {
    const proxy = await Proxy.start({ name, kind }, brokers, more);
    try {
      await body(proxy);
    } catch (error) {
      error.message += `\n--- ${proxy.name}\n${proxy.log}\n${brokers.map((b) => `--- broker\n${b.log}`).join("\n")}`;
      throw error;
    } finally {
      await proxy.stop();
    }
  }

  /** The one of them that has the reader. */
  const holder = (brokers) =>
    until(async () => {
      for (const broker of brokers) if ((await streams(broker)) > 0) return broker;
      return null;
    }, "a stream");

  /** Follows a generation; `strike(broker)` is done to the one that serves it. */
  async function struck(name, kind, more, strike) {
    const brokers = await pair();
    await through(name, kind, brokers, more, async (proxy) => {
      const { id } = await post(h.url, TEXT, PACE);
      const follower = new Follower(events(proxy, id));
      await until(() => follower.text.includes("word9 "), "the beginning");
      await strike(await holder(brokers), proxy);
      await until(() => follower.end, () => `the end after ${follower.text}`);
      if (follower.end !== "done") return assert.fail(`gave up at ${follower.end}`);
      assert.equal(follower.text, TEXT);
      assert.ok(follower.opened >= 2, "it came back");
    });
  }

  for (const name of NAMES) {
    test(`${name}_snippet_reader_of_a_draining_broker_goes_on_at_the_other`, bounded, () =>
      struck(name, "snippet", {}, (broker) => broker.child.kill("SIGTERM")));

    test(`${name}_snippet_reader_of_a_killed_broker_goes_on_at_the_other`, bounded, () =>
      struck(name, "snippet", {}, (broker) => broker.stop("SIGKILL")));

    test(`${name}_snippet_requests_go_on_while_a_broker_drains`, bounded, async () => {
      const brokers = await pair();
      await through(name, "snippet", brokers, {}, async (proxy) => {
        for (let i = 0; i < 40; i++) {
          if (i === 10) brokers[0].child.kill("SIGTERM");
          const answer = await fetch(`${proxy.url}/v1/generations/gen_none`);
          assert.equal(answer.status, 404, `request ${i}`);
        }
        await brokers[0].gone;
      });
    });

    const fate = CURT.includes(name) ? "gives_up" : "comes_back";
    test(`${name}_snippet_reader_${fate}_when_all_brokers_were_away`, bounded, async () => {
      const brokers = await pair();
      await through(name, "snippet", brokers, {}, async (proxy) => {
        const log = new Log(redis, `gen_away_${name}`);
        await log.create();
        await log.start("1-2");
        await log.text("1-3", "before ");
        const follower = new Follower(events(proxy, log.id));
        await until(() => follower.text === "before ", "text");
        await Promise.all(brokers.map((broker) => broker.stop("SIGKILL")));
        await log.text("1-4", "meanwhile ");
        if (CURT.includes(name)) {
          await until(() => follower.end, "the end");
          return assert.equal(follower.end, NOBODY[name]);
        }
        if (name === "caddy") await sleep(3000); // it holds who comes back
        else {
          await until(() => follower.end ?? follower.failed >= 3, "refused, without a word");
          const other = await fetch(`${proxy.url}/v1/generations/${log.id}`);
          assert.equal(other.status, NOBODY[name], "who is no EventSource is told");
        }
        await h.broker([...ARGS, "--listen", new URL(brokers[1].url).host, "--ops-listen", new URL(brokers[1].ops).host]);
        await log.done("1-5");
        await until(() => follower.end, "the end");
        assert.deepEqual([follower.end, follower.text], ["done", "before meanwhile "]);
      });
    });

    test(`${name}_default_reader_gives_up_when_no_broker_is_there`, bounded, async () => {
      const brokers = await pair();
      await through(name, "default", brokers, {}, async (proxy) => {
        const { id } = await post(h.url, TEXT, PACE);
        const follower = new Follower(events(proxy, id));
        await until(() => follower.text.includes("word3 "), "the beginning");
        await Promise.all(brokers.map((broker) => broker.stop("SIGKILL")));
        await until(() => follower.end, "the end");
        assert.equal(follower.end, NOBODY[name]);
      });
    });

    if (!HASHED[name]) continue;
    test(`${name}_snippet_hashed_readers_of_a_generation_meet_at_one_broker`, bounded, async () => {
      const brokers = await pair();
      await through(name, "snippet", brokers, { changes: HASHED[name] }, async (proxy) => {
        const used = new Set();
        for (let i = 0; i < 20; i++) {
          const log = new Log(redis, `gen_hash_${name}_${i}`);
          await log.create();
          const readers = await Promise.all([1, 2, 3].map(() => Reader.open(events(proxy, log.id))));
          const count = await Promise.all(brokers.map(streams));
          assert.deepEqual(count.toSorted((a, b) => a - b), [0, 3], "all at one");
          used.add(count.indexOf(3));
          await log.done("1-2");
          await Promise.all(readers.map((reader) => reader.over));
          await until(async () => (await streams(brokers[0])) + (await streams(brokers[1])) === 0, "gone");
        }
        assert.equal(used.size, 2, "generations are spread");
      });
    });
  }

  const testOf = (name, title, body) => NAMES.includes(name) && test(`${name}_${title}`, bounded, body);

  testOf("nginx", "default_reader_of_a_draining_broker_goes_on_at_the_other", () =>
    struck("nginx", "default", {}, (broker) => broker.child.kill("SIGTERM")));

  testOf("haproxy", "default_gives_a_reader_up_who_comes_back_to_the_broker_that_is_gone", async () => {
    const brokers = await pair();
    await through("haproxy", "default", brokers, {}, async (proxy) => {
      await brokers[0].stop();
      const statuses = [];
      for (let i = 0; i < 2; i++) statuses.push((await fetch(`${proxy.url}/v1/generations/gen_none`)).status);
      assert.deepEqual(statuses.toSorted(), [404, 503], "in turns, and none is asked instead of another");
    });
  });

  testOf("caddy", "default_gives_a_reader_up_who_comes_back_to_the_broker_that_is_gone", () =>
    assert.rejects(
      struck("caddy", "default", { proxy: "lb_policy first" }, (broker) => broker.child.kill("SIGTERM")),
      /gave up at 502/,
    ));

  testOf("haproxy", "snippet_reader_of_a_frozen_broker_goes_on_at_the_other", async () => {
    let frozen;
    try {
      await struck("haproxy", "snippet", {}, (broker) => {
        frozen = broker;
        broker.child.kill("SIGSTOP");
      });
    } finally {
      frozen?.child.kill("SIGCONT");
    }
  });
});
