// A stream that is silent for longer than the proxy waits: heartbeats keep it, and without them it is cut. The proxies'
// time-outs are set to a second, all else is as they or our files have it. And what a proxy that compresses does.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { createGunzip } from "node:zlib";

import { Harness, missing } from "../clients/harness.mjs";
import { Log, Reader } from "../integration/log.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, inTime, until } from "../lib/wait.mjs";
import { Proxy, VARIANTS, caddyVersion } from "./proxy.mjs";

const BEATS = 12; // of 300 ms: more than three seconds

const SHORT = {
  nginx_default: { location: "proxy_read_timeout 1s;" },
  nginx_snippet: { changes: [["proxy_read_timeout 5m;", "proxy_read_timeout 1s;"]] },
  haproxy_default: { timeout: 1000 },
  haproxy_snippet: { changes: [["timeout client 5m", "timeout client 1s"], ["timeout server 5m", "timeout server 1s"]] },
  caddy_default: { proxy: "transport http {\n\t\t\tread_timeout 1s\n\t\t}" },
  caddy_snippet: { changes: [["keepalive 60s", "keepalive 60s\n\t\t\tread_timeout 1s"]] },
  envoy_snippet: { idle: "1s" },
};

const NGINX_GZIP = { http: "gzip on; gzip_proxied any; gzip_types text/event-stream text/plain;" };
const HAPROXY_GZIP = "compression algo gzip\n    compression type text/plain text/html";
const GZIP = {
  nginx_default: NGINX_GZIP,
  nginx_snippet: NGINX_GZIP,
  haproxy_default: { defaults: HAPROXY_GZIP },
  haproxy_snippet: { changes: [["    mode http\n", `    mode http\n    ${HAPROXY_GZIP}\n`]] },
  caddy_default: { site: "encode gzip" },
  caddy_snippet: { site: "encode gzip" },
};

describe("quiet streams and compression", { skip: missing(), concurrency: 6 }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  let lively, silent;
  before(async () => {
    h = await Harness.start({ brokers: 0, workers: 0 });
    lively = await h.broker(["--loops", "1", "--heartbeat", "300ms"]);
    silent = await h.broker(["--loops", "1", "--heartbeat", "1h"]);
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const begun = (id) => Log.begun(redis, id);

  async function through(variant, broker, more, body) {
    const proxy = await Proxy.start(variant, [broker], more);
    try {
      await body(proxy);
    } catch (error) {
      error.message += `\n--- ${proxy.name}\n${proxy.log}`;
      throw error;
    } finally {
      await proxy.stop();
    }
  }

  const events = (proxy, { id }) => `${proxy.url}/v1/generations/${id}/events`;

  for (const variant of VARIANTS) {
    const { title } = variant;
    if (SHORT[title]) quiet(variant, title);
    if (GZIP[title]) compressing(variant, title);
  }

  function quiet(variant, title) {
    test(`${title}_heartbeats_keep_a_quiet_stream`, bounded, () =>
      through(variant, lively, SHORT[title], async (proxy) => {
        const log = await begun(`gen_kept_${title}`);
        const readers = ["text/event-stream", "application/x-ndjson"].map((accept) => Reader.open(events(proxy, log), { accept }));
        for (const reader of await Promise.all(readers)) await reader.wait((r) => r.beats >= BEATS, "heartbeats");
        await log.text("1-3", "late");
        await log.done("1-4");
        for (const reader of await Promise.all(readers)) {
          await reader.over;
          assert.deepEqual([reader.text, reader.end], ["late", "clean"]);
        }
      }));

    test(`${title}_cuts_a_quiet_stream_without_heartbeats`, bounded, () =>
      through(variant, silent, SHORT[title], async (proxy) => {
        const log = await begun(`gen_cut_${title}`);
        const reader = await Reader.open(events(proxy, log));
        await inTime(reader.over, "the end");
        assert.deepEqual([reader.of("start").length, reader.of("done").length, reader.beats], [1, 0, 0]);
      }));

  }

  function compressing(variant, title) {
    // no-transform forbids it. nginx does not look, nor does Caddy before 2.6.3; our files see to it there.
    const oldCaddy = title === "caddy_default" && /^2\.6\.[0-2]\b/.test(caddyVersion());
    const fate = oldCaddy ? "holds_streams_back" : title === "nginx_default" ? "compresses_streams_too" : "leaves_streams_alone";
    test(`${title}_that_compresses_${fate}`, bounded, () =>
      through(variant, silent, GZIP[title], async (proxy) => {
        const page = await fetch(`${proxy.url}/`); // fetch() asks for gzip
        assert.equal(page.headers.get("content-encoding"), title === "nginx_snippet" ? null : "gzip", "it does compress");
        const log = await begun(`gen_gzip_${title}`);
        await log.text("1-3", "much ".repeat(400)); // Caddy decides by how much comes first
        const direct = await Reader.open(events(silent, log));
        const headers = { "accept-encoding": "gzip", accept: "text/plain" };
        const [response] = await once(http.get(events(proxy, log), { headers }), "response");
        const squeezed = fate !== "leaves_streams_alone";
        assert.equal(response.headers["content-encoding"], squeezed ? "gzip" : undefined);
        let body = "";
        const plain = squeezed ? response.pipe(createGunzip()) : response;
        plain.setEncoding("utf8").on("data", (text) => (body += text));
        const ended = once(plain, "end"); // which may come before Redis has answered who wrote it
        for (let i = 0; i < 5; i++) {
          await log.text(`1-${i + 4}`, `piece${i} `);
          await direct.wait((r) => r.text.includes(`piece${i} `), `piece ${i} without a proxy`);
          if (oldCaddy) assert.ok(!body.includes("piece"), "nothing is let through");
          else await until(() => body.includes(`piece${i} `), `piece ${i}`);
        }
        await log.done("1-9");
        await inTime(ended, "the end");
        await direct.over;
        assert.equal(body, direct.text);
      }));
  }
});
