// Broker and worker over TLS to a Redis that has no other way in; certificates are made for each run with openssl.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { Harness, ended, missing, post } from "../clients/harness.mjs";
import { freePort } from "../lib/ports.mjs";
import { bounded } from "../lib/wait.mjs";
import { fold, readAll } from "./readers.mjs";

const run = promisify(execFile);
const TEXT = "Sealed on the way — «every» word of it. ".repeat(5).trim();

describe("redis over TLS", { skip: missing() }, () => {
  let dir;
  const file = (name) => path.join(dir, name);
  const EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const newKey = (name) => [...EC, "-keyout", file(name)];

  async function makeCa(name) {
    const more = ["-addext", "keyUsage=critical,keyCertSign", "-out", file(`${name}.pem`)];
    await run("openssl", ["req", "-x509", ...newKey(`${name}.key`), "-days", "2", "-subj", `/CN=${name}`, ...more]);
  }

  async function makeCert(name, ca, ...more) {
    const signer = ["-CA", file(`${ca}.pem`), "-CAkey", file(`${ca}.key`)];
    const leaf = ["-addext", "basicConstraints=critical,CA:FALSE", ...more, "-out", file(`${name}.pem`)];
    const subject = ["-days", "2", "-subj", `/CN=${name}`];
    await run("openssl", ["req", "-x509", ...newKey(`${name}.key`), ...signer, ...subject, ...leaf]);
  }

  before(async () => {
    dir = await mkdtemp(path.join(tmpdir(), "tc-tls-"));
    await makeCa("ca");
    await makeCa("stranger");
    await makeCert("server", "ca", "-addext", "subjectAltName=IP:127.0.0.1");
    await makeCert("client", "ca");
  }, bounded);
  after(() => dir && rm(dir, { recursive: true }));

  const ca = (name = "ca") => ["--redis-ca-file", file(`${name}.pem`)];
  const certificate = () => ["--redis-cert-file", file("client.pem"), "--redis-key-file", file("client.key")];

  /** A Redis that speaks TLS only, and a broker and a worker that were given `args`. */
  async function start(args, authClients = "no", more = {}) {
    const port = await freePort();
    const files = ["cert-file", file("server.pem"), "key-file", file("server.key"), "ca-cert-file", file("ca.pem")];
    const tls = ["port", `${port}`, ...files, "auth-clients", authClients];
    const redis = {
      args: ["--unixsocket", "", ...tls.map((word, i) => (i % 2 === 0 ? `--tls-${word}` : word))],
      url: `rediss://127.0.0.1:${port}`,
    };
    return Harness.start({ redis, brokerArgs: args, workerArgs: args, ...more });
  }

  async function streams(args, authClients) {
    const h = await start(args, authClients);
    try {
      const { id } = await post(h.url, TEXT, { rate: 500 });
      for (const [name, events] of Object.entries(await readAll(`${h.url}/v1/generations/${id}/events`))) {
        const said = fold(events);
        assert.deepEqual([said.text[0], said.dones[0].reason], [TEXT, "stop"], name);
      }
      assert.equal((await ended(h.url, id)).text, TEXT);
    } finally {
      await h.stop();
    }
  }

  test("redis_tls_ca_file_streams_a_generation", bounded, () => streams(ca()));

  test("redis_tls_client_certificate_streams_a_generation", bounded, () => streams([...ca(), ...certificate()], "yes"));

  for (const [name, args] of [
    ["ca_of_a_stranger", () => ca("stranger")],
    ["ca_of_the_system", () => []],
  ]) {
    test(`redis_tls_${name}_never_ready`, bounded, async () => {
      const h = await start([], "no", { brokers: 0, workers: 0 });
      try {
        const broker = await h.broker(args(), { ready: false });
        const refusals = (log) => log.split("\n").filter((line) => line.includes('"why":"certificate: '));
        await broker.until((log) => refusals(log).length >= 4, "word about the certificate, for a retry too");
        assert.ok(!broker.log.includes('"msg":"ready"'));
      } finally {
        await h.stop();
      }
    });
  }
});
