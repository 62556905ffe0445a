// What a rehearsal says of its times, on times that are made up.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { busiest, peak, percentile, rows, storm, table } from "./figures.mjs";

const evenly = (count, ms, from = 0) => Array.from({ length: count }, (_, i) => from + (i * ms) / count);

describe("figures", () => {
  test("percentiles_of_none_one_and_many", () => {
    assert.equal(percentile([], 0.5), null);
    assert.equal(percentile([7], 0.95), 7);
    assert.equal(percentile([5, 1, 4, 2, 3], 0.5), 3);
    assert.equal(percentile([5, 1, 4, 2, 3], 1), 5);
  });

  test("peak_counts_by_the_second_and_busiest_by_any_span", () => {
    assert.equal(peak([]), 0);
    assert.equal(peak([900, 1000, 1999, 2000]), 2);
    assert.equal(busiest([900, 1000, 1899, 2000], 1000), 3);
    assert.equal(busiest([], 1000), 0);
  });

  const drain = { connections: 100, window: 4000 };

  test("readers_over_the_window_are_no_storm", () => {
    const jittered = evenly(100, 4000).map((at, i) => at + 500 + ((i * 37) % 100) * 10);
    assert.equal(storm(jittered, drain), null);
  });

  test("readers_within_the_second_of_their_retry_are_a_storm", () => {
    const what = "90 of 100 readers came back within 1000 ms; a window of 4000 ms allows 65";
    assert.equal(storm(evenly(90, 1000, 500), drain), what);
  });

  test("few_of_many_are_no_storm_however_close", () => {
    assert.equal(storm(evenly(60, 10), drain), null);
  });

  test("a_machine_that_stood_still_is_no_storm", () => {
    const late = [...evenly(15, 1000), ...evenly(75, 100, 3000), ...evenly(10, 900, 3100)];
    assert.notEqual(storm(late, drain), null);
    assert.equal(storm(late, { ...drain, stalled: 1500 }), null);
  });

  test("rows_give_each_step_what_fell_into_it", () => {
    const steps = [
      { name: "a", from: 0, until: 1000, expected: 2.4 },
      { name: "b", from: 1000, until: 3000, expected: null },
    ];
    const client = { step: "a", whole: true, ttft: 5, reconnects: [500, 1500], span: [10, 2500], silences: [] };
    const other = { ...client, whole: false, ttft: null, reconnects: [600], silences: [{ at: 700, ms: 300 }] };
    const list = rows(steps, [client, other], [{ step: "a", handedBack: [1200], lost: [] }]);
    assert.deepEqual(
      list.map(({ whole, reconnects, peak, ttft, silence, jobs }) => [whole, reconnects, peak, ttft, silence, jobs]),
      [
        ["1/2", 2, "2 (2)", "5 ms / 5 ms / 5 ms", "short / 300 ms / 300 ms", "0 / 0"],
        ["0/0", 1, "1", "- / - / -", "short / short / short", "1 / 0"],
      ],
    );
    assert.equal(table(list).length, 4);
  });
});
