// What is made of the times that a rehearsal wrote down: percentiles, peaks, storms, the table. Pure.

/** The value below which that share of the sorted numbers lies; null of none. */
export function percentile(numbers, share) {
  if (numbers.length === 0) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

/** The most of `times` (ms) in one bucket of a second. */
export function peak(times) {
  const buckets = new Map();
  for (const time of times) {
    const second = Math.floor(time / 1000);
    buckets.set(second, (buckets.get(second) ?? 0) + 1);
  }
  return Math.max(0, ...buckets.values());
}

/** The most of `times` in any span of `ms`. */
export function busiest(times, ms) {
  const sorted = [...times].sort((a, b) => a - b);
  let first = 0;
  let most = 0;
  for (let last = 0; last < sorted.length; last++) {
    while (sorted[last] - sorted[first] > ms) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

const RETRY_SPREAD_MS = 1000; // `retry:` of a bye differs by so much
const GRACE_MS = 500; // what a busy machine may hold a broker up
const SLACK = 3; // who came while the broker waited for the load balancer

/**
 * Whether the readers of one drained broker came back all at once. A broker that sends `connections` streams away over
 * its window sends at most a share away in any part of the window; those come back a `retry:` later. In any quarter of
 * the window there may therefore be that share of the connections, for the quarter and for what the `retry:` differ
 * by. What this machine stood still (`stalled`, ms) looks like a moment and is allowed on top.
 * times: when they came back. Returns null (no storm), or what it was like.
 */
export function storm(times, { connections, window, stalled = 0 }) {
  const span = window / 4;
  const most = busiest(times, span);
  const allowed = (connections * (span + RETRY_SPREAD_MS + GRACE_MS + stalled)) / window + SLACK;
  if (most <= allowed) return null;
  const limit = Math.floor(allowed);
  return `${most} of ${connections} readers came back within ${span} ms; a window of ${window} ms allows ${limit}`;
}

function ms(value) {
  if (value === null) return "-";
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  return value === 0 ? "short" : `${Math.round(value)} ms`;
}

const spread = (numbers, shares) => shares.map((share) => ms(percentile(numbers, share))).join(" / ");

/**
 * One row a step.
 * step: {name, from, until, expected: reconnects a second that the drain windows make of the connections, or null}
 * clients: [{step, whole, ttft (null: did not start it), reconnects: [time], span: [first text, last text],
 *   silences: [{at, ms}], the short ones left out}]
 * generations: [{step, handedBack: [time], lost: [time]}]
 */
export function rows(steps, clients, generations) {
  const within =
    ({ from, until }) =>
    (time) =>
      time >= from && time < until;
  return steps.map((step) => {
    const here = within(step);
    const mine = clients.filter((client) => client.step === step.name);
    const times = clients.flatMap(({ reconnects }) => reconnects).filter(here);
    const quiet = clients
      .filter(({ span: [first, last] }) => first < step.until && last >= step.from)
      .map(({ silences }) => Math.max(0, ...silences.filter(({ at }) => here(at)).map((silence) => silence.ms)));
    const ended = generations.filter((generation) => generation.step === step.name);
    const count = (name) => generations.flatMap((generation) => generation[name]).filter(here).length;
    return {
      step: step.name,
      took: `${((step.until - step.from) / 1000).toFixed(1)} s`,
      generations: ended.length,
      whole: `${mine.filter(({ whole }) => whole).length}/${mine.length}`,
      reconnects: times.length,
      peak: times.length === 0 ? "-" : `${peak(times)}${step.expected ? ` (${step.expected.toFixed(0)})` : ""}`,
      ttft: spread(
        mine.map(({ ttft }) => ttft).filter((ttft) => ttft !== null),
        [0.5, 0.95, 1],
      ),
      silence: spread(quiet, [0.5, 0.95, 1]),
      jobs: `${count("handedBack")} / ${count("lost")}`,
    };
  });
}

const HEADS = {
  step: "Step",
  took: "Took",
  generations: "Generations",
  whole: "Clients whole",
  reconnects: "Reconnects",
  peak: "Peak/s (even)",
  ttft: "TTFT p50 / p95 / max",
  silence: "Longest silence p50 / p95 / max",
  jobs: "Jobs handed back / claimed",
};

/** Lines of a Markdown table. */
export function table(list) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const names = Object.keys(HEADS);
  return [
    line(Object.values(HEADS)),
    line(names.map(() => "---")),
    ...list.map((row) => line(names.map((name) => row[name]))),
  ];
}
