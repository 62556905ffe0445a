// The checker against made-up histories: right ones pass, each kind of wrong is said by its name and place.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";

import { unpack } from "../lib/msgpack.mjs";
import { judge } from "./checker.mjs";
import { Pen, SPOILS, begun, control, edit, gapOf, randomClient, randomLog, row, whole } from "./histories.mjs";
import { Log, judgeLog } from "./log.mjs";
import { Random } from "./random.mjs";

const fox = () => begun().delta("The").delta(" quick").delta(" brown").delta(" fox").done();
const names = (client, log, options) => judge(client, log, options).map(({ name }) => name);
const passes = (client, log, options) => assert.deepEqual(judge(client, log, options), []);

/** A history of rows by hand: numbers are indexes of events in the log, objects are rows already. */
function made(log, rows, more = {}) {
  const base = whole(log);
  return { ...base, ...more, events: rows.map((item) => (typeof item === "number" ? row(0, log.events[item]) : item)) };
}

const joined = (log, from, to) => {
  const text = log.events
    .slice(from, to + 1)
    .map(({ event }) => event.text)
    .join("");
  return row(0, { id: log.events[to].id, event: { ...log.events[from].event, text } });
};

/** Told that a branch was lost, up to `to`: the one thing a broker says by itself that has a position. */
const lostBranch = (to, dropped) => ({
  ...control(0, { type: "gap", from: "0-1", to, dropped, reason: "lost" }),
  id: "0-0",
});

describe("right histories", () => {
  test("whole_log_passes", () => passes(whole(fox().log()), fox().log()));

  test("merged_deltas_pass", () => {
    const log = fox().log();
    passes(made(log, [0, 1, joined(log, 2, 4), 5, 6]), log);
  });

  test("gap_that_fits_passes", () => {
    const log = fox().log();
    passes(made(log, [0, 1, 2, gapOf(0, log.events[3], log.events[4]), 5, 6], { policy: { overflow: "drop" } }), log);
  });

  test("resume_after_a_cut_passes", () => {
    const log = fox().log();
    const client = made(log, [0, 1, 2, 3, 4, 5, 6]);
    client.connections = [
      { after: null, status: 200, end: "cut" },
      { after: log.events[3].id, status: 200, end: "complete" },
    ];
    for (const [i, event] of client.events.entries()) event.conn = i > 3 ? 1 : 0;
    passes(client, log);
  });

  test("gap_then_cut_then_the_same_events_pass", () => {
    const log = fox().log();
    const events = [0, 1, 2, gapOf(0, log.events[3], log.events[4]), row(1, log.events[3]), row(1, log.events[4])];
    const client = made(log, [...events, row(1, log.events[5]), row(1, log.events[6])]);
    client.connections = [
      { after: null, status: 200, end: "cut" },
      { after: log.events[2].id, status: 200, end: "complete" },
    ];
    passes(client, log);
  });

  test("attempt_restart_and_continue_pass", () => {
    const restart = begun()
      .delta("The")
      .restart()
      .say({ type: "start", model: "m" })
      .delta("A")
      .delta(" cat")
      .done()
      .log();
    passes(whole(restart), restart);
    const goOn = begun().delta("The").delta(" quick").goOn(5).delta("ueer").done().log();
    passes(whole(goOn), goOn);
    assert.equal(goOn.fold.texts.get("text/0"), "The queer");
    assert.deepEqual([...judgeLog(restart), ...judgeLog(goOn, { text: "The queer", reasons: ["stop"] })], []);
  });

  test("cancelled_passes", () => {
    const log = begun().delta("The").done("cancelled").log();
    passes(whole(log), log);
    assert.deepEqual(judgeLog(log, { text: "The quick", reasons: ["cancelled"] }), []);
  });

  test("filtered_passes", () => {
    const log = begun()
      .delta("hm", "reasoning")
      .delta("The")
      .say({ type: "note", kind: "s" })
      .delta(" fox")
      .tool({ name: "f" })
      .done()
      .log();
    passes(made(log, [0, 1, 3, 5, 7], { policy: { include: ["text"] } }), log);
    passes(
      made(log, [0, 1, row(0, { id: log.events[5].id, event: { ...log.events[3].event, text: "The fox" } }), 7], {
        policy: { include: ["text"] },
      }),
      log,
    );
  });

  test("paced_inside_pieces_passes", () => {
    const log = begun().delta("one t").delta("wo").delta(" three").done().log();
    const piece = (at, text, offset) =>
      row(0, { id: log.events[at].id, event: { ...log.events[2].event, text, offset } });
    passes(
      made(log, [0, 1, piece(1, "one ", 0), piece(3, "two ", 4), piece(4, "three", 8), 5], {
        policy: { pace: "word" },
      }),
      log,
    );
  });

  test("lost_branch_with_failover_passes", () => {
    const log = begun().delta("The").restart().delta("A").done().log();
    const stray = row(0, { id: "37-4", event: { type: "delta", text: " dog", offset: 3 } });
    const lost = lostBranch("37-4", 4);
    passes(made(log, [0, 1, 2, stray, lost, 0, 1, 2, 3, 4, 5]), log, { lossy: true });
  });

  test("created_again_after_a_failover_passes", () => {
    const log = fox().log();
    const created = row(0, { id: "0-1", event: { ...log.events[0].event, at: 5 } });
    const client = made(log, [created, 1, 2, 3, 4, 5, 6]);
    passes(client, log, { lossy: true });
    assert.deepEqual(names(client, log), ["changed"]);
    client.events[0] = row(0, { id: "0-1", event: { ...log.events[0].event, at: 5, model: "another" } });
    assert.deepEqual(names(client, log, { lossy: true }), ["changed"]);
  });

  test("lost_branch_after_a_gap_on_it_passes", () => {
    const log = begun().delta("The").restart().delta("A").done().log();
    const told = control(0, { type: "gap", from: "37-4", to: "37-6", dropped: 3, reason: "overflow" });
    const client = made(log, [0, 1, 2, told, lostBranch("37-6", 6), 0, 1, 2, 3, 4, 5]);
    passes(client, log, { lossy: true });
    client.events.splice(4, 7); // nobody said that the branch was lost
    assert.ok(names(client, log, { lossy: true }).includes("gap-wide"));
  });

  test("lost_branch_whose_reader_has_left_passes", () => {
    const log = begun().delta("The").restart().delta("A").done().log();
    const stray = row(0, { id: "37-4", event: { type: "delta", text: " dog", offset: 3 } });
    const client = { ...made(log, [0, 1, 2, stray], { policy: { leaves: true } }), end: "left" };
    client.connections[0].end = "cut";
    passes(client, log, { lossy: true });
    assert.deepEqual(names(client, log), ["phantom"]);
    client.events.push(row(0, log.events[3]));
    assert.ok(names(client, log, { lossy: true }).includes("phantom")); // went on, and was not told
  });

  test("lost_branch_then_a_cut_begins_again_from_the_start", () => {
    const log = fox().log();
    const lost = lostBranch(log.events[3].id, 4);
    const again = log.events.map((entry) => row(1, entry));
    const client = made(log, [0, 1, 2, 3, lost, ...again]);
    const after = { after: "0-0", status: 200, end: "complete" };
    client.connections = [{ after: null, status: 200, end: "cut" }, after];
    passes(client, log, { lossy: true });
    client.connections[1].after = log.events[3].id;
    client.events.splice(5, 4); // goes on behind a position whose text it was told to forget
    assert.deepEqual(names(client, log, { lossy: true }), ["resume"]);
  });

  test("joining_now_passes", () => {
    const log = fox().log();
    const open = control(0, { type: "open", position: log.events[3].id });
    passes(
      made(log, [open, 4, 5, 6], {
        connections: [{ after: "now", status: 200, end: "complete" }],
        policy: { from: "now" },
      }),
      log,
    );
  });

  test("end_of_a_vanished_log_passes", () => {
    const log = fox().log();
    const end = [control(0, { type: "error", code: "log_gone" }), control(0, { type: "done", reason: "error" })];
    passes(made(log, [0, 1, 2, ...end]), log, { gone: true });
    assert.deepEqual(names(made(log, [0, 1, 2, 3, 4, 5, 6, ...end]), log).slice(0, 2), [
      "after-done",
      "terminal-foreign",
    ]);
  });
});

describe("wrong histories", () => {
  const log = fox().log();
  const drop = { policy: { overflow: "drop" } };
  const gap = (from, to) => gapOf(0, log.events[from], log.events[to]);
  const cases = {
    lost: made(log, [0, 1, 2, 4, 5, 6]),
    doubled: made(log, [0, 1, 2, 2, 3, 4, 5, 6]),
    swapped: made(log, [0, 1, 3, 2, 4, 5, 6]),
    phantom: made(log, [0, 1, 2, row(0, { id: "38-3", event: { type: "delta", text: "!", offset: 3 } }), 3, 4, 5, 6]),
    "terminal-twice": made(log, [0, 1, 2, 3, 4, 5, 6, 6]),
    "after-done": made(log, [0, 1, 2, 3, 4, 5, 6, row(0, { id: "37-9", event: { type: "note" } })]),
    text: made(log, [0, 1, 2, edit(row(0, log.events[3]), (data) => ({ ...data, text: " quiCk" })), 4, 5, 6]),
    offset: made(log, [0, 1, 2, edit(row(0, log.events[3]), (data) => ({ ...data, offset: 2 })), 4, 5, 6]),
    "gap-wide": made(log, [0, 1, 2, gap(3, 4), 4, 5, 6], drop),
    "gap-count": made(log, [0, 1, 2, edit(gap(3, 4), (data) => ({ ...data, dropped: 3 })), 5, 6], drop),
    "gap-malformed": made(log, [0, 1, 2, gap(4, 3), 3, 4, 5, 6], drop),
    "gap-unasked": made(log, [0, 1, 2, gap(3, 4), 5, 6], { policy: { overflow: "merge" } }),
    "gap-kept": made(log, [0, 1, 2, 3, 4, gap(5, 6)], drop),
    "lost-branch": made(log, [
      0,
      1,
      lostBranch("37-2", 2),
      0,
      1,
      2,
      3,
      4,
      5,
      6,
    ]),
    changed: made(log, [0, 1, 2, 3, 4, 5, edit(row(0, log.events[6]), (data) => ({ ...data, reason: "length" }))]),
    "no-end": made(log, [0, 1, 2, 3, 4, 5], { end: "limit", connections: [{ after: null, status: 200, end: "cut" }] }),
    unended: made(log, [0, 1, 2, 3, 4, 5]),
    unasked: made(log, [0, 1, 2, 3, 4, 5, 6], { policy: { include: ["reasoning"] } }),
    garbage: made(log, [0, 1, { ...row(0, log.events[2]), data: "{" }, 3, 4, 5, 6]),
    denied: made(log, [0, 1, 2, 3, 4, 5, 6], { connections: [{ after: null, status: 404, end: "complete" }] }),
  };
  for (const [name, client] of Object.entries(cases))
    test(`${name}_is_said`, () => assert.ok(names(client, log).includes(name), `${names(client, log)}`));

  test("gap_too_narrow_is_said_as_lost", () => {
    assert.deepEqual(names(made(log, [0, 1, 2, gap(3, 3), 5, 6], drop), log), ["lost"]);
  });

  test("gap_over_what_came_is_said", () => {
    assert.ok(names(made(log, [0, 1, 2, gap(2, 4), 5, 6], drop), log).includes("gap-wide"));
  });

  test("resume_elsewhere_is_said", () => {
    const client = made(log, [0, 1, 2, 3, 4, 5, 6]);
    client.connections = [
      { after: null, status: 200, end: "cut" },
      { after: log.events[2].id, status: 200, end: "complete" },
    ];
    for (const [i, event] of client.events.entries()) event.conn = i > 3 ? 1 : 0;
    assert.deepEqual(names(client, log), ["resume", "lost"]);
  });

  test("merge_over_an_event_that_was_not_sent_is_said", () => {
    const pen = begun().delta("The").delta("hm", "reasoning").delta(" fox").done().log();
    assert.deepEqual(names(made(pen, [0, 1, joined2(pen, 2, 4), 5]), pen), ["offset", "lost", "lost"]);
  });

  test("finding_says_client_generation_position", () => {
    const [finding] = judge(cases.lost, log);
    assert.deepEqual(
      { ...finding, what: "" },
      { name: "lost", client: "c", gen: "g", conn: 0, position: log.events[3].id, what: "" },
    );
  });
});

const joined2 = (log, a, b) =>
  row(0, {
    id: log.events[b].id,
    event: { ...log.events[a].event, text: log.events[a].event.text + log.events[b].event.text },
  });

describe("logs", () => {
  const said = (pen, expect) => judgeLog(pen.log(), expect).map(({ name }) => name);

  test("log_with_a_hole_is_said", () => {
    const entries = fox().entries;
    const [first] = judgeLog(new Log("g", entries.toSpliced(4, 1)));
    assert.deepEqual([first.name, first.position], ["log-hole", entries[5].id]);
  });
  test("log_without_an_end_is_said", () => assert.deepEqual(said(begun().delta("The")), ["log-end"]));
  test("log_with_two_ends_is_said", () => assert.deepEqual(said(fox().done()), ["log-end"]));
  test("log_with_another_text_is_said", () => assert.deepEqual(said(fox(), { text: "The quick" }), ["log-text"]));
  test("log_with_another_reason_is_said", () =>
    assert.deepEqual(said(fox(), { reasons: ["cancelled"] }), ["log-reason"]));
  test("log_that_begins_elsewhere_is_said", () => {
    assert.deepEqual(said(new Pen().say({ type: "start" }).done()), ["log-start"]);
  });
});

test("random_histories_pass_and_spoiled_ones_are_caught", () => {
  const caught = Object.fromEntries(Object.keys(SPOILS).map((name) => [name, 0]));
  for (let seed = 1; seed <= 600; seed++) {
    const random = new Random(seed);
    const log = randomLog(random);
    assert.deepEqual(judgeLog(log), [], `log of seed ${seed}`);
    const client = randomClient(random, log);
    assert.deepEqual(judge(client, log), [], `history of seed ${seed}`);
    for (const [name, spoil] of Object.entries(SPOILS)) {
      const events = spoil(random, client.events);
      if (events === null) continue;
      assert.notEqual(judge({ ...client, events }, log).length, 0, `${name} of seed ${seed} was not seen`);
      caught[name] += 1;
    }
  }
  for (const [name, count] of Object.entries(caught)) assert.ok(count > 20, `${name}: only ${count}`);
});

test("messagepack_reads_the_golden_entries", () => {
  const folder = new URL("../golden/", import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith(".mp"));
  assert.ok(files.length > 10);
  for (const name of files) {
    const value = unpack(readFileSync(new URL(name, folder)));
    const wanted = JSON.parse(readFileSync(new URL(name.replace(/mp$/, "json"), folder), "utf8"));
    for (const [key, field] of Object.entries(wanted))
      assert.deepEqual(value[key] ?? defaultOf(key), field, `${name}: ${key}`);
  }
});

const defaultOf = (key) => ({ kind: "text", index: 0 })[key] ?? false;
