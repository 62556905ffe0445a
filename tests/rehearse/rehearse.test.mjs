// The short form of ./dev rehearse: everything that operators do to a running installation, once, under load.
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { missing } from "../clients/harness.mjs";
import { SHORT, rehearse } from "./run.mjs";

describe("rehearsal", { skip: missing() }, () => {
  test("operations_leave_every_reader_whole_and_make_no_storm", { timeout: 400000 }, async (context) => {
    const played = await rehearse(SHORT, (line) => context.diagnostic(line));
    for (const line of played.lines) context.diagnostic(line);
    assert.deepEqual(played.findings, []);
    assert.equal(played.steps.length, 7);
    const { clients, generations, drains, counts } = played;
    assert.ok(clients.length > 200 && clients.every(({ whole }) => whole), "a load that says something");
    for (const { name } of played.steps)
      assert.ok(
        clients.some(({ step }) => step === name),
        `load during ${name}`,
      );
    assert.ok(played.judged > 0, "a drain with readers enough to judge");
    assert.equal(drains.length, 5, "two brokers rolled, three taken away");
    // Nobody comes back who was not sent away (each is checked); those who come while a broker drains are few.
    const sent = drains.reduce((sum, { connections }) => sum + connections, 0);
    const back = clients.reduce((sum, { reconnects }) => sum + reconnects.length, 0);
    assert.ok(back > 0 && back <= 2 * sent, `${back} came back, ${sent} were there to be sent away`);
    assert.ok(
      generations.some(({ handedBack }) => handedBack.length > 0),
      "jobs were handed back",
    );
    assert.ok(
      generations.every(({ lost }) => lost.length === 0),
      "and none was lost with its worker",
    );
    assert.ok(played.waited > 0, "readers waited while there was no worker");
    assert.deepEqual([counts.refused, counts.byKey["key-new"] > 0], [0, true]);
    assert.equal(played.helped.errors, 0);
  });
});
