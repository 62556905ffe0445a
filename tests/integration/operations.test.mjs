// What those who run the programs rely on: probes, metrics that promtool accepts, the line of a finished generation,
// SIGTERM, a loop that hangs, the page switched off, long polls, and viewers that leave.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import net from "node:net";
import { after, before, describe, test } from "node:test";

import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { logLines, metric, sample } from "../lib/metrics.mjs";
import { Supervised } from "../lib/supervised.mjs";
import { bounded, inTime, until } from "../lib/wait.mjs";

const TEXT = "one two three four five six seven eight nine ten";
const LONG = Array.from({ length: 2000 }, (_, i) => `word${i}`).join(" ");

const get = async (url, headers = {}) => {
  const response = await fetch(url, { headers });
  return { status: response.status, text: await response.text(), headers: response.headers };
};

// By the order of their making; ThreadSanitizer has one of its own before any other.
const FURTHER_LOOP = process.env.TC_SANITIZED === "tsan" ? 2 : 1;

/** Says `text` on a connection of its own; what it gets grows in `got`, until `ended`. */
function say(url, text) {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname, () => socket.write(text));
  const peer = { got: "" };
  socket.setEncoding("utf8").on("data", (more) => (peer.got += more));
  peer.ended = new Promise((resolve) => socket.on("error", () => {}).on("close", resolve));
  return peer;
}

describe("operations", { skip: missing() }, () => {
  /** @type {Harness} */
  let h;
  before(
    async () => {
      const lease = ["--lease-ms", "2s"];
      h = await Harness.start({ brokerArgs: ["--no-page", ...lease], workerArgs: ["--slots", "400", ...lease] });
    },
    bounded,
  );
  after(() => h?.stop());

  test("probes_answer_on_their_own_port", bounded, async () => {
    for (const { ops } of [h.brokers[0], h.workers[0]]) {
      assert.equal((await get(`${ops}/livez`)).status, 200);
      assert.equal((await get(`${ops}/readyz`)).status, 200);
    }
    assert.equal((await get(`${h.url}/metrics`)).status, 404);
  });

  test("page_switched_off_is_not_served", bounded, async () => {
    assert.equal((await get(`${h.url}/`)).status, 404);
    assert.equal((await get(`${h.url}/client.js`)).status, 404);
  });

  test("metrics_of_both_programs_pass_promtool_and_count_a_generation", bounded, async () => {
    const tokens = () => metric(h.workers[0], "tokencast_worker_output_tokens_total");
    const before = await tokens();
    const { id } = await post(h.url, TEXT, { rate: 1000 });
    await get(`${h.url}/v1/generations/${id}/events`);
    await ended(h.url, id);
    for (const { ops } of [h.brokers[0], h.workers[0]]) {
      const { text } = await get(`${ops}/metrics`);
      execFileSync("promtool", ["check", "metrics"], { input: text, stdio: ["pipe", "pipe", "pipe"] });
    }
    await until(async () => (await tokens()) >= before + 10, "ten tokens");
    assert.equal(await tokens(), before + 10);
    assert.ok((await metric(h.brokers[0], "tokencast_broker_streams_opened_total")) >= 1);
  });

  test("a_finished_generation_is_one_line_with_its_figures", bounded, async () => {
    const { id } = await post(h.url, TEXT, { rate: 1000 });
    await ended(h.url, id);
    const lines = await until(() => {
      const found = logLines(h.workers[0]).filter((line) => line.gen === id);
      return found.length > 0 && found;
    }, "line of the generation");
    assert.equal(lines.length, 1);
    const [line] = lines;
    assert.equal(line.tokens, 10);
    assert.equal(line.reason, "stop");
    assert.ok(line.ttft_ms >= 0 && line.tokens_per_s > 0, JSON.stringify(line));
  });

  test("three_hundred_generations_at_once_on_one_worker", bounded, async () => {
    const running = () => metric(h.workers[0], "tokencast_worker_generations", 'state="running"');
    const ids = await Promise.all(Array.from({ length: 300 }, () => post(h.url, LONG, { rate: 2 }).then(({ id }) => id)));
    await until(async () => (await running()) === 300, "300 running");
    await Promise.all(ids.map((id) => fetch(`${h.url}/v1/generations/${id}/cancel`, { method: "POST" })));
    for (const id of ids) {
      const { state, text } = await ended(h.url, id);
      assert.equal(state, "cancelled");
      assert.ok(LONG.startsWith(text));
    }
  });

  test("long_poll_collects_the_whole_text", bounded, async () => {
    const { id } = await post(h.url, TEXT, { rate: 20 });
    const url = `${h.url}/v1/generations/${id}/events?wait=5000`;
    let text = "";
    let position = "";
    for (let turns = 0; ; turns++) {
      assert.ok(turns < 50, "it does not end");
      const answer = JSON.parse((await get(position ? `${url}&after=${position}` : url, { accept: "application/json" })).text);
      for (const event of answer.events)
        if (event.type === "delta") text = text.slice(0, event.offset) + event.text;
      position = answer.position;
      if (answer.ended) break;
    }
    assert.equal(text, TEXT);
  });

  test("viewers_that_leave_cancel_where_that_was_asked_for", bounded, async () => {
    const { id } = await post(h.url, LONG, { rate: 50, on_abandon: { cancel_after_ms: 300 } });
    const { id: other } = await post(h.url, LONG, { rate: 50 });
    const leave = new AbortController();
    for (const one of [id, other]) {
      const response = await fetch(`${h.url}/v1/generations/${one}/events`, { signal: leave.signal });
      await response.body.getReader().read();
    }
    leave.abort();
    assert.equal((await ended(h.url, id)).state, "cancelled");
    assert.equal(JSON.parse((await get(`${h.url}/v1/generations/${other}`)).text).state, "running");
    await fetch(`${h.url}/v1/generations/${other}/cancel`, { method: "POST" });
  });

  test("memory_and_lag_of_a_reader_that_does_not_read_are_told", bounded, async () => {
    const { id } = await post(h.url, "word ".repeat(160000), { rate: 1000000 });
    const leave = new AbortController();
    const response = await fetch(`${h.url}/v1/generations/${id}/events?overflow=merge`, { signal: leave.signal });
    const stream = response.body.getReader();
    await stream.read();
    const figures = async () => (await get(`${h.brokers[0].ops}/metrics`)).text;
    const behind = (text) => sample(text, "tokencast_broker_streams_behind");
    const kept = (text, kind) => sample(text, "tokencast_broker_memory_bytes", `kind="${kind}"`);
    const text = await until(async () => {
      const seen = await figures();
      return behind(seen) === 1 && seen;
    }, "reader that is behind");
    assert.ok(kept(text, "segments") > 0);
    assert.ok(kept(text, "histories") > 0);
    leave.abort();
    await until(async () => behind(await figures()) === 0, "end of the reader");
  });

  describe("broker_whose_further_loop_hangs", () => {
    /** @type {Supervised} */
    let broker;
    before(async () => {
      broker = new Supervised("tokencast-broker", ["--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", `--redis=${h.redisUrl}`, "--loops=2"]);
      await until(() => / ready .*\bops=/.test(broker.log), () => `ready line\n${broker.log}`);
    }, bounded);
    after(() => broker?.stop(), bounded);

    /** The main loop turns, and the port takes the second request when the first was answered. */
    const readyzThenLivez = async () => {
      const peer = say(broker.ops, "GET /readyz HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\nConnection: close\r\n\r\n");
      await until(() => peer.got.endsWith("\r\n\r\nready\n"), () => `answer to /readyz; ${peer.got}`);
      return peer;
    };

    test("answers_no_livez_until_it_goes_on", bounded, async () => {
      assert.equal((await get(`${broker.ops}/livez`)).text, "ok\n");
      await broker.order(`hold ${FURTHER_LOOP}`);
      const unanswered = await readyzThenLivez();
      await inTime(unanswered.ended, "end of the connection");
      assert.match(unanswered.got, /ready\n$/);
      const late = await readyzThenLivez();
      await broker.order("go");
      await inTime(late.ended, "answer to /livez");
      assert.match(late.got, /\r\n\r\nok\n$/);
      assert.equal((await get(`${broker.ops}/livez`)).text, "ok\n");
    });

    test("gathers_metrics_for_so_many_at_a_time", bounded, async () => {
      await broker.order(`hold ${FURTHER_LOOP}`);
      const leave = new AbortController();
      const scrape = async () => (await fetch(`${broker.ops}/metrics`, { signal: leave.signal })).text();
      try {
        const all = await Promise.all(Array.from({ length: 64 }, () => scrape().catch(() => "given up"))); // after 5 s
        assert.ok(all.every((text) => text === "given up"), "nothing to say while it hangs");
        assert.equal(await scrape(), "# not available now\n");
      } finally {
        leave.abort();
        await broker.order("go");
      }
      await until(async () => (await get(`${broker.ops}/metrics`)).text.includes("tokencast_broker_loops 2"), "metrics");
    });

    test("ends_with_status_0_with_a_livez_on_its_way", bounded, async () => {
      await broker.order(`hold ${FURTHER_LOOP}`);
      const late = await readyzThenLivez();
      process.kill(broker.pid, "SIGTERM");
      await until(() => broker.log.includes("stopping"), () => `line of the signal\n${broker.log}`);
      await broker.order("go");
      await inTime(broker.gone, "end of the broker");
      await inTime(late.ended, "end of the connection");
      assert.equal(broker.status, 0, broker.log);
      assert.match(late.got, /\r\n\r\nok\n$/);
    });
  });

  test("sigterm_ends_both_programs_with_status_0", bounded, async () => {
    const worker = await h.worker();
    const broker = await h.broker(["--loops", "2"]);
    for (const program of [worker, broker]) {
      await program.stop("SIGTERM");
      assert.deepEqual(program.status, { code: 0, signal: null }, program.log);
    }
  });
});
