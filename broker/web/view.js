// One generation on the page: state, text, reasoning, tools, notes, figures. Events only mark what has changed; the
// page is touched once an animation frame.

import { MarkdownView } from "./markdown.js";

const LABELS = {
  connecting: "Connecting…",
  queued: "Waiting for a worker",
  running: "Writing",
  stalled: "The worker is silent; another takes over",
  recovering: "Catching up",
  reconnecting: "Connection lost; trying again",
  done: "Done",
  failed: "Failed",
  cancelled: "Stopped",
  closed: "No longer watching",
};
const REASONS = {
  length: "Done, at the length limit",
  content_filter: "Ended by a content filter",
  tool_calls: "Waits for its tools",
};
const SPEAK_EVERY_MS = 5000; // to screen readers
const CHARACTERS_A_TOKEN = 4; // an estimate, until the usage is known

const $ = (id) => document.getElementById(id);

function show(node, visible) {
  node.hidden = !visible;
}

export class GenerationView {
  #gen = null;
  #markdown = null;
  #reasoning = null; // its text node
  #changedFrom = 0;
  #frame = 0;
  #first = null; // {at, length} of the first piece, and
  #last = null; // of the last: their distance is the speed
  #spoken = 0;
  #speaking = 0;

  /** @param {import("./client.js").Generation} gen @param {string} title */
  open(gen, title) {
    this.close();
    this.#gen = gen;
    this.#markdown = new MarkdownView($("answer"));
    this.#reasoning = document.createTextNode("");
    $("reasoning-text").replaceChildren(this.#reasoning);
    $("reasoning").open = false;
    $("tools").replaceChildren();
    $("title").textContent = title;
    $("title").classList.toggle("long", title.length > 160);
    show($("welcome"), false);
    show($("generation"), true);
    this.#changed(0);
  }

  close() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#speaking);
    this.#gen = null;
    this.#frame = 0;
    this.#changedFrom = 0;
    this.#first = null;
    this.#last = null;
    this.#spoken = 0;
    this.#speaking = 0;
    show($("welcome"), true);
    show($("generation"), false);
  }

  text(change) {
    this.#changed(change.offset);
  }

  event(event) {
    if (event.type === "delta" && event.at) {
      this.#last = { at: event.at, length: this.#gen.text.length + this.#gen.reasoning.length };
      this.#first ??= this.#last;
    }
    this.#changed();
  }

  /** Something is to be drawn. Before `from` the text is as it was. */
  #changed(from = Infinity) {
    this.#changedFrom = Math.min(this.#changedFrom, from);
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    const gen = this.#gen;
    const followed = innerHeight + scrollY >= document.documentElement.scrollHeight - 60;
    const over = ["done", "failed", "cancelled", "closed"].includes(gen.state);
    if (this.#changedFrom < Infinity || over) {
      this.#markdown.update(gen.text, Math.min(this.#changedFrom, gen.text.length), over);
      this.#changedFrom = Infinity;
    }
    $("answer").classList.toggle("growing", gen.state === "running" && gen.text !== "");
    this.#drawState(gen, over);
    this.#drawReasoning(gen, over);
    this.#drawTools(gen);
    this.#drawFigures(gen, over);
    if (followed && !over) scrollTo(0, document.documentElement.scrollHeight);
    this.#speak(over);
  }

  #drawState(gen, over) {
    let label = LABELS[gen.state] ?? gen.state;
    if (gen.state === "queued" && gen.queueAhead > 0) label += `, ${gen.queueAhead} ahead`;
    if (gen.state === "done") label = REASONS[gen.reason] ?? label;
    if ($("state").textContent !== label) $("state").textContent = label;
    $("dot").dataset.state = gen.state;
    show($("stop"), !over);
    const note = gen.notes.at(-1);
    show($("note"), Boolean(note?.text) && !over && gen.text === "");
    $("note").textContent = note?.text ?? "";
    const problem = notice(gen);
    show($("notice"), problem !== "");
    if ($("notice").textContent !== problem) $("notice").textContent = problem;
    $("notice").classList.toggle("bad", gen.state === "failed");
  }

  #drawReasoning(gen, over) {
    const text = gen.reasoning;
    show($("reasoning"), text !== "");
    if (text.length > this.#reasoning.length && text.startsWith(this.#reasoning.data)) {
      this.#reasoning.appendData(text.slice(this.#reasoning.length));
    } else if (text !== this.#reasoning.data) {
      this.#reasoning.data = text;
    }
    $("reasoning").firstElementChild.textContent = over || gen.text !== "" ? "Reasoning" : "Reasoning…";
  }

  #drawTools(gen) {
    const calls = gen.toolCalls;
    show($("tools"), calls.length > 0);
    while ($("tools").children.length > calls.length) $("tools").lastElementChild.remove();
    calls.forEach((call, i) => {
      const row = $("tools").children[i] ?? $("tools").appendChild(toolRow());
      const [name, state, args] = row.children;
      name.textContent = call.name || "tool";
      state.textContent = call.invalid ? "its arguments are not valid" : call.done ? "called" : "is being called…";
      if (args.textContent !== call.arguments) args.textContent = call.arguments;
    });
  }

  #drawFigures(gen, over) {
    $("ttft").textContent =
      gen.ttftMs === null
        ? "–"
        : gen.ttftMs < 10000
          ? `${Math.round(gen.ttftMs)} ms`
          : `${(gen.ttftMs / 1000).toFixed(1)} s`;
    $("speed").textContent = this.#speed(gen, over);
    $("position").textContent = gen.position ?? "–";
    $("model-name").textContent = gen.model || "–";
  }

  #speed(gen, over) {
    const tokens = gen.usage?.output_tokens;
    const { durationMs, ttftMs } = gen.transcript;
    if (over && tokens > 1 && durationMs > ttftMs)
      return `${((tokens * 1000) / (durationMs - ttftMs)).toFixed(1)} tokens/s`;
    const seconds = this.#first ? (this.#last.at - this.#first.at) / 1e6 : 0;
    if (seconds < 0.5) return "–";
    return `≈ ${((this.#last.length - this.#first.length) / CHARACTERS_A_TOKEN / seconds).toFixed(1)} tokens/s`;
  }

  // Whole sentences, now and then: a live region that changes with every token cannot be listened to.
  #speak(over) {
    if (over) return this.#say(true);
    this.#speaking ||= setTimeout(() => this.#say(false), SPEAK_EVERY_MS);
    return undefined;
  }

  #say(over) {
    clearTimeout(this.#speaking);
    this.#speaking = 0;
    const rest = this.#gen.text.slice(this.#spoken);
    const whole = over ? rest.length : Math.max(rest.lastIndexOf(". "), rest.lastIndexOf("\n")) + 1;
    if (whole <= 0 && !over) return;
    $("live").textContent = `${rest.slice(0, whole)}${over ? ` ${$("state").textContent}.` : ""}`;
    this.#spoken += whole;
  }
}

function notice(gen) {
  if (gen.state === "failed") {
    if (gen.error?.status === 404) return "There is no such generation. The link may be mistyped.";
    if (gen.error?.status === 410) return "This generation has expired; its text is no longer kept.";
    return gen.error?.message || "The generation failed. What was written before is kept.";
  }
  if (gen.missing.length > 0) {
    const ranges = gen.missing.map((range) => (range.from === range.to ? range.from : `${range.from} to ${range.to}`));
    return `A part could not be recovered (${ranges.join(", ")}).`;
  }
  if (gen.error?.message && gen.state !== "done") return gen.error.message;
  return "";
}

function toolRow() {
  const row = document.createElement("li");
  row.append(document.createElement("b"), document.createElement("span"), document.createElement("pre"));
  return row;
}
