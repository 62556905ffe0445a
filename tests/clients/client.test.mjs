// broker/web/client.js against a scripted fetch: the parser, the sum of events, and every way a stream can end.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  SseParser,
  TokencastError,
  Transcript,
  cancelGeneration,
  comparePositions,
  eventsUrl,
  snapshot,
  startGeneration,
  watch,
  watchChannel,
} from "../../broker/web/client.js";
import { lines, ndjson, scripted, sse, status, stream } from "./fake-fetch.mjs";

const URL_A = "http://broker.test/v1/generations/a/events";
const FAST = { retryMs: 1, maxRetryMs: 20, idleTimeoutMs: 2000 };
const bytes = (text) => new TextEncoder().encode(text);
const soon = { timeout: 60000 };

function parse(...chunks) {
  const events = [];
  const retries = [];
  const parser = new SseParser({ onEvent: (event) => events.push(event), onRetry: (ms) => retries.push(ms) });
  for (const chunk of chunks) parser.push(chunk);
  return { events, retries };
}

/** Watches with a script; answers what was seen when it was over. */
async function run(script, opts = {}) {
  const seen = { texts: [], events: [], states: [], gaps: [] };
  const gen = watch(URL_A, {
    ...FAST,
    fetch: script.fetch,
    onText: (text) => seen.texts.push(text),
    onEvent: (event) => seen.events.push(event),
    onState: (state) => seen.states.push(state),
    onGap: (gap) => seen.gaps.push(gap),
    ...opts,
  });
  await gen.finished;
  return { gen, ...seen };
}

const open = sse("open", { id: "a", state: "running", position: "0-1" });
const created = sse("created", { model: "m", at: 1 }, "0-1");
const start = sse("start", { model: "m" }, "5-2");
const delta = (text, offset, id, more = {}) => sse("delta", { text, offset, ...more }, id);
const done = (id, reason = "stop") => sse("done", { reason, usage: { output_tokens: 3 }, ttft_ms: 12 }, id);

// ---- parser

test("parser_bytes_cut_anywhere_same_events", () => {
  const wire =
    "\uFEFF:hello\r\nevent: a\rdata: één\u{1F600}\r\ndata:two\nid: 1-2\n\nretry: 250\ndata\n\nid: x\0y\ndata: z\r\n\r\n";
  const all = bytes(wire);
  const whole = parse(all);
  assert.deepEqual(whole.events, [
    { type: "a", data: "één\u{1F600}\ntwo", id: "1-2" },
    { type: "message", data: "", id: undefined },
    { type: "message", data: "z", id: undefined },
  ]);
  assert.deepEqual(whole.retries, [250]);
  for (let i = 0; i <= all.length; i++) assert.deepEqual(parse(all.slice(0, i), all.slice(i)), whole, `cut at ${i}`);
  assert.deepEqual(parse(...Array.from(all, (byte) => Uint8Array.of(byte))), whole);
});

test("parser_unfinished_event_not_dispatched", () => {
  assert.deepEqual(parse(bytes("data: a\nid: 1\n")).events, []);
  assert.deepEqual(parse(bytes("id: 1\n\n")).events, []);
});

test("parser_comments_and_odd_retry_ignored", () => {
  assert.deepEqual(parse(bytes(":\n:\n:x\nretry: 1s\nretry:\nfoo: bar\ndata: a\n:\ndata: b\n\n")), {
    events: [{ type: "message", data: "a\nb", id: undefined }],
    retries: [],
  });
});

test("parser_endless_line_refused", () => {
  const parser = new SseParser({ onEvent: () => {} });
  const chunk = bytes("x".repeat(1 << 20));
  assert.throws(() => {
    for (let i = 0; i < 20; i++) parser.push(chunk);
  }, TokencastError);
});

test("parser_endless_event_refused", () => {
  const parser = new SseParser({ onEvent: () => {} });
  const chunk = bytes(`data: ${"x".repeat(1 << 20)}\n`);
  assert.throws(() => {
    for (let i = 0; i < 20; i++) parser.push(chunk);
  }, TokencastError);
});

test("positions_compare_by_attempt_then_seq", () => {
  assert.ok(comparePositions("1-9", "1-10") < 0);
  assert.ok(comparePositions("2-1", "1-10") > 0);
  assert.equal(comparePositions("7-7", "7-7"), 0);
  assert.ok(comparePositions("9007199254740993-1", "9007199254740992-1") > 0);
});

// ---- transcript

test("transcript_delta_twice_applied_once", () => {
  const t = new Transcript();
  for (const event of [
    ["ab", 0],
    ["cd", 2],
    ["cd", 2],
    ["X", 3],
  ])
    t.apply({ type: "delta", text: event[0], offset: event[1] });
  assert.equal(t.text, "abcX");
});

test("transcript_kinds_and_indexes_kept_apart", () => {
  const t = new Transcript();
  t.apply({ type: "delta", text: "think", offset: 0, kind: "reasoning" });
  t.apply({ type: "delta", text: "say", offset: 0 });
  t.apply({ type: "delta", text: "second", offset: 0, index: 1 });
  assert.deepEqual([t.text, t.reasoning, t.textOf("text", 1)], ["say", "think", "second"]);
});

test("transcript_hole_marked_and_later_filled_offsets_kept", () => {
  const t = new Transcript();
  t.apply({ type: "delta", text: "abc", offset: 0 });
  t.apply({ type: "delta", text: "xyz", offset: 10 });
  t.apply({ type: "delta", text: "Z!", offset: 12 });
  assert.equal(t.text, "abc\n[…]\nxyZ!");
  t.apply({ type: "delta", text: "defghijxyZ", offset: 3 });
  assert.equal(t.text, "abcdefghijxyZ");
});

test("transcript_tool_calls_grow_by_index", () => {
  const t = new Transcript();
  t.apply({ type: "tool_call", index: 1, id: "c1", name: "search", offset: 0 });
  t.apply({ type: "tool_call", index: 0, id: "c0", name: "add", arguments: '{"a"', offset: 0 });
  t.apply({ type: "tool_call", index: 0, arguments: ":1}", offset: 4, done: true });
  assert.deepEqual(t.toolCalls, [
    { index: 0, id: "c0", name: "add", done: true, invalid: false, arguments: '{"a":1}' },
    { index: 1, id: "c1", name: "search", done: false, invalid: false, arguments: "" },
  ]);
});

test("transcript_attempt_continue_cuts_to_kept", () => {
  const t = new Transcript();
  t.apply({ type: "delta", text: "hello world", offset: 0 });
  t.apply({ type: "delta", text: "hmm", offset: 0, kind: "reasoning" });
  t.apply({ type: "tool_call", index: 0, name: "f", arguments: "{}", offset: 0 });
  t.apply({ type: "attempt", mode: "continue", try: 2, kept: [{ kind: "text", index: 0, length: 5 }] });
  assert.deepEqual([t.text, t.reasoning, t.toolCalls, t.tries], ["hello", "", [], 2]);
});

test("transcript_attempt_restart_forgets_all", () => {
  const t = new Transcript();
  t.apply({ type: "delta", text: "hello", offset: 0 });
  assert.deepEqual(t.apply({ type: "attempt", mode: "restart", kept: [{ kind: "text", length: 2 }] }), [
    { kind: "text", index: 0, offset: 0, delta: "" },
  ]);
  assert.equal(t.text, "");
});

test("transcript_unknown_type_changes_nothing", () => {
  const t = new Transcript();
  for (const type of ["hologram", "constructor", "__proto__"]) assert.deepEqual(t.apply({ type, text: "x" }), []);
  assert.equal(t.text, "");
});

// ---- one generation

test("watch_whole_stream_done", soon, async () => {
  const script = scripted(
    stream(open, created, start, delta("Hel", 0, "5-3"), ":\n", delta("lo", 3, "5-4"), done("5-5")),
  );
  const { gen, texts, states } = await run(script, { startedAt: performance.now() });
  assert.equal(gen.text, "Hello");
  assert.deepEqual(texts, ["Hel", "Hello"]);
  assert.deepEqual(states, ["running", "done"]);
  assert.deepEqual([gen.reason, gen.model, gen.position, gen.usage.output_tokens], ["stop", "m", "5-5", 3]);
  assert.ok(gen.ttftMs >= 0 && gen.ttftMs < 10000);
  assert.equal(script.requests[0].headers.get("accept"), "text/event-stream");
  assert.equal(script.requests[0].headers.get("last-event-id"), null);
});

test("watch_cut_at_every_byte_text_equals_log", soon, async () => {
  const log = [
    ["0-1", created],
    ["5-2", start],
    ["5-3", delta("né", 0, "5-3")],
    ["5-4", delta("\u{1F600}!", 2, "5-4")],
    ["5-5", done("5-5")],
  ];
  const wire = bytes(open + log.map((entry) => entry[1]).join(""));
  for (let cut = 0; cut <= wire.length; cut++) {
    let first = true;
    const fetch = async (url, init) => {
      const after = new Headers(init.headers).get("last-event-id");
      const rest = log.filter(([id]) => after === null || comparePositions(id, after) > 0).map((entry) => entry[1]);
      if (rest.length === 0) return status(204)();
      const parts = first ? [wire.slice(0, cut), "reset"] : [open + rest.join("")];
      first = false;
      return stream(...parts)({ signal: init.signal });
    };
    const { gen, events } = await run({ fetch });
    assert.equal(gen.text, "né\u{1F600}!", `cut at ${cut}`);
    assert.equal(gen.state, "done");
    assert.deepEqual(
      events.filter((event) => event.type !== "open").map((event) => event.position),
      log.map(([id]) => id),
      `cut at ${cut}`,
    );
  }
});

test("watch_clean_eof_without_done_resumes_with_last_id", soon, async () => {
  const script = scripted(stream(open, start, delta("a", 0, "5-3")), stream(open, delta("b", 1, "5-4"), done("5-5")));
  const { gen, states } = await run(script);
  assert.equal(gen.text, "ab");
  assert.equal(script.requests[1].headers.get("last-event-id"), "5-3");
  assert.deepEqual(states, ["running", "reconnecting", "running", "done"]);
});

test("watch_repeated_events_applied_once", soon, async () => {
  const script = scripted(stream(open, delta("a", 0, "5-3"), delta("a", 0, "5-3"), delta("b", 1, "5-4"), done("5-5")));
  const { events } = await run(script);
  assert.deepEqual(
    events.map((event) => event.type),
    ["open", "delta", "delta", "done"],
  );
});

test("watch_dead_stream_reconnects", soon, async () => {
  const script = scripted(stream(open, delta("a", 0, "5-3"), "hang"), stream(delta("b", 1, "5-4"), done("5-5")));
  const { gen } = await run(script, { idleTimeoutMs: 50 });
  assert.equal(gen.text, "ab");
  assert.equal(gen.reconnects, 1);
});

test("watch_heartbeats_keep_a_quiet_stream", soon, async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let beat;
  const script = scripted(({ signal }) => {
    const wire = new ReadableStream({
      start(controller) {
        beat = (text) => controller.enqueue(bytes(text));
        signal.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError")));
      },
    });
    return new Response(wire, { headers: { "content-type": "text/event-stream" } });
  });
  const over = run(script, { idleTimeoutMs: 45000 });
  for (let i = 0; i < 8; i++) {
    for (let n = 0; n < 5; n++) await new Promise(setImmediate);
    beat(i === 7 ? done("5-5") : ":\n");
    for (let n = 0; n < 5; n++) await new Promise(setImmediate);
    if (i < 7) t.mock.timers.tick(30000);
  }
  assert.equal((await over).gen.reconnects, 0);
});

test("watch_204_over", soon, async () => {
  const script = scripted(status(204));
  const { gen } = await run(script, { after: "5-5" });
  assert.equal(gen.state, "done");
  assert.equal(script.requests[0].headers.get("last-event-id"), "5-5");
});

test("watch_404_fails_with_problem", soon, async () => {
  const script = scripted(
    status(404, { title: "No such generation", detail: "There is no generation a.", status: 404 }),
  );
  const { gen } = await run(script);
  assert.equal(gen.state, "failed");
  assert.equal(gen.error.status, 404);
  assert.equal(gen.error.message, "There is no generation a.");
  assert.equal(gen.error.problem.title, "No such generation");
});

test("watch_410_after_partial_text_keeps_text", soon, async () => {
  const { gen } = await run(scripted(stream(open, delta("kept", 0, "5-3")), status(410)));
  assert.deepEqual([gen.state, gen.text], ["failed", "kept"]);
});

test("watch_503_and_network_errors_retried", soon, async () => {
  const script = scripted(status(503), new TypeError("fetch failed"), status(429), stream(open, done("5-5")));
  const { gen } = await run(script);
  assert.equal(gen.state, "done");
  assert.equal(gen.reconnects, 3);
});

test("watch_not_an_event_stream_fails", soon, async () => {
  const { gen } = await run(scripted(() => new Response("<html>", { headers: { "content-type": "text/html" } })));
  assert.equal(gen.state, "failed");
});

test("watch_bye_reconnects_without_error", soon, async () => {
  const details = [];
  const bye = 'event: bye\nretry: 7\ndata: {"type":"bye","reason":"drain"}\n\n';
  const script = scripted(stream(open, delta("a", 0, "5-3"), bye), stream(open, delta("b", 1, "5-4"), done("5-5")));
  const { gen } = await run(script, { onState: (state, detail) => details.push([state, detail]) });
  assert.equal(gen.text, "ab");
  const waiting = details.find(([state]) => state === "reconnecting")[1];
  assert.deepEqual(waiting, { error: null, delayMs: 7 });
});

test("watch_bye_of_a_broker_that_cannot_serve_is_a_failure", soon, async () => {
  const details = [];
  const bye = 'event: bye\nretry: 7\ndata: {"type":"bye","reason":"unavailable"}\n\n';
  const script = scripted(stream(bye), stream(open, delta("a", 0, "5-3"), done("5-4")));
  const { gen } = await run(script, { onState: (state, detail) => details.push([state, detail]) });
  assert.equal(gen.text, "a");
  assert.match(details.find(([state]) => state === "reconnecting")[1].error.message, /ended early/);
});

test("watch_gap_overflow_filled_in_order_while_later_deltas_held", soon, async () => {
  let release;
  const wait = new Promise((resolved) => (release = resolved));
  const gap = sse("gap", { from: "5-4", to: "5-6", dropped: 3, reason: "overflow" });
  const script = scripted(
    stream(
      open,
      delta("a", 0, "5-3"),
      gap,
      delta("e", 4, "5-7"),
      new Promise((r) =>
        setTimeout(() => {
          release();
          r(":\n");
        }, 20),
      ),
      done("5-8"),
      "hang",
    ),
    async (req) => {
      await wait;
      return lines(
        ndjson({ position: "5-5", type: "delta", text: "bc", offset: 1 }, { type: "ping" }),
        ndjson({ position: "5-6", type: "delta", text: "d", offset: 3 }),
      )(req);
    },
  );
  const { gen, texts, gaps, states } = await run(script);
  assert.equal(gen.text, "abcde");
  assert.deepEqual(texts, ["a", "abc", "abcd", "abcde"]);
  assert.deepEqual(
    gaps.map((g) => [g.from, g.to, g.filled]),
    [["5-4", "5-6", true]],
  );
  assert.deepEqual(states, ["running", "recovering", "running", "done"]);
  const { url, headers } = script.requests[1];
  assert.deepEqual([url.searchParams.get("after"), url.searchParams.get("until")], ["5-3", "5-6"]);
  assert.equal(headers.get("accept"), "application/x-ndjson");
  assert.equal(headers.get("last-event-id"), null);
});

test("watch_two_gaps_filled_in_order", soon, async () => {
  const gap = (from, to) => sse("gap", { from, to, dropped: 1, reason: "overflow" });
  const script = scripted(
    stream(
      open +
        delta("a", 0, "5-3") +
        gap("5-4", "5-4") +
        delta("c", 2, "5-5") +
        gap("5-6", "5-6") +
        delta("e", 4, "5-7") +
        done("5-8"),
    ),
    lines(ndjson({ position: "5-4", type: "delta", text: "b", offset: 1 })),
    lines(ndjson({ position: "5-6", type: "delta", text: "d", offset: 3 })),
  );
  const { gen, gaps } = await run(script);
  assert.equal(gen.text, "abcde");
  assert.equal(gen.position, "5-8");
  assert.deepEqual(
    gaps.map((g) => g.filled),
    [true, true],
  );
  assert.equal(script.requests[2].url.searchParams.get("after"), "5-5");
});

test("watch_gap_trimmed_incomplete_goes_on", soon, async () => {
  const gap = { from: "5-4", to: "5-6", dropped: 3, reason: "trimmed" };
  const script = scripted(
    stream(open, delta("a", 0, "5-3"), sse("gap", gap), delta("e", 4, "5-7"), done("5-8")),
    lines(ndjson({ type: "gap", ...gap })),
  );
  const { gen, gaps } = await run(script);
  assert.equal(gen.text, "a\n[…]\ne");
  assert.deepEqual(gen.missing, [{ from: "5-4", to: "5-6" }]);
  assert.equal(gaps[0].filled, false);
  assert.equal(gen.state, "done");
});

test("watch_gap_refused_incomplete_goes_on", soon, async () => {
  const script = scripted(
    stream(
      open,
      delta("a", 0, "5-3"),
      sse("gap", { from: "5-4", to: "5-6", dropped: 3, reason: "overflow" }),
      delta("e", 4, "5-7"),
      done("5-8"),
    ),
    status(410),
  );
  const { gen } = await run(script);
  assert.deepEqual(gen.missing, [{ from: "5-4", to: "5-6" }]);
  assert.equal(gen.state, "done");
});

test("watch_gap_unfillable_by_network_reads_again_from_before", soon, async () => {
  const down = new TypeError("fetch failed");
  const script = scripted(
    stream(
      open,
      delta("a", 0, "5-3"),
      sse("gap", { from: "5-4", to: "5-6", dropped: 3, reason: "overflow" }),
      delta("e", 4, "5-7"),
      done("5-8"),
      "hang",
    ),
    down,
    down,
    down,
    stream(open, delta("bcde", 1, "5-7"), done("5-8")),
  );
  const { gen } = await run(script, { idleTimeoutMs: 60000 });
  assert.equal(gen.text, "abcde");
  assert.equal(script.requests[4].headers.get("last-event-id"), "5-3");
  assert.deepEqual(gen.missing, []);
});

test("watch_cut_while_filling_reads_again_from_before", soon, async () => {
  const script = scripted(
    stream(
      open,
      delta("a", 0, "5-3"),
      sse("gap", { from: "5-4", to: "5-6", dropped: 3, reason: "overflow" }),
      delta("e", 4, "5-7"),
      "reset",
    ),
    lines("hang"),
    stream(open, delta("bcde", 1, "5-7"), done("5-8")),
  );
  const { gen, gaps } = await run(script, { idleTimeoutMs: 60000 });
  assert.equal(gen.text, "abcde");
  assert.equal(script.requests[2].headers.get("last-event-id"), "5-3");
  assert.deepEqual(gaps, []);
});

test("watch_gap_lost_forgets_and_reads_anew", soon, async () => {
  const script = scripted(
    stream(
      open,
      delta("wrong", 0, "9-8"),
      sse("tool_call", { index: 0, name: "f", offset: 0, arguments: "" }, "9-9"),
      sse("gap", { from: "0-1", to: "5-4", reason: "lost" }),
      created,
      delta("right", 0, "5-3"),
    ),
    stream(open, done("5-4")),
  );
  const { gen, gaps, texts } = await run(script);
  assert.equal(gen.text, "right");
  assert.deepEqual(texts, ["wrong", "", "right"]);
  assert.equal(gaps[0].reason, "lost");
  assert.deepEqual(gen.toolCalls, []);
  assert.equal(script.requests[1].headers.get("last-event-id"), "5-3");
});

test("watch_attempt_restart_cuts_text", soon, async () => {
  const attempt = sse("attempt", { attempt: 8, try: 2, mode: "restart", reason: "lease" }, "8-4");
  const { gen, texts } = await run(
    scripted(stream(open, delta("old", 0, "5-3"), attempt, delta("new", 0, "8-5"), done("8-6"))),
  );
  assert.deepEqual(texts, ["old", "", "new"]);
  assert.equal(gen.transcript.tries, 2);
});

test("watch_done_error_fails_with_text_kept", soon, async () => {
  const error = sse("error", { code: "upstream_eof", message: "the model went away", recoverable: false }, "5-4");
  const { gen } = await run(scripted(stream(open, delta("kept", 0, "5-3"), error, done("5-5", "error"))));
  assert.deepEqual([gen.state, gen.text, gen.error.code], ["failed", "kept", "upstream_eof"]);
});

test("watch_done_without_id_ends", soon, async () => {
  const { gen } = await run(
    scripted(
      stream(
        open,
        delta("kept", 0, "5-3"),
        sse("error", { code: "gone", message: "lost" }),
        sse("done", { reason: "error" }),
      ),
    ),
  );
  assert.equal(gen.state, "failed");
});

test("watch_status_told_and_ended_by_next_delta", soon, async () => {
  const queued = sse("open", { state: "queued", position: "0-1", queue_ahead: 3 });
  const script = scripted(
    stream(queued, start, sse("status", { state: "stalled" }), delta("a", 0, "5-3"), done("5-4", "cancelled")),
  );
  const { gen, states } = await run(script);
  assert.deepEqual(states, ["queued", "running", "stalled", "running", "cancelled"]);
  assert.equal(gen.state, "cancelled");
});

test("watch_open_done_state_comes_with_done_event", soon, async () => {
  const late = sse("open", { state: "done", position: "5-5" });
  const { states } = await run(scripted(stream(late, delta("a", 0, "5-4"), done("5-5"))));
  assert.deepEqual(states, ["running", "done"]);
});

test("watch_after_now_kept_until_a_position_is_known", soon, async () => {
  const script = scripted(
    new TypeError("down"),
    stream(sse("open", { state: "running", position: "5-9" })),
    stream(open, done("5-10")),
  );
  await run(script, { after: "now" });
  assert.deepEqual(
    script.requests.map((r) => [r.url.searchParams.get("after"), r.headers.get("last-event-id")]),
    [
      ["now", null],
      ["now", null],
      [null, "5-9"],
    ],
  );
});

test("watch_signal_aborts_at_any_time_closed", soon, async () => {
  for (const parts of [["hang"], [open, "hang"], [open, delta("a", 0, "5-3"), "reset"]]) {
    const ctrl = new AbortController();
    setTimeout(() => ctrl.abort(), 5);
    const { gen } = await run(scripted(stream(...parts)), { signal: ctrl.signal, retryMs: 5000, maxRetryMs: 5000 });
    assert.equal(gen.state, "closed");
  }
  const { gen } = await run(scripted(), { signal: AbortSignal.abort() });
  assert.equal(gen.state, "closed");
});

test("watch_close_while_filling_closed", soon, async () => {
  const script = scripted(
    stream(open, delta("a", 0, "5-3"), sse("gap", { from: "5-4", to: "5-6", reason: "overflow" }), "hang"),
    lines("hang"),
  );
  const gen = watch(URL_A, {
    ...FAST,
    fetch: script.fetch,
    onState: (state) => state === "recovering" && setTimeout(() => gen.close(), 5),
  });
  await gen.finished;
  assert.deepEqual([gen.state, gen.text], ["closed", "a"]);
});

test("watch_headers_function_asked_each_time", soon, async () => {
  let n = 0;
  const script = scripted(stream(open, delta("a", 0, "5-3")), stream(done("5-4")));
  await run(script, { headers: async () => ({ Authorization: `Bearer ${++n}` }), overflow: "merge" });
  assert.deepEqual(
    script.requests.map((r) => r.headers.get("authorization")),
    ["Bearer 1", "Bearer 2"],
  );
  assert.equal(script.requests[0].url.searchParams.get("overflow"), "merge");
});

test("watch_foreign_data_ignored", soon, async () => {
  const { gen } = await run(
    scripted(stream(open, "data: not json\n\n", "data: null\n\n", delta("a", 0, "5-3"), done("5-4"))),
  );
  assert.equal(gen.text, "a");
});

test("watch_dispatches_dom_events", soon, async () => {
  const texts = [];
  const gen = watch(URL_A, { ...FAST, fetch: scripted(stream(open, delta("a", 0, "5-3"), done("5-4"))).fetch });
  gen.addEventListener("text", (event) => texts.push(event.detail[0]));
  await gen.finished;
  assert.deepEqual(texts, ["a"]);
});

// ---- requests

test("start_retries_with_the_same_key", soon, async () => {
  const accepted = () =>
    Response.json(
      { id: "g1", state: "queued", events_url: "/v1/generations/g1/events", cancel_url: "/v1/generations/g1/cancel" },
      { status: 202 },
    );
  const script = scripted(new TypeError("down"), status(503), accepted);
  const started = await startGeneration(
    "http://broker.test/prefix/",
    { prompt: "hi" },
    { fetch: script.fetch, ...FAST },
  );
  assert.equal(started.eventsUrl, "http://broker.test/prefix/v1/generations/g1/events");
  assert.equal(started.cancelUrl, "http://broker.test/prefix/v1/generations/g1/cancel");
  const keys = new Set(script.requests.map((r) => r.headers.get("idempotency-key")));
  assert.equal(keys.size, 1);
  assert.deepEqual(JSON.parse(script.requests[2].body), { prompt: "hi" });
});

test("start_400_throws_with_detail", soon, async () => {
  const script = scripted(status(400, { title: "Bad request", detail: "prompt or messages is needed" }));
  await assert.rejects(startGeneration("http://broker.test", {}, { fetch: script.fetch }), {
    status: 400,
    message: "prompt or messages is needed",
  });
});

test("snapshot_and_cancel_find_their_routes", soon, async () => {
  const script = scripted(
    () => Response.json({ id: "a", text: "x" }),
    () => Response.json({}),
    () => Response.json({}),
  );
  assert.equal((await snapshot(`${URL_A}?after=1-2`, { fetch: script.fetch })).text, "x");
  await cancelGeneration(URL_A, { fetch: script.fetch });
  await cancelGeneration("http://broker.test/v1/generations/a/cancel", { fetch: script.fetch });
  assert.deepEqual(
    script.requests.map((r) => `${r.method} ${r.url.pathname}${r.url.search}`),
    ["GET /v1/generations/a", "POST /v1/generations/a/cancel", "POST /v1/generations/a/cancel"],
  );
  assert.equal(eventsUrl("http://broker.test", "a"), URL_A);
});

// ---- a channel

const ROOM = "http://broker.test/v1/channels/room/events";

async function runRoom(script, until, opts = {}) {
  const seen = { announced: [], texts: [], done: [], gaps: [] };
  const room = watchChannel(ROOM, {
    ...FAST,
    fetch: script.fetch,
    onGeneration: (generation) => seen.announced.push(generation.id),
    onText: (generation) => seen.texts.push(`${generation.id}:${generation.text}`),
    onGap: (gap) => seen.gaps.push(gap),
    onDone: (generation) => {
      seen.done.push(generation.id);
      if (seen.done.length === until) room.close();
    },
    ...opts,
  });
  await room.finished;
  return { room, ...seen };
}

test("channel_two_generations_folded_apart_over_a_cut", soon, async () => {
  const script = scripted(
    stream(
      sse("open", { position: "c0" }),
      sse("generation", { generation: "a", model: "m", at: 1 }, "c1"),
      sse("generation", { generation: "b" }, "c2"),
      delta("A", 0, "c3", { generation: "a" }),
      delta("B", 0, "c4", { generation: "b" }),
      "reset",
    ),
    stream(
      delta("B2", 1, "c5", { generation: "b" }),
      sse("done", { generation: "b", reason: "stop" }, "c6"),
      sse("done", { generation: "a", reason: "cancelled" }, "c7"),
      "hang",
    ),
  );
  const { room, announced, texts, done: ended } = await runRoom(script, 2);
  assert.deepEqual(announced, ["a", "b"]);
  assert.deepEqual(texts, ["a:A", "b:B", "b:BB2"]);
  assert.deepEqual(ended, ["b", "a"]);
  assert.equal(room.generations.get("a").state, "cancelled");
  assert.equal(script.requests[1].headers.get("last-event-id"), "c4");
  assert.equal(room.state, "closed");
});

test("channel_gap_told_again_from_the_start", soon, async () => {
  const script = scripted(
    stream(
      delta("A", 0, "c1", { generation: "a" }),
      sse("gap", { generation: "a", from: "5-4", to: "5-5", dropped: 2, reason: "overflow" }),
      delta("D", 3, "c2", { generation: "a" }),
      delta("B", 0, "c3", { generation: "b" }),
      sse("done", { generation: "a", reason: "stop" }, "c4"),
      "hang",
    ),
    lines(
      ndjson(
        { position: "5-3", type: "delta", text: "A", offset: 0 },
        { position: "5-5", type: "delta", text: "BC", offset: 1 },
      ),
    ),
  );
  const { room, gaps } = await runRoom(script, 1);
  assert.equal(room.generations.get("a").text, "ABCD");
  assert.equal(gaps[0].filled, true);
  assert.equal(script.requests[1].url.pathname, "/v1/generations/a/events");
  assert.equal(script.requests[1].url.searchParams.get("until"), "5-5");
});

test("channel_gap_lost_forgets_that_generation", soon, async () => {
  const script = scripted(
    stream(
      delta("A", 0, "c1", { generation: "a" }),
      delta("B", 0, "c2", { generation: "b" }),
      sse("gap", { generation: "a", from: "0-1", to: "5-5", reason: "lost" }),
      delta("x", 0, "c3", { generation: "a" }),
      sse("done", { generation: "a", reason: "stop" }, "c4"),
      "hang",
    ),
  );
  const { room } = await runRoom(script, 1);
  assert.equal(room.generations.get("a").text, "x");
  assert.equal(room.generations.get("b").text, "B");
});

test("channel_403_fails", soon, async () => {
  const { room } = await runRoom(scripted(status(403)), 1);
  assert.deepEqual([room.state, room.refusal.status], ["failed", 403]);
});
