// Streams from model servers through a real worker, Redis and broker to real clients. The servers: two npm packages
// that others wrote (mock-llm: OpenAI; aimock: OpenAI and Anthropic), the recorded streams of tests/fixtures over HTTP,
// and scripts for what goes wrong. What clients show must equal what the server sent.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { LLMock } from "@copilotkit/aimock";

import { Harness, ask as start, ended, missing } from "../clients/harness.mjs";
import { bounded, inTime, sleep, until } from "../lib/wait.mjs";
import { ModelServer, beginStream, formats, sendTorn } from "./model-server.mjs";
import { fold, foldCalls, readAll } from "./readers.mjs";

const FIXTURES = fileURLToPath(new URL("../fixtures/", import.meta.url));
const TEXT = "The quick brown fox — «jumps» over 13 lazy dogs. Über alles, naïve café. ".repeat(4).trim();
const KEY = "sk-test-4711-not-to-be-seen";

const providerArgs = (provider, upstream, ...more) => [
  ...["--provider", provider, "--upstream", upstream, "--model", "unnamed"],
  ...more,
];

/** Starts a generation; returns {id, url of its events}. */
async function ask(h, request) {
  const { id } = await start(h.url, request);
  return { id, url: `${h.url}/v1/generations/${id}/events` };
}

/** Asks, reads with every client, and returns what they all saw; they must agree. */
async function askAndRead(h, request) {
  const { id, url } = await ask(h, request);
  return readAndAgree(id, url);
}

async function readAndAgree(id, url) {
  const lists = await readAll(url);
  const seen = Object.entries(lists).map(([name, events]) => ({ name, ...fold(events) }));
  for (const { name, ...one } of seen) {
    const { name: first, ...other } = seen[0];
    assert.deepEqual(one, other, `${name} and ${first} differ`);
  }
  const { name: _, ...said } = seen[0];
  return { id, url, events: lists.curl, ...said };
}

/** `wanted` is in `usage`; servers may count more. */
function assertUsage(usage, wanted) {
  for (const [name, value] of Object.entries(wanted)) assert.equal(usage?.[name], value, name);
}

describe("mock-llm", { skip: missing() }, () => {
  let h;
  let server;
  before(async () => {
    const require = createRequire(import.meta.url);
    const { createServer } = require("@dwmkerr/mock-llm/dist/server.js");
    const { getDefaultConfig } = require("@dwmkerr/mock-llm/dist/config.js");
    const config = getDefaultConfig();
    config.streaming = { chunkSize: 7, chunkIntervalMs: 5 };
    const refusal = { error: { message: "Incorrect API key provided.", code: "invalid_api_key" } };
    config.rules.push({
      path: "/v1/chat/completions",
      match: "contains(body.messages[-1].content, 'error-401')",
      response: { status: 401, content: JSON.stringify(refusal) },
    });
    server = createServer(config, "127.0.0.1", 0).listen(0, "127.0.0.1");
    await once(server, "listening");
    const upstream = `http://127.0.0.1:${server.address().port}/v1`;
    h = await Harness.start({ workerArgs: providerArgs("openai", upstream) });
  }, bounded);
  after(async () => {
    await h?.stop();
    server?.closeAllConnections();
    server?.close();
  });

  test("mock_llm_echo_streams_to_every_client", bounded, async () => {
    const said = await askAndRead(h, { model: "gpt-5.2", prompt: TEXT });
    assert.deepEqual(said.text, { 0: TEXT });
    assert.deepEqual(said.errors, []);
    assert.equal(said.dones[0].reason, "stop");
    assert.equal((await ended(h.url, said.id)).text, TEXT);
  });

  test("mock_llm_model_of_the_worker_where_the_request_names_none", bounded, async () => {
    const said = await askAndRead(h, { prompt: "short" });
    assert.deepEqual(said.text, { 0: "short" });
  });

  test("mock_llm_error_in_the_stream_ends_with_error", bounded, async () => {
    const said = await askAndRead(h, { model: "m", prompt: "error-401" });
    assert.equal(said.errors.length, 1);
    assert.match(said.errors[0].message, /Incorrect API key/);
    assert.equal(said.dones[0].reason, "error");
  });
});

for (const provider of ["openai", "anthropic"]) {
  describe(`aimock as ${provider}`, { skip: missing() }, () => {
    let h;
    let server;
    before(async () => {
      server = await LLMock.create({ port: 0, host: "127.0.0.1", chunkSize: 5 });
      const usage =
        provider === "openai" ? { prompt_tokens: 11, completion_tokens: 22 } : { input_tokens: 11, output_tokens: 22 };
      server.onMessage("all of it", { content: TEXT, usage });
      server.onMessage("too long", { content: "cut", finishReason: "length" });
      server.onMessage("think", { content: "42", reasoning: "Six times seven." });
      server.onMessage("weather", { toolCalls: [{ name: "get_weather", arguments: '{"city":"Köln"}' }] });
      server.onMessage("broken", { content: TEXT }, { latency: 20, truncateAfterChunks: 8 });
      h = await Harness.start({ workerArgs: providerArgs(provider, `${server.url}/v1`, "--max-retries", "2") });
    }, bounded);
    after(async () => {
      await h?.stop();
      await server?.stop();
    });

    test(`aimock_${provider}_text_and_usage_reach_every_client`, bounded, async () => {
      const said = await askAndRead(h, { prompt: "all of it" });
      assert.deepEqual(said.text, { 0: TEXT });
      assert.equal(said.dones[0].reason, "stop");
      assertUsage(said.dones[0].usage, { input_tokens: 11, output_tokens: 22, total_tokens: 33 });
    });

    test(`aimock_${provider}_finish_reason_length`, bounded, async () => {
      const said = await askAndRead(h, { prompt: "too long" });
      assert.deepEqual([said.text[0], said.dones[0].reason], ["cut", "length"]);
    });

    test(`aimock_${provider}_reasoning_is_apart_from_text`, bounded, async () => {
      const said = await askAndRead(h, { prompt: "think" });
      assert.deepEqual([said.text, said.reasoning], [{ 0: "42" }, { 0: "Six times seven." }]);
    });

    test(`aimock_${provider}_tool_call_is_whole`, bounded, async () => {
      const parameters = { type: "object", properties: { city: { type: "string" } } };
      const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
      const said = await askAndRead(h, { prompt: "weather", options: { tools } });
      assert.equal(said.tools[0].name, "get_weather");
      assert.deepEqual(JSON.parse(said.tools[0].arguments), { city: "Köln" });
      assert.deepEqual([said.tools[0].done, said.dones[0].reason], [true, "tool_calls"]);
    });

    test(`aimock_${provider}_rate_limit_once_then_text`, bounded, async () => {
      server.nextRequestError(429, { message: "Slow down.", type: "rate_limit_error" });
      const said = await askAndRead(h, { prompt: "all of it" });
      assert.equal(said.notes.length, 1);
      assert.equal(said.notes[0].kind, "status");
      assert.deepEqual([said.text[0], said.dones[0].reason], [TEXT, "stop"]);
    });

    test(`aimock_${provider}_disconnect_in_the_stream_is_one_error`, bounded, async () => {
      const said = await askAndRead(h, { prompt: "broken" });
      assert.ok(said.text[0].length > 0 && said.text[0].length < TEXT.length && TEXT.startsWith(said.text[0]));
      assert.deepEqual([said.errors.length, said.dones[0].reason], [1, "error"]);
    });
  });
}

/** [server, name, calls] of every recorded stream. */
async function recordings(...servers) {
  const found = [];
  for (const server of servers) {
    const names = (await readdir(path.join(FIXTURES, server))).filter((name) => name.endsWith(".sse")).sort();
    for (const name of names.map((file) => file.slice(0, -4))) {
      const calls = await readFile(path.join(FIXTURES, server, `${name}.jsonl`), "utf8");
      found.push([server, name, calls.trim().split("\n").map(JSON.parse)]);
    }
  }
  return found;
}

const OPENAI_SERVERS = ["llamacpp", "mistral", "ollama", "openai", "openrouter", "tgi", "vllm"];
const RECORDED = { openai: await recordings(...OPENAI_SERVERS), anthropic: await recordings("anthropic") };

/** `said` by the clients is what the recording means. Messages that the worker words itself are not compared. */
function assertRecording(said, calls) {
  const { errors, dones, ...wanted } = foldCalls(calls);
  // Where the server gave a tool call no id, the worker makes one from the generation's; the recordings are of gen_1.
  for (const tool of Object.values(wanted.tools)) tool.id = tool.id.replace("call_gen_1_", `call_${said.id}_`);
  const { text, reasoning, tools, notes } = said;
  assert.deepEqual({ text, reasoning, tools, notes }, wanted);
  assert.equal(said.dones[0].reason, dones[0].reason);
  if (dones[0].usage) assert.deepEqual(said.dones[0].usage, dones[0].usage);
  assert.equal(said.errors.length, errors.length);
  for (const [i, { code, message, recoverable }] of errors.entries()) {
    assert.deepEqual([said.errors[i].code, said.errors[i].recoverable], [code, recoverable]);
    if (message) assert.equal(said.errors[i].message, message);
  }
}

for (const provider of ["openai", "anthropic"]) {
  const format = formats[provider];

  // At the same time, since each test waits a second for the eventsource package to come back for its 204.
  describe(`recorded and scripted ${provider}`, { skip: missing(), concurrency: 6 }, () => {
    let h;
    let server;
    let dir;
    let hear;
    const heard = new Promise((resolve) => (hear = resolve));
    const once429 = async (response, seen) => {
      if (seen.count === 1) {
        response.writeHead(429, { "content-type": "application/json", "retry-after": "1" });
        response.end('{"type":"error","error":{"type":"rate_limit_error","message":"Slow down."}}');
        return;
      }
      await sendTorn(response, Buffer.from(format.begin + format.piece(TEXT) + format.end));
    };
    const plain = (response) => {
      beginStream(response);
      response.end(format.begin + format.piece(TEXT) + format.end);
    };
    const cites = (response) => {
      const sources = ["x".repeat(65536), "a page"].map((title) => format.citation({ title })).join("");
      beginStream(response);
      response.end(format.begin + format.piece(TEXT) + sources + format.end);
    };
    const reset = async (response) => {
      beginStream(response);
      response.write(format.begin + format.piece("Half an ans"));
      await heard; // a reset throws away what the reader has not taken yet
      response.socket.resetAndDestroy();
    };
    const endless = async (response) => {
      beginStream(response);
      response.write(format.begin);
      while (!response.destroyed) {
        response.write(format.piece("on "));
        await sleep(10);
      }
    };
    const silent = (response) => {
      beginStream(response);
      response.write(format.begin + format.piece("then nothing"));
    };

    before(async () => {
      dir = await mkdtemp(path.join(tmpdir(), "tc-key-"));
      await writeFile(path.join(dir, "key"), `${KEY}\n`);
      server = await ModelServer.start({ plain, cites, once429, reset, endless, silent });
      for (const [vendor, name] of RECORDED[provider]) {
        const bytes = await readFile(path.join(FIXTURES, vendor, `${name}.sse`));
        server.scripts[`${vendor}/${name}`] = (response) => sendTorn(response, bytes);
      }
      const key = ["--api-key-file", path.join(dir, "key")];
      // No retries for recordings, so that what fails at once is told at once; once429 has a worker of its own.
      h = await Harness.start({ workerArgs: providerArgs(provider, server.url, ...key, "--max-retries", "0") });
    }, bounded);
    after(async () => {
      await h?.stop();
      await server?.stop();
      if (dir) await rm(dir, { recursive: true });
    });

    /** Some of its text is in the log. */
    const begun = (id) =>
      until(
        async () => (await (await fetch(`${h.url}/v1/generations/${id}`)).json()).text,
        () => `text\n${h.logs()}`,
      );

    for (const [vendor, name, calls] of RECORDED[provider]) {
      test(`recording_${vendor}_${name}_same_at_every_client`, bounded, async () => {
        assertRecording(await askAndRead(h, { model: `${vendor}/${name}` }), calls);
      });
    }

    test(`request_${provider}_carries_path_key_and_prompt`, bounded, async () => {
      const { id } = await ask(h, { model: "plain", prompt: "A prompt of its own.", options: { max_tokens: 9 } });
      await ended(h.url, id);
      const [{ path: asked, headers, body }] = server.of("plain");
      assert.equal(asked, format.path);
      assert.deepEqual([body.stream, body.max_tokens, body.messages.length], [true, 9, 1]);
      assert.equal(body.messages[0].role, "user");
      assert.match(JSON.stringify(body.messages[0].content), /A prompt of its own\./);
      if (provider === "openai") assert.equal(headers.authorization, `Bearer ${KEY}`);
      else assert.deepEqual([headers["x-api-key"], headers["anthropic-version"]], [KEY, "2023-06-01"]);
      assert.ok(!h.logs().includes(KEY), "the key is not logged");
    });

    test(`unknown_model_${provider}_one_error_without_retry`, bounded, async () => {
      const said = await askAndRead(h, { model: "nobody" });
      assert.deepEqual([said.errors.length, said.dones[0].reason], [1, "error"]);
      assert.equal(server.of("nobody").length, 1);
    });

    test(`reset_in_the_stream_${provider}_one_error_one_done`, bounded, async () => {
      const { id, url } = await ask(h, { model: "reset" });
      const reading = readAndAgree(id, url);
      await begun(id);
      hear();
      const said = await reading;
      assert.deepEqual(said.text, { 0: "Half an ans" });
      assert.deepEqual([said.errors.length, said.dones[0].reason], [1, "error"]);
      assert.equal(server.of("reset").length, 1, "what has begun to speak is not asked twice");
      assert.equal((await fetch(`${said.url}?after=${said.events.at(-1).id}`)).status, 204);
    });

    test(`note_too_large_${provider}_is_left_out_and_logged`, bounded, async () => {
      const said = await askAndRead(h, { model: "cites" });
      assert.deepEqual(said.notes.map(({ kind, data }) => [kind, data.title]), [["citation", "a page"]]);
      assert.deepEqual([said.text, said.errors, said.dones[0].reason], [{ 0: TEXT }, [], "stop"]);
      assert.match(h.logs(), new RegExp(`note left out.*"gen":"${said.id}"`));
    });

    for (const model of ["endless", "silent"]) {
      test(`cancel_${provider}_${model}_closes_the_upstream`, bounded, async (t) => {
        const { id, url } = await ask(h, { model });
        const reading = readAll(url);
        await begun(id);
        const [asked] = server.of(model);
        const began = performance.now();
        const cancelled = await fetch(`${h.url}/v1/generations/${id}/cancel`, { method: "POST" });
        assert.ok(cancelled.ok, `${cancelled.status}`);
        const closed = await inTime(asked.closed, "end of the connection upstream");
        t.diagnostic(`cancel to close: ${(closed - began).toFixed(1)} ms`);
        for (const [name, events] of Object.entries(await reading)) {
          const said = fold(events);
          assert.deepEqual([said.dones[0].reason, said.errors], ["cancelled", []], name);
          assert.ok(said.text[0].length > 0);
        }
        assert.equal((await ended(h.url, id)).state, "cancelled");
      });
    }

    test(`rate_limit_with_retry_after_${provider}_note_then_text`, bounded, async () => {
      const patient = await Harness.start({ workerArgs: providerArgs(provider, server.url) });
      try {
        const said = await askAndRead(patient, { model: "once429" });
        const types = said.events.map((event) => event.type).filter((type) => ["note", "delta"].includes(type));
        assert.deepEqual([types[0], types.filter((type) => type === "note").length], ["note", 1]);
        assert.deepEqual([said.notes[0].kind, said.notes[0].data.retry], ["status", 1]);
        assert.ok(said.notes[0].data.delay_ms >= 1000, "not before the server asked");
        assert.match(said.notes[0].text, /Slow down/);
        assert.deepEqual(said.text, { 0: TEXT });
        assert.deepEqual([said.errors, said.dones[0].reason], [[], "stop"]);
        assertUsage(said.dones[0].usage, { input_tokens: 7, output_tokens: 5, total_tokens: 12 });
        const [first, second, ...more] = server.of("once429");
        assert.equal(more.length, 0);
        assert.ok(second.at - first.at >= 990, `asked again after ${second.at - first.at} ms`);
      } finally {
        await patient.stop();
      }
    });
  });
}
