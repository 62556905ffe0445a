// What a seed makes of generations and readers: their texts, policies and habits.
const NOUNS = ["fox", "dog", "café", "\u{1F98A}", "naïve", "über", "«x»", "日本語", "tail", "a\nb", "end.\n"];

function textOf(random, tokens) {
  let text = "";
  for (let i = 0; i < tokens; i++) text += `${i > 0 ? " " : ""}${random.pick(NOUNS)}${i}`;
  return text;
}

/** A generation to start: {kind, key, body, text, reasons, cancelAfter}. */
export function generationSpec(random, number, seed) {
  const kind = random.weighted([
    ["plain", 8],
    ["quick", 2],
    ["slow", 2],
    ["fat", 2],
    ["thinking", 2],
    ["tool", 1],
  ]);
  const shape = {
    plain: () => [random.int(100, 600), random.int(40, 150)],
    quick: () => [random.int(1, 60), 2000],
    slow: () => [random.int(20, 60), random.int(5, 12)],
    fat: () => [random.int(8000, 20000), random.int(2000, 4000)],
    thinking: () => [random.int(50, 200), 80],
    tool: () => [random.int(20, 100), 80],
  }[kind];
  const [tokens, rate] = shape();
  const options = { text: textOf(random, tokens), rate };
  if (kind === "thinking") options.reasoning = textOf(random, random.int(20, 100));
  if (kind === "tool") options.tool_call = { name: "look", arguments: { q: textOf(random, random.int(1, 40)), n: 1 } };
  const crash = random.pick(["restart", "continue", "fail"]);
  const leaves = random.chance(0.12);
  const cancel = random.chance(0.12);
  const reasons = [kind === "tool" ? "tool_calls" : "stop"];
  if (crash === "fail") reasons.push("error");
  if (leaves || cancel) reasons.push("cancelled");
  const body = { model: "replay", prompt: "x", options, on_crash: crash };
  const room = random.int(0, 2);
  if (kind !== "fat") body.channel = `room${room}`; // a room's readers keep all that they got until the end
  if (leaves) body.on_abandon = { cancel_after_ms: random.int(1500, 4000) };
  return {
    kind,
    key: `chaos-${seed}-${number}`,
    body,
    text: options.text,
    reasons,
    cancelAfter: cancel ? random.int(0, 5000) : null,
  };
}

/** A reader's policy and habits. */
export function readerSpec(random, kind) {
  const slow = kind === "fat" && random.chance(0.6);
  const policy = { overflow: random.pick(["drop", "merge", "close"]) };
  if (random.chance(0.15)) policy.include = random.pick([["text"], ["text", "reasoning"], ["tools", "notes"]]);
  if (random.chance(0.1) && kind !== "fat") policy.pace = random.pick(["word", "sentence", "line"]);
  if (random.chance(0.05)) policy.from = "now";
  if (random.chance(0.05)) policy.leaves = true;
  const habits = {
    form: random.chance(0.3) ? "ndjson" : "sse",
    delay: random.chance(0.3) ? random.int(0, 6000) : 0,
    hop: random.chance(0.4),
    cuts: random.pick([0, 0, 0.2, 0.7]),
    cutBytes: random.pick([400, 4000, 60000]),
    sleepy: slow ? 0.3 : random.chance(0.2) ? 0.01 : 0,
    nap: slow ? [1500, 5000] : [200, 2500],
    leavesAfter: random.int(0, 3),
  };
  return { policy, habits };
}
