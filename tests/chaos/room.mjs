// A room's stream taken apart into one history a generation, for the checker. The position of such a stream is
// composite: how far the announcements were read, then `~<generation>:<position>` of each that is not over. Pure.

function parts(id) {
  const at = new Map();
  for (const item of (id ?? "").split("~").slice(1)) {
    const [gen, position] = item.split(":");
    if (position !== "0-0") at.set(gen, position); // announced, and nothing of it sent yet
  }
  return at;
}

function without(data) {
  const { generation, ...event } = JSON.parse(data);
  return { generation, data: JSON.stringify(event) };
}

/** Of the end of a generation the composite position says nothing any more: it is the log's, unless it is another one. */
function positionOf({ id, type, data }, generation, log, lossy) {
  if (id === null) return null;
  const end = lossy && JSON.parse(data).at !== log.done?.event.at ? "0-0" : (log.done?.id ?? null);
  return parts(id).get(generation) ?? (type === "done" ? end : null);
}

/** What this reader was shown, by generation: Map from its id to its rows, without what the room adds to them. */
export function byGeneration({ events }) {
  const shown = new Map();
  for (const row of events) {
    const { generation, data } = row.data.includes('"generation"') ? without(row.data) : {};
    if (generation === undefined) continue;
    if (!shown.has(generation)) shown.set(generation, []);
    if (row.type !== "generation") shown.get(generation).push({ ...row, data });
  }
  return shown;
}

/**
 * What the room's reader got of one generation (`shown`), as histories of readers of that one: one history, unless a failover may
 * have lost something (`lossy`). Then what was shown to its end may come again: because the end was lost (told with the
 * id 0-0), or the whole log (told without ids) and made again under its idempotency key, or what announced it in the
 * room and was repeated. Each time is a history, which begins without a position: the room's had none of it any more.
 * One whose end was lost is left out if another follows.
 */
export function historiesOf(client, shown, log, { lossy = false } = {}) {
  const { gen } = log;
  const times = [[]];
  for (const row of shown) {
    times.at(-1).push({ ...row, id: positionOf(row, gen, log, lossy) });
    if (lossy && row.type === "done") times.push([]);
  }
  if (times.length > 1 && times.at(-1).length === 0) times.pop();
  return times
    .map((rows, n) => ({ rows, again: n > 0 }))
    .filter(({ rows }, n) => n === times.length - 1 || ![null, "0-0"].includes(rows.at(-1).id))
    .map(({ rows, again }) => historyOf(client, gen, rows, again));
}

function historyOf(client, gen, rows, again) {
  const last = rows.findLast(({ type }) => type === "done")?.conn ?? client.connections.length - 1;
  const first = Math.min(rows[0]?.conn ?? 0, last);
  const connections = client.connections
    .slice(first, last + 1)
    .map((row, n) => ({ ...row, after: again && n === 0 ? null : (parts(row.after).get(gen) ?? null), end: "cut" }));
  const events = rows.map((row) => ({ ...row, conn: row.conn - first }));
  return { name: client.name, gen, policy: { overflow: "close", room: true }, end: client.end, connections, events };
}
