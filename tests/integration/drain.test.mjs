// A broker that stops, that asks streams to come back, or that is short of descriptors or memory.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import { watch } from "../../broker/web/client.js";
import { BUILD, Harness, missing, post } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, sleep, until } from "../lib/wait.mjs";
import { Log, Reader } from "./log.mjs";

const ARGS = ["--sweep", "200ms", "--heartbeat", "300ms", "--loops", "1"];
const TEXT = Array.from({ length: 80 }, (_, i) => `word${i} `).join("");

describe("drain", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  before(async () => {
    h = await Harness.start({ workers: 0, brokerArgs: ARGS });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
  });

  const events = (broker, log, query = "") => `${broker.url}/v1/generations/${log.id}/events${query}`;
  const open = (count, url, options) => Promise.all(Array.from({ length: count }, () => Reader.open(url, options)));

  async function begun(id, pieces) {
    const log = await Log.begun(redis, id);
    for (let i = 0; i < pieces; i++) await log.text(`1-${i + 3}`, `${i} `);
    return log;
  }

  function ask(agent, url) {
    return new Promise((resolve, reject) => {
      http.get(url, { agent }, (response) => resolve(response.resume())).on("error", reject);
    });
  }

  test("streams_are_shed_over_the_window_and_resume_whole_elsewhere", bounded, async () => {
    const window = ["--drain-delay", "4s", "--drain-window", "6s", "--drain", "5s"];
    const broker = await h.broker([...ARGS, ...window]);
    const waiting = new Log(redis, "gen_waiting");
    await waiting.create();
    const long = await begun("gen_long", 50);
    const short = await begun("gen_short", 1);
    const room = await Reader.open(`${broker.url}/v1/channels/room_drained/events`);
    const groups = {
      waiting: await open(10, events(broker, waiting)),
      long: await open(10, events(broker, long)),
      short: await open(10, events(broker, short)),
    };
    const bare = await Reader.open(events(broker, long), { accept: "text/plain" });
    for (const r of groups.long) await r.wait((it) => it.text.includes("49 "), "text");
    for (const r of groups.short) await r.wait((it) => it.text.includes("0 "), "text");
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    assert.equal((await ask(agent, `${broker.url}/v1/generations/gen_long`)).headers.connection, undefined);

    const poll = Reader.open(events(broker, waiting, "?wait=30000&after=0-1"), { accept: "application/json" });
    const begin = Date.now();
    broker.child.kill("SIGTERM");
    await until(async () => (await fetch(`${broker.ops}/readyz`)).status === 503, "not ready");
    assert.equal((await fetch(`${broker.ops}/livez`)).status, 200);
    assert.ok((await metric(broker, "tokencast_broker_streams")) >= 30, "scraped while it drains");
    const answer = await ask(agent, `${broker.url}/v1/generations/gen_long`);
    assert.deepEqual([answer.statusCode, answer.headers.connection], [200, "close"]);
    agent.destroy();
    const newcomer = await Reader.open(events(broker, short)); // the delay is for those who have not heard
    assert.equal(newcomer.status, 200);

    await Promise.all(groups.waiting.slice(0, 1).map((r) => r.over));
    assert.ok((await metric(broker, "tokencast_broker_byes_total", 'reason="drain"')) > 0, "what it sends away is seen");
    await short.done("1-4");
    const all = [...groups.waiting, ...groups.long, ...groups.short, room, newcomer, bare];
    await Promise.all(all.map((r) => r.over));
    assert.equal((await poll).status, 200, "a long poll is answered");
    await broker.gone;
    assert.deepEqual(broker.status, { code: 0, signal: null });
    const took = Date.now() - begin;
    assert.ok(took > 4000, `${took} ms`);

    const byes = all.flatMap((r) => r.of("bye"));
    for (const { data } of byes) assert.equal(data.reason, "drain");
    for (const { retry } of byes) assert.ok(Number(retry) >= 500 && Number(retry) <= 1500, retry);
    assert.ok(new Set(byes.map(({ retry }) => retry)).size > 5, "jittered");
    for (const r of [...groups.waiting, ...groups.long, room]) assert.deepEqual([r.of("bye").length, r.end], [1, "clean"]);
    for (const r of [...groups.short, newcomer]) assert.deepEqual([r.of("bye").length, r.of("done").length], [0, 1]);
    assert.equal(bare.end, "reset", "bare text cannot be told, and must not look whole");

    const times = byes.map(({ at }) => at).sort((a, b) => a - b);
    assert.ok(times.at(-1) - times[0] > 800, `not in one moment: ${times.at(-1) - times[0]} ms`);
    assert.ok(new Set(times.map((t) => Math.floor(t / 50))).size > 5, "one after another");
    const last = (list) => Math.max(...list.map((r) => r.of("bye")[0].at));
    // By our clock, which stands still where the machine does: then several lie there at once, and in no order. Each
    // group takes 2 s of the window.
    const heldUp = 1000;
    assert.ok(room.of("bye")[0].at < last(groups.waiting) + heldUp, "rooms first");
    assert.ok(last(groups.waiting) < last(groups.long) + heldUp, "what has not begun goes before what runs");

    await long.text("1-53", "end");
    await long.done("1-54");
    for (const r of groups.long) {
      const after = r.events.filter((event) => event.id).at(-1).id;
      const rest = await Reader.open(events(h, long), { headers: { "last-event-id": after } });
      await rest.over;
      assert.equal(r.text.length + rest.text.length, long.offset);
      assert.deepEqual(rest.events.filter((event) => event.id).map((event) => event.id), ["1-53", "1-54"]);
    }
  });

  // A proxy keeps connections open and may ask on one of them after the broker has stopped to accept.
  test("stream_asked_for_while_draining_is_sent_on_and_not_refused", bounded, async () => {
    const broker = await h.broker([...ARGS, "--drain-window", "4s", "--drain", "1s"]);
    const log = await begun("gen_asked_late", 2);
    const staying = await open(8, events(broker, log));
    const agents = Array.from({ length: 5 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }));
    const say = (agent, url, accept) =>
      new Promise((resolve, reject) => {
        const request = http.get(url, { agent, headers: { accept } }, (response) => {
          let body = "";
          response.setEncoding("utf8").on("data", (text) => (body += text));
          response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
        });
        request.on("error", reject);
      });
    for (const agent of agents) assert.equal((await say(agent, `${broker.url}/v1/generations/gen_asked_late`, "application/json")).status, 200);
    broker.child.kill("SIGTERM");
    await Promise.any(staying.map((r) => r.wait((it) => it.of("bye").length > 0, "the first bye")));

    const urls = [events(broker, log), `${broker.url}/v1/channels/room_asked_late/events`];
    for (const [i, url] of urls.entries()) {
      const { status, headers, body } = await say(agents[i], url, "text/event-stream");
      assert.deepEqual([status, headers["content-type"]], [200, "text/event-stream"]);
      const [, retry] = body.match(/^retry: (\d+)$/m);
      assert.ok(Number(retry) >= 500 && Number(retry) <= 1500, retry);
      assert.match(body, /^event: bye\nretry: \d+\ndata: \{"type":"bye","reason":"drain"\}\n\n$/);
    }
    const lines = await say(agents[2], urls[0], "application/x-ndjson");
    assert.deepEqual([lines.status, lines.body], [200, '{"type":"bye","reason":"drain"}\n']);
    const text = await say(agents[3], urls[0], "text/plain"); // has no word for it, and empty it would look complete
    assert.equal(text.status, 503);
    const poll = await say(agents[4], `${urls[0]}?wait=1000`, "application/json");
    assert.equal(poll.status, 503);
    for (const agent of agents) agent.destroy();
    await Promise.all(staying.map((r) => r.over));
    await broker.gone;
  });

  test("broker_without_streams_stops_at_once", bounded, async () => {
    const broker = await h.broker([...ARGS, "--drain-window", "50s"]);
    const begin = Date.now();
    broker.child.kill("SIGTERM");
    await broker.gone;
    assert.equal(broker.status.code, 0);
    assert.ok(Date.now() - begin < 45000, "not after the window");
  });

  test("second_signal_hurries", bounded, async () => {
    const broker = await h.broker([...ARGS, "--loops", "2", "--drain-delay", "50s", "--drain-window", "50s"]);
    const log = await begun("gen_hurried", 1);
    const readers = await open(6, events(broker, log));
    const begin = Date.now();
    broker.child.kill("SIGTERM");
    await broker.until((text) => text.includes("stopping"), "stopping");
    broker.child.kill("SIGTERM");
    await Promise.all(readers.map((r) => r.over));
    await broker.gone;
    assert.equal(broker.status.code, 0);
    assert.ok(Date.now() - begin < 45000, "not after the delay");
  });

  test("reader_that_does_not_read_is_cut_off_when_time_is_up", bounded, async () => {
    const broker = await h.broker([...ARGS, "--drain-window", "300ms", "--drain", "700ms", "--lag-bytes", "64m"]);
    const log = await begun("gen_stuck", 1);
    const { port } = new URL(broker.url);
    const socket = net.connect(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    socket.write(`GET /v1/generations/${log.id}/events HTTP/1.1\r\nHost: x\r\n\r\n`);
    await once(socket, "readable");
    for (let i = 0; i < 40; i++) await log.text(`1-${i + 4}`, "x".repeat(500000));
    await until(async () => (await metric(broker, "tokencast_broker_blocked_sends_total")) > 0, "blocked");
    broker.child.kill("SIGTERM");
    await broker.gone;
    assert.equal(broker.status.code, 0);
    socket.destroy();
  });

  // ---- age

  test("old_streams_are_asked_to_come_back_and_lose_nothing", bounded, async () => {
    const broker = await h.broker([...ARGS, "--max-connection-age", "1s"]);
    const worker = await h.worker();
    const { id } = await post(broker.url, TEXT, { rate: 16 });
    const seen = watch(events(broker, { id }));
    let text = "";
    for (let position, done = false; !done; ) {
      const headers = position ? { "last-event-id": position } : {};
      const r = await Reader.open(events(broker, { id }), { headers });
      await r.over;
      assert.equal(r.end, "clean");
      for (const { type, data, id: at } of r.events) {
        if (type === "delta") text = text.slice(0, data.offset) + data.text;
        if (at) position = at;
        done ||= type === "done";
        if (type === "bye") assert.equal(data.reason, "age");
      }
    }
    assert.equal(text, TEXT);
    await until(() => seen.state === "done", "the client module's end");
    assert.equal(seen.text, TEXT);
    assert.ok((await metric(broker, "tokencast_broker_byes_total", 'reason="age"')) >= 4);
    const bare = await Reader.open(events(broker, { id }), { accept: "text/plain" });
    await bare.over;
    assert.deepEqual([bare.body, bare.end], [TEXT, "clean"]);
    await worker.stop();
    await broker.stop();
  });

  // ---- descriptors and memory

  /** A broker with few descriptors; the harness's own have as many as the system gives. */
  async function cramped(descriptors) {
    const args = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--redis", h.redisUrl, "--log-format", "json"];
    const program = path.join(BUILD, "bin", "tokencast-broker");
    const script = `ulimit -n ${descriptors} && exec "$0" "$@"`;
    const child = spawn("sh", ["-c", script, program, ...args, ...ARGS], { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (more) => (log += more));
    const ready = await until(() => /^.*"msg":"ready".*$/m.exec(log), () => `ready line\n${log}`);
    const { listen, ops } = JSON.parse(ready[0]);
    return { child, url: `http://${listen}`, ops: `http://${ops}` };
  }

  async function cpuSeconds(pid) {
    const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  test("without_descriptors_newcomers_are_refused_and_streams_live_on", bounded, async () => {
    const broker = await cramped(100);
    const sockets = [];
    try {
      const log = await begun("gen_cramped", 1);
      const reader = await Reader.open(events(broker, log));
      for (let i = 0; i < 150; i++) {
        const socket = net.connect(Number(new URL(broker.url).port), "127.0.0.1");
        socket.on("error", () => {}).on("data", () => {});
        sockets.push(socket);
      }
      const refused = () => metric(broker, "tokencast_broker_connections_refused_total", "descriptors");
      await until(async () => (await refused()) > 0, "refusals");
      const spent = await cpuSeconds(broker.child.pid);
      const since = performance.now();
      await redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"); // the link needs a descriptor of its own
      await sleep(2000);
      await until(async () => (await fetch(`${broker.ops}/readyz`)).status === 200, "ready again");
      const share = ((await cpuSeconds(broker.child.pid)) - spent) / ((performance.now() - since) / 1000);
      assert.ok(share < 0.75, `it spins: ${share}`);
      await log.text("1-4", "more");
      await reader.wait((r) => r.text.includes("more"), "text");
      for (const socket of sockets) socket.destroy();
      const back = await until(async () => {
        const r = await Reader.open(events(broker, log)).catch(() => null);
        return r?.status === 200 && r;
      }, "served again");
      await log.done("1-5");
      await Promise.all([reader.over, back.over]);
      assert.equal(reader.text, "0 more");
    } finally {
      for (const socket of sockets) socket.destroy();
      broker.child.kill("SIGTERM");
      await once(broker.child, "exit");
    }
  });

  test("beyond_its_memory_a_broker_refuses_newcomers", bounded, async () => {
    const broker = await h.broker([...ARGS, "--max-memory", "1m"], {});
    await broker.until((text) => text.includes("memory is full"), "memory is full");
    const response = await fetch(`${broker.url}/v1/generations/gen_long`);
    assert.equal(response.status, 503);
    assert.equal(response.headers.get("retry-after"), "1");
    assert.ok((await metric(broker, "tokencast_broker_connections_refused_total", "memory")) >= 1);
    assert.equal((await fetch(`${broker.ops}/livez`)).status, 200);
    await broker.stop();
  });
});
