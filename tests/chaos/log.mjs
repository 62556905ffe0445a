// The final log of a generation, and what protocol.md says of logs alone: contiguous, one end, offsets that fit.

export function position(text) {
  const match = /^(0|[1-9][0-9]*)-(0|[1-9][0-9]*)$/.exec(text ?? "");
  return match ? { attempt: Number(match[1]), seq: Number(match[2]) } : null;
}

export const compare = (a, b) => a.attempt - b.attempt || a.seq - b.seq;
export const keyOf = (event) =>
  event.type === "tool_call" ? `tool/${event.index ?? 0}` : `${event.kind ?? "text"}/${event.index ?? 0}`;
export const grows = (event) => event.type === "delta" || event.type === "tool_call";
export const pieceOf = (event) => (event.type === "delta" ? event.text : (event.arguments ?? ""));

const keptKey = ({ kind, index }) => (kind === "tool_call" ? `tool/${index ?? 0}` : `${kind ?? "text"}/${index ?? 0}`);

/** Texts by kind and index, as a client that follows the protocol has them. */
export class Fold {
  texts = new Map();

  length(key) {
    return this.texts.get(key)?.length ?? 0;
  }

  clear() {
    this.texts.clear();
  }

  apply(event) {
    if (event.type === "attempt") {
      const kept = new Map(
        (event.mode === "continue" ? (event.kept ?? []) : []).map((row) => [keptKey(row), row.length]),
      );
      for (const [key, text] of this.texts) this.texts.set(key, text.slice(0, kept.get(key) ?? 0));
    } else if (grows(event) && (event.type === "delta" || event.arguments !== undefined)) {
      const key = keyOf(event);
      const text = this.texts.get(key) ?? "";
      const offset = event.offset ?? text.length;
      this.texts.set(key, (offset === text.length ? text : text.slice(0, offset)) + pieceOf(event));
    }
  }

  /** Empty texts are as good as none. */
  object() {
    return Object.fromEntries([...this.texts].filter(([, text]) => text !== "").sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

export class Log {
  /** entries: [{id, event}] of the stream, fences included, in order. */
  constructor(gen, entries) {
    this.gen = gen;
    this.entries = entries;
    this.events = entries
      .map(({ id, event }) => ({ id, event, pos: position(id) }))
      .filter(({ pos, event }) => pos.seq > 0 && event.type !== "fence");
    this.index = new Map(this.events.map(({ id }, i) => [id, i]));
    this.done = this.events.findLast(({ event }) => event.type === "done");
    this.fold = new Fold();
    this.#epochs();
  }

  /** Marks each piece with the text that it belongs to: a new one begins wherever text was taken back. */
  #epochs() {
    const now = new Map();
    for (const entry of this.events) {
      const { event } = entry;
      if (event.type === "delta") {
        const key = keyOf(event);
        let epoch = now.get(key);
        if (!epoch || event.offset !== epoch.text.length) {
          epoch = { text: this.fold.texts.get(key)?.slice(0, event.offset) ?? "" };
          now.set(key, epoch);
        }
        epoch.text += event.text;
        entry.epoch = epoch;
        entry.end = event.offset + event.text.length;
      } else if (event.type === "attempt") {
        now.clear();
      }
      this.fold.apply(event);
    }
  }

  get attempts() {
    return new Set(this.events.map(({ pos }) => pos.attempt).filter((attempt) => attempt > 0)).size;
  }
}

/**
 * What is wrong with a log itself. expect: {text: what the model was to say, reasons: ends that are right}.
 * Returns [{name, gen, position, what}].
 */
export function judgeLog(log, expect = {}) {
  const found = [];
  const say = (name, id, what) => found.push({ name, gen: log.gen, position: id, what });
  const fold = new Fold();
  let seq = 0;
  for (const { id, event, pos } of log.events) {
    if (pos.seq !== seq + 1) say("log-hole", id, `follows ${seq}`);
    seq = pos.seq;
    if (seq === 1 && event.type !== "created") say("log-start", id, `begins with ${event.type}`);
    if (event.type === "delta" && event.offset !== fold.length(keyOf(event)))
      say("log-offset", id, `offset ${event.offset} of ${keyOf(event)} where ${fold.length(keyOf(event))} were said`);
    fold.apply(event);
  }
  const ends = log.events.filter(({ event }) => event.type === "done");
  if (ends.length !== 1 || log.events.at(-1) !== ends[0])
    say(
      "log-end",
      log.events.at(-1)?.id ?? "0-0",
      `${ends.length} done, the last event is ${log.events.at(-1)?.event.type}`,
    );
  const reason = ends[0]?.event.reason;
  if (ends.length > 0 && expect.reasons && !expect.reasons.includes(reason))
    say("log-reason", ends[0].id, `ended with ${reason}, which only ${expect.reasons} may`);
  if (ends.length > 0 && expect.text !== undefined) {
    const text = fold.texts.get("text/0") ?? "";
    const right = reason === "stop" ? text === expect.text : expect.text.startsWith(text);
    if (!right) say("log-text", ends[0].id, `${text.length} characters that are not what the model said (${reason})`);
  }
  return found;
}
