// What programs say of themselves on their operations port.
import assert from "node:assert/strict";

/** The sum of a metric's samples whose labels contain `labels`. A name that is not there fails. */
export function sample(text, name, labels = "") {
  assert.ok(text.includes(`# TYPE ${name} `), `there is no metric ${name}`);
  return text
    .split("\n")
    .filter((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** @param {{ops: string}} program */
export async function metric(program, name, labels = "") {
  return sample(await (await fetch(`${program.ops}/metrics`)).text(), name, labels);
}

/** The status of /readyz; 0 where nobody answers. */
export async function readyz(program) {
  try {
    const response = await fetch(`${program.ops}/readyz`);
    return { status: response.status, text: await response.text() };
  } catch (error) {
    return { status: 0, text: String(error.cause ?? error) };
  }
}

/** The JSON lines of a program's log as objects, the one that may still be coming left out. */
export function logLines({ log }) {
  const lines = log.slice(0, log.lastIndexOf("\n") + 1).split("\n");
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}
