// One reader of the run: raw HTTP, so that every byte is seen. It comes back with its position until it has got the
// end, records all that it got, and is judged afterwards. Its habits come from its own seeded generator.
import http from "node:http";

import { sleep } from "../lib/wait.mjs";

const QUIET_MS = 8000; // heartbeats come every second: a connection without a byte for so long is left

/** Splits SSE into events as the specification has it: only what a blank line ends counts. */
export class SseParser {
  #rest = "";
  #row = { id: null, type: "message", data: null };

  feed(text) {
    const rows = [];
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#row.data !== null) rows.push(this.#row);
        this.#row = { id: null, type: "message", data: null };
      } else this.#field(line);
    }
    return rows;
  }

  #field(line) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (name === "event") this.#row.type = value;
    else if (name === "id") this.#row.id = value;
    else if (name === "retry") this.#row.retry = Number(value);
    else if (name === "data") this.#row.data = this.#row.data === null ? value : `${this.#row.data}\n${value}`;
  }
}

export class NdjsonParser {
  #rest = "";

  feed(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    return lines.map((line) => {
      try {
        const { position = null, type = "message" } = JSON.parse(line);
        // What `open` tells is where the log ends, not what this reader has.
        return { id: type === "open" ? null : position, type, data: line };
      } catch {
        return { id: null, type: "message", data: line };
      }
    });
  }
}

export class Client {
  connections = [];
  events = [];
  end = null;
  lastId = null;
  trouble = {}; // failed connections by their reason
  paused = false;
  naps = 0;

  /** habits: {form, delay, hop, cuts, cutBytes, sleepy, nap, leavesAfter}; pool(): the addresses of brokers now;
   * limit(): when the run gives everybody up. */
  constructor({ name, gen, policy, habits, pool, random, limit }) {
    Object.assign(this, { name, gen, policy, habits, pool, random, limit });
  }

  get path() {
    return `/v1/generations/${this.gen}/events`;
  }

  #query() {
    const { overflow, include, pace, from } = this.policy;
    const after = this.lastId ?? (from === "now" ? "now" : null);
    const query = new URLSearchParams();
    if (overflow) query.set("overflow", overflow);
    if (include) query.set("include", include.join(","));
    if (pace) query.set("pace", pace);
    const header = after !== null && after !== "now" && this.random.chance(0.5);
    if (after !== null && !header) query.set("after", after);
    return { after, query: String(query), headers: header ? { "last-event-id": after } : {} };
  }

  /** Runs to its end; never throws. */
  async run() {
    await sleep(this.habits.delay ?? 0);
    while (this.end === null) {
      if (Date.now() > this.limit()) this.end = "limit";
      else await this.#connect();
      if (this.end === null && this.policy.leaves && this.connections.length > this.habits.leavesAfter)
        this.end = "left";
      if (this.end === null) await this.pause();
    }
  }

  /** Before it comes back. */
  pause() {
    return sleep(this.random.int(5, 120));
  }

  async #connect() {
    const base = this.habits.hop || !this.base || this.failed ? this.random.pick(this.pool()) : this.base;
    this.base = base;
    this.failed = false;
    if (!base) return void (await sleep(200));
    const { after, query, headers } = this.#query();
    const accept = this.habits.form === "ndjson" ? "application/x-ndjson" : "text/event-stream";
    const url = `${base}${this.path}?${query}`;
    const row = { after, at: Date.now(), base, status: 0, end: "cut", bytes: 0 };
    const cut = this.random.chance(this.habits.cuts) ? this.random.int(1, this.habits.cutBytes) : Infinity;
    await new Promise((over) => this.#request(url, { ...headers, accept }, row, cut, over));
    if (row.status === 204) this.end = "204";
    else if ([400, 404, 410].includes(row.status)) this.end = String(row.status);
    else if (row.status !== 200) this.#fail(row.error ?? String(row.status));
    if (row.status !== 0) return;
    if (this.connections.at(-1) === row) this.connections.pop(); // never answered: no part of the history
  }

  #fail(reason) {
    this.failed = true;
    this.trouble[reason] = (this.trouble[reason] ?? 0) + 1;
  }

  #request(url, headers, row, cut, over) {
    const conn = this.connections.push(row) - 1;
    const request = http.get(url, { headers, agent: false });
    this.row = row;
    let timer = setTimeout(() => request.destroy(new Error("quiet")), QUIET_MS);
    this.request = request;
    const finish = () => {
      clearTimeout(timer);
      this.request = null;
      this.response = null;
      row.over = Date.now();
      over();
    };
    request.on("error", (error) => {
      row.error = error.code ?? error.message;
      if (row.status === 0) finish();
    });
    request.on("response", (response) => {
      row.status = response.statusCode;
      row.via = response.headers["x-served-by"]; // where a proxy says it
      this.response = response;
      if (this.paused) response.pause();
      const parser = this.habits.form === "ndjson" ? new NdjsonParser() : new SseParser();
      const decoder = new TextDecoder();
      response.on("data", (chunk) => {
        clearTimeout(timer);
        if (!this.paused) timer = setTimeout(() => request.destroy(new Error("quiet")), QUIET_MS);
        if (row.cut) return; // what the parser had already
        const room = cut - row.bytes;
        row.bytes += chunk.length;
        if (row.status === 200)
          this.#take(conn, parser.feed(decoder.decode(chunk.subarray(0, room), { stream: true })));
        if (chunk.length >= room) this.cut();
        else if (this.random.chance(this.habits.sleepy))
          this.sleep(this.random.int(...(this.habits.nap ?? [200, 2500])));
      });
      // A connection that we gave up ourselves may still seem to end well.
      response.on("end", () => (row.end = row.cut || row.error ? "cut" : "complete"));
      response.on("error", (error) => (row.error = error.code ?? error.message));
      response.on("close", finish);
    });
  }

  #take(conn, rows) {
    const at = Date.now();
    for (const { id, type, data, retry } of rows) {
      this.events.push({ at, conn, id, type, data });
      if (id !== null) this.lastId = id; // that of a lost branch too: 0-0, which forgets
      this.seen(type, data, retry);
    }
  }

  seen(type) {
    if (type === "done") this.end = "done";
  }

  /** Stops reading for a while: what comes fills the kernel, then the broker. */
  sleep(ms) {
    if (this.paused || this.naps++ > 6) return; // a run must come to its end
    this.paused = true;
    this.response?.pause();
    setTimeout(() => {
      this.paused = false;
      this.response?.resume();
    }, ms);
  }

  /** Ends the connection of now, as a bad network would. */
  cut() {
    if (!this.request) return;
    this.row.cut = true;
    this.request.destroy();
  }

  history() {
    const { name, gen, policy, end, connections, events, trouble } = this;
    return { name, gen, policy, end, connections, events, trouble };
  }
}

/** A reader of a room: one stream for all its generations, until it is told that it has seen enough. */
export class RoomClient extends Client {
  over = new Set(); // generations whose end it has got
  leftOut = new Set();

  get path() {
    return `/v1/channels/${this.gen}/events`;
  }

  seen(type, text) {
    if (type !== "done" && type !== "status") return;
    const data = JSON.parse(text);
    if (type === "done") this.over.add(data.generation);
    else if (data.state === "left_out") this.leftOut.add(data.generation);
  }
}
