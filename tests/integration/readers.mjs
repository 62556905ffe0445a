// The same generation through three clients that know nothing of each other: curl, the eventsource package and
// @microsoft/fetch-event-source. Each gives the list of events {type, data, id}; fold() says what a reader would show.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { EventSource } from "eventsource";

const run = promisify(execFile);
const TYPES = ["created", "start", "delta", "tool_call", "note", "attempt", "gap", "status", "bye", "done"];

async function byCurl(url) {
  const args = ["-sS", "-N", "--max-time", "120", "-H", "Accept: text/event-stream", url];
  const { stdout } = await run("curl", args, { maxBuffer: 1 << 24 });
  const events = [];
  for (const block of stdout.split("\n\n")) {
    const fields = Object.fromEntries(
      block
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith(":"))
        .map((line) => line.split(/: (.*)/s)),
    );
    if (fields.data) events.push({ type: fields.event, data: JSON.parse(fields.data), id: fields.id });
  }
  return events;
}

/** Goes on until the package closes for good, which is the 204 after the end. */
function byEventSource(url) {
  return new Promise((resolve, reject) => {
    const events = [];
    const source = new EventSource(url);
    const note = ({ type, data, lastEventId }) => events.push({ type, data: JSON.parse(data), id: lastEventId });
    for (const type of TYPES) source.addEventListener(type, note);
    // The package's own "open" and "error" share their names with the broker's events; only those have data.
    source.addEventListener("open", (event) => event.data !== undefined && note(event));
    source.addEventListener("error", (event) => {
      if (event.data !== undefined) note(event);
      else if (source.readyState !== EventSource.CLOSED) return;
      else if (event.code === 204) resolve(events);
      else reject(new Error(`EventSource: ${event.code} ${event.message}`));
    });
  });
}

async function byFetchEventSource(url) {
  // The package is written for browsers; these are all it touches.
  globalThis.window ??= globalThis;
  globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
  const { fetchEventSource } = await import("@microsoft/fetch-event-source");
  const events = [];
  await fetchEventSource(url, {
    openWhenHidden: true,
    async onopen(response) {
      assert.equal(response.status, 200);
    },
    onmessage: ({ event, data, id }) => events.push({ type: event, data: JSON.parse(data), id }),
    onerror(error) {
      throw error;
    },
  });
  return events;
}

const READERS = { curl: byCurl, eventsource: byEventSource, "fetch-event-source": byFetchEventSource };

/** All of them at once; resolves {name: events}. */
export async function readAll(url) {
  const names = Object.keys(READERS);
  const lists = await Promise.all(names.map((name) => READERS[name](url)));
  return Object.fromEntries(names.map((name, i) => [name, lists[i]]));
}

function addTool(tools, { index = 0, id, name, arguments: piece = "", offset, done }) {
  const tool = (tools[index] ??= { id: "", name: "", arguments: "", done: false });
  if (id) tool.id = id;
  if (name) tool.name = name;
  if (!done) assert.equal(offset ?? tool.arguments.length, tool.arguments.length, "arguments twice or left out");
  tool.arguments = tool.arguments.slice(0, offset ?? tool.arguments.length) + piece;
  tool.done ||= Boolean(done);
}

export const nothing = () => ({ text: {}, reasoning: {}, tools: {}, notes: [], errors: [], dones: [] });

/** What the events say. Fails on a piece that is told twice or left out. */
export function fold(events) {
  const seen = nothing();
  for (const { type, data } of events) {
    if (type === "delta") {
      const texts = seen[data.kind ?? "text"];
      const { index = 0 } = data;
      texts[index] ??= "";
      assert.equal(data.offset, texts[index].length, "a piece twice or left out");
      texts[index] += data.text;
    } else if (type === "tool_call") addTool(seen.tools, data);
    else if (type === "note") seen.notes.push({ kind: data.kind, text: data.text ?? "", data: data.data });
    else if (type === "error") seen.errors.push({ recoverable: false, ...data });
    else if (type === "done") seen.dones.push(data);
  }
  assert.equal(events.at(-1)?.type, "done", "done comes last");
  assert.equal(seen.dones.length, 1, "exactly one end");
  return seen;
}

/** The same from the calls that a recorded stream must lead to (fixtures/<server>/<name>.jsonl). */
export function foldCalls(calls) {
  const seen = nothing();
  for (const { call, ...data } of calls) {
    if (call === "text") {
      const texts = seen[data.kind];
      texts[data.index] = (texts[data.index] ?? "") + data.text;
    } else if (call === "tool") addTool(seen.tools, data);
    else if (call === "note") seen.notes.push(data);
    else if (call === "end") {
      if (data.reason === "error") seen.errors.push(data);
      seen.dones.push(data);
    }
  }
  return seen;
}
