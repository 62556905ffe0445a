// The history checker: what one client received, held against the final log, by the promises of protocol.md: every
// event once, in order, byte for byte, or told which were not seen; one terminal event, the log's. Pure.
//
// A client's history: {name, gen, policy: {overflow, include, pace, from, leaves, room}, end,
//   connections: [{after, status, end}], events: [{at, conn, id, type, data}]}
// `after`: the position given (null: none, "now"); `conn` is an index into connections; connections[].end: "complete"
// when HTTP says that the body is whole; `end`: "done", "204", "left", or why it gave up; `data` is JSON text.
import { isDeepStrictEqual } from "node:util";

import { Fold, compare, grows, keyOf, pieceOf, position } from "./log.mjs";

const START = { attempt: 0, seq: 0 };
const CONTROL = new Set(["open", "status", "ping"]);
const KEPT = new Set(["done", "error", "attempt"]);
const ALWAYS = new Set(["created", "start", "attempt", "error", "done"]);

/** Without what may be left out: defaults, flags that are false, nothing; and without what a wire form adds. */
function normal(event) {
  const out = {};
  for (const [key, value] of Object.entries(event)) {
    if (key === "position" || value === null || value === false) continue;
    if ((key === "kind" && value === "text") || (key === "index" && value === 0)) continue;
    out[key] = typeof value === "bigint" ? Number(value) : value;
  }
  return out;
}

function includes(include, event) {
  if (!include || ALWAYS.has(event.type)) return true;
  if (event.type === "delta") return include.includes(event.kind === "reasoning" ? "reasoning" : "text");
  if (event.type === "tool_call") return include.includes("tools");
  return event.type === "note" ? include.includes("notes") : true;
}

const joinable = (event) =>
  event.type === "delta" || (event.type === "tool_call" && !event.done && !event.id && !event.name);

class Judge {
  found = [];
  fold = new Fold();
  epochs = new Map(); // paced: key -> the text of the log that what came belongs to
  lastId = null; // what the client comes back with
  strays = []; // not in the log, and nothing that is in it has come since
  done = 0;
  ended = false; // by an end that is in no log

  constructor(client, log, options) {
    this.client = client;
    this.log = log;
    this.options = options;
    this.policy = client.policy ?? {};
    this.paced = Boolean(this.policy.pace) && this.policy.pace !== "token";
    this.strictFrom = options.lossy ? client.events.findLastIndex(isLost) : -1;
  }

  say(name, id, what, conn = this.conn) {
    this.found.push({ name, client: this.client.name, gen: this.client.gen, conn, position: id ?? null, what });
  }

  // ---- connections

  open(n, row) {
    this.conn = n;
    this.next = 0; // index in the log of what must come next
    this.skipped = new Map(); // passed over on this connection: lost, unless it still comes
    this.delivered = new Set();
    this.gaps = [];
    this.before = START;
    this.terminal = false;
    this.fresh = true; // a paced stream may repeat text at its beginning
    this.waitsForOpen = row.after === "now";
    if (row.after === "now" || row.after === null || row.after === undefined) {
      if (this.lastId !== null) this.say("resume", this.lastId, "came back without its position");
      return;
    }
    if (row.after !== this.lastId && row.after !== this.policy.from)
      this.say("resume", row.after, `came back with another position than its last, ${this.lastId}`);
    this.before = position(row.after) ?? START;
    const at = this.log.index.get(row.after);
    if (at !== undefined) this.next = at + 1;
  }

  close(row) {
    for (const id of this.skipped.keys()) this.say("lost", id, "an event that no gap told of");
    if (row.end === "complete" && row.status === 200 && !this.terminal)
      this.say("unended", this.lastId, "the body is whole, but has neither done nor bye");
  }

  // ---- events

  take(row, n) {
    const data = parse(row.data);
    if (data === undefined) return this.say("garbage", row.id, `no JSON: ${row.data.slice(0, 80)}`);
    if (data.type !== row.type) return this.say("garbage", row.id, `is ${row.type}, says ${data.type}`);
    if (this.done > 0 && !CONTROL.has(row.type) && row.type !== "done")
      this.say("after-done", row.id, `${row.type} after the end`);
    const strict = n > this.strictFrom;
    if (row.id === null || row.type === "gap") return this.control(row, data, strict);
    return this.event(row, data, strict);
  }

  control(row, data, strict) {
    if (row.type === "open" && this.waitsForOpen) {
      this.waitsForOpen = false;
      this.startAt(data.position);
    } else if (row.type === "gap") {
      this.gap(row, data, strict);
    } else if (row.type === "bye") {
      this.terminal = true;
    } else if (row.type === "done" || row.type === "error") {
      if (!this.options.gone)
        this.say("terminal-foreign", null, `${row.type} without a position, and the log is there`);
      if (row.type === "done") this.end();
    } else if (!CONTROL.has(row.type)) {
      this.say("garbage", null, `${row.type} without a position`);
    }
  }

  startAt(id) {
    const at = this.log.index.get(id);
    this.before = position(id) ?? START;
    this.next = at === undefined ? 0 : at + 1;
    for (let i = 0; i < this.next; i++) this.pass(this.log.events[i]);
  }

  end() {
    this.done += 1;
    this.terminal = true;
    if (this.done === 2) this.say("terminal-twice", this.lastId, "a second done");
  }

  event(row, data, strict) {
    const pos = position(row.id);
    if (!pos || pos.seq === 0) return this.say("garbage", row.id, "is no position of an event");
    this.lastId = row.id;
    if (row.type === "done") {
      if (strict) this.end();
      else this.terminal = true;
    }
    const at = this.log.index.get(row.id);
    if (!strict) return this.weak(row, data, at);
    if (at === undefined) return this.strays.push([row.id, `${row.type} is not in the log`, this.conn]);
    this.phantoms();
    if (this.outOfOrder(row, pos, at, data)) return;
    this.before = pos;
    const covered = this.cover(row, data, at);
    for (let i = this.next; i < at; i++) if (!covered.has(i)) this.skip(i);
    this.delivered.add(row.id);
    for (const i of covered) this.delivered.add(this.log.events[i].id);
    this.next = Math.max(this.next, at + 1);
    this.fold.apply(data);
  }

  /** On a branch that was lost later: what the log still has must be the same, the rest cannot be known. */
  weak(row, data, at) {
    if (at === undefined) return;
    const { event } = this.log.events[at];
    const merged = joinable(event) && data.offset !== event.offset;
    if (!merged && !this.paced && !this.same(data, event))
      this.say("changed", row.id, "the log has another event at this position");
  }

  /** A generation whose beginning a failover lost may have been asked for again under its key, and created later. */
  same(data, event) {
    const at = data.type === "created" && this.options.lossy ? { at: event.at } : {};
    return isDeepStrictEqual(normal({ ...data, ...at }), normal(event));
  }

  outOfOrder(row, pos, at, data) {
    const order = compare(pos, this.before);
    if (order > 0) return false;
    if (order === 0 && this.paced && data.type === "delta") return false;
    const inside = this.gaps.some(([from, to]) => pos.seq >= from.seq && pos.seq <= to.seq);
    if (this.skipped.delete(row.id)) this.say("swapped", row.id, `came after ${format(this.before)}`);
    else if (inside) this.say("gap-wide", row.id, "was told as missing and came");
    else this.say("doubled", row.id, `came again after ${format(this.before)}`);
    return true;
  }

  skip(i) {
    const { id, event } = this.log.events[i];
    if (!includes(this.policy.include, event) || this.delivered.has(id)) return;
    if (this.paced && event.type === "delta" && this.paceCovers(this.log.events[i])) return;
    this.skipped.set(id, true);
  }

  /** A paced client has this piece if its text reached so far. */
  paceCovers(entry) {
    return entry.epoch === this.epochs.get(keyOf(entry.event)) && this.fold.length(keyOf(entry.event)) >= entry.end;
  }

  /** The indexes in the log that this event stands for; says what does not fit. */
  cover(row, data, at) {
    const { event } = this.log.events[at];
    if (this.paced && data.type === "delta") return this.coverPaced(row, data, at);
    if (!includes(this.policy.include, event)) this.say("unasked", row.id, `${keyOf(event)} was not asked for`);
    if (!joinable(event) || data.type !== event.type || data.offset === event.offset) {
      if (!this.same(data, event))
        this.say(grows(event) ? "text" : "changed", row.id, difference(data, event));
      return new Set();
    }
    return this.coverMerged(row, data, at);
  }

  coverMerged(row, data, at) {
    const { events } = this.log;
    const covered = new Set();
    let offset = events[at].event.offset;
    let text = pieceOf(events[at].event);
    let first = at;
    for (let i = at - 1; i >= 0 && offset > data.offset; i--) {
      const { event, pos } = events[i];
      if (!includes(this.policy.include, event)) continue;
      const joins = joinable(event) && pos.attempt === events[at].pos.attempt && event.type === data.type;
      if (!joins || keyOf(event) !== keyOf(data) || event.offset + pieceOf(event).length !== offset) break;
      offset = event.offset;
      text = pieceOf(event) + text;
      first = i;
      covered.add(i);
    }
    if (offset !== data.offset) this.say("offset", row.id, `offset ${data.offset}: no piece before it begins there`);
    else if (text !== pieceOf(data))
      this.say("text", row.id, `the log has ${quote(text)}, came ${quote(pieceOf(data))}`);
    else if (data.at !== events[first].event.at)
      this.say("changed", row.id, "a joined delta has the time of its first piece");
    if (first < this.next) this.say("doubled", row.id, `holds ${events[first].id} again`);
    return covered;
  }

  /** A pace may cut inside a piece: the position is then that of the piece before. */
  coverPaced(row, data, at) {
    const { events } = this.log;
    const key = keyOf(data);
    const same = (entry) => entry.event.type === "delta" && keyOf(entry.event) === key;
    const until = data.offset + data.text.length;
    const mine = (entry) => entry?.pos.attempt === events[at].pos.attempt;
    const last = events.slice(0, at + 1).findLast(same);
    const behind = mine(last) ? last : undefined; // another attempt may have begun with the same words
    const ahead = events.find((entry, i) => i > at && same(entry));
    const fits = (entry) =>
      entry && entry.epoch.text.slice(data.offset, until) === data.text && entry.epoch.text.length >= until;
    const entry = [behind, ahead].find(fits);
    if (!entry) {
      this.say("text", row.id, `${quote(data.text)} is not what the log has at ${data.offset}`);
      return new Set();
    }
    const have = this.fold.length(key);
    if (this.epochs.get(key) === entry.epoch && (data.offset > have || (data.offset < have && !this.fresh)))
      this.say(data.offset > have ? "lost" : "doubled", row.id, `text from ${data.offset} where ${have} were there`);
    if (entry === behind && until < behind.end)
      this.say("lost", row.id, `text up to ${until}, the position says ${behind.end}`);
    this.epochs.set(key, entry.epoch);
    if (data.offset > have) this.fold.texts.set(key, entry.epoch.text.slice(0, data.offset)); // said once
    this.fresh = false;
    const covered = new Set();
    for (let i = this.next; i < at; i++) if (same(events[i]) && events[i].epoch === entry.epoch) covered.add(i);
    return covered;
  }

  // ---- gaps

  gap(row, data, strict) {
    const from = position(data.from);
    const to = position(data.to);
    if (!from || !to || from.seq > to.seq) return this.say("gap-malformed", data.from, `${data.from} to ${data.to}`);
    if (data.dropped !== to.seq - from.seq + 1)
      this.say("gap-count", data.from, `dropped ${data.dropped}, to ${data.to}`);
    if (data.reason === "lost") return this.lostBranch(row, data);
    if (row.id !== null) this.say("garbage", row.id, "a gap that is in no log has a position");
    if (data.reason === "overflow" && this.policy.overflow && this.policy.overflow !== "drop")
      this.say("gap-unasked", data.from, `overflow=${this.policy.overflow} never drops`);
    if (!strict) return; // on a branch that was lost later: the log says nothing of it
    const { events } = this.log;
    if (from.seq <= this.before.seq && !(this.paced && from.seq === this.before.seq))
      this.say("gap-wide", data.from, `tells of ${format(this.before)}, which came`);
    let i = this.next;
    for (; i < events.length && events[i].pos.seq < from.seq; i++) this.skip(i);
    for (; i < events.length && events[i].pos.seq <= to.seq; i++) this.inGap(data, events[i]);
    if (data.reason === "overflow" && !this.log.index.has(data.to))
      this.say("gap-wide", data.to, "tells of an event that is not in the log");
    this.gaps.push([from, to]);
    this.next = Math.max(i, this.next);
    this.before = compare(to, this.before) > 0 ? to : this.before;
    this.fresh = true;
  }

  inGap(data, entry) {
    const { id, event } = entry;
    if (data.reason === "trimmed") this.say("gap-wide", id, "told as trimmed, and is in the log");
    else if (KEPT.has(event.type) || (event.type === "tool_call" && event.done))
      this.say("gap-kept", id, `${event.type} is never dropped`);
    this.pass(entry);
  }

  /** The client has it by other means: told as missing, or from before it came. */
  pass({ event, epoch }) {
    this.fold.apply(event);
    if (epoch && this.paced) this.epochs.set(keyOf(event), epoch);
  }

  lostBranch(row, data) {
    if (row.id !== (this.policy.room ? null : "0-0")) this.say("garbage", row.id, "a lost branch puts back to 0-0");
    if (!this.options.lossy) this.say("lost-branch", data.to, "told as lost although no failover was made");
    this.lastId = row.id; // in a room 0-0 is not told apart from none
    this.fold.clear();
    this.epochs.clear();
    this.next = 0;
    this.before = START;
    this.delivered.clear();
    this.skipped.clear();
    this.gaps = [];
    this.done = 0;
    this.terminal = false;
  }

  // ---- the end

  finish() {
    const { end, name } = this.client;
    this.conn = this.client.connections.length - 1;
    for (const [n, { status }] of this.client.connections.entries())
      if ([400, 404, 410].includes(status)) this.say("denied", null, `${status} for a generation that is there`, n);
    const left = this.policy.leaves && this.done === 0;
    if (!left || !this.options.lossy) this.phantoms(); // else it left before it could be told
    if (left) return;
    if (this.done === 0 && !(end === "204" && this.policy.from === "now"))
      this.say("no-end", this.lastId, `no done; ${name} ended with ${end}`);
    if (this.done > 0 && this.options.gone === undefined && this.found.length === 0) this.whole();
  }

  phantoms() {
    for (const [id, what, conn] of this.strays.splice(0)) this.say("phantom", id, what, conn);
  }

  whole() {
    const wanted = Object.entries(this.log.fold.object()).filter(([key]) => includesKey(this.policy.include, key));
    const got = Object.entries(this.fold.object()).filter(([key]) => includesKey(this.policy.include, key));
    if (!isDeepStrictEqual(got, wanted)) this.say("fold", this.lastId, "the text at the end is not the log's");
  }
}

const isLost = ({ type, data }) => type === "gap" && parse(data)?.reason === "lost";
const format = ({ attempt, seq }) => `${attempt}-${seq}`;
const quote = (text) => JSON.stringify(text.length > 60 ? `${text.slice(0, 28)}…${text.slice(-28)}` : text);
const includesKey = (include, key) => {
  const [kind] = key.split("/");
  return includes(include, kind === "tool" ? { type: "tool_call" } : { type: "delta", kind });
};

function difference(data, event) {
  return `the log has ${quote(JSON.stringify(normal(event)))}, came ${quote(JSON.stringify(normal(data)))}`;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * What is wrong with what this client saw: [{name, client, gen, conn, position, what}], empty if the promises held.
 * options: lossy (a failover may have lost a branch), gone (the log was destroyed on purpose).
 */
export function judge(client, log, options = {}) {
  const last = client.events.at(-1);
  // The exception that protocol.md makes: an end that was shown and then lost, its worker with it.
  if (options.lossy && last?.type === "done" && last.id !== null && !log.index.has(last.id))
    return [
      {
        name: "terminal-lost",
        client: client.name,
        gen: client.gen,
        conn: last.conn,
        position: last.id,
        what: "an end that a failover lost",
        excused: true,
      },
    ];
  const judged = new Judge(client, log, options);
  const rows = client.events.map((row, n) => [row, n]);
  for (const [n, connection] of client.connections.entries()) {
    judged.open(n, connection);
    for (const [row, i] of rows.filter(([{ conn }]) => conn === n)) judged.take(row, i);
    judged.close(connection);
  }
  judged.finish();
  return judged.found;
}
