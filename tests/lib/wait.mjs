// Waiting for what a test means; limits bound a hang, nothing is measured by them.
export const HANG_MS = 60000;
/** The third argument of a test on real programs. */
export const bounded = { timeout: 240000 };

export const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** Waits until `look()`, which may be async, gives something truthy. `what`: what never came, or a function that says it. */
export async function until(look, what, ms = HANG_MS) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${typeof what === "function" ? what() : what}`);
    await sleep(15);
  }
}

/** What the promise gives; fails if that does not come. */
export async function inTime(promise, what, ms = HANG_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** As until(), but an error means "not yet". */
export function eventually(look, what, ms = HANG_MS) {
  let last = "";
  const tried = async () => {
    try {
      return await look();
    } catch (error) {
      last = error;
      return false;
    }
  };
  return until(tried, () => `${what} ${last}`, ms);
}
