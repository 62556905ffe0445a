// The page: where it is (#g=<generation>, #c=<room>), what it watches, and what its buttons do.

import { channelUrl, eventsUrl, snapshot, startGeneration, watch, watchChannel } from "./client.js";
import { drawList, promptOf, recent, remember } from "./recent.js";
import { GenerationView } from "./view.js";

const base = new URL(".", import.meta.url).href;
const $ = (id) => document.getElementById(id);
const view = new GenerationView();

let gen = null; // what is watched
let genId = null;
let room = null; // {name, channel, rows: Map by id, abort}

// ---- where we are

function place() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const query = new URLSearchParams(location.search);
  return { g: hash.get("g") ?? query.get("g"), c: hash.get("c") ?? query.get("c") };
}

function linkTo(id, name = room?.name) {
  const hash = new URLSearchParams();
  if (name) hash.set("c", name);
  if (id) hash.set("g", id);
  return `#${hash}`;
}

function go(id, name = room?.name) {
  const target = linkTo(id, name);
  if (location.hash === target) route();
  else location.hash = target; // hashchange brings us to route()
}

function route() {
  const { g, c } = place();
  if ((c ?? null) !== (room?.name ?? null)) join(c);
  if ((g ?? null) !== genId) open(g);
  closeMenu();
  drawSide();
}

// ---- the generation

function headers() {
  const token = $("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function open(id, startedAt) {
  gen?.close();
  gen = null;
  genId = id ?? null;
  document.title = "tokencast";
  if (!id) {
    view.close();
    return;
  }
  const title = promptOf(id) ?? "A shared generation";
  const mine = watch(eventsUrl(base, id), {
    headers,
    startedAt,
    onText: (_, change) => gen === mine && view.text(change),
    onEvent: (event) => gen === mine && view.event(event),
    onGap: () => gen === mine && view.event({}),
    onState: (state) => gen === mine && onState(state),
    onDone: () => gen === mine && view.event({}),
  });
  gen = mine;
  document.title = `${title.slice(0, 60)} · tokencast`;
  view.open(mine, title);
}

function onState(state) {
  view.event({});
  const row = room?.rows.get(genId);
  if (row && ["running", "done", "failed", "cancelled"].includes(state)) row.state = state;
  drawSide();
}

async function start() {
  const prompt = $("prompt").value.trim();
  if (!prompt || !$("composer").reportValidity()) return;
  const name = $("room").value.trim();
  say("");
  $("start").disabled = true;
  try {
    const begun = performance.now();
    const started = await startGeneration(base, body(prompt, name), { headers });
    remember({ id: started.id, prompt, at: Date.now(), room: name || undefined });
    $("prompt").value = "";
    open(started.id, begun);
    go(started.id, name || undefined);
    drawSide();
    scrollTo(0, 0);
  } catch (error) {
    say(error.name === "TypeError" ? "The broker cannot be reached." : error.message);
  } finally {
    $("start").disabled = false;
  }
}

function body(prompt, name) {
  const extra = $("extra").value.trim();
  const model = $("model").value.trim();
  const made = { prompt };
  if (name) made.channel = name;
  if (model) made.model = model;
  try {
    if (extra) made.options = JSON.parse(extra);
  } catch {
    throw new Error("The model options are not valid JSON.");
  }
  return made;
}

function say(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = problem === "";
}

async function stop() {
  $("stop").disabled = true;
  try {
    await gen.cancel();
  } catch (error) {
    say(error.message);
  } finally {
    $("stop").disabled = false;
  }
}

async function copyLink() {
  const url = new URL(linkTo(genId), location.href.split("#")[0]).href;
  let copied = true;
  try {
    await navigator.clipboard.writeText(url);
  } catch {
    copied = copyBySelection(url); // no clipboard API outside of secure contexts
  }
  $("copy").textContent = copied ? "Copied" : "Copy the address above";
  setTimeout(() => ($("copy").textContent = "Copy link"), 1600);
}

function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

// ---- the room

function join(name) {
  room?.abort.abort();
  room = null;
  $("room").value = name ?? "";
  $("room-badge").hidden = !name;
  $("room-badge").textContent = name ? `Room ${name}` : "";
  if (!name) return;
  const abort = new AbortController();
  const mine = { name, rows: new Map(), abort };
  room = mine;
  const url = channelUrl(base, name);
  const put = (id, row) => mine.rows.set(id, { ...mine.rows.get(id), id, ...row });
  watchChannel(url, {
    headers,
    after: "now",
    signal: abort.signal,
    onEvent: (event, one) => {
      if (event.type !== "generation" || !one || room !== mine) return;
      put(one.id, { at: event.at ? event.at / 1000 : Date.now(), state: "queued", model: event.model });
      if (idle()) go(one.id); // who only listens follows the room
      drawSide();
    },
    onText: (one) => mine.rows.get(one.id)?.state === "queued" && (put(one.id, { state: "running" }), drawSide()),
    onDone: (one) => (put(one.id, { state: one.state }), drawSide()),
  });
  snapshot(url, { headers, signal: abort.signal }).then(
    (answer) => {
      for (const row of answer.generations ?? []) {
        if (!mine.rows.has(row.id)) put(row.id, { at: millis(row.created_at), state: row.state, model: row.model });
      }
      if (room === mine && genId === null) {
        const live = newestFirst(mine.rows).find((row) => ["queued", "running", "stalled"].includes(row.state));
        if (live) go(live.id);
      }
      drawSide();
    },
    () => {}, // the stream tells what is wrong, if something is
  );
}

function idle() {
  return (gen === null || ["done", "failed", "cancelled"].includes(gen.state)) && $("prompt").value === "";
}

/** created_at as text, or as a number of seconds, milliseconds or microseconds. */
function millis(at) {
  if (typeof at !== "number") return Date.parse(at) || 0;
  return at > 1e14 ? at / 1000 : at > 1e11 ? at : at * 1000;
}

function newestFirst(rows) {
  return [...rows.values()].sort((a, b) => b.at - a.at);
}

function drawSide() {
  const rows = room
    ? newestFirst(room.rows).map((row) => ({ ...row, name: promptOf(row.id) ?? row.model ?? row.id }))
    : recent().map((row) => ({ id: row.id, at: row.at, name: row.prompt }));
  $("side-title").textContent = room ? "In this room" : "Recent";
  $("list-empty").textContent = room
    ? "Nothing yet. What anyone starts in this room appears here."
    : "What you start will be listed here.";
  drawList(rows, genId, (id) => linkTo(id));
}

// ---- buttons and keys

function closeMenu() {
  $("side").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
}

$("menu").addEventListener("click", () => {
  const isOpen = $("side").classList.toggle("open");
  $("menu").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) $("list").querySelector("a")?.focus();
});
$("new").addEventListener("click", () => {
  go(null);
  $("prompt").focus();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
    event.preventDefault();
    start();
  }
});
$("room").addEventListener("change", () => $("room").checkValidity() && go(genId, $("room").value.trim() || null));
$("stop").addEventListener("click", stop);
$("copy").addEventListener("click", copyLink);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names what is watched, not a place on the page
  $("prompt").focus();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenu());
document.addEventListener("click", (event) => !event.target.closest("#side, #menu") && closeMenu());

// Kept for this tab only: reloads go on, other tabs ask again.
$("token").value = sessionStorage.getItem("tokencast.token") ?? "";
$("token").addEventListener("change", () => sessionStorage.setItem("tokencast.token", $("token").value.trim()));

if (/Mac|iPhone|iPad/.test(navigator.userAgent)) $("shortcut").textContent = "⌘ Enter";
addEventListener("hashchange", route);
route();
