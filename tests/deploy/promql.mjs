// As much of PromQL and of the text format as it takes to hold a query against what programs really export.

const WORDS = new Set(
  "and or unless by without on ignoring group_left group_right offset bool atan2 start end inf nan".split(" "),
);
const GROUPINGS = new Set("by without on ignoring group_left group_right".split(" "));
const CALLS = new Set(["(", "by", "without"]); // what is followed by one of these is a function or an aggregation
const TOKEN = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]|[a-zA-Z_:][\w:]*|[0-9][\w.]*|=~|!~|!=|[{}(),=]|\S/g;

/** Reads `label op "value", …` from behind a brace; returns the matchers and where they end. */
function matchersFrom(tokens, at) {
  const matchers = [];
  while (at < tokens.length && tokens[at] !== "}") {
    if (tokens[at] === ",") {
      at += 1;
      continue;
    }
    matchers.push({ label: tokens[at], op: tokens[at + 1], value: (tokens[at + 2] ?? "").slice(1, -1) });
    at += 3;
  }
  return { matchers, next: at + 1 };
}

/** {selectors: [{name, matchers}], labels}: what a query reads, and the labels that it groups and joins by. */
export function readQuery(query) {
  const tokens = query.match(TOKEN) ?? [];
  const selectors = [];
  const labels = [];
  let at = 0;
  while (at < tokens.length) {
    const token = tokens[at];
    at += 1;
    if (GROUPINGS.has(token) && tokens[at] === "(") {
      for (at += 1; at < tokens.length && tokens[at] !== ")"; at++) if (tokens[at] !== ",") labels.push(tokens[at]);
    } else if (token === "{") {
      // A selector without a name reads everything: it is given back with the name "".
      const { matchers, next } = matchersFrom(tokens, at);
      selectors.push({ name: "", matchers });
      at = next;
    } else if (/^[a-zA-Z_:]/.test(token) && !WORDS.has(token.toLowerCase()) && !CALLS.has(tokens[at])) {
      const selector = { name: token, matchers: [] };
      if (tokens[at] === "{") ({ matchers: selector.matchers, next: at } = matchersFrom(tokens, at + 1));
      selectors.push(selector);
    }
  }
  return { selectors, labels };
}

/** Adds a page in the text format to name -> label -> set of values. A histogram has its three names. */
export function learn(known, page) {
  const of = (name) => known.get(name) ?? known.set(name, new Map()).get(name);
  for (const [, name, type] of page.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    for (const suffix of type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]) of(name + suffix);
  }
  for (const [, name, inside] of page.matchAll(/^([a-z]\w*)\{(.*)\} \S+$/gm)) {
    for (const [, label, value] of inside.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      const values = of(name).get(label) ?? new Set();
      of(name).set(label, values.add(value));
    }
  }
  return known;
}

/** A recording's labels are the first part of its name; `extra`: those that its rule adds. */
export function learnRecording(known, name, extra = {}) {
  const labels = known.get(name) ?? new Map(name.split(":")[0].split("_").map((label) => [label, new Set()]));
  for (const [label, value] of Object.entries(extra)) labels.set(label, (labels.get(label) ?? new Set()).add(value));
  return known.set(name, labels);
}

/** Labels of targets: the scrape's, not the programs'. */
const FROM_SCRAPE = ["namespace", "job", "instance", "version"];

function matcherProblem(name, labels, { label, op, value }) {
  if (FROM_SCRAPE.includes(label)) return [];
  if (!labels.has(label)) return [`${name} has no label ${label}`];
  const values = labels.get(label);
  return op === "=" && values.size > 0 && !values.has(value) ? [`${name} has no ${label}="${value}"`] : [];
}

/** What is wrong with a query: metrics, labels and values that nobody exports. `more`: other labels that it shows. */
export function queryProblems(known, query, more = []) {
  const { selectors, labels } = readQuery(query);
  const problems = [];
  const there = new Set([...FROM_SCRAPE, "le"]);
  if (selectors.length === 0) problems.push("reads no metric");
  for (const { name, matchers } of selectors) {
    const found = name === "up" ? new Map() : known.get(name);
    if (!found) {
      problems.push(`there is no metric ${name || "without a name"}`);
      continue;
    }
    for (const label of found.keys()) there.add(label);
    problems.push(...matchers.flatMap((matcher) => matcherProblem(name, found, matcher)));
  }
  for (const label of [...labels, ...more]) if (!there.has(label)) problems.push(`nothing has a label ${label}`);
  return problems;
}
