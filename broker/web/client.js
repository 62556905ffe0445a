// tokencast client: start a generation, watch it grow, survive anything between. One file without dependencies, for
// browsers and Node 20 or later; copy it. Reads Server-Sent Events with fetch, so that headers can be set.
//
//   const run = await startGeneration("https://broker.example", { model: "m", prompt: "Hello" });
//   const gen = watch(run.eventsUrl, { onText: (text) => { output.textContent = text; }, startedAt: run.startedAt });
//   await gen.finished;   // gen.text, gen.state, gen.reason, gen.usage
//
// What it keeps: every event is applied once and in order, over any number of reconnects. What the broker had to leave
// out (`gap`) is fetched from the log before anything later is applied; what cannot be had is named in `missing`.
// What was read so far is never thrown away because of an error.

/** @typedef {"connecting"|"queued"|"running"|"stalled"|"recovering"|"reconnecting"|"done"|"failed"|"cancelled"|"closed"} State */

/**
 * @typedef {object} LogEvent an event of the log, or one the broker made (open, status, gap, bye; of these only a gap with reason "lost" has a position, which starts over)
 * @property {string} type created, start, delta, tool_call, note, attempt, error, done, or one not known here
 * @property {string} [position] where it stands in the log, `<attempt>-<seq>`
 * @property {string} [generation] only in a channel: whose event it is
 * @property {number} [at] Unix time in microseconds
 */

/** @typedef {{kind: string, index: number, offset: number, delta: string}} TextChange from `offset` on, the text is `delta` */
/** @typedef {{index: number, id: string, name: string, arguments: string, done: boolean, invalid: boolean}} ToolCall */
/** @typedef {{from: string, to: string, dropped?: number, reason: "overflow"|"trimmed"|"lost", filled: boolean, generation?: string}} Gap */

/**
 * @typedef {object} ConnectOptions
 * @property {typeof fetch} [fetch]
 * @property {HeadersInit | (() => HeadersInit | Promise<HeadersInit>)} [headers] a function is asked before each request
 * @property {AbortSignal} [signal] ends the watching (not the generation)
 * @property {"drop"|"merge"|"close"} [overflow] what the broker does when this reader is too slow; default: drop
 * @property {number} [idleTimeoutMs=45000] nothing for so long, not even a heartbeat: the stream is dead
 * @property {number} [retryMs=500] first wait before connecting again; doubles; the broker's `retry:` replaces it
 * @property {number} [maxRetryMs=30000]
 */

/**
 * @typedef {object} WatchOptions
 * @property {string} [after] a position to go on from, or "now"
 * @property {number} [startedAt] performance.now() of the start, for ttftMs
 * @property {(text: string, change: TextChange) => void} [onText] the answer so far (kind text, index 0)
 * @property {(event: LogEvent) => void} [onEvent] every event, once, after it was applied
 * @property {(state: State, detail: object) => void} [onState]
 * @property {(gap: Gap) => void} [onGap] filled: what was left out has been fetched
 * @property {(generation: Generation) => void} [onDone] over: done, failed, cancelled, or refused by the broker
 */

const DEFAULTS = { idleTimeoutMs: 45000, retryMs: 500, maxRetryMs: 30000 };
const MAX_EVENT = 8 * 1024 * 1024; // characters of one event or line; the broker's own bound is below
const MAX_HELD = 20000; // events kept back while a gap is filled; beyond: read again from before the gap
const MAX_ROOM = 500; // generations remembered in a channel
const TERMINAL = new Set(["done", "failed", "cancelled"]);

/** What the broker refused, with its application/problem+json detail. */
export class TokencastError extends Error {
  /** @param {string} message @param {{status?: number, problem?: object, retryAfterMs?: number}} [more] */
  constructor(message, more = {}) {
    super(message);
    this.name = "TokencastError";
    this.status = more.status ?? 0;
    this.problem = more.problem ?? null;
    this.retryAfterMs = more.retryAfterMs ?? null;
  }

  /** true: the same request may succeed later */
  get temporary() {
    return this.status >= 500 || [0, 408, 425, 429].includes(this.status);
  }
}

// ---- positions ------------------------------------------------------------------------------------------------

/** <0, 0, >0 as position a comes before, equals, comes after b. Numbers may exceed 2^53, so digits are compared. */
export function comparePositions(a, b) {
  const [attemptA, seqA] = a.split("-");
  const [attemptB, seqB] = b.split("-");
  return compareDigits(attemptA, attemptB) || compareDigits(seqA ?? "", seqB ?? "");
}

function compareDigits(a, b) {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

// ---- the wire -------------------------------------------------------------------------------------------------

/** Cuts bytes into lines ended by CR, LF or CRLF, wherever the chunks end. A byte order mark at the start is dropped. */
class LineReader {
  #decoder = new TextDecoder();
  #rest = "";
  #skipLf = false;
  #onLine;

  constructor(onLine) {
    this.#onLine = onLine;
  }

  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (this.#skipLf && text[0] === "\n") text = text.slice(1);
    this.#skipLf = false;
    const end = /\r\n|\r|\n/g;
    let from = 0;
    for (let found; (found = end.exec(text)) !== null; from = end.lastIndex) {
      const line = this.#rest + text.slice(from, found.index);
      this.#rest = "";
      // A CR that ends the chunk ends the line now; the LF that may follow belongs to it.
      this.#skipLf = found[0] === "\r" && end.lastIndex === text.length;
      this.#onLine(line);
    }
    this.#rest += text.slice(from);
    if (this.#rest.length > MAX_EVENT) throw new TokencastError("a line larger than the limit");
  }
}

/** Incremental parser of text/event-stream (WHATWG HTML). What is unfinished when the stream ends counts for nothing. */
export class SseParser {
  #lines = new LineReader((line) => this.#line(line));
  #onEvent;
  #onRetry;
  #type = "";
  #data = null;
  #size = 0;
  #id = undefined; // of the event being read: committed with it, never before

  /** @param {{onEvent: (event: {type: string, data: string, id: string|undefined}) => void, onRetry?: (ms: number) => void}} to */
  constructor({ onEvent, onRetry = () => {} }) {
    this.#onEvent = onEvent;
    this.#onRetry = onRetry;
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    this.#lines.push(bytes);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined; // a comment: that it came is all it says
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    return this.#field(name, value);
  }

  #field(name, value) {
    if (name === "data") {
      this.#size += value.length + 1;
      if (this.#size > MAX_EVENT) throw new TokencastError("an event larger than the limit");
      this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    } else if (name === "event") {
      this.#type = value;
    } else if (name === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (name === "retry" && /^[0-9]+$/.test(value)) {
      this.#onRetry(Number(value));
    }
  }

  #dispatch() {
    const event = { type: this.#type || "message", data: this.#data, id: this.#id };
    this.#type = "";
    this.#data = null;
    this.#size = 0;
    this.#id = undefined;
    if (event.data !== null) this.#onEvent(event);
  }
}

// ---- what a log says so far -----------------------------------------------------------------------------------

/** A text with possible holes: runs of characters by their offset in the whole. */
class Piece {
  runs = [{ offset: 0, text: "" }];

  get text() {
    return this.runs.length === 1 ? this.runs[0].text : this.runs.map((run) => run.text).join("\n[…]\n");
  }

  /** From `offset` on the text is `delta`; what stood there is replaced, so applying twice changes nothing. */
  put(offset, delta) {
    while (this.runs.length > 1 && this.runs.at(-1).offset >= offset) this.runs.pop();
    const last = this.runs.at(-1);
    const kept = Math.max(0, offset - last.offset);
    if (kept < last.text.length) last.text = last.text.slice(0, kept);
    if (last.offset + last.text.length === offset) last.text += delta;
    else if (last.text === "") this.runs[this.runs.length - 1] = { offset, text: delta };
    else this.runs.push({ offset, text: delta });
  }
}

/** The sum of the events of one generation, in log order: text, reasoning, tool calls, notes, state, how it ended. */
export class Transcript {
  constructor() {
    this.reset();
  }

  /** Forgets everything: the log is about to be told again from its start. */
  reset() {
    /** @type {Map<string, Piece>} */
    this.pieces = new Map();
    this.tools = new Map();
    /** @type {{kind: string, text: string, data: unknown}[]} */
    this.notes = [];
    /** @type {State} */
    this.state = "queued";
    this.model = null;
    this.provider = null;
    this.channel = null;
    this.createdAt = null;
    this.tries = 1;
    this.error = null;
    this.reason = null;
    this.usage = null;
    this.ttftMs = null;
    this.durationMs = null;
    /** @type {{from: string, to: string}[]} what could not be had */
    this.missing = [];
  }

  get text() {
    return this.textOf("text", 0);
  }

  get reasoning() {
    return this.textOf("reasoning", 0);
  }

  /** @returns {ToolCall[]} */
  get toolCalls() {
    return [...this.tools.values()]
      .sort((a, b) => a.index - b.index)
      .map(({ piece, ...call }) => ({ ...call, arguments: piece.text }));
  }

  /** true: the log ended */
  get ended() {
    return TERMINAL.has(this.state);
  }

  textOf(kind, index = 0) {
    return this.pieces.get(`${kind}/${index}`)?.text ?? "";
  }

  /**
   * @param {LogEvent & Record<string, any>} event
   * @returns {TextChange[]} what changed in texts
   */
  apply(event) {
    if (!Object.hasOwn(Transcript.#handlers, event.type)) return []; // a type of a later version
    return Transcript.#handlers[event.type].call(this, event) ?? [];
  }

  static #handlers = {
    created(event) {
      this.model = event.model ?? this.model;
      this.channel = event.channel ?? this.channel;
      this.createdAt = event.at ?? this.createdAt;
    },

    start(event) {
      this.model = event.model ?? this.model;
      this.provider = event.provider ?? this.provider;
      this.state = "running";
    },

    delta(event) {
      const change = {
        kind: event.kind ?? "text",
        index: event.index ?? 0,
        offset: event.offset ?? 0,
        delta: event.text ?? "",
      };
      const key = `${change.kind}/${change.index}`;
      if (!this.pieces.has(key)) this.pieces.set(key, new Piece());
      this.pieces.get(key).put(change.offset, change.delta);
      this.state = "running";
      return [change];
    },

    tool_call(event) {
      const index = event.index ?? 0;
      const call = this.tools.get(index) ?? {
        index,
        id: "",
        name: "",
        done: false,
        invalid: false,
        piece: new Piece(),
      };
      this.tools.set(index, call);
      call.id = event.id || call.id;
      call.name = event.name || call.name;
      if (event.arguments !== undefined) call.piece.put(event.offset ?? 0, event.arguments);
      call.done = event.done === true;
      call.invalid = event.invalid === true;
      this.state = "running";
    },

    note(event) {
      this.notes.push({ kind: event.kind ?? "", text: event.text ?? "", data: event.data });
    },

    attempt(event) {
      this.tries = event.try ?? this.tries + 1;
      this.state = "running";
      this.error = null;
      return this.#cut(event.mode === "restart" ? [] : (event.kept ?? []));
    },

    error(event) {
      this.error = {
        code: event.code ?? "",
        message: event.message ?? "",
        recoverable: event.recoverable === true,
        retryAfterMs: event.retry_after_ms ?? null,
      };
    },

    done(event) {
      this.reason = event.reason ?? "stop";
      this.state = { cancelled: "cancelled", error: "failed" }[this.reason] ?? "done";
      this.usage = event.usage ?? null;
      this.ttftMs = event.ttft_ms ?? null;
      this.durationMs = event.duration_ms ?? null;
    },
  };

  // Another worker goes on from the kept lengths; what lies beyond them, or is not named, was never said.
  #cut(kept) {
    const lengths = new Map(kept.map((row) => [`${row.kind ?? "text"}/${row.index ?? 0}`, row.length ?? 0]));
    const changes = [];
    for (const [key, piece] of this.pieces) {
      const [kind, index] = key.split("/");
      const offset = lengths.get(key) ?? 0;
      piece.put(offset, "");
      changes.push({ kind, index: Number(index), offset, delta: "" });
    }
    for (const call of [...this.tools.values()]) {
      const length = lengths.get(`tool_call/${call.index}`) ?? 0;
      if (length === 0) this.tools.delete(call.index);
      else call.piece.put(length, "");
    }
    return changes;
  }
}

// ---- requests -------------------------------------------------------------------------------------------------

function resolve(url, query = {}) {
  const full = new URL(url, globalThis.location?.href);
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== null) full.searchParams.set(name, value);
  return full;
}

/** `/v1/…` below a base that may itself have a path (a broker behind a proxy's prefix). */
function below(base, path) {
  if (/^[a-z]+:\/\//i.test(path)) return path;
  return resolve(`${String(base ?? "").replace(/\/+$/, "")}/${path.replace(/^\/+/, "")}`).href;
}

async function request(url, opts, init = {}) {
  const fetcher = opts.fetch ?? globalThis.fetch;
  const headers = new Headers(typeof opts.headers === "function" ? await opts.headers() : opts.headers);
  for (const [name, value] of Object.entries(init.headers ?? {})) headers.set(name, value);
  return fetcher(String(url), { cache: "no-store", signal: opts.signal, ...init, headers });
}

async function refusal(response) {
  const problem = await response.json().catch(() => null);
  const detail = problem?.detail || problem?.title || problem?.error?.message;
  const after = Number(response.headers.get("retry-after"));
  return new TokencastError(detail || `HTTP ${response.status}`, {
    status: response.status,
    problem,
    retryAfterMs: after > 0 ? after * 1000 : null,
  });
}

/** Sleeps; wakes early when the signal aborts or the network comes back. */
function sleep(ms, signal) {
  return new Promise((wake) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      globalThis.removeEventListener?.("online", end);
      wake();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
    globalThis.addEventListener?.("online", end, { once: true });
    if (signal?.aborted) end();
  });
}

function backoff(failures, opts, floor = opts.retryMs) {
  const ceiling = Math.min(opts.maxRetryMs, floor * 2 ** Math.min(failures - 1, 16));
  return ceiling * (0.5 + Math.random() / 2); // jitter: a thousand readers must not come back together
}

/** A request that may be repeated: tried again a few times while the failure is a temporary one. */
async function persist(url, opts, init, tries = 3) {
  const settings = { ...DEFAULTS, ...opts };
  for (let failures = 1; ; failures++) {
    let error;
    try {
      const response = await request(url, opts, init);
      if (response.ok) return response;
      error = await refusal(response);
    } catch (thrown) {
      error = thrown;
    }
    if (opts.signal?.aborted || failures >= tries || error.temporary === false) throw error;
    await sleep(Math.max(error.retryAfterMs ?? 0, backoff(failures, settings)), opts.signal);
  }
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Starts a generation. Safe to be repeated on a bad network: it carries an Idempotency-Key.
 * @param {string} base where the broker is; "" in a page that it serves
 * @param {object} body model, messages or prompt, channel, on_abandon, on_crash, options
 * @param {ConnectOptions & {idempotencyKey?: string}} [opts]
 * @returns {Promise<{id: string, state: State, eventsUrl: string, cancelUrl: string, startedAt: number}>}
 */
export async function startGeneration(base, body, opts = {}) {
  const startedAt = performance.now();
  const response = await persist(below(base, "/v1/generations"), opts, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/json",
      "Idempotency-Key": opts.idempotencyKey ?? randomKey(),
    },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  const own = `/v1/generations/${encodeURIComponent(answer.id)}`;
  return {
    id: answer.id,
    state: answer.state,
    eventsUrl: below(base, answer.events_url ?? `${own}/events`),
    cancelUrl: below(base, answer.cancel_url ?? `${own}/cancel`),
    startedAt,
  };
}

/** The URL of a generation's events. */
export function eventsUrl(base, id) {
  return below(base, `/v1/generations/${encodeURIComponent(id)}/events`);
}

/** The URL of a channel's events. */
export function channelUrl(base, channel) {
  return below(base, `/v1/channels/${encodeURIComponent(channel)}/events`);
}

/**
 * What there is now, without watching: of a generation {id, state, position, text, …}, of a channel {generations: […]}.
 * @param {string} url of the generation or channel, or of its events
 * @param {ConnectOptions} [opts]
 */
export async function snapshot(url, opts = {}) {
  const response = await persist(sibling(url, ""), opts, { headers: { Accept: "application/json" } });
  return response.json();
}

/** Asks for the end of a generation; repeating it does no harm. @param {string} url of its events, or its cancel URL */
export async function cancelGeneration(url, opts = {}) {
  await persist(sibling(url, "/cancel"), opts, { method: "POST", headers: { Accept: "application/json" } });
}

function sibling(url, suffix) {
  const full = resolve(url);
  full.pathname = full.pathname.replace(/\/(events|cancel)$/, "") + suffix;
  full.search = "";
  return full;
}

/** Reads a stretch of a log as NDJSON and hands each event to `onEvent`; throws if the body does not come whole. */
async function readRange(url, opts, onEvent) {
  const watchdog = new Watchdog(opts.idleTimeoutMs ?? DEFAULTS.idleTimeoutMs, opts.signal);
  try {
    const response = await persist(
      url,
      { ...opts, signal: watchdog.signal },
      { headers: { Accept: "application/x-ndjson" } },
    );
    if (response.status === 204) return;
    const lines = new LineReader((line) => {
      if (line !== "") onEvent(JSON.parse(line));
    });
    for await (const bytes of chunks(response.body)) {
      watchdog.alive();
      lines.push(bytes);
    }
  } finally {
    watchdog.end();
  }
}

/** A signal that aborts when `alive()` was not called for so long, or when the outer signal does. */
class Watchdog {
  #controller = new AbortController();
  #timer;
  #ms;
  #outer;
  #onOuter = () => this.end();

  constructor(ms, outer) {
    this.#ms = ms;
    this.#outer = outer;
    outer?.addEventListener("abort", this.#onOuter, { once: true });
    if (outer?.aborted) this.end();
    else this.alive();
  }

  get signal() {
    return this.#controller.signal;
  }

  alive() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), this.#ms);
  }

  /** Also ends a request that still runs. */
  end() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#onOuter);
    this.#controller.abort();
  }
}

// Not every browser can iterate a body with for await.
async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// ---- one lasting stream ---------------------------------------------------------------------------------------

/**
 * Connects, reads, connects again, until told to stop. The owner (Generation, Channel) gives: resume() -> {id, query},
 * message(type, data, id), interrupted() -> may be a promise, waiting(error, ms), ended(error or null).
 */
class Stream {
  #owner;
  #url;
  #opts;
  #stopped = false;
  #attempt = null; // what stop() and restart() abort: the connection at hand, or the wait for the next
  #failures = 0;
  #retryMs;
  #farewell = false; // the broker sent us away: what follows is no failure

  constructor(url, opts, owner) {
    this.#url = url;
    this.#opts = { ...DEFAULTS, ...opts };
    this.#retryMs = this.#opts.retryMs;
    this.#owner = owner;
  }

  async run() {
    const { signal } = this.#opts;
    const onAbort = () => this.stop();
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) this.stop();
    let refused = null;
    while (!this.#stopped && refused === null) {
      const outcome = await this.#connect().catch((error) => error);
      if (outcome === "over") break;
      if (!this.#stopped) await this.#owner.interrupted();
      if (this.#stopped) break;
      if (outcome instanceof TokencastError && !outcome.temporary) refused = outcome;
      else await this.#pause(outcome);
    }
    this.#stopped = true;
    signal?.removeEventListener("abort", onAbort);
    this.#owner.ended(refused);
  }

  /** Ends for good. Idempotent. */
  stop() {
    this.#stopped = true;
    this.#attempt?.abort();
  }

  /** Drops the connection and reads on from the owner's position. */
  restart() {
    this.#attempt?.abort();
  }

  /** What follows is no failure, unless the broker could not serve. */
  farewell({ reason }) {
    this.#farewell = reason !== "unavailable";
  }

  /** Something new came: the way is good, the next failure is a first one. */
  progress() {
    this.#failures = 0;
  }

  async #pause(error) {
    const ms = this.#farewell ? this.#retryMs : backoff(++this.#failures, this.#opts, this.#retryMs);
    const wait = Math.max(ms, error.retryAfterMs ?? 0);
    this.#owner.waiting(this.#farewell ? null : error, wait);
    this.#farewell = false;
    this.#attempt = new AbortController();
    if (!this.#stopped) await sleep(wait, this.#attempt.signal);
  }

  /** Returns "over" or why it ended; throws what fetch throws. */
  async #connect() {
    this.#attempt = new AbortController();
    const watchdog = new Watchdog(this.#opts.idleTimeoutMs, this.#attempt.signal);
    try {
      const response = await this.#open(watchdog.signal);
      if (response.status === 204) return "over";
      const parser = new SseParser({
        onRetry: (ms) => (this.#retryMs = Math.min(Math.max(ms, 1), this.#opts.maxRetryMs)),
        onEvent: (event) => !watchdog.signal.aborted && this.#message(event),
      });
      for await (const bytes of chunks(response.body)) {
        watchdog.alive();
        parser.push(bytes);
        if (watchdog.signal.aborted) break;
      }
      return new TokencastError("the stream ended early");
    } finally {
      watchdog.end();
    }
  }

  async #open(signal) {
    const { id, query } = this.#owner.resume();
    const url = resolve(this.#url, { overflow: this.#opts.overflow, ...query });
    const headers = { Accept: "text/event-stream" };
    if (id) headers["Last-Event-ID"] = id;
    const response = await request(url, { ...this.#opts, signal }, { headers });
    if (response.status === 204) return response;
    if (!response.ok) throw await refusal(response);
    if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      throw new TokencastError("not an event stream; is this the broker?", { status: 415 });
    }
    return response;
  }

  #message(event) {
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      return; // not ours: something between added it
    }
    if (data === null || typeof data !== "object") return;
    this.#owner.message(data.type ?? event.type, data, event.id || undefined);
  }
}

/** Callbacks and DOM events in one; a throwing listener must not look like a broken connection. */
class Emitter extends EventTarget {
  #opts;

  constructor(opts) {
    super();
    this.#opts = opts;
  }

  emit(name, ...args) {
    const callback = this.#opts[`on${name[0].toUpperCase()}${name.slice(1)}`];
    try {
      callback?.(...args);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
    this.dispatchEvent(new CustomEvent(name, { detail: args.length > 1 ? args : args[0] }));
  }
}

// ---- one generation -------------------------------------------------------------------------------------------

/**
 * A generation being watched. Events (as callbacks in the options, or addEventListener with the arguments in `detail`):
 * text, event, state, gap, done. Watching begins at once.
 */
export class Generation extends Emitter {
  /** @type {State} */
  state = "connecting";
  /** @type {string|null} of the last event applied */
  position = null;
  /** @type {number|null} from the start to the first text, as seen here; without startedAt, the worker's figure */
  ttftMs = null;
  /** @type {TokencastError|null} why the broker refused, if it did */
  refusal = null;
  /** how often the connection had to be made again */
  reconnects = 0;
  /** place in the queue, while it is queued */
  queueAhead = null;
  transcript = new Transcript();

  #url;
  #opts;
  #stream;
  #live = "queued"; // what is known of the generation, apart from the connection
  #head = null; // the log's last position when the connection opened: older events say nothing about now
  #fromNow = false;
  #closed = false; // by the caller
  #held = null; // events that wait while a gap is filled
  #filling = null; // {abort, ended: Promise}
  #finish;

  /** @param {string} url @param {ConnectOptions & WatchOptions} [opts] */
  constructor(url, opts = {}) {
    super(opts);
    this.#url = resolve(url).href;
    this.#opts = opts;
    if (opts.after === "now") this.#fromNow = true;
    else if (opts.after) this.position = opts.after;
    /** @type {Promise<Generation>} resolves when it is over, however it ended; never rejects */
    this.finished = new Promise((resolved) => (this.#finish = resolved));
    this.#stream = new Stream(this.#url, opts, {
      resume: () => ({ id: this.position, query: this.#fromNow ? { after: "now" } : {} }),
      message: (type, data, id) => this.#receive(id ? { ...data, type, position: id } : { ...data, type }),
      interrupted: () => this.#interrupted(),
      waiting: (error, delayMs) => this.#waiting(error, delayMs),
      ended: (error) => this.#ended(error),
    });
    queueMicrotask(() => this.#stream.run());
  }

  get text() {
    return this.transcript.text;
  }

  get reasoning() {
    return this.transcript.reasoning;
  }

  get toolCalls() {
    return this.transcript.toolCalls;
  }

  get notes() {
    return this.transcript.notes;
  }

  get usage() {
    return this.transcript.usage;
  }

  get reason() {
    return this.transcript.reason;
  }

  get model() {
    return this.transcript.model;
  }

  /** Why it failed: the broker's refusal or the log's last error. */
  get error() {
    return this.refusal ?? this.transcript.error;
  }

  /** What was left out and could not be had: [] when the text is whole. */
  get missing() {
    return this.transcript.missing;
  }

  /** Asks the broker to end the generation, for everybody. The end then comes as an event. */
  cancel() {
    return cancelGeneration(this.#url, { ...this.#opts, signal: undefined });
  }

  /** Stops watching. The generation goes on. */
  close() {
    this.#closed = true;
    this.#stream.stop();
  }

  #setState(state, detail = {}) {
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state, detail);
  }

  #setLive(state) {
    this.#live = state;
    this.#setState(this.#held && !TERMINAL.has(state) ? "recovering" : state);
  }

  #receive(event) {
    if (this.#held === null) return this.#take(event);
    this.#held.push(event);
    if (this.#held.length > MAX_HELD) this.#stream.restart();
    return undefined;
  }

  #take(event) {
    if (event.type === "open") this.#opened(event);
    else if (event.type === "status") this.#setLive(event.state);
    else if (event.type === "bye") this.#stream.farewell(event);
    else if (event.type === "gap") return this.#gap(event);
    else return this.#apply(event);
    this.emit("event", event);
    return undefined;
  }

  #opened(event) {
    this.queueAhead = event.queue_ahead ?? null;
    if (this.#fromNow && event.position) {
      this.position = event.position;
      this.#fromNow = false;
    }
    this.#head = event.position ?? null;
    // An ended log is still to be read to its end; its `done` says when that is.
    this.#setLive(TERMINAL.has(event.state) ? "running" : (event.state ?? this.#live));
  }

  #apply(event) {
    if (event.position) {
      if (this.position && comparePositions(event.position, this.position) <= 0) return; // seen
      this.position = event.position;
      this.#fromNow = false;
      this.#stream.progress();
    }
    const changes = this.transcript.apply(event);
    if (event.type === "delta") this.#firstText(event);
    for (const change of changes) {
      if (change.kind === "text" && change.index === 0) this.emit("text", this.text, change);
    }
    this.emit("event", event);
    if (event.type === "done") {
      this.ttftMs ??= this.transcript.ttftMs;
      this.#live = this.transcript.state;
      this.#stream.stop();
    } else if (!this.#head || !event.position || comparePositions(event.position, this.#head) > 0) {
      this.#setLive(this.transcript.state);
    }
  }

  #firstText(event) {
    if (this.ttftMs !== null || !event.text || (event.kind ?? "text") !== "text") return;
    if (this.#opts.startedAt !== undefined) this.ttftMs = Math.max(0, performance.now() - this.#opts.startedAt);
  }

  #gap(event) {
    if (event.reason !== "lost") {
      this.#fill(event);
      return;
    }
    // A failover lost the branch that was read; the log follows from its start.
    this.transcript.reset();
    this.position = null;
    this.emit("text", "", { kind: "text", index: 0, offset: 0, delta: "" });
    this.emit("gap", { ...event, filled: false });
  }

  #fill(gap) {
    this.#held = [];
    const abort = new AbortController();
    this.#filling = { abort, ended: this.#fetchGap(gap, abort.signal) };
    this.#setState("recovering", { gap });
  }

  async #fetchGap(gap, signal) {
    // `after` must be a position that exists, so it is the last one applied, not one counted back from `from`.
    const url = resolve(this.#url, { after: this.position, until: gap.to });
    let whole = true;
    try {
      await readRange(url, { ...this.#opts, signal }, (event) => {
        if (signal.aborted) return;
        if (event.type === "gap") whole = false;
        else if (event.position && comparePositions(event.position, gap.to) <= 0) this.#apply(event);
      });
    } catch (error) {
      if (signal.aborted) return;
      whole = false;
      if (!(error instanceof TokencastError) || error.temporary) {
        this.#forget();
        this.#stream.restart(); // reading on from before the gap brings the same
        return;
      }
    }
    if (signal.aborted) return;
    if (!this.position || comparePositions(this.position, gap.to) < 0) {
      whole = false;
      this.position = gap.to;
    }
    if (!whole) this.missing.push({ from: gap.from, to: gap.to });
    this.#release(gap, whole);
  }

  #forget() {
    this.#filling?.abort.abort();
    this.#filling = null;
    this.#held = null;
  }

  #release(gap, filled) {
    const held = this.#held;
    this.#held = null;
    this.#filling = null;
    this.#setState(this.#live);
    this.emit("gap", { ...gap, filled });
    while (held.length > 0 && this.#held === null) this.#take(held.shift());
    if (this.#held) this.#held.push(...held); // another gap: the rest waits for it
  }

  // The connection is gone. If the end of the log waits behind a gap, that gap is worth finishing; otherwise the next
  // connection reads on from before it.
  async #interrupted() {
    while (this.#filling) {
      if (!this.#held.some((event) => event.type === "done")) {
        this.#forget();
        return;
      }
      await this.#filling.ended;
    }
  }

  #waiting(error, delayMs) {
    this.reconnects += 1;
    this.#setState("reconnecting", { error, delayMs });
  }

  #ended(error) {
    this.#forget();
    this.refusal = error;
    if (this.transcript.ended) this.#setState(this.transcript.state);
    else if (error) this.#setState("failed", { error });
    else if (this.#closed || this.#opts.signal?.aborted) this.#setState("closed");
    else this.#setState("done"); // 204: it was over, and read before
    if (this.state !== "closed") this.emit("done", this);
    this.#finish(this);
  }
}

/**
 * Watches a generation from its start, or from opts.after.
 * @param {string} url of its events
 * @param {ConnectOptions & WatchOptions} [opts]
 */
export function watch(url, opts = {}) {
  return new Generation(url, opts);
}

// ---- a channel ------------------------------------------------------------------------------------------------

/**
 * @typedef {object} ChannelOptions
 * @property {string} [after] an opaque position of this channel, or "now"
 * @property {(generation: RoomGeneration) => void} [onGeneration] one was announced, or seen for the first time
 * @property {(generation: RoomGeneration, change: TextChange) => void} [onText]
 * @property {(event: LogEvent, generation: RoomGeneration|null) => void} [onEvent]
 * @property {(state: "connecting"|"open"|"reconnecting"|"failed"|"closed"|"done", detail: object) => void} [onState]
 * @property {(gap: Gap, generation: RoomGeneration|null) => void} [onGap]
 * @property {(generation: RoomGeneration) => void} [onDone] one of them ended
 */

/** A generation as seen in its channel. */
export class RoomGeneration extends Transcript {
  constructor(id) {
    super();
    this.id = id;
    this.announcedAt = null;
    /** events that wait while a gap is filled */
    this.held = null;
  }
}

/** Everything that is generated in a channel, over one connection. Events: generation, text, event, state, gap, done. */
export class Channel extends Emitter {
  state = "connecting";
  /** opaque: what the broker wants back to go on */
  position = null;
  /** @type {Map<string, RoomGeneration>} by id, oldest first */
  generations = new Map();
  /** @type {TokencastError|null} */
  refusal = null;
  reconnects = 0;

  #url;
  #opts;
  #stream;
  #fromNow = false;
  #closed = false;
  #abort = new AbortController(); // of what fills gaps
  #finish;

  /** @param {string} url @param {ConnectOptions & ChannelOptions} [opts] */
  constructor(url, opts = {}) {
    super(opts);
    this.#url = resolve(url).href;
    this.#opts = opts;
    if (opts.after === "now") this.#fromNow = true;
    else if (opts.after) this.position = opts.after;
    /** @type {Promise<Channel>} resolves when the watching is over; never rejects */
    this.finished = new Promise((resolved) => (this.#finish = resolved));
    this.#stream = new Stream(this.#url, opts, {
      resume: () => ({ id: this.position, query: this.#fromNow ? { after: "now" } : {} }),
      message: (type, data, id) => this.#receive({ ...data, type }, id),
      interrupted: () => {},
      waiting: (error, delayMs) => {
        this.reconnects += 1;
        this.#setState("reconnecting", { error, delayMs });
      },
      ended: (error) => this.#ended(error),
    });
    queueMicrotask(() => this.#stream.run());
  }

  close() {
    this.#closed = true;
    this.#stream.stop();
  }

  #setState(state, detail = {}) {
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state, detail);
  }

  #receive(event, id) {
    this.#setState("open");
    if (event.type === "bye") this.#stream.farewell(event);
    if (event.type === "open" && this.#fromNow && event.position) this.#advance(event.position);
    const generation = event.generation ? this.#generation(event.generation) : null;
    if (generation) this.#take(generation, event);
    else if (event.type === "gap") this.#forgetAll(event);
    else this.emit("event", event, null);
    if (id) {
      this.#advance(id);
      this.#stream.progress();
    }
  }

  #advance(position) {
    this.position = position;
    this.#fromNow = false;
  }

  #generation(id) {
    const known = this.generations.get(id);
    if (known) return known;
    const made = new RoomGeneration(id);
    this.generations.set(id, made);
    if (this.generations.size > MAX_ROOM) {
      const ended = [...this.generations.values()].find((one) => one.ended && one !== made);
      if (ended) this.generations.delete(ended.id);
    }
    this.emit("generation", made);
    return made;
  }

  #take(generation, event) {
    if (event.type === "gap") return this.#gap(generation, event);
    if (generation.held) {
      generation.held.push(event);
      if (generation.held.length > MAX_HELD) generation.held.shift();
      return undefined;
    }
    if (event.type === "generation") {
      generation.model = event.model ?? generation.model;
      generation.announcedAt = event.at ?? null;
    } else if (event.type === "status") {
      generation.state = event.state;
    }
    const ended = generation.ended;
    const changes = generation.apply(event);
    for (const change of changes) {
      if (change.kind === "text" && change.index === 0) this.emit("text", generation, change);
    }
    this.emit("event", event, generation);
    if (generation.ended && !ended) this.emit("done", generation);
    return undefined;
  }

  #gap(generation, gap) {
    if (gap.reason === "lost") {
      generation.reset();
      generation.held = null;
      this.emit("text", generation, { kind: "text", index: 0, offset: 0, delta: "" });
      this.emit("gap", { ...gap, filled: false }, generation);
    } else if (generation.held === null) {
      generation.held = [];
      this.#refold(generation, gap);
    } else {
      generation.held.push(gap);
    }
  }

  // A channel's positions are opaque, so the generation is told again from its start up to the end of the gap.
  async #refold(generation, gap) {
    const base = this.#url.replace(/\/v1\/channels\/.*$/, "");
    const url = resolve(eventsUrl(base, generation.id), { until: gap.to });
    const events = [];
    let filled = true;
    try {
      await readRange(url, { ...this.#opts, signal: this.#abort.signal }, (event) => {
        if (event.type === "gap") filled = false;
        else if (event.position) events.push(event);
      });
    } catch {
      filled = false;
    }
    if (this.#abort.signal.aborted || generation.held === null) return;
    const held = generation.held;
    generation.held = null;
    if (filled) {
      generation.reset();
      for (const event of events) this.#take(generation, event);
    } else {
      generation.missing.push({ from: gap.from, to: gap.to });
    }
    this.emit("gap", { ...gap, filled }, generation);
    while (held.length > 0 && generation.held === null) this.#take(generation, held.shift());
    if (generation.held) generation.held.push(...held);
  }

  #forgetAll(gap) {
    if (gap.reason === "lost") {
      this.position = null;
      for (const generation of this.generations.values()) this.#gap(generation, gap);
    }
    this.emit("gap", { ...gap, filled: false }, null);
  }

  #ended(error) {
    this.#abort.abort();
    this.refusal = error;
    if (error) this.#setState("failed", { error });
    else this.#setState(this.#closed || this.#opts.signal?.aborted ? "closed" : "done");
    this.#finish(this);
  }
}

/**
 * Watches a channel: one connection for all that is generated in it.
 * @param {string} url of its events
 * @param {ConnectOptions & ChannelOptions} [opts]
 */
export function watchChannel(url, opts = {}) {
  return new Channel(url, opts);
}
