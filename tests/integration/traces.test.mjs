// A request's trace context on its way: broker, job, log, worker, model server, log lines, over takeovers and repeats.
import assert from "node:assert/strict";
import http from "node:http";
import { after, afterEach, before, describe, test } from "node:test";

import { Harness, ended, missing } from "../clients/harness.mjs";
import { logLines } from "../lib/metrics.mjs";
import { Redis } from "../lib/redis.mjs";
import { bounded, inTime, until } from "../lib/wait.mjs";
import { Reader } from "./log.mjs";
import { ModelServer, beginStream, formats } from "./model-server.mjs";

const hex = (n) => Array.from({ length: n }, () => Math.floor(Math.random() * 16).toString(16)).join("");

/** A trace of its own for each test. */
function trace() {
  const ids = { trace_id: `a${hex(31)}`, span_id: `b${hex(15)}` };
  return { ...ids, parent: `00-${ids.trace_id}-${ids.span_id}-01` };
}

/** POST by node:http, which sends a header as often as it is given; [status, body]. */
function post(h, request, headers = {}) {
  const body = JSON.stringify({ messages: [{ role: "user", content: "x" }], ...request });
  return new Promise((resolve, reject) => {
    const asked = http.request(`${h.url}/v1/generations`, {
      method: "POST",
      headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body), ...headers },
      agent: false,
    });
    asked.once("error", reject);
    asked.once("response", async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      resolve([response.statusCode, JSON.parse(text)]);
    });
    asked.end(body);
  });
}

async function start(h, request, headers) {
  const [status, answer] = await post(h, request, headers);
  assert.equal(status, 202, JSON.stringify(answer));
  return answer.id;
}

const answer = (format) => (response) => {
  beginStream(response);
  response.end(formats[format].begin + formats[format].piece("Hi") + formats[format].end);
};

/** Refuses the first request. */
const busyFirst = (response, seen) => {
  if (seen.count > 1) return answer("openai")(response);
  response.writeHead(503, { "retry-after-ms": "1" });
  response.end("{}");
};

/** Says half of it to the first who asks, and all to others. */
const hangFirst = (response, seen) => {
  if (seen.count > 1) return answer("openai")(response);
  beginStream(response);
  response.write(formats.openai.begin + formats.openai.piece("H"));
};

const SCRIPTS = {
  openai: answer("openai"),
  anthropic: answer("anthropic"),
  busy: busyFirst,
  hang: hangFirst,
  repeat: answer("openai"),
  requeued: answer("openai"),
  untraced: answer("openai"),
  foreign: answer("openai"),
  odd: answer("openai"),
};

describe("traces", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  /** @type {Redis} */
  let redis;
  let server;
  let workers = [];

  before(async () => {
    server = await ModelServer.start(SCRIPTS);
    h = await Harness.start({ workers: 0 });
    redis = await Redis.open(h.redisUrl);
  }, bounded);
  after(async () => {
    redis?.close();
    await h?.stop();
    await server?.stop();
  }, bounded);
  // What a test that failed has left would take the next one's jobs.
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.stop("SIGKILL")));
    workers = [];
  }, bounded);

  async function startWorker(provider = "openai", ...more) {
    const worker = await h.worker(["--provider", provider, "--upstream", server.url, "--model", "m", "--lease-ms", "1500", ...more]);
    workers.push(worker);
    return worker;
  }

  const linesOf = (program, gen) => logLines(program).filter((line) => line.gen === gen);
  /** A program's lines about a generation; waits until one says `msg`. */
  async function told(program, gen, msg) {
    await until(() => linesOf(program, gen).some((line) => line.msg === msg), () => `"${msg}" of ${gen}:\n${program.log}`);
    return linesOf(program, gen);
  }
  function assertTraced(lines, { trace_id, span_id }) {
    for (const line of lines) assert.deepEqual([line.trace_id, line.span_id], [trace_id, span_id], JSON.stringify(line));
  }

  const created = async (gen) => (await redis.entries(gen))[0];
  /** The fields of a generation's job that waits. */
  async function job(gen) {
    const id = await redis.do("HGET", `tc:{${gen}}:meta`, "job");
    const [entry] = await redis.do("XRANGE", "tc:jobs", id, id);
    const words = entry[1].map(String);
    return Object.fromEntries(words.flatMap((word, i) => (i % 2 ? [] : [[word, words[i + 1]]])));
  }
  const asked = (model) => server.of(model).map(({ headers }) => [headers.traceparent, headers.tracestate]);

  test("trace_of_a_request_reaches_job_log_model_server_and_every_line", bounded, async () => {
    const mine = trace();
    const gen = await start(h, { model: "openai" }, { traceparent: mine.parent, tracestate: ["a=1,b=2", "c=3"] });
    assert.deepEqual(await job(gen), { gen, traceparent: mine.parent, tracestate: "a=1,b=2,c=3" });
    const { type, traceparent, tracestate } = await created(gen);
    assert.deepEqual([type, traceparent, tracestate], ["created", mine.parent, undefined]);
    const worker = await startWorker();
    assert.equal((await ended(h.url, gen)).state, "done");
    assert.deepEqual(asked("openai"), [[mine.parent, "a=1,b=2,c=3"]]);
    const lines = await told(worker, gen, "generation finished");
    assert.deepEqual(lines.map(({ msg }) => msg), ["job taken", "asking the model server", "generation finished"]);
    assertTraced(lines, mine);
    assertTraced(await told(h.brokers[0], gen, "generation accepted"), mine);
  });

  test("trace_is_shown_to_readers_without_its_state", bounded, async () => {
    const mine = trace();
    const gen = await start(h, { model: "openai" }, { traceparent: mine.parent, tracestate: "secret=1" });
    await startWorker();
    const reader = await Reader.open(`${h.url}/v1/generations/${gen}/events`);
    await reader.over;
    assert.equal(reader.of("created")[0].data.traceparent, mine.parent);
    assert.ok(!reader.body.includes("secret"), reader.body);
  });

  test("trace_goes_to_an_anthropic_model_server_too", bounded, async () => {
    const mine = trace();
    const gen = await start(h, { model: "anthropic" }, { traceparent: mine.parent });
    await startWorker("anthropic");
    assert.equal((await ended(h.url, gen)).state, "done");
    assert.deepEqual(asked("anthropic"), [[mine.parent, undefined]]);
  });

  test("trace_goes_with_every_try", bounded, async () => {
    const mine = trace();
    const gen = await start(h, { model: "busy" }, { traceparent: mine.parent, tracestate: "a=1" });
    const worker = await startWorker();
    assert.equal((await ended(h.url, gen)).state, "done");
    assert.deepEqual(asked("busy"), [[mine.parent, "a=1"], [mine.parent, "a=1"]]);
    const lines = await told(worker, gen, "generation finished");
    assert.deepEqual(lines.filter(({ msg }) => msg === "asking the model server").map(({ retry }) => retry), [0, 1]);
    assertTraced(lines, mine);
  });

  test("trace_survives_the_death_of_a_worker", bounded, async () => {
    const mine = trace();
    const gen = await start(h, { model: "hang" }, { traceparent: mine.parent, tracestate: "a=1" });
    const first = await startWorker();
    const reader = await Reader.open(`${h.url}/v1/generations/${gen}/events`);
    await reader.wait((r) => r.text === "H", "half of the text");
    await first.stop("SIGKILL");
    const heir = await startWorker();
    await inTime(reader.over, "the end");
    assert.equal(reader.text, "Hi");
    assert.deepEqual(asked("hang"), [[mine.parent, "a=1"], [mine.parent, "a=1"]]);
    const lines = await told(heir, gen, "generation finished");
    assert.ok(lines.some(({ msg }) => msg === "taken over"));
    assertTraced(lines, mine);
  });

  test("trace_of_the_first_of_repeated_requests_counts", bounded, async () => {
    const [first, second] = [trace(), trace()];
    const key = { "idempotency-key": `k-${first.trace_id}` };
    const gen = await start(h, { model: "repeat" }, { ...key, traceparent: first.parent });
    assert.equal(await start(h, { model: "repeat" }, { ...key, traceparent: second.parent }), gen);
    assert.equal((await created(gen)).traceparent, first.parent);
    await startWorker();
    assert.equal((await ended(h.url, gen)).state, "done");
    assert.deepEqual(asked("repeat"), [[first.parent, undefined]]);
    // Each request is found under the trace that it came with.
    const lines = (await told(h.brokers[0], gen, "generation accepted")).map(({ how, trace_id }) => [how, trace_id]);
    assert.deepEqual(lines, [["new", first.trace_id], ["repeat", second.trace_id]]);
  });

  test("trace_of_a_job_that_was_lost_is_found_in_the_log", bounded, async () => {
    const [first, second] = [trace(), trace()];
    const key = { "idempotency-key": `k-${first.trace_id}` };
    const gen = await start(h, { model: "requeued" }, { ...key, traceparent: first.parent, tracestate: "a=1" });
    await redis.do("XDEL", "tc:jobs", await redis.do("HGET", `tc:{${gen}}:meta`, "job"));
    await start(h, { model: "requeued" }, { ...key, traceparent: second.parent });
    assert.deepEqual(await job(gen), { gen });
    const worker = await startWorker();
    assert.equal((await ended(h.url, gen)).state, "done");
    assert.deepEqual(asked("requeued"), [[first.parent, undefined]]);
    assertTraced(await told(worker, gen, "generation finished"), first);
  });

  test("requests_without_a_trace_leave_none", bounded, async () => {
    const gen = await start(h, { model: "untraced" });
    assert.deepEqual(await job(gen), { gen });
    assert.equal("traceparent" in (await created(gen)), false);
    const worker = await startWorker();
    assert.equal((await ended(h.url, gen)).state, "done");
    assert.deepEqual(asked("untraced"), [[undefined, undefined]]);
    const lines = await told(worker, gen, "generation finished");
    assert.deepEqual(lines.map(({ msg, trace_id }) => [msg, trace_id]), [["generation finished", undefined]]);
    assert.deepEqual(linesOf(h.brokers[0], gen), []);
  });

  test("malformed_traces_are_left_out_and_the_request_is_not", bounded, async () => {
    const { trace_id, span_id, parent } = trace();
    const later = `cc-${trace_id}-${span_id}-01-and-more`;
    const rows = [
      [{ traceparent: "nonsense" }, {}],
      [{ traceparent: parent.toUpperCase() }, {}],
      [{ traceparent: `${parent}-more` }, {}],
      [{ traceparent: `ff${parent.slice(2)}` }, {}],
      [{ traceparent: `00-${"0".repeat(32)}-${span_id}-01` }, {}],
      [{ traceparent: [parent, parent] }, {}],
      [{ tracestate: "a=1" }, {}],
      [{ traceparent: "x".repeat(4000), tracestate: "a=1" }, {}],
      [{ traceparent: later }, { traceparent: parent }],
      [{ traceparent: parent, tracestate: "A=1" }, { traceparent: parent }],
      [{ traceparent: parent, tracestate: `a=${"v".repeat(511)}` }, { traceparent: parent }],
      [{ traceparent: parent, tracestate: [`a=${"v".repeat(250)}`, `b=${"v".repeat(250)}`, "c=12345"] }, { traceparent: parent }],
    ];
    for (const [headers, wanted] of rows) {
      const gen = await start(h, { model: "odd" }, headers);
      const shown = JSON.stringify(headers).slice(0, 120);
      assert.deepEqual(await job(gen), { gen, ...wanted }, shown);
      assert.equal((await created(gen)).traceparent, wanted.traceparent, shown);
    }
  });

  test("malformed_trace_in_redis_goes_nowhere", bounded, async () => {
    const gen = await start(h, { model: "foreign" });
    // A second job takes the first one's place, as if a foreign program had queued it.
    const evil = ["traceparent", "00-\r\nx-evil: 1", "tracestate", "a=1\r\nx-evil: 1"];
    const id = await redis.do("XADD", "tc:jobs", "*", "gen", gen, ...evil);
    await redis.do("HSET", `tc:{${gen}}:meta`, "job", id);
    const worker = await startWorker();
    assert.equal((await ended(h.url, gen)).state, "done");
    const [{ headers }] = server.of("foreign");
    assert.deepEqual([headers.traceparent, headers.tracestate, headers["x-evil"]], [undefined, undefined, undefined]);
    for (const { trace_id } of await told(worker, gen, "generation finished")) assert.equal(trace_id, undefined);
  });
});
