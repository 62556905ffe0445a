#!/usr/bin/env node
// What each proxy costs a reader: the first token from the request on, and each event from the worker's clock on. One
// generation at a time, one reader, everything on one machine. Prints the table of docs/proxies.md.
// Usage: tests/proxies/measure.mjs [ROUNDS [--json]] on the programs of TC_BUILD (default: build/).
import http from "node:http";
import http2 from "node:http2";

import { Harness } from "../clients/harness.mjs";
import { inTime, sleep } from "../lib/wait.mjs";
import { NAMES, Proxy, VARIANTS } from "./proxy.mjs";

const ROUNDS = Number(process.argv[2] ?? 10);
const AS_JSON = process.argv[3] === "--json";
const RATE = 50; // events a second: 20 ms apart
const WORDS = 100;
const TEXT = Array.from({ length: WORDS }, (_, i) => `word${i} `).join("");
const REQUEST = JSON.stringify({ prompt: "x", model: "m", options: { text: TEXT, rate: RATE } });
const HEADERS = { "content-type": "application/json", accept: "text/event-stream" };

const now = () => performance.timeOrigin + performance.now();

/** The answer of a POST as a readable, by HTTP/1.1. */
function byHttp(url) {
  return new Promise((resolve, reject) => {
    const request = http.request(`${url}/v1/generations`, { method: "POST", headers: HEADERS, agent: false }, resolve);
    request.on("error", reject).end(REQUEST);
  });
}

/** The same by HTTP/2 in a connection that is there already. */
function byHttp2(session) {
  const stream = session.request({ ":method": "POST", ":path": "/v1/generations", ...HEADERS });
  stream.end(REQUEST);
  return Promise.resolve(stream);
}

/** One generation: ms to the first token; ms of each event; in how many arrivals the events came. */
async function generation(open) {
  const began = now();
  const stream = await open();
  const seen = { delays: [], arrivals: 0 };
  let body = "";
  let text = "";
  for await (const chunk of stream.setEncoding("utf8")) {
    const at = now();
    body += chunk;
    let fresh = 0;
    for (let end; (end = body.indexOf("\n\n")) >= 0; body = body.slice(end + 2)) {
      const data = /^data: (.*)$/m.exec(body.slice(0, end))?.[1];
      const event = data ? JSON.parse(data) : {};
      if (event.type !== "delta") continue;
      seen.first ??= at - began;
      text += event.text;
      seen.delays.push(at - event.at / 1000);
      fresh++;
    }
    if (fresh > 0) seen.arrivals++;
  }
  if (text !== TEXT) throw new Error(`not whole: ${text}`);
  return seen;
}

const quantile = (list, q) => list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(q * list.length))];
const ms = (value) => value.toFixed(1);

const rows = [];

async function row(title, open) {
  await inTime(generation(open), title); // the first one pays for connections
  const all = [];
  for (let i = 0; i < ROUNDS; i++) {
    all.push(await inTime(generation(open), title));
    await sleep(100);
  }
  const firsts = all.map(({ first }) => first);
  const delays = all.flatMap((one) => one.delays);
  const each = delays.length / all.reduce((sum, { arrivals }) => sum + arrivals, 0);
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((q) => quantile(delays, q));
  const figures = { first: quantile(firsts, 0.5), p50, p90, p99 };
  rows.push({ way: title, ...figures, together: each });
  if (!AS_JSON) console.log(`| ${title} | ${[...Object.values(figures), each].map(ms).join(" | ")} |`);
}

async function through(h, title, variant, more) {
  const proxy = await Proxy.start(variant, h.brokers, more);
  try {
    await row(title, () => byHttp(proxy.url));
    if (!proxy.tlsUrl) return;
    const session = http2.connect(proxy.tlsUrl, { rejectUnauthorized: false });
    await row(`${title}, TLS and HTTP/2`, () => byHttp2(session));
    session.destroy();
  } finally {
    await proxy.stop();
  }
}

const h = await Harness.start({ brokerArgs: ["--loops", "1"] });
try {
  if (!AS_JSON) console.log("| Through | First token, ms | Event p50 | p90 | p99 | Together |\n|---|---|---|---|---|---|");
  await row("nothing", () => byHttp(h.url));
  for (const name of NAMES)
    for (const variant of VARIANTS.filter((one) => one.name === name))
      await through(h, `${name}, ${variant.kind === "default" ? "its defaults" : "our file"}`, variant);
  if (NAMES.includes("nginx")) {
    const deaf = { location: "proxy_ignore_headers X-Accel-Buffering;" };
    await through(h, "nginx, its defaults, our header ignored", { name: "nginx", kind: "default" }, deaf);
  }
  if (AS_JSON) console.log(JSON.stringify(rows));
} finally {
  await h.stop();
}
