// What generations take in Redis: node tests/rehearse/redis-memory.mjs. Real workers write them; the figures of
// docs/sizing.md come from here. TC_BUILD says where the programs are.
import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { withRedis } from "../lib/redis.mjs";

const AT_ONCE = 20;

const textOf = (tokens) => Array.from({ length: tokens }, (_, i) => `${i > 0 ? " " : ""}wo${i % 1000}`).join("");

async function used(redis) {
  await redis.do("MEMORY", "PURGE");
  return Number(/^used_memory:(\d+)/m.exec(await redis.do("INFO", "memory"))[1]);
}

/** Bytes by kind, of `count` generations of `tokens`; each is awaited, so that nothing is under way at the end. */
async function measure({ count, tokens, workerArgs = [], prompt = "x" }) {
  const h = await Harness.start({ workerArgs: [...workerArgs, "--settle", "0"] });
  try {
    return await withRedis(h.redisUrl, async (redis) => {
      await ended(h.url, (await post(h.url, textOf(5), { rate: 1000 })).id); // what there is only once
      const before = await used(redis);
      const ids = [];
      while (ids.length < count) {
        const some = Array.from({ length: AT_ONCE }, () => post(h.url, textOf(tokens), { rate: 500, prompt }));
        const made = (await Promise.all(some)).map(({ id }) => id);
        for (const id of made) await ended(h.url, id);
        ids.push(...made);
      }
      const total = (await used(redis)) - before;
      const of = async (name) => Number(await redis.do("MEMORY", "USAGE", `tc:{${ids[0]}}:${name}`, "SAMPLES", "0"));
      const events = Number(await redis.do("XLEN", `tc:{${ids[0]}}:log`));
      const [log, meta] = [await of("log"), await of("meta")];
      return { tokens, events, log, meta, each: Math.round(total / ids.length), perEvent: (log / events).toFixed(1) };
    });
  } finally {
    await h.stop();
  }
}

const reason = missing();
if (reason) throw new Error(reason);
process.stdout.write(
  "| | tokens | entries | log, bytes | a log's byte an entry | meta, bytes | all keys, bytes a generation |\n",
);
for (const [name, options] of Object.entries({
  "a short answer": { count: 200, tokens: 100 },
  "an answer": { count: 200, tokens: 300 },
  "a long answer": { count: 60, tokens: 1000 },
  "--flush-tokens 8": { count: 200, tokens: 300, workerArgs: ["--flush-tokens", "8", "--flush-interval", "1s"] },
})) {
  const row = await measure(options);
  process.stdout.write(
    `| ${name} | ${row.tokens} | ${row.events} | ${row.log} | ${row.perEvent} | ${row.meta} | ${row.each} |\n`,
  );
}
