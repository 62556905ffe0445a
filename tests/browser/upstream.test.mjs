// The page in Chromium with answers of model servers that others wrote: mock-llm by the openai provider, aimock by the
// anthropic one.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";

import { LLMock } from "@copilotkit/aimock";

import { Harness, missing } from "../clients/harness.mjs";
import { bounded } from "../lib/wait.mjs";
import { launch } from "./chromium.mjs";

const TEXT = "The quick brown fox — «jumps» over 13 lazy dogs. Über alles, naïve café, 日本語.";

async function mockLlm() {
  const require = createRequire(import.meta.url);
  const { createServer } = require("@dwmkerr/mock-llm/dist/server.js");
  const { getDefaultConfig } = require("@dwmkerr/mock-llm/dist/config.js");
  const config = getDefaultConfig();
  config.streaming = { chunkSize: 7, chunkIntervalMs: 5 };
  const server = createServer(config, "127.0.0.1", 0).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    upstream: `http://127.0.0.1:${server.address().port}/v1`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function aimock() {
  const server = await LLMock.create({ port: 0, host: "127.0.0.1", chunkSize: 5 });
  server.onMessage(TEXT, { content: TEXT, usage: { input_tokens: 11, output_tokens: 22 } });
  return { upstream: `${server.url}/v1`, stop: () => server.stop() };
}

for (const [provider, name, serve] of [
  ["openai", "mock_llm", mockLlm],
  ["anthropic", "aimock", aimock],
]) {
  describe(`page with ${name}`, { skip: missing() }, () => {
    let h;
    let browser;
    let server;
    before(async () => {
      server = await serve();
      h = await Harness.start({ workerArgs: ["--provider", provider, "--upstream", server.upstream, "--model", "m"] });
      browser = await launch();
    }, bounded);
    after(async () => {
      await browser?.close();
      await h?.stop();
      await server?.stop();
    });

    test(`page_shows_the_answer_of_${name}_by_the_${provider}_provider`, bounded, async () => {
      const page = await (await browser.newContext()).newPage();
      await page.goto(h.url);
      await page.fill("#prompt", TEXT);
      await page.press("#prompt", "Control+Enter");
      await page.waitForFunction((text) => document.getElementById("answer").textContent.trim() === text, TEXT);
      await page.waitForFunction(() => document.getElementById("dot").dataset.state === "done");
    });
  });
}
