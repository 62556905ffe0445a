// Streams and requests through each proxy, with its defaults and with our configuration. The log is written by hand: an
// event has to reach the reader before the next one is written, so that a proxy that collects them hangs the test.
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, describe, test } from "node:test";

import { Harness, missing } from "../clients/harness.mjs";
import { Log, Reader } from "../integration/log.mjs";
import { metric } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import { NAMES, Proxy, VARIANTS, caddyVersion } from "./proxy.mjs";

const FORMS = ["text/event-stream", "application/x-ndjson", "text/plain"];
const PIECES = 8;

describe("the way through a proxy", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  let logs = 0;
  before(async () => {
    h = await Harness.start({ workers: 1, brokerArgs: ["--loops", "1", "--heartbeat", "1h"] });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const begun = () => Log.begun(redis, `gen_path_${++logs}`);

  const events = (base, { id }, query = "") => `${base}/v1/generations/${id}/events${query}`;
  const streams = () => metric(h.brokers[0], "tokencast_broker_streams");

  async function explained(proxy, body) {
    try {
      await h.explains(body);
    } catch (error) {
      error.message += `\n--- ${proxy.name}\n${proxy.log}`;
      throw error;
    }
  }

  async function through(variant, more, body) {
    const proxy = await Proxy.start(variant, [h.brokers[0]], more);
    try {
      await explained(proxy, () => body(proxy));
    } finally {
      await proxy.stop();
    }
  }

  const said = (reader) => (reader.headers["content-type"].startsWith("text/plain") ? reader.body : reader.text);

  for (const variant of VARIANTS) {
    describe(variant.title, () => everyVariant(variant));
  }

  function everyVariant(variant) {
    /** @type {Proxy} */
    let proxy;
    before(async () => {
      proxy = await Proxy.start(variant, [h.brokers[0]]);
    }, bounded);
    after(() => proxy?.stop());

    const each = (name, body) => test(`${variant.title}_${name}`, bounded, () => explained(proxy, body));

    for (const accept of FORMS) {
      each(`${accept.split("/")[1]}_arrives_piece_by_piece`, async () => {
        const log = await begun();
        const reader = await Reader.open(events(proxy.url, log), { accept }); // answered before there is any text
        assert.equal(reader.status, 200);
        for (let i = 0, text = ""; i < PIECES; i++) {
          await log.text(`1-${i + 3}`, `piece${i} `);
          text += `piece${i} `;
          await reader.wait((r) => said(r) === text, `piece ${i}`);
        }
        await log.done(`1-${PIECES + 3}`);
        await reader.over;
        assert.equal(reader.end, "clean");
      });
    }

    each("reader_resumes_where_it_was_and_a_finished_one_is_204", async () => {
      const log = await begun();
      await log.text("1-3", "one ");
      const first = await Reader.open(events(proxy.url, log));
      await first.wait((r) => r.text === "one ", "one");
      const position = first.events.at(-1).id;
      first.close();
      await log.text("1-4", "two ");
      const second = await Reader.open(events(proxy.url, log), { headers: { "last-event-id": position } });
      await second.wait((r) => r.events.some(({ data }) => data.text === "two "), "two");
      await log.done("1-5");
      await second.over;
      assert.deepEqual(second.events.filter(({ id }) => id).map(({ id }) => id), ["1-4", "1-5"]);
      const third = await Reader.open(events(proxy.url, log), { headers: { "last-event-id": "1-5" } });
      await third.over;
      assert.deepEqual([third.status, third.body], [204, ""]);
    });

    // HAProxy takes a client that closes for one that has only said all it had to say, and notices when it writes.
    const late = variant.title === "haproxy_default";
    each(`reader_who_leaves_is_gone_from_the_broker_${late ? "after_the_next_events" : "at_once"}`, async () => {
      const log = await begun();
      const readers = await Promise.all([1, 2, 3].map(() => Reader.open(events(proxy.url, log))));
      await until(async () => (await streams()) === 3, "three streams");
      for (const reader of readers) reader.close();
      if (late) {
        await sleep(1000);
        assert.equal(await streams(), 3, "nothing has been written yet");
      }
      for (let i = 3; late && (await streams()) > 0; i++) {
        assert.ok(i < 50, "gone after some events");
        await log.text(`1-${i}`, "x");
        await sleep(50);
      }
      await until(async () => (await streams()) === 0, "no stream");
    });

    each("generation_is_started_with_a_large_body_and_stopped", async () => {
      const prompt = "long ".repeat(180_000); // 900 kB
      const headers = { "content-type": "application/json", "idempotency-key": `key_${variant.title}` };
      const request = { model: "m", prompt, options: { text: "word ".repeat(5000), rate: 20 } };
      const start = () => fetch(`${proxy.url}/v1/generations`, { method: "POST", headers, body: JSON.stringify(request) });
      const answer = await start();
      const { id, cancel_url } = await answer.json();
      assert.equal(answer.status, 202);
      const again = await start();
      assert.deepEqual([(await again.json()).id, again.headers.get("idempotent-replayed")], [id, "true"]);
      const reader = await Reader.open(events(proxy.url, { id }));
      await reader.wait((r) => r.of("delta").length > 2, "text");
      const stopped = await fetch(proxy.url + cancel_url, { method: "POST" });
      assert.equal(stopped.status, 202);
      await reader.over;
      assert.equal(reader.of("done")[0].data.reason, "cancelled");
    });

    // Caddy by its defaults may end the answer early (docs/proxies.md); the reader goes on where it was.
    const early = variant.title === "caddy_default";
    each(`post_that_answers_with_the_stream_is_whole${early ? "_or_can_be_gone_on_with" : ""}`, async () => {
      const TEXT = "Said at once and read in pieces. ".repeat(3);
      const accept = "application/x-ndjson";
      const lines = async (answer) => (await answer.text()).match(/.+/g)?.map((line) => JSON.parse(line)) ?? [];
      const answer = await fetch(`${proxy.url}/v1/generations`, {
        method: "POST",
        headers: { "content-type": "application/json", accept },
        body: JSON.stringify({ prompt: "x", model: "m", options: { text: TEXT, rate: 200 } }),
      });
      assert.equal(answer.status, 200);
      const events = await lines(answer);
      if (early && events.at(-1)?.type !== "done") {
        const seen = events.findLast(({ type, position }) => type !== "open" && position)?.position ?? "0-0";
        const rest = await fetch(`${proxy.url}${answer.headers.get("location")}/events?after=${seen}`, { headers: { accept } });
        events.push(...(await lines(rest)));
      }
      const deltas = events.filter(({ type }) => type === "delta");
      assert.equal(deltas.map(({ text }) => text).join(""), TEXT);
      assert.equal(events.at(-1).type, "done");
    });

    each("problem_and_long_poll_pass_as_they_are", async () => {
      const none = await fetch(`${proxy.url}/v1/generations/gen_none`);
      assert.deepEqual([none.status, none.headers.get("content-type")], [404, "application/problem+json"]);
      const log = await begun();
      await log.text("1-3", "old ");
      const poll = fetch(events(proxy.url, log, "?wait=30000&after=1-3"), { headers: { accept: "application/json" } });
      await sleep(100); // so that it waits for what comes; if it does not yet, the answer is the same
      await log.text("1-4", "new ");
      assert.deepEqual((await (await poll).json()).events.map(({ text }) => text), ["new "]);
    });
  }

  // ---- what the headers do, and what they cannot

  const NGINX = { name: "nginx", kind: "default" };
  const OURS = { name: "nginx", kind: "snippet" };
  const HELD = 20;
  const PIECE = 500_000;
  const MUCH = 50; // pieces: more than the sockets between broker and reader hold

  if (NAMES.includes("nginx")) {
    const lumps = (http11) => `proxy_ignore_headers X-Accel-Buffering; ${http11 ? "proxy_http_version 1.1;" : ""}`;

    test("nginx_that_ignores_the_header_holds_everything_back", bounded, () =>
      through(NGINX, { location: lumps(false) }, async (proxy) => {
        const log = await begun();
        const direct = await Reader.open(events(h.url, log));
        const held = Reader.open(events(proxy.url, log));
        let answered = false;
        held.then(() => (answered = true));
        await until(async () => (await streams()) === 2, "both are there");
        for (let i = 0; i < HELD; i++) {
          await log.text(`1-${i + 3}`, `${i} `);
          await direct.wait((r) => r.text.endsWith(`${i} `), "the one without a proxy");
          await sleep(20);
          assert.equal(answered, false, "not even the head of the answer is let through");
        }
        await log.done(`1-${HELD + 3}`);
        const reader = await held;
        await reader.over;
        assert.equal(reader.text, direct.text, "in one lump at the end");
      }));

    const stores = [
      ["nginx_that_ignores_the_header_takes_everything_for_a_reader_who_does_not_read", NGINX, { location: lumps(true) }, true],
      ["nginx_snippet_leaves_a_reader_who_does_not_read_to_the_broker", OURS, { http: lumps(false) }, false],
      ["nginx_default_leaves_a_reader_who_does_not_read_to_the_broker", NGINX, {}, false],
    ];
    for (const [name, variant, more, stored] of stores) {
      test(name, bounded, () =>
        through(variant, more, async (proxy) => {
          const log = await begun();
          const dropped = () => metric(h.brokers[0], "tokencast_broker_dropped_events_total");
          const sent = () => metric(h.brokers[0], "tokencast_broker_sent_bytes_total");
          const before = await dropped();
          const socket = net.connect(Number(new URL(proxy.url).port), "127.0.0.1");
          socket.on("error", () => {});
          socket.write(`GET /v1/generations/${log.id}/events HTTP/1.1\r\nHost: x\r\n\r\n`);
          await until(async () => (await streams()) === 1, "a stream");
          const began = await sent();
          for (let i = 1; i <= MUCH; i++) {
            await log.text(`1-${i + 2}`, "x".repeat(PIECE));
            if (stored) await until(async () => (await sent()) - began >= i * PIECE, `nginx takes piece ${i}`);
          }
          if (stored) assert.equal(await dropped(), before, "to the broker he keeps up");
          else await until(async () => (await dropped()) > before, "dropped for a slow reader, who is told");
          socket.destroy();
          await until(async () => (await streams()) === 0, "gone");
        }));
    }
  }

  if (NAMES.includes("caddy")) {
    test("caddy_told_to_flush_by_hand_reads_on_for_a_reader_who_left", bounded, () =>
      through({ name: "caddy", kind: "default" }, { proxy: "flush_interval -1" }, async (proxy) => {
        const log = await begun();
        const reader = await Reader.open(events(proxy.url, log));
        await until(async () => (await streams()) === 1, "a stream");
        reader.close();
        await sleep(1000);
        assert.equal(await streams(), 1);
      }));
  }

  // ---- the end

  for (const variant of VARIANTS) {
    // By HTTP/1.0 nothing tells the end of a text from an accident; Caddy 2.6 ends its answer as if it were whole.
    const forgetful = variant.name === "caddy" && caddyVersion().startsWith("2.6.");
    const killed = variant.title === "nginx_default" || forgetful ? "clean" : "reset";
    const broken = forgetful ? "clean" : "reset";
    const looks = { clean: "looks_complete", reset: "does_not_look_complete" };
    test(`${variant.title}_text_of_a_killed_broker_${looks[killed]}`, bounded, async () => {
      const broker = await h.broker(["--loops", "1"]);
      const proxy = await Proxy.start(variant, [broker]);
      try {
        const log = await begun();
        const reader = await Reader.open(events(proxy.url, log), { accept: "text/plain" });
        await log.text("1-3", "half of ");
        await reader.wait((r) => r.body === "half of ", "text");
        await broker.stop("SIGKILL");
        await reader.over;
        assert.equal(reader.end, killed);
      } finally {
        await proxy.stop();
      }
    });

    test(`${variant.title}_text_that_the_broker_breaks_off_${looks[broken]}`, bounded, () =>
      through(variant, {}, async (proxy) => {
        const log = await begun();
        const reader = await Reader.open(events(proxy.url, log), { accept: "text/plain" });
        await log.text("1-3", "half of ");
        await reader.wait((r) => r.body === "half of ", "text");
        await log.add("2-0", { type: "fence", writer: "v" }, { bell: false });
        await log.add("2-2", { type: "attempt", attempt: 2, mode: "restart" });
        await log.add("2-3", { type: "delta", text: "something else", offset: 0 });
        await reader.over;
        assert.equal(reader.end, broken);
      }));
  }
});
