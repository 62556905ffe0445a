// Random runs with fixed seeds. The faults are chosen by the seed and so is what they befall; the promises must hold
// at every speed. A longer run, another topology of Redis: ./dev chaos.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { chaos } from "./run.mjs";
import { missing } from "./world.mjs";

const SEEDS = [7, 21]; // both make Redis lose nothing, so that nothing is excused
const options = { faults: 12, clients: 48, redis: "single" };

describe("random runs", { skip: missing() }, () => {
  for (const seed of SEEDS) {
    test(`seed_${seed}_keeps_the_promises`, { timeout: 240000 }, async (context) => {
      const { findings, counts, lines } = await chaos({ ...options, seed }, (line) => context.diagnostic(line));
      for (const line of lines) context.diagnostic(line);
      assert.deepEqual(findings, []);
      assert.ok(counts.generations > 5 && counts.clients > 20 && counts.events > 1000, "something happened");
    });
  }
});
