// The page in a real browser. Against the real programs, or with TC_MOCK=1 against mock-broker.mjs; screenshots go to
// tests/out/. Skipped without Chromium (TC_CHROMIUM, default /usr/bin/chromium).
import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Harness, missing, post } from "../clients/harness.mjs";
import { bounded } from "../lib/wait.mjs";
import { startMock } from "../clients/mock-broker.mjs";
import { CHROMIUM, launch } from "./chromium.mjs";

const OUT = fileURLToPath(new URL("../out/", import.meta.url));
const LONG = Array.from({ length: 300 }, (_, i) => `word${i}`).join(" ");
const skip = !existsSync(CHROMIUM) ? `${CHROMIUM} is not there` : process.env.TC_MOCK ? false : missing();

describe("page", { skip }, () => {
  let url;
  let stop;
  let browser;
  before(
    async () => {
      if (process.env.TC_MOCK) ({ url, stop } = await startMock());
      else {
        const harness = await Harness.start();
        ({ url } = harness);
        stop = () => harness.stop();
      }
      mkdirSync(OUT, { recursive: true });
      browser = await launch();
    },
    bounded,
  );
  after(async () => {
    await browser?.close();
    await stop?.();
  });

  /** A window of its own; errors of the page fail the test that opened it. */
  async function open(context, hash = "") {
    const page = await context.newPage();
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
    await page.goto(`${url}/${hash}`);
    return page;
  }

  async function begin(page, prompt, options, room = "") {
    await page.click("#options summary");
    await page.fill("#extra", JSON.stringify(options));
    await page.fill("#room", room);
    await page.click("#options summary");
    await page.fill("#prompt", prompt);
    await page.press("#prompt", "Control+Enter");
    await page.waitForFunction(() => location.hash.includes("g="));
  }

  /** What was to be shown with the next frame is shown. */
  const drawn = (page) =>
    page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const length = (page) => page.evaluate(() => document.getElementById("answer").textContent.length);
  const longer = (page, than) =>
    page.waitForFunction((n) => document.getElementById("answer").textContent.length > n, than);
  const state = (page, wanted) =>
    page.waitForFunction((s) => document.getElementById("dot").dataset.state === s, wanted);
  const answer = (page) => page.evaluate(() => document.getElementById("answer").textContent);

  test("page_starts_and_a_second_window_grows_with_it", bounded, async () => {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
    const first = await open(context);
    await begin(first, "Count for me", { text: LONG, rate: 30 });
    await longer(first, 100);
    const other = await browser.newContext({ colorScheme: "dark", viewport: { width: 390, height: 780 } });
    const second = await open(other, new URL(first.url()).hash);
    for (let i = 0; i < 3; i++) {
      const [a, b] = [await length(first), await length(second)];
      await Promise.all([longer(first, a), longer(second, b)]);
    }
    await first.screenshot({ path: `${OUT}page-running.png` });
    await second.screenshot({ path: `${OUT}page-running-phone-dark.png` });
    await Promise.all([state(first, "done"), state(second, "done")]);
    assert.deepEqual([await answer(first), await answer(second)], [LONG, LONG]);
    assert.match(await first.textContent("#ttft"), /^\d+(\.\d)? m?s$/);
    assert.match(await first.textContent("#speed"), /tokens\/s$/);
    assert.match(await first.textContent("#position"), /^\d+-\d+$/);
    await first.screenshot({ path: `${OUT}page-done.png` });
    assert.deepEqual([...first.problems, ...second.problems], []);
    await context.close();
    await other.close();
  });

  test("page_stop_button_ends_it_in_both_windows", bounded, async () => {
    const context = await browser.newContext();
    const first = await open(context);
    await begin(first, "Stop me", { text: LONG, rate: 20 });
    const second = await open(context, new URL(first.url()).hash);
    await Promise.all([longer(first, 20), longer(second, 20)]);
    await second.click("#stop");
    await Promise.all([state(first, "cancelled"), state(second, "cancelled")]);
    assert.ok((await answer(first)).length < LONG.length);
    assert.equal(await answer(first), await answer(second));
    assert.equal(await first.isVisible("#stop"), false);
    await first.screenshot({ path: `${OUT}page-stopped.png` });
    await context.close();
  });

  test("page_reload_goes_on", bounded, async () => {
    const context = await browser.newContext();
    const page = await open(context);
    await begin(page, "Reload me", { text: LONG, rate: 30 });
    await longer(page, 200);
    await page.reload();
    await longer(page, 200);
    const before = await length(page);
    await longer(page, before);
    assert.equal(await page.textContent("#title"), "Reload me");
    await state(page, "done");
    assert.equal(await answer(page), LONG);
    await context.close();
  });

  test("page_offline_for_a_while_goes_on", bounded, async () => {
    const context = await browser.newContext();
    const page = await open(context);
    await begin(page, "Cut me", { text: LONG, rate: 30 });
    await longer(page, 200);
    // Offline does not cut what is open: leaving and coming back makes a connection that fails.
    await context.setOffline(true);
    await page.evaluate(() => document.getElementById("new").click());
    await page.goBack();
    await state(page, "reconnecting");
    await context.setOffline(false);
    await state(page, "done");
    assert.equal(await answer(page), LONG);
    await context.close();
  });

  test("page_room_follows_what_others_start", bounded, async () => {
    const context = await browser.newContext();
    const room = `room${Date.now()}`;
    // The stream must be open before somebody starts, or the page would only find it in the list.
    const opened = context.waitForEvent("response", (response) => response.url().includes(`/v1/channels/${room}/events`));
    const page = await open(context, `#c=${room}`);
    await page.waitForFunction(() => !document.getElementById("room-badge").hidden);
    await opened;
    const { id } = await post(url, "Hello room", { rate: 100, channel: room });
    await page.waitForFunction((wanted) => location.hash.includes(wanted), id);
    await state(page, "done");
    assert.equal(await answer(page), "Hello room");
    assert.equal(await page.locator("#list a").count(), 1);
    // What is live in the room is found again by a page that knows nothing but the room's name.
    const live = await post(url, "word ".repeat(400), { rate: 20, channel: room });
    const other = await open(await browser.newContext(), `#c=${room}`);
    await other.waitForFunction(() => document.querySelectorAll("#list a").length === 1);
    assert.ok((await other.locator("#list a").getAttribute("href")).includes(live.id));
    await other.context().close();
    await context.close();
  });

  test("page_text_of_the_model_is_never_markup", bounded, async () => {
    const context = await browser.newContext();
    const page = await open(context);
    const hostile =
      '<img src=x onerror="window.hit=1"> **bold** [go](javascript:alert(1)) [ok](https://example.org/) `<b>` <script>window.hit=1</script>';
    await begin(page, "<b>me</b>", { text: hostile, rate: 500 });
    await state(page, "done");
    assert.equal(
      await page.evaluate(() => document.querySelectorAll("#answer img, #answer script, #answer b").length),
      0,
    );
    assert.deepEqual(await page.evaluate(() => Array.from(document.querySelectorAll("#answer a"), (a) => a.href)), [
      "https://example.org/",
    ]);
    assert.equal(await page.textContent("#title"), "<b>me</b>");
    assert.equal(await page.evaluate(() => window.hit), undefined);
    await context.close();
  });

  test("page_markdown_half_open_and_whole_look_the_same_at_the_end", bounded, async () => {
    const context = await browser.newContext();
    const page = await open(context);
    const text =
      "# Title\n\nA *b* **c** `d`\n\n- one\n- two\n  - inner\n\n1. x\n2. y\n\n```js\nlet a = 1;\n\nlet b;\n```\n\n> said\n\n| a | b |\n\nend";
    await begin(page, "Markdown", { text, rate: 300 });
    await state(page, "done");
    await drawn(page);
    const grown = await page.evaluate(() => document.getElementById("answer").innerHTML);
    await page.reload();
    await state(page, "done");
    await drawn(page);
    assert.equal(await page.evaluate(() => document.getElementById("answer").innerHTML), grown);
    assert.deepEqual(
      await page.evaluate(() => Array.from(document.getElementById("answer").children, (node) => node.tagName)),
      ["H2", "P", "UL", "OL", "PRE", "BLOCKQUOTE", "PRE", "P"],
    );
    await context.close();
  });

  test("page_unknown_generation_says_so", bounded, async () => {
    const context = await browser.newContext();
    const page = await open(context, "#g=gen_none");
    await state(page, "failed");
    assert.match(await page.textContent("#notice"), /no such generation/);
    await context.close();
  });
});
