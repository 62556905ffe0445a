// A browser's EventSource on one generation: it comes back by itself, as often as it likes, or gives up for good.
import assert from "node:assert/strict";

import { EventSource } from "eventsource";

const TYPES = ["created", "start", "delta", "attempt", "gap", "bye", "done"];

export class Follower {
  text = "";
  opened = 0;
  byes = 0;
  /** connections that ended or were not made, and after which it tries again */
  failed = 0;
  /** undefined, "done", or the status that made it give up */
  end = undefined;

  constructor(url) {
    this.source = new EventSource(url);
    for (const type of TYPES) this.source.addEventListener(type, (event) => this.#take(type, JSON.parse(event.data)));
    // The broker's "open" and the package's share their name; only the broker's has data.
    this.source.addEventListener("open", (event) => event.data === undefined && this.opened++);
    this.source.addEventListener("error", (event) => {
      if (event.data !== undefined) return;
      if (this.source.readyState === EventSource.CLOSED) this.end ??= event.code;
      else this.failed++;
    });
  }

  #take(type, data) {
    if (type === "delta") {
      assert.equal(data.offset ?? this.text.length, this.text.length, "a piece twice or left out");
      this.text += data.text;
    } else if (type === "bye") this.byes++;
    else if (type === "done") {
      this.end = "done";
      this.source.close();
    } else assert.ok(type === "created" || type === "start", `${type}: ${JSON.stringify(data)}`);
  }

  close() {
    this.source.close();
  }
}
