// TLS and HTTP/2 towards the reader, with our configurations: many streams in one connection, each event at once.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import http2 from "node:http2";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { Harness, missing } from "../clients/harness.mjs";
import { Log } from "../integration/log.mjs";
import { metric } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, inTime, until } from "../lib/wait.mjs";
import { NAMES, Proxy } from "./proxy.mjs";

const run = promisify(execFile);
const READERS = 130; // more than HAProxy (100) and nginx (128) allow by default
const PIECES = 5;

describe("HTTP/2 through a proxy", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  before(async () => {
    h = await Harness.start({ brokers: 0, workers: 0 });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const begun = (id) => Log.begun(redis, id);

  async function through(name, body) {
    const broker = await h.broker(["--loops", "1"]);
    const proxy = await Proxy.start({ name, kind: "snippet" }, [broker]);
    const session = http2.connect(proxy.tlsUrl, { rejectUnauthorized: false });
    session.on("error", () => {});
    try {
      await body(session, broker, proxy);
    } catch (error) {
      error.message += `\n--- ${proxy.name}\n${proxy.log}`;
      throw error;
    } finally {
      session.destroy();
      await proxy.stop();
      await broker.stop();
    }
  }

  /** One stream of the session: its `status`, the `body` so far, and `over`, its end. */
  function read(session, path) {
    const seen = { body: "" };
    seen.stream = session.request({ ":path": path, accept: "text/event-stream" });
    seen.stream.setEncoding("utf8");
    seen.stream.on("response", (headers) => (seen.status = headers[":status"]));
    seen.stream.on("data", (text) => (seen.body += text));
    seen.stream.on("error", () => {}); // "close" comes after it
    seen.over = new Promise((resolve) => seen.stream.on("close", resolve));
    return seen;
  }

  async function ask(session, headers) {
    const stream = session.request(headers, { endStream: true });
    const [answer] = await inTime(once(stream, "response"), "an answer beside the streams");
    stream.resume();
    return answer[":status"];
  }

  for (const name of NAMES) {
    test(`${name}_${READERS}_streams_and_a_stop_share_one_connection`, bounded, () =>
      through(name, async (session, broker) => {
        const log = await begun(`gen_h2_${name}`);
        const path = `/v1/generations/${log.id}/events`;
        const readers = Array.from({ length: READERS }, () => read(session, path));
        const streams = () => metric(broker, "tokencast_broker_streams");
        await until(async () => (await streams()) === READERS, "all streams are open");
        for (let i = 0; i < PIECES; i++) {
          await log.text(`1-${i + 3}`, `piece${i} `);
          await until(() => readers.every(({ body }) => body.includes(`piece${i} `)), `piece ${i} at all`);
        }
        for (const { stream } of readers.slice(0, 30)) stream.close(http2.constants.NGHTTP2_CANCEL);
        await until(async () => (await streams()) === READERS - 30, "those who left are gone, the others are not");
        assert.equal(await ask(session, { ":method": "POST", ":path": `/v1/generations/${log.id}/cancel` }), 202);
        await log.done(`1-${PIECES + 3}`, "cancelled");
        for (const { over } of readers) await inTime(over, "the end");
        for (const { status, body } of readers.slice(30)) {
          assert.equal(status, 200);
          assert.ok(body.includes("event: done"), body);
        }
      }));

    // Caddy waits for a broker; Envoy and Traefik know no way but to say 503 or 502.
    const fate = { caddy: "held", envoy: "refused", traefik: "refused" }[name] ?? "broken_off";
    test(`${name}_stream_is_${fate}_when_no_broker_is_there`, bounded, () =>
      through(name, async (session, broker) => {
        const log = await begun(`gen_h2_away_${name}`);
        await broker.stop("SIGKILL");
        const reader = read(session, `/v1/generations/${log.id}/events`);
        if (fate === "held") {
          const again = ["--listen", new URL(broker.url).host, "--ops-listen", new URL(broker.ops).host];
          const back = await h.broker(["--loops", "1", ...again]);
          await until(() => reader.status === 200, () => `the stream of the broker that has come: ${reader.status}`);
          return back.stop();
        }
        await inTime(reader.over, "the end");
        if (fate === "refused") assert.ok(reader.status >= 500, `${reader.status}`);
        else assert.equal(reader.status, undefined, "no status that would end an EventSource");
      }));

    test(`${name}_curl_reads_by_either_version`, bounded, () =>
      through(name, async (session, broker, proxy) => {
        const log = await begun(`gen_curl_${name}`);
        await log.text("1-3", "all of it");
        await log.done("1-4");
        for (const [flag, version] of [["--http2", "2"], ["--http1.1", "1.1"]]) {
          const format = "\n%{http_version} %{http_code}";
          const args = ["-sSkN", flag, "--max-time", "60", "-w", format, `${proxy.tlsUrl}/v1/generations/${log.id}/events`];
          const { stdout } = await run("curl", args);
          assert.ok(stdout.includes('"text":"all of it"'), stdout);
          assert.equal(stdout.split("\n").at(-1), `${version} 200`);
        }
      }));
  }
});
