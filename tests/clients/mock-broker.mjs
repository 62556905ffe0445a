// A broker in one process and in memory, for looking at the page without Redis and for trying the browser test:
//   node mock-broker.mjs [port]
// It speaks the native routes; generations are made up by options {text, rate, reasoning, tools}.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { randomBytes } from "node:crypto";

const WEB = new URL("../../broker/web/", import.meta.url);
const TYPES = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SAMPLE = `# How a token travels

The worker reads **one piece** from the model and appends it to a log in Redis. Each broker that has a reader follows that log with *one* tail, however many readers there are:

1. the entry is announced on the bell,
2. the broker encodes it once,
3. every reader gets the same bytes.
   - slow readers are told what they missed
   - nobody waits for them

\`\`\`c
int tail_take(struct tail *t, const struct entry *e) {
    if (e->seq != t->next)
        return tail_read_log(t); /* a hole: the log knows */
    t->next++;
    return feed_append(t->feed, e);
}
\`\`\`

> A stale token is worse than a missed one, as long as the reader knows.

Every event has a position such as \`37-44\`; with it a reader goes on exactly where it stopped. See [the specification](https://html.spec.whatwg.org/multipage/server-sent-events.html) for the wire format.
`;

const generations = new Map();
const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, { ids: [], readers: new Set() });
  return channels.get(name);
}

function append(gen, type, fields = {}) {
  const event = { type, at: Date.now() * 1000, ...fields };
  const seq = gen.log.length + 1;
  gen.log.push({ id: seq === 1 ? "0-1" : `7-${seq}`, event });
  const wire = frame(event, gen.log.at(-1).id);
  for (const reader of gen.readers) reader.write(wire);
  if (type === "done") for (const reader of gen.readers) reader.end();
  if (gen.channel) {
    const mixed = frame({ generation: gen.id, ...event }, `${gen.id}.${seq}`);
    for (const reader of channel(gen.channel).readers) reader.write(mixed);
  }
}

function frame(event, id) {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n${id ? `id: ${id}\n` : ""}\n`;
}

async function produce(gen, { text = SAMPLE, rate = 60, reasoning = "", tools = [] }) {
  const pause = (ms) => new Promise((wake) => setTimeout(wake, ms));
  await pause(150);
  append(gen, "start", { model: gen.model, provider: "mock" });
  gen.state = "running";
  const say = async (kind, what) => {
    let offset = 0;
    for (const token of what.match(/\s*\S+\s*/g) ?? []) {
      await pause(1000 / rate);
      if (gen.cancelled) return;
      gen.first ??= Date.now();
      append(gen, "delta", { text: token, offset, ...(kind === "text" ? {} : { kind }) });
      offset += token.length;
    }
  };
  if (reasoning) await say("reasoning", reasoning);
  for (const [index, tool] of tools.entries()) {
    append(gen, "tool_call", { index, id: `call_${index}`, name: tool.name, arguments: "", offset: 0 });
    append(gen, "note", { kind: "status", text: `Calling ${tool.name}…` });
    await pause(400);
    append(gen, "tool_call", { index, arguments: JSON.stringify(tool.arguments ?? {}), offset: 0, done: true });
  }
  await say("text", text);
  const reason = gen.cancelled ? "cancelled" : "stop";
  gen.state = gen.cancelled ? "cancelled" : "done";
  append(gen, "done", {
    reason,
    usage: { output_tokens: gen.log.length },
    ttft_ms: (gen.first ?? Date.now()) - gen.at,
    duration_ms: Date.now() - gen.at,
  });
}

function json(res, status, body) {
  res.writeHead(status, { "content-type": status >= 400 ? "application/problem+json" : "application/json" });
  res.end(JSON.stringify(body));
}

function start(body, res) {
  const gen = {
    id: `gen_${randomBytes(9).toString("base64url")}`,
    at: Date.now(),
    log: [],
    readers: new Set(),
    state: "queued",
    model: body.model ?? "mock-1",
    channel: body.channel,
  };
  generations.set(gen.id, gen);
  append(gen, "created", { model: gen.model, channel: gen.channel });
  if (gen.channel) {
    channel(gen.channel).ids.push(gen.id);
    for (const reader of channel(gen.channel).readers)
      reader.write(
        frame({ type: "generation", generation: gen.id, model: gen.model, at: gen.at * 1000 }, `${gen.id}.0`),
      );
  }
  produce(gen, body.options ?? {});
  json(res, 202, {
    id: gen.id,
    state: gen.state,
    events_url: `/v1/generations/${gen.id}/events`,
    cancel_url: `/v1/generations/${gen.id}/cancel`,
  });
}

function events(gen, req, url, res) {
  const after = req.headers["last-event-id"] ?? url.searchParams.get("after");
  const from = after ? Number(after.split("-")[1]) : 0;
  const ended = gen.log.at(-1).event.type === "done";
  if (ended && from >= gen.log.length) return res.writeHead(204).end();
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" });
  res.write(frame({ type: "open", id: gen.id, state: gen.state, position: gen.log.at(-1).id }));
  for (const { id, event } of gen.log.slice(from)) res.write(frame(event, id));
  if (ended) return res.end();
  gen.readers.add(res);
  return res.on("close", () => gen.readers.delete(res));
}

async function handle(req, res) {
  const url = new URL(req.url, "http://mock");
  const [, version, kind, name, action] = url.pathname.split("/");
  if (version !== "v1") {
    const file = url.pathname === "/" ? "index.html" : url.pathname.slice(1);
    const type = TYPES[file.split(".").at(-1)];
    const bytes = type && /^[\w.-]+$/.test(file) ? await readFile(new URL(file, WEB)).catch(() => null) : null;
    if (!bytes) return json(res, 404, { title: "Not found", status: 404 });
    return res.writeHead(200, { "content-type": type, "content-security-policy": CSP }).end(bytes);
  }
  if (kind === "channels") {
    if (!action)
      return json(res, 200, {
        channel: name,
        generations: channel(name)
          .ids.map((id) => generations.get(id))
          .map((gen) => ({ id: gen.id, state: gen.state, model: gen.model, created_at: gen.at * 1000 })),
      });
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.write(frame({ type: "open", position: "now" }));
    channel(name).readers.add(res);
    return res.on("close", () => channel(name).readers.delete(res));
  }
  if (req.method === "POST" && !name) {
    let body = "";
    for await (const chunk of req) body += chunk;
    return start(JSON.parse(body), res);
  }
  const gen = generations.get(name);
  if (!gen) return json(res, 404, { title: "Not found", detail: `There is no generation ${name}.`, status: 404 });
  if (action === "cancel") {
    gen.cancelled = true;
    return json(res, 202, { id: gen.id, state: gen.state });
  }
  if (action === "events") return events(gen, req, url, res);
  return json(res, 200, {
    id: gen.id,
    state: gen.state,
    model: gen.model,
    position: gen.log.at(-1).id,
    text: textOf(gen),
  });
}

function textOf(gen) {
  return gen.log
    .filter(({ event }) => event.type === "delta" && !event.kind)
    .map(({ event }) => event.text)
    .join("");
}

/** @returns {Promise<{url: string, stop: () => void}>} */
export function startMock(port = 0) {
  const server = createServer((req, res) =>
    handle(req, res).catch((error) => (res.headersSent ? res.destroy() : json(res, 500, { title: String(error) }))),
  );
  return new Promise((ready) => {
    server.listen(port, "127.0.0.1", () =>
      ready({
        url: `http://127.0.0.1:${server.address().port}`,
        stop: () => {
          server.closeAllConnections();
          server.close();
        },
      }),
    );
  });
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const mock = await startMock(Number(process.argv[2] ?? 0));
  console.log(mock.url);
}
