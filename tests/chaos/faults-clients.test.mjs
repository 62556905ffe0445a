// Faults of clients, and garbage in logs, on real programs; the numbers are those of the list of faults.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";

import { ended, missing, post } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { pack } from "../lib/msgpack.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, until } from "../lib/wait.mjs";
import {
  Reader,
  allEnded,
  cpu,
  exchange,
  many,
  rss,
  run,
  under,
  within,
  words,
} from "./faults-lib2.mjs";

const INSIDE = process.env.TC_INSIDE_NAMESPACE === "1";
const MIB = 1 << 20;

/**
 * Every event of the log is accounted for: shown as it is, part of one larger delta, or named by a gap. `events` as a
 * Reader keeps them, `log` without fences.
 */
function account(events, log) {
  const index = new Map(log.map((e, i) => [e.position, i]));
  let at = 0;
  for (const { type, data, id } of events) {
    if (type === "gap") {
      assert.equal(data.reason, "overflow");
      assert.equal(data.from, log[at].position, "a gap begins where the last event ended");
      const to = index.get(data.to);
      assert.ok(to >= at, `a gap to ${data.to}`);
      assert.equal(data.dropped, to - at + 1, "as many as were dropped");
      for (; at <= to; at++) assert.ok(["delta", "note"].includes(log[at].type), `${log[at].type} was dropped`);
    } else if (id !== undefined) {
      const last = index.get(id);
      assert.ok(last >= at, `${id} is shown twice, or was never written`);
      if (type === "delta") {
        assert.equal(data.offset, log[at].offset ?? 0, `the offset of ${id}`);
        assert.equal(data.text, log.slice(at, last + 1).map((e) => e.text).join(""), `the text of ${id}`);
      } else assert.deepEqual([type, last], [log[at].type, at], "one event by itself");
      at = last + 1;
    }
  }
  assert.equal(at, log.length, "up to the end");
}

function outside() {
  test("fault_17_reader_that_stops_reading_bound_holds", bounded, () =>
    within({ brokerArgs: ["--loops", "1", "--lag-bytes", "64k", "--lag-events", "512"] }, async (h) => {
      const [broker] = h.brokers;
      const redis = await Redis.open(h.redisUrl);
      const text = words(100000);
      const each = 20;
      const { id } = await post(h.url, text, { rate: 16000 });
      const fast = many(10, () => h.read(h.url, id, { query: "?overflow=merge" }));
      const slow = {};
      for (const policy of ["drop", "merge", "close"]) {
        const query = `?overflow=${policy}`;
        slow[policy] = many(each, () => h.read(h.url, id, { query, keep: policy === "drop", paused: true }));
      }
      const all = Object.values(slow).flat();
      await until(() => all.every((r) => r.opened === 1), "the streams that are to stall");
      const before = rss(broker);
      let peak = before;
      const watch = setInterval(() => (peak = Math.max(peak, rss(broker))), 50);
      try {
        await allEnded(fast);
      } finally {
        clearInterval(watch);
      }
      for (const reader of fast) {
        reader.whole(text);
        assert.equal(reader.opened, 1);
      }
      // A reader may hold what is private to it, at most twice its bound; the rest is shared by all.
      const allowed = all.length * 2 * 64 * 1024 + 8 * MIB;
      assert.ok(peak - before < allowed, `${(peak - before) >> 10} KiB more for ${all.length} stalled readers`);
      for (const policy of ["drop", "merge", "close"]) {
        const count = await metric(broker, "tokencast_broker_overflows_total", `policy="${policy}"`);
        assert.ok(count >= each, `${policy}: ${count} overflows`);
      }
      assert.ok((await metric(broker, "tokencast_broker_dropped_events_total")) > each);
      assert.ok(all.every((r) => !r.over && r.text === ""), "the slow ones did not read until now");

      for (const reader of all) reader.resume();
      await allEnded(all);
      for (const reader of [...slow.merge, ...slow.close]) reader.whole(text);
      for (const reader of slow.close)
        assert.ok(reader.byes.length > 0 && reader.byes.every((bye) => bye.reason === "overflow"));
      const log = (await redis.entries(id)).filter((e) => e.type !== "fence");
      for (const reader of slow.drop) {
        assert.equal(reader.broken, null);
        assert.ok(reader.gaps.length > 0 && reader.dones.length === 1);
        account(reader.events, log);
      }
      assert.ok((await metric(broker, "tokencast_broker_gaps_total", 'reason="overflow"')) >= each);

      // What a gap names is still there for who asks.
      const [gap] = slow.drop[0].gaps;
      const [attempt, seq] = gap.from.split("-").map(Number);
      const query = `?after=${attempt}-${seq - 1}&until=${gap.to}`;
      const filler = h.read(h.url, id, { query, follow: false, keep: true });
      await allEnded([filler]);
      const from = log.findIndex((e) => e.position === gap.from);
      const to = log.findIndex((e) => e.position === gap.to);
      const said = filler.events.filter((e) => e.type === "delta").map((e) => e.data.text);
      assert.equal(said.join(""), log.slice(from, to + 1).map((e) => e.text).join(""));
      redis.close();
    }),
  );

  // Packets that vanish need a network of the test's own: the test runs itself again in a namespace.
  test("fault_18_peer_gone_without_fin_is_reaped", bounded, async () => {
    const { code, out } = await run(
      "unshare",
      [
        ...["--map-root-user", "--net", "env", "-u", "NODE_TEST_CONTEXT", "TC_INSIDE_NAMESPACE=1"],
        ...[process.execPath, "--test", "--test-reporter=tap", fileURLToPath(import.meta.url)],
      ],
      { limit: 220000 },
    );
    assert.equal(code, 0, out);
    assert.match(out, /^ *ok \d+ - inside_namespace_half_open/m);
  });

  test("fault_19_slow_giant_and_malformed_requests_are_refused_memory_flat", bounded, () =>
    within(
      {
        brokerArgs: [
          ...["--loops", "1", "--max-body-bytes", "64k"],
          ...["--header-timeout", "1500ms", "--body-timeout", "1500ms"],
        ],
      },
      async (h) => {
        const [broker] = h.brokers;
        const text = words(600);
        const { id } = await post(h.url, text, { rate: 40 });
        const live = many(5, () => h.read(h.url, id));
        await until(under(live, 0), "text at every reader");
        const post1 = "POST /v1/generations HTTP/1.1\r\nHost: a\r\n";

        const chunk = `4000\r\n${"x".repeat(0x4000)}\r\n`;
        const answers = [
          ["giant header", 431, `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(100000)}\r\n\r\n`],
          ["giant header without end", 431, `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(100000)}`],
          ["many headers", 431, `GET / HTTP/1.1\r\nHost: a\r\n${"a: b\r\n".repeat(20000)}\r\n`],
          ["giant target", 414, `GET /${"x".repeat(100000)} HTTP/1.1\r\nHost: a\r\n\r\n`],
          ["giant length", 413, `${post1}Content-Length: 99999999999\r\n\r\n`],
          ["giant chunked body", 413, `${post1}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(8)}`],
          ["negative length", 400, `${post1}Content-Length: -1\r\n\r\n`],
          ["length that is none", 400, `${post1}Content-Length: 99999999999999999999999\r\n\r\n`],
          ["two lengths", 400, `${post1}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
          ["length and chunked", 400, `${post1}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
          ["chunk size that is none", 400, `${post1}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`],
          ["no HTTP", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
          ["NUL in a header", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"],
          ["body that does not come", 408, `${post1}Content-Length: 10\r\n\r\n{`],
          ["head that does not end", 408, "GET / HTTP/1.1\r\nHost: a\r\n"],
        ];
        await Promise.all(
          answers.map(async ([what, status, bytes]) => {
            const { answer, status: got } = await exchange(h.url, bytes);
            assert.ok(got === status || (status === 414 && got === 431), `${what}: ${got}, not ${status}`);
            assert.match(answer, /application\/problem\+json/, what);
          }),
        );

        // Good requests, then garbage behind them in the same packet: each good one is answered, then 400, the end.
        const good = "GET /v1/generations/none HTTP/1.1\r\nHost: a\r\n\r\n";
        const { answer } = await exchange(h.url, `${good.repeat(50)}\x00\xff garbage\r\n\r\n${good.repeat(50)}`);
        const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => Number(m[1]));
        assert.deepEqual(statuses, [...Array(50).fill(404), 400]);

        // Thousands that begin a request and go on a byte at a time; twice, since memory may grow once and stay.
        const round = async () => {
          const begun = `GET /v1/generations/x HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(10000)}\r\nX-Slow: `;
          const slow = many(1500, () => h.raw(h.url, begun));
          const mute = many(200, () => h.raw(h.url));
          await Promise.all([...slow, ...mute].map((raw) => raw.connected));
          const drip = setInterval(() => slow.forEach((raw) => !raw.over && raw.write("x")), 250);
          let peak = 0;
          try {
            await until(
              () => {
                peak = Math.max(peak, rss(broker));
                return slow.every((raw) => raw.over) && mute.every((raw) => raw.over);
              },
              () => `the end of ${[...slow, ...mute].filter((raw) => !raw.over).length} half requests`,
            );
          } finally {
            clearInterval(drip);
          }
          const refused = slow.filter((raw) => raw.status === 408).length;
          // Bytes that come after the end reset the connection: whoever has not read the answer by then loses it.
          assert.ok(refused > 0.5 * slow.length, `${refused} of ${slow.length} were told 408`);
          assert.ok(mute.every((raw) => raw.status === 0), "who said nothing is told nothing");
          return peak;
        };
        const timeouts = await metric(broker, "tokencast_broker_request_timeouts_total");
        const [first, second] = [await round(), await round()];
        assert.ok(second - first < 8 * MIB, `${(second - first) >> 10} KiB more in the second round`);
        assert.ok(first < 128 * MIB, `${first >> 20} MiB with 1,700 half requests`);
        assert.ok((await metric(broker, "tokencast_broker_request_timeouts_total")) >= timeouts + 3000);
        assert.ok((await metric(broker, "tokencast_broker_bad_requests_total")) >= 14);

        await allEnded(live);
        for (const reader of live) {
          reader.whole(text);
          assert.equal(reader.opened, 1, "never interrupted");
        }
        assert.ok(cpu(broker) < 30, `${cpu(broker)} s of processor time`);
      },
    ),
  );

  test("fault_20_wrong_positions_have_defined_answers", bounded, () =>
    within({ brokerArgs: ["--lease-ms", "1s", "--sweep", "100ms"], workerArgs: ["--lease-ms", "1s"] }, async (h) => {
      const text = words(300);
      const over = await post(h.url, text, { rate: 5000, channel: "room" });
      const snapshot = await ended(h.url, over.id);
      const other = await post(h.url, "another", { rate: 5000 });
      const foreign = (await ended(h.url, other.id)).position;
      const runs = await post(h.url, text, { rate: 40, channel: "room" });
      const [attempt, seq] = snapshot.position.split("-").map(BigInt);
      const get = (path, headers = {}) =>
        fetch(h.url + path, {
          headers: { accept: "text/event-stream", ...headers },
          signal: AbortSignal.timeout(60000),
        });

      const malformed = ["abc", "-", "1-", "-1", "1", "-1-1", "1--1", "+1-1", "1-1-1", "1_1", "1,1", "01-1", "1-01"];
      malformed.push("0x1-1", "1.5-1", "99999999999999999999-1", "1-18446744073709551616", "1-1\u00e9", "null");
      malformed.push("NaN-NaN", "*", "$", "1-*", "9".repeat(5000));
      for (const id of [over.id, runs.id]) {
        for (const position of malformed) {
          const after = await get(`/v1/generations/${id}/events?after=${encodeURIComponent(position)}`);
          assert.equal(after.status, 400, `?after=${position.slice(0, 40)}`);
          assert.match(after.headers.get("content-type"), /problem\+json/);
          await after.text();
          const header = await get(`/v1/generations/${id}/events`, { "last-event-id": position });
          assert.equal(header.status, 400, `Last-Event-ID: ${position.slice(0, 40)}`);
          await header.text();
        }
      }
      const composite = ["1-1", "1-0~", "~x:1-1", "1-0~x", "1-0~x:", "1-0~x:1", "1-0~x:1-1,", "1-0~a b:1-1"];
      for (const position of [...malformed, ...composite]) {
        const answer = await get(`/v1/channels/room/events?after=${encodeURIComponent(position)}`);
        if (answer.status === 200) assert.match(position, /^\d+-\d+$|~$/, `a channel took ${position}`);
        else assert.equal(answer.status, 400, `channel ?after=${position.slice(0, 40)}`);
        await answer.body.cancel();
      }
      const huge = await get(`/v1/generations/${over.id}/events`, { "last-event-id": "1".repeat(15000) });
      assert.ok([400, 431].includes(huge.status), `${huge.status}`);

      // The end of a log that is over: nothing more, and do not come back.
      assert.equal((await get(`/v1/generations/${over.id}/events?after=${snapshot.position}`)).status, 204);
      // Well-formed, and not of this log: told as lost before anything is said again.
      // (Attempts are small numbers: what another log says of itself may well be a position of this one.)
      const far = attempt + 1000000n;
      const nowhere = [`${far}-${seq}`, `${far}-2`, "18446744073709551615-18446744073709551615", "9999999999999-5"];
      const beyond = [`${attempt}-${seq + 1n}`];
      if (foreign.split("-")[0] !== String(attempt)) beyond.push(foreign);
      for (const [id, lost] of [
        [over.id, [...nowhere, ...beyond]],
        [runs.id, nowhere],
      ]) {
        const readers = lost.map((after) => h.read(h.url, id, { after, keep: true }));
        await allEnded(readers);
        for (const [i, reader] of readers.entries()) {
          assert.equal(reader.broken, null, lost[i]);
          assert.equal(reader.status, 200, lost[i]);
          const told = reader.events.filter((e) => e.type !== "open" && e.type !== "status");
          assert.equal(told[0].type, "gap", `${lost[i]}: ${JSON.stringify(told[0])}`);
          assert.equal(told[0].data.reason, "lost", lost[i]);
          assert.equal(told[1].id, "0-1", `${lost[i]}: from the start`);
          assert.equal(reader.text, text, lost[i]);
          assert.equal(reader.dones.length, 1);
        }
      }
      // Zero is before the first event: everything, and nobody is told of a loss.
      for (const after of ["0-0", `${attempt}-0`]) {
        const reader = h.read(h.url, over.id, { after, keep: true });
        await allEnded([reader]);
        assert.equal(reader.events.find((e) => e.type !== "open" && e.type !== "status").id, "0-1", after);
        assert.equal(reader.text, text, after);
      }
    }),
  );

  test("fault_21_garbage_in_a_log_is_skipped_and_counted", bounded, () =>
    within({ workers: 0, brokerArgs: ["--loops", "1", "--sweep", "100ms"] }, async (h) => {
      const [broker] = h.brokers;
      const redis = await Redis.open(h.redisUrl);
      const now = () => Date.now() * 1000;
      const NIL = Buffer.from([0xc0]);
      const deep = (first, n) => Buffer.concat([Buffer.alloc(n, first), NIL]);
      const inside = (bytes) => Buffer.concat([pack({ type: "note", kind: "k", x: null }).subarray(0, -1), bytes]);
      const bomb = (...bytes) => Buffer.concat([Buffer.from([0x81, 0xa4]), Buffer.from("type"), Buffer.from(bytes)]);
      const garbage = [
        ["empty", Buffer.alloc(0)],
        ["text", Buffer.from("not MessagePack at all")],
        ["random", Buffer.from(many(2000, (i) => (i * 7919 + 13) & 255))],
        ["a byte that is none", Buffer.from([0xc1])],
        ["a number", Buffer.from([1])],
        ["a list", pack(["type", "delta"])],
        ["half a map", pack({ type: "delta", text: "half", offset: 0 }).subarray(0, 20)],
        ["lists in lists", deep(0x91, 200000)],
        ["maps in maps", Buffer.concat([...many(5000, () => Buffer.from([0x81, 0xa1, 0x61])), NIL])],
        ["a string of 4 GiB", bomb(0xdb, 0xff, 0xff, 0xff, 0xff)],
        ["bytes of 4 GiB", bomb(0xc6, 0xff, 0xff, 0xff, 0xff)],
        ["a list of 4 G", bomb(0xdd, 0xff, 0xff, 0xff, 0xff)],
        ["a map of 4 G", Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff])],
        ["no type", pack({ text: "x", offset: 0 })],
        ["a type that is a number", pack({ type: 7 })],
        ["an entry of 2 MiB", pack({ type: "note", kind: "k", text: "x".repeat(2 * MIB) })],
        ["deep inside an unknown field", inside(deep(0x91, 1000))],
        ["deeper", inside(deep(0x91, 200000))],
        ["maps deep inside", inside(Buffer.concat([...many(5000, () => Buffer.from([0x81, 0xa1, 0x61])), NIL]))],
      ];
      const write = async (id, bell) => {
        const log = `tc:{${id}}:log`;
        let seq = 1;
        let text = "";
        const add = async (e) => {
          const position = `${seq === 1 ? 0 : 5}-${seq++}`;
          await redis.do("XADD", log, position, "e", e);
          if (bell) await redis.do("PUBLISH", `tc:{${id}}:bell`, Buffer.concat([Buffer.from(`${position} `), e]));
        };
        await add(pack({ type: "created", at: now(), model: "m" }));
        await redis.do("XADD", log, "5-0", "e", pack({ type: "fence", writer: "w" }));
        await add(pack({ type: "start", at: now(), model: "m", provider: "p" }));
        const rest = async () => {
          for (const [i, [, bytes]] of garbage.entries()) {
            await add(bytes);
            const piece = `piece ${i} `;
            await add(pack({ type: "delta", at: now(), text: piece, offset: text.length }));
            text += piece;
          }
          await redis.do("XADD", log, `5-${seq++}`, "something", "without e");
          if (bell) {
            const junks = ["", " ", "x", "1-", "99999999999999999999-1 x", "5-3", "5-999 \xc1", "\0\0\0\0", "5-4 \x81"];
            for (const junk of junks)
              await redis.do("PUBLISH", `tc:{${id}}:bell`, junk);
            await redis.do("PUBLISH", `tc:{${id}}:bell`, Buffer.alloc(3 * MIB, 0x91));
          }
          await add(pack({ type: "hologram", at: now(), depth: 3, nested: { a: [1, { b: null }] } }));
          await add(pack({ type: "delta", at: now(), text: "end", offset: text.length, future: { of: ["fields"] } }));
          await add(pack({ type: "done", at: now(), reason: "stop", text_length: text.length + 3, usage: {} }));
          return text + "end";
        };
        return rest;
      };
      const check = (reader, text) => {
        reader.whole(text);
        assert.equal(reader.counts.hologram, 1, "what is merely unknown passes");
        assert.equal(reader.counts.note, undefined, "garbage does not");
        const { data } = reader.events.find((e) => e.type === "hologram");
        assert.deepEqual([data.depth, data.nested], [3, { a: [1, { b: null }] }]);
      };
      const before = rss(broker);
      for (const [id, bell] of [["announced", true], ["unannounced", false]]) {
        const rest = await write(id, bell);
        const live = many(3, () => h.read(h.url, id, { keep: true }));
        await until(() => live.every((r) => r.counts.start === 1), "the start at every reader");
        const bad = await metric(broker, "tokencast_broker_malformed_entries_total");
        const text = await rest();
        await allEnded(live);
        for (const reader of live) check(reader, text);
        const counted = (await metric(broker, "tokencast_broker_malformed_entries_total")) - bad;
        const wrong = garbage.length + 1; // and the one without `e`
        assert.ok(bell ? counted >= wrong : counted === wrong, `${counted} of ${wrong} were counted`);

        // Who comes later sees the same, in every form.
        const late = h.read(h.url, id, { keep: true });
        await allEnded([late]);
        check(late, text);
        const get = async (path, accept) => {
          const response = await fetch(h.url + path, { headers: { accept }, signal: AbortSignal.timeout(60000) });
          assert.equal(response.status, 200, `${path} as ${accept}`);
          return response.text();
        };
        const events = `/v1/generations/${id}/events`;
        assert.equal(await get(events, "text/plain"), text);
        const rows = (await get(events, "application/x-ndjson")).trim().split("\n").map((line) => JSON.parse(line));
        assert.equal(rows.filter((row) => row.type === "delta").map((row) => row.text).join(""), text);
        const snapshot = JSON.parse(await get(`/v1/generations/${id}`, "application/json"));
        assert.deepEqual([snapshot.state, snapshot.text], ["done", text]);
      }

      // Announcements of a channel.
      const abort = new AbortController();
      const room = await fetch(`${h.url}/v1/channels/lobby/events`, { signal: abort.signal });
      assert.equal(room.status, 200);
      for (const [, bytes] of garbage) await redis.do("XADD", "tc:chan:{lobby}:log", "*", "e", bytes);
      await redis.do("XADD", "tc:chan:{lobby}:log", "*", "f", "no e");
      for (const generation of ["", "no/such", "x".repeat(65), "nobody", 7]) {
        const bytes = pack({ type: "generation", generation, model: "m" });
        await redis.do("XADD", "tc:chan:{lobby}:log", "*", "e", bytes);
      }
      const { id } = await post(h.url, "not written by anybody", { channel: "lobby" });
      let seen = "";
      const decoder = new TextDecoder();
      for await (const chunk of room.body) {
        seen += decoder.decode(chunk, { stream: true });
        if (seen.includes(`"generation":"${id}"`)) break;
      }
      abort.abort();
      assert.equal(broker.exited, false);
      assert.ok(rss(broker) - before < 64 * MIB, `${(rss(broker) - before) >> 20} MiB more`);
      redis.close();
    }),
  );
}

function inside() {
  test("inside_namespace_half_open", bounded, async () => {
    assert.equal((await run("ip", ["link", "set", "lo", "up"])).code, 0);
    const brokerArgs = ["--loops", "1", "--user-timeout", "1s", "--heartbeat", "200ms", "--sweep", "100ms"];
    brokerArgs.push("--keepalive", "2s", "--body-timeout", "2s");
    await within({ brokerArgs }, async (h) => {
      const [broker] = h.brokers;
      const PEER = "127.0.0.9";
      const text = words(800);
      const { id } = await post(h.url, text, { rate: 50 });
      const quiet = await post(h.url, words(60), { rate: 1 });
      const live = h.read(h.url, id);
      const vanishing = [h.read(h.url, id, { from: PEER }), h.read(h.url, quiet.id, { from: PEER })];
      const idle = h.raw(h.url, "GET /v1/generations/none HTTP/1.1\r\nHost: a\r\n\r\n", { from: PEER });
      const begun = "POST /v1/generations HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{";
      const half = h.raw(h.url, begun, { from: PEER });
      await until(() => idle.status === 404, "the answer to the one that stays idle");
      await until(under([live, ...vanishing], 0), "text at every reader");
      await half.connected;
      const open = () => metric(broker, "tokencast_broker_connections");
      assert.equal(await metric(broker, "tokencast_broker_streams"), 3);

      assert.equal((await run("ip", ["route", "add", "blackhole", PEER, "table", "local"])).code, 0);
      const length = vanishing[0].text.length;
      const began = Date.now();
      await until(async () => (await metric(broker, "tokencast_broker_streams")) <= 1, "their reaping");
      assert.ok(Date.now() - began > 900, "not before --user-timeout");
      assert.equal(vanishing[0].text.length, length, "nothing arrived any more");
      assert.ok(!vanishing[0].over && !vanishing[1].over, "and no FIN: this end still believes in it");
      await until(async () => (await open()) <= 2, "the end of the idle one and of the half request");
      const left = () => metric(broker, "tokencast_broker_streams_closed_total", 'how="left"');
      await until(async () => (await left()) >= 2, "the count of those who left");
      assert.equal(await left(), 2);
      await allEnded([live]);
      live.whole(text);
      assert.equal(live.opened, 1);
    });
  });
}

describe("faults of clients", { skip: missing(), concurrency: false }, INSIDE ? inside : outside);
