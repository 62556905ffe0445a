// The list at the side: what was started in this browser, or what there is in the room.

const KEY = "tokencast.recent";
const MAX = 50;

/** @returns {{id: string, prompt: string, at: number, room?: string}[]} newest first */
export function recent() {
  try {
    const rows = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(rows) ? rows.filter((row) => typeof row?.id === "string") : [];
  } catch {
    return []; // no storage here, or not ours
  }
}

export function remember(row) {
  const rows = [row, ...recent().filter((old) => old.id !== row.id)].slice(0, MAX);
  try {
    localStorage.setItem(KEY, JSON.stringify(rows));
  } catch {
    // full or forbidden: the list is a convenience
  }
}

export function promptOf(id) {
  return recent().find((row) => row.id === id)?.prompt;
}

/** @param {{id: string, name: string, at: number, state?: string}[]} rows @param {string|null} current @param {(id: string) => string} href */
export function drawList(rows, current, href) {
  const list = document.getElementById("list");
  list.replaceChildren(...rows.map((row) => item(row, row.id === current, href(row.id))));
  document.getElementById("list-empty").hidden = rows.length > 0;
}

function item(row, isCurrent, href) {
  const link = document.createElement("a");
  link.href = href;
  if (isCurrent) link.setAttribute("aria-current", "page");
  if (row.state) {
    const dot = document.createElement("i");
    dot.className = "dot";
    dot.dataset.state = row.state;
    dot.title = row.state;
    link.append(dot);
  }
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = row.name;
  const time = document.createElement("time");
  time.textContent = row.at ? clock(row.at) : "";
  link.append(name, time);
  const made = document.createElement("li");
  made.append(link);
  return made;
}

function clock(at) {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { hour: "2-digit", minute: "2-digit" } : { month: "short", day: "numeric" });
}
