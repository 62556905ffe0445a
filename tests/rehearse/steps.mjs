// What operators do, one step each: async (stage, options) => void. `hold` is how long the load goes on between two
// movements of a step.
import { sleep, until } from "../lib/wait.mjs";

async function quiet(stage, { hold }) {
  await sleep(2 * hold);
}

async function rollBrokers(stage) {
  await stage.brokers.roll();
}

async function rollWorkers(stage) {
  await stage.workers.roll();
}

async function scaleBrokers(stage, { hold }) {
  await stage.brokers.scale(2);
  await stage.brokers.scale(5);
  await sleep(hold);
  await stage.brokers.scale(2);
}

async function scaleWorkers(stage, { hold }) {
  await stage.workers.scale(1);
  await sleep(hold / 2);
  await stage.workers.scale(4);
  await sleep(hold / 2);
}

/** Streams wait, are kept alive, and go on. */
async function noWorkers(stage, { hold, load }) {
  await stage.workers.scale(0);
  await sleep(hold);
  stage.waited = load.waiting();
  await stage.workers.scale(2);
  await until(() => load.waiting() < stage.waited / 4, "readers who go on when there are workers again");
}

/** How often the server was shown the old key, once that has not changed for two seconds. */
async function lastOfOldKey(stage) {
  const count = async () => (await stage.modelCounts()).byKey["key-old"];
  let last = await count();
  const quiet = async () => {
    await sleep(2000);
    const before = last;
    last = await count();
    return last === before;
  };
  await until(quiet, "an end of the old key");
}

/** The server takes both keys, workers get the new one, the old one is seen no more, the server takes it no more. */
async function rotateKey(stage, { hold, spoil }) {
  if (spoil === "key") return void (await stage.keys("key-new"));
  await stage.keys("key-old", "key-new");
  stage.workerKey("key-new");
  await lastOfOldKey(stage);
  await stage.keys("key-new");
  await sleep(hold);
  const { byKey, refused } = await stage.modelCounts();
  if (refused > 0) stage.find("key", `the old key was sent ${refused} times after its end`);
  if (!(byKey["key-new"] > 0)) stage.find("key", "the new key was never sent");
}

/** A newer build of both tiers, brokers first, and back again; only where one is given. */
const upgrade = (kind, build) => async (stage) => {
  stage[kind].build = build;
  await stage[kind].roll();
};

async function killBroker(stage) {
  await stage.brokers.add();
  await stage.brokers.remove(stage.brokers.members[0], "SIGKILL");
}

export function stepsFor({ spoil, other, own }) {
  if (spoil === "kill")
    return [
      ["quiet", quiet],
      ["a broker is killed", killBroker],
    ];
  if (spoil === "storm")
    return [
      ["quiet", quiet],
      ["brokers roll", rollBrokers],
    ];
  if (spoil === "key")
    return [
      ["quiet", quiet],
      ["provider key", rotateKey],
      ["after", quiet],
    ];
  if (other)
    return [
      ["quiet", quiet],
      ["brokers to the other build", upgrade("brokers", other)],
      ["workers to the other build", upgrade("workers", other)],
      ["both on the other build", quiet],
      ["workers back", upgrade("workers", own)],
      ["brokers back", upgrade("brokers", own)],
    ];
  return [
    ["quiet", quiet],
    ["brokers roll", rollBrokers],
    ["workers roll", rollWorkers],
    ["brokers 2, 5, 2", scaleBrokers],
    ["workers 1, 4", scaleWorkers],
    ["workers 0, 2", noWorkers],
    ["provider key", rotateKey],
  ];
}
