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

/** The generations that this reader was shown. */
export function generationsIn({ events }) {
  const shown = new Set(
    events.filter(({ data }) => data.includes('"generation"')).map(({ data }) => without(data).generation),
  );
  shown.delete(undefined);
  return shown;
}

/**
 * What the room's reader got of one generation, as a history of a reader of that one. `lossy`: a failover may have lost
 * an end that was shown, or the whole log, which is told by an end without ids, and was then made again under the same
 * idempotency key. If the generation is given again behind that, its history begins there, without a position: the
 * room's had none of it any more.
 */
export function historyOf(client, log, { lossy = false } = {}) {
  const { gen } = log;
  const all = client.events
    .filter(({ type, data }) => type !== "generation" && data.includes(gen) && without(data).generation === gen)
    .map((row) => ({ ...row, id: positionOf(row, gen, log, lossy), data: without(row.data).data }));
  const lost = lossy ? all.findLastIndex(({ type, id }) => type === "done" && (id === "0-0" || id === null)) : -1;
  const again = lost >= 0 && lost < all.length - 1;
  const rows = again ? all.slice(lost + 1) : all;
  const last = rows.findLast(({ type }) => type === "done")?.conn ?? client.connections.length - 1;
  const first = Math.min(rows[0]?.conn ?? 0, last);
  const connections = client.connections
    .slice(first, last + 1)
    .map((row, n) => ({ ...row, after: again && n === 0 ? null : (parts(row.after).get(gen) ?? null), end: "cut" }));
  const events = rows.map((row) => ({ ...row, conn: row.conn - first }));
  return { name: client.name, gen, policy: { overflow: "close", room: true }, end: client.end, connections, events };
}
