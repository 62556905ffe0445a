// What any broker must still say of a generation when all is over: its snapshot, and what a gap left out.
import { judge } from "./checker.mjs";
import { SseParser } from "./client.mjs";
import { position } from "./log.mjs";

const STATES = { error: "failed", cancelled: "cancelled" };
const LIMIT_MS = 15000;

async function get(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(LIMIT_MS) });
  const text = await response.text();
  if (response.status === 503) throw new Error(`not now: ${text.slice(0, 200)}`); // asked again
  return { status: response.status, text };
}

/** Findings of the snapshot against the log. */
export async function checkSnapshot(base, log) {
  const { status, text } = await get(`${base}/v1/generations/${log.gen}`);
  const say = (what) => [{ name: "snapshot", gen: log.gen, position: log.done?.id ?? null, what }];
  if (status !== 200) return say(`${status} ${text.slice(0, 200)}`);
  const snapshot = JSON.parse(text);
  // A broker that Redis has just come back to may not have read the end yet; one that never does is told at the limit.
  if (snapshot.state === "running" || snapshot.state === "queued")
    throw new Error(`snapshot of ${log.gen}: ${text.slice(0, 200)}`);
  const fold = (key) => log.fold.texts.get(key) ?? "";
  const state = STATES[log.done?.event.reason] ?? "done";
  if (snapshot.state !== state) return say(`state ${snapshot.state}, the log ended ${log.done?.event.reason}`);
  if (snapshot.position !== log.done.id) return say(`position ${snapshot.position}`);
  if (snapshot.text !== fold("text/0")) return say("another text than the log's");
  if ((snapshot.reasoning ?? "") !== fold("reasoning/0")) return say("another reasoning than the log's");
  return [];
}

/** Findings of `?after=&until=` over one overflow gap of this client. */
export async function checkGap(base, log, history) {
  const row = history.events.find(({ type, id, data }) => id === null && type === "gap" && data.includes('"overflow"'));
  if (!row) return [];
  const { from, to } = JSON.parse(row.data);
  const first = log.events.findIndex(({ pos }) => pos.seq >= position(from).seq);
  const last = log.index.get(to);
  if (first < 1 || last === undefined) return []; // of a branch that was lost
  const after = log.events[first - 1].id;
  const { status, text } = await get(`${base}/v1/generations/${log.gen}/events?after=${after}&until=${to}`);
  const events = new SseParser().feed(text).map((event) => ({ ...event, conn: 0 }));
  if (events.some(({ type }) => type === "bye")) throw new Error("the broker is being ended");
  const policy = { from: after, leaves: true };
  const client = {
    name: `${history.name}, its gap`,
    gen: log.gen,
    policy,
    connections: [{ after, status, end: "cut" }],
    events,
  };
  const found = judge(client, log);
  const end = events.findLast(({ id }) => id !== null)?.id;
  if (end !== to)
    found.push({
      name: "gap-fetch",
      client: client.name,
      gen: log.gen,
      position: to,
      what: `${status}, ended at ${end}`,
    });
  return found;
}
