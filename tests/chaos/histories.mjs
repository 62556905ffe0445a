// Logs and histories made up for the checker's own tests: random logs, what a right client would have received of
// them, and ways to spoil that.
import { Log, keyOf, pieceOf } from "./log.mjs";

const WORDS = ["The", " quick", " brown", "\n", " fox", " — «jumps»", " \u{1F98A}", " naïve.", " café\n", "x"];

/** A log in the making: `say` adds an event at the next position. */
export class Pen {
  entries = [];
  attempt = 0;
  seq = 0;
  at = 1790000000000000;
  lengths = new Map();

  say(event) {
    this.entries.push({ id: `${this.attempt}-${++this.seq}`, event: { ...event, at: (this.at += 1000) } });
    return this;
  }

  fence() {
    this.attempt += 37;
    this.entries.push({ id: `${this.attempt}-0`, event: { type: "fence", writer: "w" } });
    return this;
  }

  delta(text, kind) {
    const key = keyOf({ type: "delta", kind });
    const offset = this.lengths.get(key) ?? 0;
    this.lengths.set(key, offset + text.length);
    return this.say({ type: "delta", text, offset, ...(kind ? { kind } : {}) });
  }

  tool(fields, text = "") {
    const offset = this.lengths.get("tool/0") ?? 0;
    this.lengths.set("tool/0", offset + text.length);
    return this.say({ type: "tool_call", index: 0, ...fields, arguments: text, offset });
  }

  restart() {
    this.fence().lengths.clear();
    return this.say({ type: "attempt", attempt: this.attempt, try: 2, reason: "lease_expired", mode: "restart" });
  }

  /** Keeps the text up to `length`. */
  goOn(length) {
    this.fence();
    this.lengths = new Map([["text/0", length]]);
    const kept = [{ kind: "text", index: 0, length }];
    return this.say({
      type: "attempt",
      attempt: this.attempt,
      try: 2,
      reason: "lease_expired",
      mode: "continue",
      kept,
    });
  }

  done(reason = "stop") {
    return this.say({ type: "done", reason });
  }

  log(gen = "g") {
    return new Log(gen, this.entries);
  }
}

export const begun = () => new Pen().say({ type: "created", model: "m" }).fence().say({ type: "start", model: "m" });

export function randomLog(random) {
  const pen = begun();
  for (let n = random.int(3, 60); n > 0; n--) {
    const what = random.weighted([
      ["text", 20],
      ["reasoning", 4],
      ["note", 1],
      ["tool", 1],
      ["restart", 1],
      ["goOn", 1],
    ]);
    if (what === "text") pen.delta(random.pick(WORDS));
    else if (what === "reasoning") pen.delta(random.pick(WORDS), "reasoning");
    else if (what === "note") pen.say({ type: "note", kind: "status", text: "…" });
    else if (what === "tool")
      pen
        .tool({ id: `c${n}`, name: "f" }, "")
        .tool({}, '{"a":')
        .tool({}, " 1}");
    else if (what === "restart") pen.restart();
    else pen.goOn(random.int(0, pen.lengths.get("text/0") ?? 0));
  }
  return pen.done(random.pick(["stop", "cancelled"])).log();
}

const row = (conn, { id, event }) => ({ at: 0, conn, id, type: event.type, data: JSON.stringify(event) });
const control = (conn, event) => ({ at: 0, conn, id: null, type: event.type, data: JSON.stringify(event) });

/** All of a log on one connection. */
export function whole(log, policy = {}) {
  return {
    name: "c",
    gen: log.gen,
    policy,
    end: "done",
    connections: [{ after: null, status: 200, end: "complete" }],
    events: [control(0, { type: "open", position: log.events[0].id }), ...log.events.map((entry) => row(0, entry))],
  };
}

const joins = (a, b) =>
  a.event.type === "delta" &&
  b.event.type === "delta" &&
  a.pos.attempt === b.pos.attempt &&
  keyOf(a.event) === keyOf(b.event) &&
  a.event.offset + a.event.text.length === b.event.offset;

export function gapOf(conn, first, last, reason = "overflow") {
  const dropped = last.pos.seq - first.pos.seq + 1;
  return control(conn, { type: "gap", from: first.id, to: last.id, dropped, reason });
}

/** The log as a right client may get it: cut anywhere, joined, with gaps. */
export function randomClient(random, log) {
  const client = { ...whole(log, { overflow: "drop" }), connections: [], events: [] };
  let next = 0;
  let last = null;
  while (next < log.events.length) {
    const conn = client.connections.push({ after: last, status: 200, end: "cut" }) - 1;
    next = last === null ? 0 : log.index.get(last) + 1;
    for (let left = random.int(0, 25); left > 0 && next < log.events.length; left--) {
      let to = next;
      if (random.chance(0.1)) {
        while (to + 1 < log.events.length && log.events[to].event.type === "delta" && random.chance(0.7)) to++;
        if (to > next) client.events.push(gapOf(conn, log.events[next], log.events[to - 1]));
        next = to;
        continue;
      }
      while (to + 1 < log.events.length && joins(log.events[to], log.events[to + 1]) && random.chance(0.5)) to++;
      const { event } = log.events[next];
      const text =
        event.type === "delta" &&
        log.events
          .slice(next, to + 1)
          .map(({ event: e }) => pieceOf(e))
          .join("");
      const { id } = log.events[to];
      client.events.push(row(conn, { id, event: text ? { ...event, text } : event }));
      last = id;
      next = to + 1;
    }
  }
  client.connections.at(-1).end = "complete";
  return client;
}

const edit = (event, change) => ({ ...event, data: JSON.stringify(change(JSON.parse(event.data))) });

/** Each spoils a copy of the history, or returns null where it does not apply. */
export const SPOILS = {
  lost(random, events) {
    return events.filter((event) => event.id !== null).length < 2 ? null : without(events, pickIndex(random, events));
  },
  doubled(random, events) {
    const i = pickIndex(random, events);
    return [...events.slice(0, i + 1), events[i], ...events.slice(i + 1)];
  },
  swapped(random, events) {
    const pairs = events
      .map((_, i) => i)
      .filter((i) => i > 0 && events[i].id && events[i - 1].id && events[i].conn === events[i - 1].conn);
    if (pairs.length === 0) return null;
    const i = random.pick(pairs);
    return [...events.slice(0, i - 1), events[i], events[i - 1], ...events.slice(i + 1)];
  },
  phantom(random, events) {
    const i = pickIndex(random, events);
    return replaced(events, i, {
      ...events[i],
      id: `${Number(events[i].id.split("-")[0]) + 1}-${events[i].id.split("-")[1]}`,
    });
  },
  text(random, events) {
    return editOne(
      random,
      events,
      (data) => data.type === "delta",
      (data) => ({ ...data, text: `${data.text.slice(0, -1)}#` }),
    );
  },
  longer(random, events) {
    return editOne(
      random,
      events,
      (data) => data.type === "delta",
      (data) => ({ ...data, text: `${data.text}#` }),
    );
  },
  offset(random, events) {
    return editOne(
      random,
      events,
      (data) => data.type === "delta",
      (data) => ({ ...data, offset: data.offset + 1 }),
    );
  },
  narrow(random, events) {
    const gaps = followed(events, "gap").filter((i) => JSON.parse(events[i].data).dropped > 1);
    if (gaps.length === 0) return null;
    const i = random.pick(gaps);
    return replaced(
      events,
      i,
      edit(events[i], (data) => {
        const [attempt, seq] = data.to.split("-").map(Number);
        return { ...data, to: `${attempt}-${seq - 1}`, dropped: data.dropped - 1 };
      }),
    );
  },
  end(random, events) {
    return editOne(
      random,
      events,
      (data) => data.type === "done",
      (data) => ({ ...data, reason: "length" }),
    );
  },
  twice(random, events) {
    return [...events, events.at(-1)];
  },
  endless(random, events) {
    return events.slice(0, -1);
  },
  gapLost(random, events) {
    const gaps = followed(events, "gap");
    return gaps.length === 0 ? null : without(events, random.pick(gaps));
  },
};

/** Where a row of that type has another after it on its connection: what a cut follows is told again anyway. */
const followed = (events, type) =>
  events.map((_, i) => i).filter((i) => events[i].type === type && events[i + 1]?.conn === events[i].conn);
const without = (events, i) => [...events.slice(0, i), ...events.slice(i + 1)];
const replaced = (events, i, event) => [...events.slice(0, i), event, ...events.slice(i + 1)];

function pickIndex(random, events) {
  return random.pick(events.map((_, i) => i).filter((i) => events[i].id !== null));
}

function editOne(random, events, which, change) {
  const fitting = events.map((_, i) => i).filter((i) => which(JSON.parse(events[i].data)));
  if (fitting.length === 0) return null;
  const i = random.pick(fitting);
  return replaced(events, i, edit(events[i], change));
}

export { control, edit, row };
