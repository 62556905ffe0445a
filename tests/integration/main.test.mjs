// Real clients against the real programs: curl, the eventsource package, fetch-event-source, and broker/web/client.js.
// Needs a build (TC_BUILD, default ../../build) and redis-server; skipped without a build.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { EventSource } from "eventsource";

import { snapshot, startGeneration, watch, watchChannel } from "../../broker/web/client.js";
import { CuttingProxy, Harness, ended, missing, post } from "../clients/harness.mjs";
import { bounded } from "../lib/wait.mjs";

const run = promisify(execFile);
const TEXT = "The quick brown fox — «jumps» over 13 lazy dogs. \u{1F98A}\n\nÜber alles, naïve café.\n".repeat(3);
// Sanitized programs are many times slower: they get every ninth cut.
const STRIDE = process.env.TC_SANITIZED ? 9 : 1;
const LONG = Array.from({ length: 400 }, (_, i) => `word${i} `)
  .join("")
  .trim();

/** curl without a progress meter: {status, headers, body}. */
async function curl(url, ...args) {
  const { stdout } = await run("curl", ["-sS", "-N", "--max-time", "120", "-i", ...args, url], { maxBuffer: 1 << 24 });
  const split = stdout.indexOf("\r\n\r\n");
  const [first, ...lines] = stdout.slice(0, split).split("\r\n");
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
  );
  return { status: Number(first.split(" ")[1]), headers, body: stdout.slice(split + 4) };
}

/** The events of an SSE body as curl printed it. */
function eventsOf(body) {
  return body
    .split("\n\n")
    .filter((block) => block.includes("data: "))
    .map((block) => {
      const fields = Object.fromEntries(
        block
          .split("\n")
          .filter((line) => !line.startsWith(":"))
          .map((line) => line.split(/: (.*)/s)),
      );
      return { type: fields.event, data: JSON.parse(fields.data), id: fields.id };
    });
}

const fold = (text, data) => ((data.kind ?? "text") === "text" ? text.slice(0, data.offset) + data.text : text);

describe("clients", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  before(
    async () => {
      h = await Harness.start({ workerArgs: ["--lease-ms", "5s"] });
    },
    bounded,
  );
  after(() => h?.stop());

  // ---- curl

  test("curl_post_then_stream_then_204", bounded, async () => {
    const body = JSON.stringify({ model: "m", prompt: "x", options: { text: TEXT, rate: 500 } });
    const posted = await curl(`${h.url}/v1/generations`, "-H", "Content-Type: application/json", "-d", body);
    assert.equal(posted.status, 202, posted.body);
    assert.match(posted.headers["content-type"], /^application\/json/);
    const started = JSON.parse(posted.body);
    assert.match(started.id, /^[A-Za-z0-9_-]{1,64}$/);
    const url = new URL(started.events_url, h.url).href;

    const stream = await curl(url, "-H", "Accept: text/event-stream");
    assert.equal(stream.status, 200);
    assert.equal(stream.headers["content-type"].split(";")[0], "text/event-stream");
    assert.equal(stream.headers["x-accel-buffering"], "no");
    const events = eventsOf(stream.body);
    assert.equal(events[0].type, "open");
    assert.equal(events[0].id, undefined);
    assert.deepEqual(
      events
        .filter((event) => event.id)
        .map((event) => event.type)
        .filter((type, i, all) => type !== all[i - 1]),
      ["created", "start", "delta", "done"],
    );
    assert.equal(
      events.filter((event) => event.type === "delta").reduce((text, event) => fold(text, event.data), ""),
      TEXT,
    );
    const done = events.at(-1);
    assert.equal(done.type, "done");
    assert.equal(done.data.reason, "stop");
    assert.match(stream.body, /\nid: [0-9]+-[0-9]+\n\n$/, "the id line comes last");

    const over = await curl(url, "-H", "Accept: text/event-stream", "-H", `Last-Event-ID: ${done.id}`);
    assert.equal(over.status, 204);
    assert.equal((await curl(`${url}?after=${done.id}`)).status, 204);
  });

  test("curl_unknown_generation_404_problem", bounded, async () => {
    for (const path of ["/v1/generations/gen_none", "/v1/generations/gen_none/events"]) {
      const answer = await curl(h.url + path);
      assert.equal(answer.status, 404);
      assert.equal(answer.headers["content-type"].split(";")[0], "application/problem+json");
      assert.equal(JSON.parse(answer.body).status, 404);
    }
  });

  test("curl_malformed_400", bounded, async () => {
    const { id } = await post(h.url, "short");
    const events = `${h.url}/v1/generations/${id}/events`;
    assert.equal((await curl(`${events}?after=abc`)).status, 400);
    assert.equal((await curl(events, "-H", "Last-Event-ID: 1-")).status, 400);
    assert.equal(
      (await curl(`${h.url}/v1/generations`, "-H", "Content-Type: application/json", "-d", "{")).status,
      400,
    );
    assert.equal(
      (await curl(`${h.url}/v1/generations`, "-H", "Content-Type: application/json", "-d", "[]")).status,
      400,
    );
  });

  test("curl_ndjson_and_text_say_the_same", bounded, async () => {
    const { id } = await post(h.url, TEXT, { rate: 2000 });
    await ended(h.url, id);
    const events = `${h.url}/v1/generations/${id}/events`;
    const rows = (await curl(events, "-H", "Accept: application/x-ndjson")).body
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(rows.filter((row) => row.type === "delta").reduce(fold, ""), TEXT);
    assert.equal(rows.at(-1).type, "done");
    assert.equal((await curl(events, "-H", "Accept: text/plain")).body, TEXT);
  });

  test("curl_idempotency_key_same_generation", bounded, async () => {
    const key = { "Idempotency-Key": `k-${Date.now()}` };
    const first = await post(h.url, "once", {}, key);
    assert.equal((await post(h.url, "once", {}, key)).id, first.id);
  });

  // ---- the eventsource package

  /** Follows until the package closes for good; resolves {text, ids, opens, code}. */
  function follow(url) {
    return new Promise((resolve) => {
      const seen = { text: "", ids: [], opens: 0, done: 0, code: null };
      const source = new EventSource(url);
      const note = (event) => event.lastEventId && seen.ids.push(event.lastEventId);
      source.addEventListener("open", () => (seen.opens += 1));
      for (const type of ["created", "start"]) source.addEventListener(type, note);
      source.addEventListener("delta", (event) => {
        note(event);
        const data = JSON.parse(event.data);
        assert.equal(data.offset, seen.text.length, "no piece twice, none left out");
        seen.text += data.text;
      });
      source.addEventListener("done", () => (seen.done += 1));
      source.addEventListener("error", (event) => {
        if (source.readyState !== EventSource.CLOSED) return;
        seen.code = event.code;
        resolve(seen);
      });
    });
  }

  test("eventsource_follows_to_the_end_and_stops_on_204", bounded, async () => {
    const { id } = await post(h.url, TEXT, { rate: 300 });
    const seen = await follow(`${h.url}/v1/generations/${id}/events`);
    assert.equal(seen.text, TEXT);
    assert.deepEqual([seen.done, seen.code], [1, 204]);
    assert.equal(new Set(seen.ids).size, seen.ids.length);
  });

  test("eventsource_cut_in_the_middle_resumes", bounded, async () => {
    const proxy = await CuttingProxy.start(h.url);
    try {
      const { id } = await post(h.url, LONG, { rate: 400 });
      proxy.cut(900, 2000);
      const seen = await follow(`${proxy.url}/v1/generations/${id}/events`);
      assert.equal(seen.text, LONG);
      assert.ok(seen.opens >= 3, `${seen.opens} connections`);
      assert.equal(seen.done, 1);
    } finally {
      await proxy.stop();
    }
  });

  // ---- fetch-event-source

  async function followFetch(url) {
    // The package is written for browsers; these are all it touches.
    globalThis.window ??= globalThis;
    globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    const seen = { text: "", done: 0, events: 0 };
    const over = new Error("over");
    await fetchEventSource(url, {
      openWhenHidden: true,
      async onopen(response) {
        if (response.status === 204) throw over;
        assert.equal(response.status, 200);
      },
      onmessage(event) {
        const data = JSON.parse(event.data);
        if (event.id) seen.events += 1;
        if (event.event === "delta") seen.text += data.text; // not by offset: losing or doubling must show
        if (event.event === "done") seen.done += 1;
      },
      onclose() {
        if (seen.done === 0) throw new Error("not over yet");
      },
      onerror(error) {
        if (error === over || error instanceof assert.AssertionError) throw error;
        return 1;
      },
    }).catch((error) => {
      if (error !== over) throw error;
    });
    return seen;
  }

  // The package takes an id when it has read that line, and an event when it has read the blank line after it. Between
  // the two is one byte; cut there, it goes on after an event that it never showed. No order of fields avoids that.
  test("fetch_event_source_cut_at_every_byte_text_equals_log", bounded, async () => {
    const proxy = await CuttingProxy.start(h.url);
    try {
      const text = "né \u{1F98A} fox";
      const { id } = await post(h.url, text, { rate: 2000 });
      assert.equal((await ended(h.url, id)).text, text);
      const url = `${proxy.url}/v1/generations/${id}/events`;
      const whole = await followFetch(url);
      assert.deepEqual([whole.text, whole.done], [text, 1]);
      const wire = proxy.lastBody;
      let unlucky = 0;
      for (let at = 0; at <= wire.length; at += STRIDE) {
        proxy.whole();
        proxy.cut(at);
        const seen = await followFetch(url);
        if (/\nid: [0-9]+-[0-9]+\n$/.test(wire.toString("latin1", 0, at))) {
          unlucky += 1;
          assert.ok(seen.events >= whole.events - 1, `cut at ${at}: more than the one event lost`);
        } else {
          assert.deepEqual(seen, whole, `cut at ${at} of ${wire.length}`);
        }
      }
      if (STRIDE === 1) assert.equal(unlucky, whole.events, "one such byte an event, not more");
    } finally {
      await proxy.stop();
    }
  });

  // ---- client.js

  const quick = { retryMs: 1, maxRetryMs: 50 };

  test("client_cut_at_every_byte_text_equals_log", bounded, async () => {
    const proxy = await CuttingProxy.start(h.url);
    try {
      const { id } = await post(h.url, "né \u{1F98A} fox", { rate: 2000 });
      const log = await ended(h.url, id);
      const url = `${proxy.url}/v1/generations/${id}/events`;
      await watch(url, quick).finished;
      const { length } = proxy.lastBody;
      for (let at = 0; at <= length; at += STRIDE) {
        proxy.whole();
        proxy.cut(at);
        const positions = [];
        const gen = watch(url, {
          ...quick,
          onEvent: (event) => event.type !== "open" && positions.push(event.position),
        });
        await gen.finished;
        assert.deepEqual(
          [gen.text, gen.state, gen.position],
          [log.text, "done", log.position],
          `cut at ${at} of ${length}`,
        );
        assert.equal(new Set(positions).size, positions.length, `cut at ${at}: an event twice`);
      }
    } finally {
      await proxy.stop();
    }
  });

  test("client_live_with_many_cuts_text_equals_log", bounded, async () => {
    const proxy = await CuttingProxy.start(h.url);
    try {
      const started = await startGeneration(h.url, { model: "m", prompt: "x", options: { text: LONG, rate: 300 } });
      for (let i = 0; i < 20; i++) proxy.cut(300 + 137 * i);
      const gen = watch(`${proxy.url}/v1/generations/${started.id}/events`, { ...quick, startedAt: started.startedAt });
      await gen.finished;
      assert.equal(gen.text, LONG);
      assert.deepEqual([gen.state, gen.reason, gen.missing], ["done", "stop", []]);
      assert.ok(gen.reconnects > 0);
      assert.ok(gen.ttftMs > 0);
    } finally {
      await proxy.stop();
    }
  });

  test("client_two_watchers_and_a_late_one_see_the_same", bounded, async () => {
    const { id } = await post(h.url, LONG, { rate: 400 });
    const url = `${h.url}/v1/generations/${id}/events`;
    let late;
    const first = watch(url, {
      onText: (text) => {
        if (text.length > LONG.length / 2) late ??= watch(url);
      },
    });
    const second = watch(url);
    await Promise.all([first.finished, second.finished]);
    await late.finished;
    const log = await snapshot(url);
    assert.equal(log.text, LONG);
    for (const gen of [first, second, late])
      assert.deepEqual([gen.text, gen.position, gen.state], [LONG, log.position, "done"]);
  });

  test("client_range_fetch_fills_exactly", bounded, async () => {
    const { id } = await post(h.url, LONG, { rate: 200 });
    const log = await ended(h.url, id);
    const [attempt, last] = log.position.split("-").map(Number);
    assert.ok(last > 8, `only ${last} entries`);
    const [from, to] = [Math.ceil(last / 2), Math.floor((3 * last) / 4)]; // how many there are depends on the machine
    const url = `${h.url}/v1/generations/${id}/events?after=${attempt}-${from}&until=${attempt}-${to}`;
    const rows = (await curl(url, "-H", "Accept: application/x-ndjson")).body
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .filter((row) => row.type === "delta");
    assert.equal(rows.at(-1).position, `${attempt}-${to}`);
    const pieces = rows.map((row) => row.text).join("");
    assert.equal(pieces, LONG.slice(rows[0].offset, rows[0].offset + pieces.length));
  });

  test("client_cancel_ends_for_everybody", bounded, async () => {
    const { id } = await post(h.url, LONG, { rate: 20 });
    const url = `${h.url}/v1/generations/${id}/events`;
    const other = watch(url);
    const gen = watch(url, { onText: () => gen.cancel() });
    await Promise.all([gen.finished, other.finished]);
    assert.deepEqual([gen.state, other.state, gen.reason], ["cancelled", "cancelled", "cancelled"]);
    assert.ok(gen.text.length > 0 && gen.text.length < LONG.length);
    assert.ok(LONG.startsWith(gen.text));
    assert.equal(other.text, gen.text);
    await gen.cancel(); // again does no harm
    assert.equal((await snapshot(url)).state, "cancelled");
  });

  test("client_unknown_generation_fails", bounded, async () => {
    const gen = watch(`${h.url}/v1/generations/gen_none/events`);
    await gen.finished;
    assert.deepEqual([gen.state, gen.error.status], ["failed", 404]);
  });

  test("client_channel_two_generations_on_one_connection", bounded, async () => {
    const name = `room${Date.now()}`;
    const seen = [];
    let isOpen;
    const opened = new Promise((resolve) => (isOpen = resolve));
    const room = watchChannel(`${h.url}/v1/channels/${name}/events`, {
      ...quick,
      onState: (state) => state === "open" && isOpen(),
      onGeneration: (one) => seen.push(one.id),
      onDone: () => [...room.generations.values()].filter((one) => one.ended).length === 2 && room.close(),
    });
    await opened; // what is over before that is not shown
    const a = await post(h.url, TEXT, { rate: 300, channel: name });
    const b = await post(h.url, LONG, { rate: 1000, channel: name });
    await room.finished;
    assert.deepEqual(new Set(seen), new Set([a.id, b.id]));
    assert.equal(room.generations.get(a.id).text, TEXT);
    assert.equal(room.generations.get(b.id).text, LONG);
    const listed = await snapshot(`${h.url}/v1/channels/${name}/events`);
    assert.equal(listed.channel, name);
    assert.ok(listed.generations.every((row) => [a.id, b.id].includes(row.id)));
  });
});

// Longer than a machine that is busy keeps a worker waiting: tries are counted.
const LEASE = ["--lease-ms", "2s"];

describe("fleet", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  before(
    async () => {
      h = await Harness.start({ brokers: 2, workers: 2, workerArgs: LEASE });
    },
    bounded,
  );
  after(() => h?.stop());

  const quick = { retryMs: 1, maxRetryMs: 50 };

  test("clients_hopping_between_brokers_see_the_log", bounded, async () => {
    const proxies = await Promise.all(
      Array.from({ length: 4 }, (_, i) => CuttingProxy.start(h.brokers[i % 2].url, h.brokers[(i + 1) % 2].url)),
    );
    try {
      const runs = await Promise.all(
        Array.from({ length: 4 }, (_, i) => post(h.brokers[i % 2].url, LONG, { rate: 300 })),
      );
      const watched = runs.flatMap(({ id }) =>
        proxies.map((proxy, i) => {
          for (let n = 0; n < 6; n++) proxy.cut(400 + 211 * n + 37 * i);
          return watch(`${proxy.url}/v1/generations/${id}/events`, quick);
        }),
      );
      await Promise.all(watched.map((gen) => gen.finished));
      for (const gen of watched) assert.deepEqual([gen.text, gen.state, gen.missing], [LONG, "done", []]);
      assert.ok(watched.some((gen) => gen.reconnects > 0));
    } finally {
      await Promise.all(proxies.map((proxy) => proxy.stop()));
    }
  });

  test("worker_killed_another_goes_on_one_end", bounded, async () => {
    const { id } = await post(h.url, LONG, { rate: 60, on_crash: "restart" });
    const ends = [];
    let killed = null;
    const gen = watch(`${h.url}/v1/generations/${id}/events`, {
      ...quick,
      onText: (text) => {
        if (killed || text.length < 100) return;
        killed = Promise.all(h.workers.map((worker) => worker.stop("SIGKILL"))).then(() => h.worker(LEASE)); // all of them
      },
      onEvent: (event) => event.type === "done" && ends.push(event.position),
    });
    await gen.finished;
    assert.ok(killed);
    await killed;
    assert.equal(gen.text, LONG);
    assert.deepEqual([gen.state, ends.length, gen.transcript.tries], ["done", 1, 2]);
    assert.equal((await ended(h.url, id)).text, LONG);
  });

  test("broker_drained_clients_go_to_the_other", bounded, async () => {
    const leaving = await h.broker();
    const proxy = await CuttingProxy.start(leaving.url, h.brokers[1].url);
    try {
      const { id } = await post(h.url, LONG, { rate: 150 });
      let told = false;
      const gen = watch(`${proxy.url}/v1/generations/${id}/events`, {
        ...quick,
        onText: (text) => {
          if (told || text.length < 100) return;
          told = true;
          leaving.stop();
        },
      });
      await gen.finished;
      assert.ok(told);
      assert.deepEqual([gen.text, gen.state], [LONG, "done"]);
    } finally {
      await proxy.stop();
    }
  });
});
