// The files of deploy/proxies themselves: named in the documents, readable, and right about the broker's defaults.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import yaml from "js-yaml";

import { BUILD } from "../clients/harness.mjs";
import { bounded } from "../lib/wait.mjs";

const run = promisify(execFile);
const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
const FOLDER = path.join(ROOT, "deploy/proxies");

const files = await readdir(FOLDER);
const text = async (name) => readFile(path.join(FOLDER, name), "utf8");

test("every_file_is_in_the_document", bounded, async () => {
  const page = await readFile(path.join(ROOT, "docs/proxies.md"), "utf8");
  for (const name of files) assert.ok(page.includes(`](../deploy/proxies/${name})`), name);
});

for (const name of files.filter((file) => file.endsWith(".yaml"))) {
  test(`${name}_is_yaml`, bounded, async () => assert.ok(yaml.load(await text(name))));
}

test("files_and_document_are_right_about_the_brokers_defaults", bounded, async () => {
  const { stdout } = await run(path.join(BUILD, "bin/tokencast-broker"), ["--help"]);
  const rows = stdout.matchAll(/^ {2}--([a-z-]+).*\n {6}.*\n {6}\(TOKENCAST_[A-Z_]+(?:, default ([^,)\n]*))?/gm);
  const defaults = new Map([...rows].map(([, name, value]) => [name, value]));
  let told = 0;
  for (const name of [...files.map((file) => `deploy/proxies/${file}`), "docs/proxies.md"]) {
    const all = (await readFile(path.join(ROOT, name), "utf8")).replaceAll(/\n\s*#?\s*/g, " ");
    for (const [phrase, value, option] of all.matchAll(/(\d+) s[^0-9.()]*\(`?--([a-z-]+)`?\)/g)) {
      assert.ok(defaults.has(option), `${name}: ${phrase}`);
      const meant = { "1m": "60s" }[defaults.get(option)] ?? defaults.get(option);
      assert.equal(meant, `${value}s`, `${name}: ${phrase}`);
      told++;
    }
  }
  assert.ok(told >= 12, `${told} found`);
});
