// A steady load: new generations at a steady rate, and some that go on until they are cancelled; each with readers who
// come through the proxy as an EventSource would (they wait for what `retry:` said, and come back with their position),
// and are held against the log at the end.
import { judge } from "../chaos/checker.mjs";
import { Client } from "../chaos/client.mjs";
import { Log, judgeLog } from "../chaos/log.mjs";
import { Random } from "../chaos/random.mjs";
import { unpack } from "../lib/msgpack.mjs";
import { sleep } from "../lib/wait.mjs";
import { pieces } from "./model.mjs";

const POST_LIMIT_MS = 60000; // bounds a hang
const SILENCE_MS = 100; // shorter ones are the rate of the model
const SHOWN = 30;
const ENDLESS = { first: 1000000, tokens: 100000 }; // numbers of those that are cancelled at the end, and their length

class Reader extends Client {
  retry = 3000; // a browser's own, until it is told another

  text = false; // whether any has come

  seen(type, data, retry) {
    if (type === "delta") this.text = true;
    if (retry !== undefined) this.retry = retry;
    super.seen(type);
  }

  pause() {
    return sleep(this.retry);
  }
}

export class Load {
  clients = []; // what figures.mjs reads
  generations = [];
  repeated = 0; // starts that had to be repeated
  deadline = Infinity;
  #stopping = false;
  #abandoned = false;
  #running = new Set();
  #endless = new Set(); // ids
  #reading = new Set();

  constructor(stage, { perSecond, endless, readers, tokens, rate, seed = 1 }) {
    Object.assign(this, { stage, perSecond, endless, readers, tokens, rate, random: new Random(seed), seed });
  }

  /** The step that what begins now belongs to. */
  step = null;

  async run() {
    const began = Date.now();
    for (let i = 0; i < this.endless; i++) this.#begin(ENDLESS.first + i);
    for (let number = 0; !this.#stopping; number++) {
      this.#begin(number);
      // By the clock, so that what is late does not make the load less.
      while (!this.#stopping && Date.now() < began + ((number + 1) * 1000) / this.perSecond) await sleep(10);
    }
    await Promise.all([...this.#endless].map((gen) => this.#post(`/${gen}/cancel`, "", gen)));
    await Promise.all(this.#running);
  }

  #begin(number) {
    const one = this.#generation(number, this.random.fork()).catch((error) =>
      this.stage.find("rehearsal", String(error.stack ?? error)),
    );
    this.#running.add(one);
    void one.then(() => this.#running.delete(one));
  }

  /** No new ones; `run` resolves when those under way have ended, or have been given up after `ms`. */
  stop(ms) {
    this.#stopping = true;
    this.deadline = Date.now() + ms;
  }

  /** Where the rehearsal itself broke off: nobody is judged any more. */
  abandon() {
    this.#abandoned = true;
    this.stop(0);
    for (const reader of this.#reading) reader.cut();
  }

  /** Repeats it until some broker takes it: under one key that is always right. */
  async #post(route, body, key) {
    const deadline = Date.now() + POST_LIMIT_MS;
    let last;
    for (let tries = 0; Date.now() < deadline && !this.#abandoned; tries++) {
      if (tries > 0) {
        this.repeated += 1;
        await sleep(200);
      }
      try {
        const response = await fetch(`${this.stage.proxy.url}/v1/generations${route}`, {
          method: "POST",
          headers: { "content-type": "application/json", "idempotency-key": key },
          body,
          signal: AbortSignal.timeout(15000),
        });
        const text = await response.text();
        if (response.status < 300) return JSON.parse(text).id;
        last = `${response.status} ${text.slice(0, 200)}`;
        if (response.status < 500) break;
      } catch (error) {
        last = String(error.cause ?? error);
      }
    }
    if (!this.#abandoned) this.stage.find("post", `${key}: ${last}`);
    return null;
  }

  async #generation(number, random) {
    const { step, tokens, rate, stage } = this;
    const endless = number >= ENDLESS.first;
    const length = random.int(Math.ceil(tokens / 2), Math.ceil(tokens * 1.5));
    const ask = { number, tokens: endless ? ENDLESS.tokens : length, rate };
    const asked = Date.now();
    const body = JSON.stringify({ model: "m", prompt: JSON.stringify(ask) });
    const gen = await this.#post("", body, `rehearse-${process.pid}-${this.seed}-${number}`);
    if (!gen) return;
    if (endless) this.#endless.add(gen);
    const lasts = (length * 1000) / rate;
    const readers = Array.from({ length: this.readers }, (_, i) => this.#reader(gen, number, i, random, lasts));
    await Promise.all(readers.map((reader) => this.#read(reader)));
    if (this.#abandoned) return;
    const log = await this.#log(gen);
    for (const one of judgeLog(log, { text: pieces(ask).join(""), reasons: [endless ? "cancelled" : "stop"] }))
      this.#find(one);
    for (const [i, reader] of readers.entries()) this.#judge(reader, log, { step, asked: i === 0 ? asked : null });
    const attempts = (reason) =>
      log.events
        .filter(({ event }) => event.type === "attempt" && event.reason === reason)
        .map(({ event }) => event.at / 1000);
    this.generations.push({ step, handedBack: attempts("handed_back"), lost: attempts("worker_lost") });
    if (Date.now() > this.deadline) stage.find("late", `${gen} did not end in time`);
  }

  #reader(gen, number, i, random, lasts) {
    const habits = { form: "sse", cuts: 0, sleepy: 0, delay: i === 0 ? 0 : random.int(0, lasts / 2) };
    return new Reader({
      name: `g${number}c${i}`,
      gen,
      policy: {},
      habits,
      pool: () => [this.stage.proxy.url],
      random: random.fork(),
      limit: () => this.deadline,
    });
  }

  async #read(reader) {
    this.#reading.add(reader);
    await reader.run();
    this.#reading.delete(reader);
  }

  /** Readers who have not got the end. */
  get open() {
    return this.#reading.size;
  }

  /** Of those, the ones that are connected and have no text. */
  waiting() {
    return [...this.#reading].filter(({ request, text }) => request && !text).length;
  }

  async #log(gen) {
    const rows = await this.stage.redis.stream(`tc:{${gen}}:log`);
    return new Log(
      gen,
      rows.map(([id, bytes]) => ({ id, event: unpack(bytes) })),
    );
  }

  #find({ name, what, ...more }) {
    if (this.stage.findings.length < SHOWN) this.stage.find(name, what, more);
    else this.stage.findings.push({ name, what, ...more });
  }

  #judge(reader, log, { step, asked }) {
    const history = reader.history();
    const found = [...judge(history, log), ...this.#unasked(history)];
    for (const one of found) this.#find(one);
    const first = history.events.find(({ type }) => type === "delta")?.at;
    const texts = history.events.filter(({ type }) => type === "delta").map(({ at }) => at);
    this.clients.push({
      step,
      whole: found.length === 0,
      ttft: asked !== null && first ? first - asked : null,
      reconnects: history.connections.slice(1).map(({ at }) => at),
      from: history.connections.slice(0, -1).map(({ via, over }, i) => ({
        via,
        over,
        back: history.connections[i + 1].at,
      })),
      via: history.connections.map(({ via, at }) => ({ via, at })),
      span: [texts[0] ?? Infinity, texts.at(-1) ?? -Infinity],
      silences: texts
        .slice(1)
        .map((at, i) => ({ at: texts[i], ms: at - texts[i] }))
        .filter(({ ms }) => ms > SILENCE_MS),
    });
  }

  /** In everything that is planned, a connection ends with `done` or with `bye`, and none is refused. */
  #unasked({ name, gen, connections, events, trouble }) {
    const statuses = connections.map(({ status, via, at }) => `${status} by ${via ?? "the proxy"} at ${at}`);
    const refused = Object.keys(trouble).length > 0;
    const what = `${name}: ${JSON.stringify(trouble)} (${statuses}): an EventSource gives up on any status but 200`;
    const found = refused ? [{ name: "refused", what, gen }] : [];
    const told = new Set(events.filter(({ type }) => type === "bye" || type === "done").map(({ conn }) => conn));
    for (const [conn, { status, error, via }] of connections.entries())
      if (status === 200 && !told.has(conn))
        found.push({
          name: "dropped",
          what: `${name}: connection ${conn} by ${via} ended untold (${error ?? "end"})`,
          gen,
        });
    return found;
  }
}
