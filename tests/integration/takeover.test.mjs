// Workers that die, freeze, are told to go or lose Redis in the middle of an answer. One client reads over one
// connection the whole time; what it shows must be the whole answer, and what the log says, with one end.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";

import { Harness, ask as start, ended, missing } from "../clients/harness.mjs";
import { metric } from "../lib/metrics.mjs";
import { once } from "../lib/redis.mjs";
import { bounded, inTime, sleep, until } from "../lib/wait.mjs";
import { ModelServer, beginStream, formats } from "./model-server.mjs";

// Seconds long at every rate below, so that a test which is kept waiting still meets it in the middle; and leases that
// a busy machine does not let run out, since attempts are counted.
const TEXT = "The quick 🦊 jumps over 13 lazy dogs — «naïve» café. ".repeat(24).trim();
const LEASE = ["--lease-ms", "2s"];

const redis = (h, ...words) => once(h.redisUrl, ...words);

/** Ends what a test that failed has left: its workers would take the next one's jobs. */
let workers = [];
async function startWorker(h, args) {
  const worker = await h.worker(args);
  workers.push(worker);
  return worker;
}
async function endWorkers() {
  await Promise.all(workers.map((worker) => worker.stop("SIGKILL")));
  workers = [];
}

/**
 * A reader that trusts nobody: a piece must begin exactly where the text ends, positions rise, and nothing follows the
 * end. An attempt cuts to what it keeps. A burst after an outage is merged for it, not left out.
 */
class Reader {
  rows = [];
  text = "";
  tools = {};
  said = 0; // UTF-16 units of all pieces: more than the text's where something was said twice

  static follow(h, id) {
    const made = new Reader();
    made.finished = made.#read(`${h.url}/v1/generations/${id}/events?overflow=merge`);
    made.finished.catch(() => {}); // whoever waits is told
    return made;
  }

  get types() {
    return this.rows.map((row) => row.type);
  }

  of(type) {
    return this.rows.filter((row) => row.type === type);
  }

  async #read(url) {
    const response = await fetch(url, { headers: { accept: "application/x-ndjson" } });
    assert.equal(response.status, 200);
    let rest = "";
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      rest += piece;
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) this.#take(JSON.parse(line));
    }
    assert.equal(this.of("done").length, 1, `one end: ${this.types}`);
    return this;
  }

  #take(row) {
    if (!row.position || row.type === "open") return;
    assert.equal(this.of("done").length, 0, `${row.type} behind the end`);
    const [attempt, seq] = row.position.split("-").map(Number);
    assert.ok(attempt >= (this.attempt ?? 0) && seq > (this.seq ?? 0), `${row.position} does not rise`);
    Object.assign(this, { attempt, seq });
    this.rows.push(row);
    if (row.type === "attempt") this.#attempt(row);
    if (row.type === "delta" && (row.kind ?? "text") === "text") this.#piece(row);
    if (row.type === "tool_call") this.#call(row);
  }

  #attempt({ mode, kept = [] }) {
    const text = kept.find((one) => one.kind === "text" && (one.index ?? 0) === 0)?.length ?? 0;
    if (mode === "restart") assert.deepEqual(kept, []);
    assert.ok(text <= this.text.length, "more kept than was said");
    this.text = this.text.slice(0, text);
    this.tools = {};
  }

  #piece({ offset, text }) {
    assert.equal(offset, this.text.length, "a piece begins where the text ends");
    this.text += text;
    this.said += text.length;
  }

  #call({ index = 0, offset, arguments: piece = "", done }) {
    const call = (this.tools[index] ??= { arguments: "" });
    assert.equal(offset, call.arguments.length);
    call.arguments += piece;
    call.done = Boolean(done);
  }

  reaches(length) {
    return until(() => this.text.length >= length, `text of ${length}`);
  }

  /** A piece of text has come behind the given number of takeovers: what there is may be the former attempt's. */
  isSaidBy(takeovers) {
    return until(
      () => this.of("attempt").length === takeovers && this.rows.at(-1)?.type === "delta",
      () => `text of attempt ${takeovers + 1}; ${this.types}`,
    );
  }
}

async function ask(h, request) {
  const { id } = await start(h.url, request);
  return { id, reader: Reader.follow(h, id) };
}

const replay = (rate, more = {}) => ({ options: { text: TEXT, rate }, ...more });

/** Everything a reader may demand of a generation that went well. */
async function assertWhole(h, id, reader, text = TEXT) {
  await reader.finished;
  assert.equal(reader.text, text);
  assert.equal(reader.of("done")[0].reason, "stop");
  assert.deepEqual(reader.of("error"), []);
  const log = await ended(h.url, id);
  assert.equal(log.text, text);
  const late = Reader.follow(h, id);
  await late.finished;
  assert.equal(late.text, text, "and who comes late reads the same");
}

describe("takeover of a recorded answer", { skip: missing() }, () => {
  let h;
  before(async () => {
    h = await Harness.start({ workers: 0 });
  }, bounded);
  afterEach(endWorkers);
  after(() => h?.stop());

  /** The generation is half said and its only worker is gone. */
  async function killed(request, signal = "SIGKILL", args = []) {
    const first = await startWorker(h, [...LEASE, ...args]);
    const { id, reader } = await ask(h, request);
    await reader.reaches(100);
    await first.stop(signal);
    return { id, reader, length: reader.text.length };
  }

  test("killed_worker_continue_says_nothing_twice", bounded, async () => {
    const { id, reader, length } = await killed(replay(60));
    const second = await startWorker(h, LEASE);
    await assertWhole(h, id, reader);
    assert.deepEqual(
      reader.of("attempt").map(({ mode, reason, try: no }) => [mode, reason, no]),
      [["continue", "worker_lost", 2]],
    );
    assert.ok(reader.of("attempt")[0].kept[0].length >= length);
    assert.equal(reader.said, TEXT.length, "every character once");
    assert.equal(await metric(second, "tokencast_worker_takeovers_total"), 1);
    await second.stop();
  });

  test("killed_worker_restart_says_all_anew", bounded, async () => {
    const { id, reader } = await killed(replay(60, { on_crash: "restart" }));
    const second = await startWorker(h, LEASE);
    await assertWhole(h, id, reader);
    assert.deepEqual(
      reader.of("attempt").map(({ mode }) => mode),
      ["restart"],
    );
    assert.ok(reader.said > TEXT.length);
    await second.stop();
  });

  test("killed_worker_fail_ends_with_an_error", bounded, async () => {
    const { id, reader, length } = await killed(replay(60, { on_crash: "fail" }));
    const second = await startWorker(h, LEASE);
    await reader.finished;
    assert.deepEqual(
      [reader.of("error").map(({ code }) => code), reader.of("done")[0].reason, reader.of("attempt").length],
      [["worker_lost"], "error", 0],
    );
    assert.ok(reader.text.length >= length && TEXT.startsWith(reader.text), "what was said stays");
    assert.equal((await ended(h.url, id)).state, "failed");
    await second.stop();
  });

  test("killed_again_and_again_goes_on_each_time", bounded, async () => {
    let worker = await startWorker(h, LEASE);
    const { id, reader } = await ask(h, replay(80));
    for (let attempts = 0; attempts < 3; attempts++) {
      await reader.isSaidBy(attempts);
      await worker.stop("SIGKILL");
      worker = await startWorker(h, [...LEASE, "--max-attempts", "5"]);
    }
    await assertWhole(h, id, reader);
    assert.deepEqual(
      reader.of("attempt").map((row) => row.try),
      [2, 3, 4],
    );
    assert.equal(reader.said, TEXT.length);
    await worker.stop();
  });

  test("job_that_kills_every_worker_ends_with_an_error", bounded, async () => {
    const { reader } = await ask(h, replay(20));
    const limit = [...LEASE, "--max-attempts", "2"];
    for (let n = 1; n <= 2; n++) {
      const victim = await startWorker(h, limit);
      await until(() => reader.of("start").length === n, `start ${n}`);
      await victim.stop("SIGKILL");
    }
    const last = await startWorker(h, limit);
    await reader.finished;
    assert.deepEqual(
      [reader.of("error").map(({ code }) => code), reader.of("done")[0].reason],
      [["too_many_attempts"], "error"],
    );
    await last.stop();
  });

  test("told_to_go_hands_back_at_once_and_it_does_not_count", bounded, async () => {
    // A lease that no test waits for, and a single attempt: only a hand-back that counts for nothing gets through.
    const args = ["--lease-ms", "1h", "--max-attempts", "1", "--grace", "0"];
    let worker = await startWorker(h, args);
    const { id, reader } = await ask(h, replay(80, { on_crash: "continue" }));
    for (let attempts = 0; attempts < 3; attempts++) {
      await reader.isSaidBy(attempts);
      const next = await startWorker(h, args);
      await worker.stop();
      assert.equal(worker.status.code, 0);
      worker = next;
    }
    await assertWhole(h, id, reader);
    assert.deepEqual(
      reader.of("attempt").map(({ mode, reason }) => [mode, reason]),
      [1, 2, 3].map(() => ["continue", "handed_back"]),
    );
    assert.equal(reader.said, TEXT.length);
    await worker.stop();
  });

  test("second_signal_hands_back_before_the_grace_is_over", bounded, async () => {
    const args = ["--lease-ms", "1h", "--grace", "1h"];
    const worker = await startWorker(h, args);
    const { id, reader } = await ask(h, replay(60));
    await reader.reaches(60);
    const next = await startWorker(h, args);
    worker.child.kill("SIGTERM");
    await worker.until((log) => log.includes('"draining"'), "draining");
    await worker.stop("SIGTERM");
    assert.equal(worker.status.code, 0);
    await assertWhole(h, id, reader);
    assert.equal(reader.of("attempt").length, 1);
    await next.stop();
  });

  test("told_to_go_finishes_what_fits_in_the_grace", bounded, async () => {
    const worker = await startWorker(h, ["--grace", "30s"]);
    const { id, reader } = await ask(h, replay(200));
    await reader.reaches(60);
    await worker.stop();
    assert.equal(worker.status.code, 0);
    await assertWhole(h, id, reader);
    assert.deepEqual(reader.of("attempt"), []);
  });

  test("frozen_past_its_lease_then_awake_writes_nothing", bounded, async () => {
    const frozen = await startWorker(h, LEASE);
    const { id, reader } = await ask(h, replay(25));
    await reader.reaches(60);
    frozen.child.kill("SIGSTOP");
    const second = await startWorker(h, LEASE);
    await until(() => reader.of("attempt").length === 1, "attempt");
    frozen.child.kill("SIGCONT");
    await until(() => metric(frozen, "tokencast_worker_fenced_total"), "fenced worker");
    await assertWhole(h, id, reader);
    assert.equal(reader.said, TEXT.length);
    assert.equal(reader.of("attempt").length, 1, "it did not take the job back");
    assert.equal(await metric(second, "tokencast_worker_fenced_total"), 0);
    const again = await ask(h, replay(500)); // and it is a worker like any other
    await second.stop();
    await assertWhole(h, again.id, again.reader);
    await frozen.stop();
  });

  test("frozen_then_told_to_go_leaves_the_job_to_its_new_worker", bounded, async () => {
    const frozen = await startWorker(h, [...LEASE, "--grace", "0"]);
    const { id, reader } = await ask(h, replay(25));
    await reader.reaches(60);
    frozen.child.kill("SIGSTOP");
    const second = await startWorker(h, LEASE);
    await until(() => reader.of("attempt").length === 1, "attempt");
    frozen.child.kill("SIGTERM");
    frozen.child.kill("SIGCONT");
    await frozen.gone;
    await assertWhole(h, id, reader);
    assert.equal(reader.of("attempt").length, 1);
    assert.equal(await metric(second, "tokencast_worker_fenced_total"), 0);
    await second.stop();
  });

  test("claimed_while_its_worker_is_well_one_of_them_writes", bounded, async () => {
    const one = await startWorker(h, ["--lease-ms", "1h", "--slots", "1"]); // renews too late to keep it
    const { id, reader } = await ask(h, replay(60));
    await reader.reaches(60);
    const rest = [await startWorker(h, LEASE), await startWorker(h, LEASE)];
    const job = await redis(h, "HGET", `tc:{${id}}:meta`, "job");
    await redis(h, "XCLAIM", "tc:jobs", "workers", "nobody", "0", job, "IDLE", "3600000", "JUSTID");
    await assertWhole(h, id, reader);
    assert.equal(reader.of("attempt").length, 1);
    assert.equal(reader.said, TEXT.length);
    await until(() => metric(one, "tokencast_worker_fenced_total"), "fenced worker");
    await Promise.all([one, ...rest].map((worker) => worker.stop()));
  });

  test("many_answers_of_a_killed_worker_are_shared_by_two", bounded, async () => {
    const first = await startWorker(h, LEASE);
    const asked = await Promise.all(Array.from({ length: 20 }, () => ask(h, replay(60))));
    await Promise.all(asked.map(({ reader }) => reader.reaches(60)));
    await first.stop("SIGKILL");
    const rest = await Promise.all([1, 2].map(() => startWorker(h, [...LEASE, "--slots", "12"])));
    for (const { id, reader } of asked) {
      await assertWhole(h, id, reader);
      assert.equal(reader.of("attempt").length, 1);
      assert.equal(reader.said, TEXT.length);
    }
    for (const worker of rest) assert.ok((await metric(worker, "tokencast_worker_takeovers_total")) > 0);
    await Promise.all(rest.map((worker) => worker.stop()));
  });

  test("trimmed_log_begins_anew", bounded, async () => {
    const { id, reader } = await killed(replay(60));
    await redis(h, "XTRIM", `tc:{${id}}:log`, "MAXLEN", "=", "2");
    const second = await startWorker(h, LEASE);
    await until(() => reader.of("attempt").length === 1, "attempt");
    assert.equal(reader.of("attempt")[0].mode, "restart");
    await reader.finished;
    assert.equal(reader.text, TEXT);
    await second.stop();
  });

  test("redis_full_for_a_while_is_whole_afterwards", bounded, async () => {
    const worker = await startWorker(h, [...LEASE, "--patience", "60s"]);
    const { id, reader } = await ask(h, replay(60));
    await reader.reaches(60);
    await redis(h, "CONFIG", "SET", "maxmemory", "1");
    await until(() => metric(worker, "tokencast_worker_refused_total"), "refusal");
    await sleep(5000); // several leases
    await redis(h, "CONFIG", "SET", "maxmemory", "0");
    await assertWhole(h, id, reader);
    assert.deepEqual(reader.of("attempt"), [], "nobody else was needed");
    await worker.stop();
  });

  test("redis_full_past_the_patience_ends_once_there_is_room", bounded, async () => {
    const worker = await startWorker(h, [...LEASE, "--patience", "300ms", "--max-attempts", "1"]);
    const { reader } = await ask(h, replay(60));
    await reader.reaches(60);
    await redis(h, "CONFIG", "SET", "maxmemory", "1");
    await worker.until((log) => log.includes("refused writes for too long"), "end of patience");
    await redis(h, "CONFIG", "SET", "maxmemory", "0");
    await reader.finished;
    assert.deepEqual(
      [reader.of("error").map(({ code }) => code), reader.of("done")[0].reason],
      [["too_many_attempts"], "error"],
    );
    await worker.stop();
  });
});

/** What a model server was shown of an answer to go on from; "" for a new one. */
const prefixOf = ({ body }) => {
  const last = body.messages.at(-1);
  return last.role === "assistant" ? last.content : "";
};

/** Says `text` in small pieces, and then ends the answer or, as `hangs` says, nothing more. */
function speak(format, response, text, { hangs = false } = {}) {
  beginStream(response);
  response.write(format.begin);
  for (const piece of text.match(/[^ ]* ?/gu)) if (piece) response.write(format.piece(piece));
  if (!hangs) response.end(format.end);
}

const HALF = `${TEXT.slice(0, 130).trimEnd()} `; // ends in a space, which no server takes at the end of a turn

const toolPiece = (id, name, args) =>
  `data: ${JSON.stringify({
    choices: [{ index: 0, delta: { tool_calls: [{ index: 0, id, type: "function", function: { name, arguments: args } }] } }],
  })}\n\n`;
const TOOL_END = `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] })}\n\ndata: [DONE]\n\n`;

for (const [provider, way] of [
  ["anthropic", "auto"],
  ["openai", "vllm"],
  ["openai", "prefill"],
]) {
  describe(`takeover of an answer from ${provider}, continue=${way}`, { skip: missing() }, () => {
    const format = formats[provider];
    const args = () => ["--provider", provider, "--upstream", server.url, "--continue", way, ...LEASE];
    let h;
    let server;
    before(async () => {
      server = await ModelServer.start({
        half: (response, seen) => {
          const prefix = prefixOf(seen);
          if (seen.count === 1) speak(format, response, HALF, { hangs: true });
          else speak(format, response, TEXT.slice(prefix.length));
        },
        whole: (response, seen) => {
          const prefix = prefixOf(seen);
          speak(format, response, TEXT.slice(prefix.length), { hangs: seen.count === 1 });
        },
        refuses: (response, seen) => {
          if (seen.count === 1) return speak(format, response, HALF, { hangs: true });
          if (!prefixOf(seen)) return speak(format, response, TEXT);
          response.writeHead(400, { "content-type": "application/json" });
          return response.end('{"error":{"message":"This model does not support assistant message prefill."}}');
        },
        calls: (response, seen) => {
          const prefix = prefixOf(seen);
          beginStream(response);
          response.write(format.begin);
          if (!prefix) response.write(format.piece("Let me look."));
          response.write(toolPiece("c1", "look", '{"city":'));
          if (seen.count > 1) response.end(toolPiece("c1", "", '"Köln"}') + TOOL_END);
        },
      });
      h = await Harness.start({ workers: 0 });
    }, bounded);
    afterEach(endWorkers);
    after(async () => {
      await h?.stop();
      await server?.stop();
    });

    async function takenOver(model, length) {
      const first = await startWorker(h, args());
      const { id, reader } = await ask(h, { model });
      await reader.reaches(length);
      await first.stop("SIGKILL");
      const second = await startWorker(h, args());
      return { id, reader, second };
    }

    test("half_an_answer_is_gone_on_from", bounded, async () => {
      const { id, reader, second } = await takenOver("half", HALF.length);
      await assertWhole(h, id, reader);
      const [, asked] = server.of("half");
      assert.equal(prefixOf(asked), HALF.trimEnd(), "shown without the space at its end");
      assert.equal(reader.of("attempt")[0].kept[0].length, HALF.length - 1);
      assert.equal(reader.said, TEXT.length + 1, "the space twice, every other character once");
      assert.equal(asked.body.continue_final_message, way === "vllm" ? true : undefined);
      assert.equal(asked.body.add_generation_prompt, way === "vllm" ? false : undefined);
      await second.stop();
    });

    test("answer_that_lacks_only_its_end_gets_it", bounded, async () => {
      const { id, reader, second } = await takenOver("whole", TEXT.length);
      await assertWhole(h, id, reader);
      assert.equal(prefixOf(server.of("whole")[1]), TEXT);
      assert.equal(reader.said, TEXT.length);
      await second.stop();
    });

    test("server_that_refuses_is_asked_anew", bounded, async () => {
      const { id, reader, second } = await takenOver("refuses", HALF.length);
      await assertWhole(h, id, reader);
      assert.deepEqual(
        reader.of("attempt").map(({ mode, reason }) => [mode, reason]),
        [
          ["continue", "worker_lost"],
          ["restart", "continue_refused"],
        ],
      );
      assert.deepEqual(server.of("refuses").map(prefixOf), ["", HALF.trimEnd(), ""]);
      await second.stop();
    });

    if (provider === "openai") {
      test("half_a_tool_call_is_said_again", bounded, async () => {
        const first = await startWorker(h, args());
        const { reader } = await ask(h, { model: "calls" });
        await until(() => reader.tools[0]?.arguments === '{"city":', "half a call");
        await first.stop("SIGKILL");
        const second = await startWorker(h, args());
        await reader.finished;
        assert.equal(prefixOf(server.of("calls")[1]), "Let me look.");
        assert.deepEqual([reader.text, reader.tools[0].done], ["Let me look.", true]);
        assert.deepEqual(JSON.parse(reader.tools[0].arguments), { city: "Köln" });
        assert.equal(reader.of("done")[0].reason, "tool_calls");
        await second.stop();
      });
    }
  });
}

describe("worker and model server", { skip: missing() }, () => {
  const format = formats.openai;
  const BIG = 24 << 20;
  let h;
  let server;
  const HELD = 128 << 10; // what comes before the model server is let go on
  let sent = 0;
  let letGoOn;
  const goingOn = new Promise((resolve) => (letGoOn = resolve));
  before(async () => {
    server = await ModelServer.start({
      half: (response, seen) => {
        assert.equal(prefixOf(seen), "");
        speak(format, response, seen.count === 1 ? HALF : TEXT, { hangs: seen.count === 1 });
      },
      silent: (response, seen) => speak(format, response, seen.count === 1 ? HALF : TEXT, { hangs: seen.count === 1 }),
      big: async (response) => {
        beginStream(response);
        response.write(format.begin);
        for (let at = 0; at < BIG && !response.destroyed; at += 4096) {
          if (at === HELD) await goingOn;
          if (!response.write(format.piece(`${String(at).padEnd(4095, "ü")}\n`)))
            await new Promise((go) => response.once("drain", go).once("close", go));
          sent = at + 4096;
          await sleep(1);
        }
        response.end(format.end);
      },
    });
    h = await Harness.start({ workers: 0 });
  }, bounded);
  afterEach(endWorkers);
  after(async () => {
    await h?.stop();
    await server?.stop();
  });
  const args = (...more) => ["--provider", "openai", "--upstream", server.url, ...more];

  test("openai_without_a_word_begins_anew", bounded, async () => {
    const first = await startWorker(h, args(...LEASE));
    const { id, reader } = await ask(h, { model: "half" });
    await reader.reaches(HALF.length);
    await first.stop("SIGKILL");
    const second = await startWorker(h, args(...LEASE));
    await assertWhole(h, id, reader);
    assert.equal(reader.of("attempt")[0].mode, "restart");
    await second.stop();
  });

  test("fenced_while_its_model_is_silent_hangs_up", bounded, async () => {
    const first = await startWorker(h, args(...LEASE));
    const { id, reader } = await ask(h, { model: "silent" });
    await reader.reaches(HALF.length);
    first.child.kill("SIGSTOP");
    const second = await startWorker(h, args(...LEASE));
    await assertWhole(h, id, reader);
    first.child.kill("SIGCONT");
    await inTime(server.of("silent")[0].closed, "end of the connection to its model");
    await until(() => metric(first, "tokencast_worker_fenced_total"), "fenced worker");
    await Promise.all([first.stop(), second.stop()]);
  });

  test("redis_hangs_the_model_waits_and_the_text_is_whole", { timeout: 600000 }, async () => {
    const worker = await startWorker(h, args("--lease-ms", "60s", "--buffer-bytes", "64k"));
    const { id, reader } = await ask(h, { model: "big" });
    await reader.reaches(64 << 10);
    h.redis.child.kill("SIGSTOP");
    try {
      letGoOn();
      // What the buffers on the way take is the kernel's affair: held up is who says nothing for two seconds.
      for (let before = -1; before !== sent || sent <= HELD; await sleep(2000)) before = sent;
      assert.ok(sent < BIG, "the model server was not held up");
    } finally {
      h.redis.child.kill("SIGCONT");
    }
    await reader.finished;
    const hash = createHash("sha256");
    for (let at = 0; at < BIG; at += 4096) hash.update(`${String(at).padEnd(4095, "ü")}\n`);
    assert.equal(createHash("sha256").update(reader.text).digest("hex"), hash.digest("hex"));
    assert.deepEqual([reader.of("done")[0].reason, reader.of("attempt").length], ["stop", 0]);
    assert.equal((await ended(h.url, id)).text.length, BIG);
    await worker.stop();
  });
});
