// The documents against the programs: options, links, the README's session, and the worker in Python.
// Needs a build (TC_BUILD, default ../../build), redis-server, curl, and Debian's python3-redis and python3-msgpack.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { BUILD, Harness, missing } from "../clients/harness.mjs";
import { once } from "../lib/redis.mjs";
import { bounded, until } from "../lib/wait.mjs";

const run = promisify(execFile);
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const PYTHON = "/usr/bin/python3";

const read = (file) => readFile(path.join(ROOT, file), "utf8");

/** The fenced blocks of a language in a document. */
function blocks(text, language) {
  return [...text.matchAll(/^```(\S*)\n([\s\S]*?)^```$/gm)].filter((found) => found[1] === language).map((found) => found[2]);
}

// ---- options

/** name -> {variable, default} of a program's --help. */
async function helpOf(program) {
  const { stdout } = await run(path.join(BUILD, "bin", program), ["--help"]);
  const rows = [...stdout.matchAll(/^ {2}--([a-z-]+).*\n {6}.*\n {6}\((TOKENCAST_[A-Z_]+)(?:, default ([^,)\n]*))?/gm)];
  return new Map(rows.map(([, name, variable, value]) => [name, { variable, default: value ?? "" }]));
}

/** The same of the table under a heading of docs/configuration.md. */
function tableOf(text, heading) {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const rows = [...section.matchAll(/^\| `--([a-z-]+)` \| `([A-Z_]+)` \| (?:`([^`]*)`)? \|/gm)];
  return new Map(rows.map(([, name, variable, value]) => [name, { variable, default: value ?? "" }]));
}

describe("options", { skip: missing() }, () => {
  for (const program of ["tokencast-broker", "tokencast-worker"]) {
    test(`${program}_options_and_configuration_md_agree`, bounded, async () => {
      const help = await helpOf(program);
      assert.ok(help.size > 20, `--help names only ${help.size} options`);
      assert.deepEqual(Object.fromEntries(tableOf(await read("docs/configuration.md"), program)), Object.fromEntries(help));
    });
  }
});

// ---- links

async function documents() {
  const found = ["", "docs", "deploy/helm/tokencast"].map(async (folder) => {
    const names = await readdir(path.join(ROOT, folder));
    return names.filter((name) => name.endsWith(".md")).map((name) => path.join(folder, name));
  });
  return (await Promise.all(found)).flat();
}

/** What GitHub makes of headings, and the anchors that were set by hand. */
function anchorsOf(text) {
  const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, "");
  const headings = [...prose.matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-"));
  return new Set([...headings, ...[...prose.matchAll(/<a id="([^"]+)">/g)].map((found) => found[1])]);
}

test("links_of_every_document_resolve", bounded, async () => {
  const broken = [];
  for (const file of await documents()) {
    const text = await read(file);
    const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [name, anchor] = target.split("#");
      const to = name === "" ? file : path.join(path.dirname(file), name);
      if (!existsSync(path.join(ROOT, to))) broken.push(`${file}: ${target}`);
      else if (anchor && !anchorsOf(await read(to)).has(anchor)) broken.push(`${file}: ${target} (no such heading)`);
    }
  }
  assert.deepEqual(broken, []);
});

// ---- the README's session

/** [{command, expected lines}] of a console block. */
function steps(block) {
  const all = [];
  for (const line of block.trimEnd().split("\n")) {
    if (line.startsWith("$ ")) all.push({ command: line.slice(2), expected: [] });
    else all.at(-1).expected.push(line);
  }
  return all;
}

/** A shown line as a pattern: any number for a number, anything for "…". */
function pattern(line) {
  const escaped = line.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll(/\d+/g, "\\d+").replaceAll("…", ".*")}$`);
}

/** The shown lines are in the output, in order and adjacent, but where a line "…" leaves some out. */
function assertShows({ command, expected }, output) {
  const lines = output.split("\n");
  let at = 0;
  let free = false;
  for (const line of expected) {
    if (line === "…") {
      free = true;
      continue;
    }
    const wanted = pattern(line);
    while (free && at < lines.length && !wanted.test(lines[at])) at += 1;
    // The README leaves out the blank line between two events.
    if (!free && lines[at] === "" && line !== "") at += 1;
    assert.match(lines[at] ?? "(the end)", wanted, `$ ${command}\n${output}`);
    at += 1;
    free = false;
  }
}

test("readme_session_runs_as_written", { ...bounded, skip: missing() }, async () => {
  const [session] = blocks(await read("README.md"), "console");
  const h = await Harness.start({ workerArgs: ["--replay-rate", "100"] });
  try {
    await h.explains(async () => {
      for (const step of steps(session)) {
        assert.ok(step.command.includes("http://127.0.0.1:8080"), step.command);
        const command = step.command.replaceAll("http://127.0.0.1:8080", h.url);
        const { stdout } = await run("bash", ["-c", command], { timeout: 120000, maxBuffer: 1 << 24 });
        assertShows(step, stdout);
      }
    });
  } finally {
    await h.stop();
  }
});

// ---- the worker in Python

/** The Python program of docs/protocol.md as a process on the harness's Redis. */
async function startPython(h, folder) {
  const programs = blocks(await read("docs/protocol.md"), "python");
  assert.equal(programs.length, 1, "docs/protocol.md has one Python program");
  const file = path.join(folder, "worker.py");
  await writeFile(file, programs[0]);
  const child = spawn(PYTHON, [file], {
    env: { PATH: process.env.PATH, REDIS_URL: h.redisUrl, LEASE_MS: "3000", SETTLE_S: "0.2" },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const gone = new Promise((resolve) => child.on("exit", resolve));
  return {
    stop: (signal = "SIGKILL") => {
      child.kill(signal);
      return gone;
    },
  };
}

async function start(h, prompt) {
  const response = await fetch(`${h.url}/v1/generations`, { method: "POST", body: JSON.stringify({ prompt }) });
  assert.equal(response.status, 202);
  return response.json();
}

/** Reads an event stream to its end: its events, and the text that they make. `each` may act on the way. */
async function follow(url, each = () => {}) {
  const response = await fetch(url, { headers: { accept: "text/event-stream" } });
  assert.equal(response.status, 200);
  const seen = { events: [], text: "" };
  let rest = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = JSON.parse(/^data: (.*)$/m.exec(part)[1]);
      seen.events.push(data);
      if (data.type === "attempt") seen.text = "";
      if (data.type === "delta") seen.text = seen.text.slice(0, data.offset) + data.text;
      await each(data);
    }
  }
  return seen;
}

/** The queue is empty once a worker has acknowledged its job. */
async function untilAcknowledged(h) {
  await until(async () => (await once(h.redisUrl, "XLEN", "tc:jobs")) === 0, "acknowledged job");
}

describe("python_worker", { skip: missing() }, () => {
  const withPython = (body) => async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "tc-docs-"));
    const h = await Harness.start({ workers: 0 });
    const running = [await startPython(h, folder)];
    try {
      const another = async () => running.push(await startPython(h, folder));
      await h.explains(() => body(h, { first: running[0], another }));
    } finally {
      for (const program of running) await program.stop();
      await h.stop();
      await rm(folder, { recursive: true, force: true });
    }
  };

  test("python_worker_text_reaches_a_reader_whole", bounded, withPython(async (h) => {
    const { id, events_url: events } = await start(h, "naïve 日本語 \u{1F680} end");
    const seen = await follow(h.url + events);
    assert.equal(seen.text, "\u{1F40D} You said: naïve 日本語 \u{1F680} end");
    assert.equal(seen.events.at(-1).type, "done");
    assert.equal(seen.events.at(-1).reason, "stop");
    assert.equal(seen.events.at(-1).text_length, seen.text.length);
    const snapshot = await (await fetch(`${h.url}/v1/generations/${id}`)).json();
    assert.equal(snapshot.text, seen.text);
    assert.equal(snapshot.state, "done");
    await untilAcknowledged(h);
  }));

  test("python_worker_cancelled_ends_with_cancelled", bounded, withPython(async (h) => {
    const { events_url: events, cancel_url: cancel } = await start(h, "word ".repeat(2000).trim());
    const seen = await follow(h.url + events, async (event) => {
      if (event.type === "start") assert.equal((await fetch(h.url + cancel, { method: "POST" })).status, 202);
    });
    assert.equal(seen.events.at(-1).reason, "cancelled");
    await untilAcknowledged(h);
  }));

  test("python_worker_killed_another_takes_over", bounded, withPython(async (h, workers) => {
    const prompt = "word ".repeat(100).trim();
    const { events_url: events } = await start(h, prompt);
    let killed = false;
    const seen = await follow(h.url + events, async (event) => {
      if (killed || event.type !== "delta") return;
      killed = true;
      await workers.first.stop();
      await workers.another();
    });
    assert.equal(seen.text, `\u{1F40D} You said: ${prompt}`);
    assert.equal(seen.events.filter((event) => event.type === "attempt").length, 1);
    assert.equal(seen.events.at(-1).reason, "stop");
    await untilAcknowledged(h);
  }));
});

// ---- the example that links the library

describe("publish_example", { skip: missing() }, () => {
  const example = (h, id, text) => run(path.join(BUILD, "bin", "publish-example"), [h.redisUrl, id, text]);
  const withBroker = (body) => async () => {
    const h = await Harness.start({ workers: 0 });
    try {
      await body(h);
    } finally {
      await h.stop();
    }
  };

  test("publish_example_text_reaches_a_reader_and_is_not_written_twice", bounded, withBroker(async (h) => {
    await example(h, "gen_example", "naïve 日本語 says the model");
    const seen = await follow(`${h.url}/v1/generations/gen_example/events`);
    assert.equal(seen.text, "naïve 日本語 says the model");
    assert.deepEqual(seen.events.map((event) => event.type).filter((type) => type !== "delta"), ["open", "created", "start", "done"]);
    await assert.rejects(example(h, "gen_example", "again"), { code: 1 });
    assert.equal((await follow(`${h.url}/v1/generations/gen_example/events`)).text, seen.text);
  }));

  test("publish_example_cancelled_ends_with_cancelled", bounded, withBroker(async (h) => {
    const url = `${h.url}/v1/generations/gen_example`;
    const running = example(h, "gen_example", "word ".repeat(2000).trim());
    while ((await fetch(url)).status === 404) await new Promise((wake) => setTimeout(wake, 20));
    const seen = await follow(`${url}/events`, async (event) => {
      if (event.type === "start") assert.equal((await fetch(`${url}/cancel`, { method: "POST" })).status, 202);
    });
    assert.equal(seen.events.at(-1).reason, "cancelled");
    await running;
  }));
});
