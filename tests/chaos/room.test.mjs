// A room's stream taken apart: each generation's history is what a reader of that one would have, and is judged so.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { judge } from "./checker.mjs";
import { begun } from "./histories.mjs";
import { byGeneration, historiesOf } from "./room.mjs";

const said = (gen, ...texts) => texts.reduce((pen, text) => pen.delta(text), begun()).done().log(gen);

/** A room's reader; `log` gives one generation's events a composite position each. */
class Reader {
  name = "r";
  gen = "room";
  end = "done";
  events = [];
  connections = [{ after: null, status: 200 }];
  at = new Map();

  get position() {
    return ["7-0", ...[...this.at].map(([gen, position]) => `${gen}:${position}`)].join("~");
  }

  say(log, ...indexes) {
    for (const i of indexes) {
      const { id, event } = log.events[i];
      if (event.type === "done") this.at.delete(log.gen);
      else this.at.set(log.gen, id);
      const data = JSON.stringify({ ...event, generation: log.gen });
      this.events.push({ at: 0, conn: this.connections.length - 1, id: this.position, type: event.type, data });
    }
    return this;
  }

  cut() {
    this.connections.push({ after: this.position, status: 200 });
    return this;
  }

  judged(log, options = {}) {
    return historiesOf(this, byGeneration(this).get(log.gen), log, options)
      .flatMap((history) => judge(history, log, options))
      .filter(({ excused }) => !excused);
  }
}

describe("a room taken apart", () => {
  const one = said("one", "The", " fox");
  const two = said("two", "A", " dog");

  test("two_that_alternate_over_a_cut_pass", () => {
    const reader = new Reader().say(one, 0, 1, 2).say(two, 0, 1).say(one, 3).cut().say(two, 2, 3, 4).say(one, 4);
    assert.deepEqual([...byGeneration(reader).keys()], ["one", "two"]);
    assert.deepEqual([reader.judged(one), reader.judged(two)], [[], []]);
  });

  test("what_is_missing_or_doubled_in_one_is_said_of_that_one", () => {
    const reader = new Reader().say(one, 0, 1, 3).say(two, 0, 1, 2, 2, 3, 4).say(one, 4);
    assert.deepEqual([...new Set(reader.judged(one).map(({ name }) => name))], ["lost"]);
    assert.deepEqual([...new Set(reader.judged(two).map(({ name }) => name))], ["doubled"]);
  });

  test("behind_its_end_it_may_not_come_again", () => {
    const names = new Reader().say(one, 0, 1, 2, 3, 4).cut().say(one, 0, 1, 2, 3, 4).judged(one).map(({ name }) => name);
    assert.ok(names.includes("terminal-twice"), `${names}`);
  });

  describe("an end that a failover lost", () => {
    const lossy = { lossy: true };
    const shown = said("one", "The", " cat"); // another end: its time differs
    shown.events.at(-1).event.at += 500;

    test("excused_if_nothing_comes_behind_it", () => {
      const reader = new Reader().say(shown, 0, 1, 2, 3, 4);
      assert.deepEqual(reader.judged(one, lossy), []);
      assert.notDeepEqual(reader.judged(one), []); // nothing was made to lose it
    });

    test("then_given_again_from_the_start_passes", () => {
      assert.deepEqual(new Reader().say(shown, 0, 1, 2, 3, 4).cut().say(one, 0, 1, 2, 3, 4).judged(one, lossy), []);
    });

    // Its announcement was lost with the failover, and repeated.
    test("whole_a_second_time_passes", () => {
      const reader = () => new Reader().say(one, 0, 1, 2, 3, 4).cut();
      assert.deepEqual(reader().say(one, 0, 1, 2, 3, 4).judged(one, lossy), []);
      assert.notDeepEqual(reader().say(one, 0, 1, 3, 4).judged(one, lossy), []);
      assert.notDeepEqual(new Reader().say(one, 0, 2, 3, 4).cut().say(one, 0, 1, 2, 3, 4).judged(one, lossy), []);
    });

    test("log_that_was_gone_and_is_given_again_passes", () => {
      const reader = new Reader();
      const said = (type) => ({ at: 0, conn: 0, id: null, type, data: JSON.stringify({ type, generation: "one" }) });
      reader.events.push(said("error"), said("done"));
      reader.say(one, 0, 1, 2, 3, 4);
      assert.deepEqual(reader.judged(one, lossy), []);
      assert.notDeepEqual(reader.judged(one), []);
      reader.events.splice(2); // not given again, although it is there
      assert.notDeepEqual(reader.judged(one, lossy), []);
    });

    test("then_given_again_with_a_hole_is_said", () => {
      const reader = new Reader().say(shown, 0, 1, 2, 3, 4).cut().say(one, 0, 1, 3, 4);
      assert.deepEqual([...new Set(reader.judged(one, lossy).map(({ name }) => name))], ["lost"]);
    });
  });
});
