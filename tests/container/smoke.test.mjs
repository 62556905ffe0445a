// The set-up of deploy/compose without an engine: the images' own roots, read-only, as their own user, with the
// environment and the commands of the compose file. Redis is this machine's. Addresses alone are ours.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once as event } from "node:events";
import { createServer } from "node:https";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";

import yaml from "js-yaml";

import { freePort, freePorts } from "../lib/ports.mjs";
import { bounded, eventually } from "../lib/wait.mjs";
import { BUILD_MS, Container, Image, ROOT, build } from "./images.mjs";

const run = promisify(execFile);
const TEXT = "One stream, whole: naïve façade, größer, 日本語 \u{1F680}.";

before(build, { timeout: BUILD_MS });

describe("small_set_up", () => {
  let dir;
  let images;
  let compose;
  let running;
  const at = (name) => path.join(dir, name);
  const file = async (name, text) => writeFile(at(name), text, { mode: 0o644 }).then(() => at(name));

  before(async () => {
    compose = yaml.load(await readFile(path.join(ROOT, "deploy/compose/compose.yaml"), "utf8")).services;
    dir = await mkdtemp(path.join(tmpdir(), "tc-container-"));
    await file("hosts", "127.0.0.1 localhost redis model\n");
    images = {};
    for (const tier of ["broker", "worker"]) {
      images[tier] = await Image.open(tier);
      await images[tier].mountPoints();
    }
  }, bounded);
  after(async () => {
    for (const image of Object.values(images ?? {})) await image.close();
    await rm(dir, { recursive: true, force: true });
  }, bounded);
  beforeEach(() => (running = []));
  afterEach(async () => {
    for (const program of running.reverse()) await program.kill();
  }, bounded);

  /** The compose file's Redis on a free port; `more` are further arguments. */
  async function startRedis(port, more = []) {
    const [program, ...args] = compose.redis.command;
    const child = spawn(program, [...args, "--port", port, "--bind", "127.0.0.1", "--dir", dir, ...more], { stdio: "ignore" });
    const gone = event(child, "exit");
    running.push({
      kill: () => {
        child.kill("SIGKILL");
        return gone;
      },
    });
    const [, check, ...words] = compose.redis.healthcheck.test;
    await eventually(() => run(check, ["-p", port, ...words]), "the compose file's check of Redis");
  }

  async function start(tier, env, more = {}) {
    const ours = { TOKENCAST_LOG_FORMAT: "json", TOKENCAST_OPS_LISTEN: "127.0.0.1:0", ...(tier === "broker" && { TOKENCAST_LISTEN: "127.0.0.1:0" }) };
    const made = new Container(images[tier], { env: { ...compose[tier].environment, ...ours, ...env }, hosts: at("hosts"), ...more });
    running.push(made);
    return made.ready();
  }

  /** The whole of it: by the name that the compose file gives Redis. */
  async function startAll(env = {}) {
    const port = await freePort();
    await startRedis(port);
    const url = (tier) => compose[tier].environment.TOKENCAST_REDIS.replace(/:6379$/, `:${port}`);
    const worker = await start("worker", { TOKENCAST_REDIS: url("worker"), ...env });
    const broker = await start("broker", { TOKENCAST_REDIS: url("broker"), ...env });
    return { worker, broker };
  }

  const post = (broker, body, accept = "text/event-stream") =>
    fetch(`http://${broker.listen}/v1/generations`, { method: "POST", headers: { accept }, body: JSON.stringify(body) });

  /** The text of a stream that is read to its end, which must be a good one. */
  async function textOf(answer) {
    assert.equal(answer.status, 200);
    const said = await answer.text();
    const events = [...said.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data));
    assert.equal(events.at(-1).type, "done", said);
    assert.equal(events.at(-1).reason, "stop", said);
    let text = "";
    for (const { type, offset, text: piece } of events) if (type === "delta") text = text.slice(0, offset) + piece;
    return text;
  }

  test("stream_of_a_generation_is_whole", bounded, async () => {
    const { broker } = await startAll();
    assert.equal(await textOf(await post(broker, { prompt: "x", options: { text: TEXT, rate: 200 } })), TEXT);
  });

  test("both_are_alive_and_ready", bounded, async () => {
    for (const { ops, image } of Object.values(await startAll())) {
      for (const probe of ["livez", "readyz"]) {
        await eventually(async () => (await fetch(`http://${ops}/${probe}`)).status === 200, `${image.program} ${probe}`);
      }
    }
  });

  test("health_checks_see_that_redis_is_lost", bounded, async () => {
    const programs = Object.entries(await startAll());
    const checksEnd = async (status) => {
      for (const [tier, { ops, image }] of programs) {
        const [, ...check] = compose[tier].healthcheck.test;
        assert.deepEqual(image.healthcheck.Test, ["CMD", ...check]);
        await eventually(async () => (await image.run(check, { TOKENCAST_OPS_LISTEN: ops })).status === status, `${tier}: ${status}`);
      }
    };
    await checksEnd(0);
    await running[0].kill();
    await checksEnd(1);
  });

  test("both_run_as_process_1_of_a_user_without_rights_on_a_root_that_cannot_be_written", bounded, async () => {
    for (const program of Object.values(await startAll())) {
      const status = await program.proc("status");
      assert.match(status, /^NSpid:\t\d+\t1$/m);
      assert.match(status, /^Uid:\t65532\t65532\t65532\t65532$/m);
      assert.match(status, /^Gid:\t65532\t65532\t65532\t65532$/m);
      assert.match(status, /^Groups:\t *$/m);
      assert.match(status, /^CapPrm:\t0+$/m);
      assert.match(status, /^CapEff:\t0+$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      const mounts = (await program.proc("mountinfo")).trim().split("\n").map((line) => line.split(" "));
      assert.match(mounts.filter((fields) => fields[4] === "/").at(-1)[5], /^ro,/);
    }
  });

  test("broker_that_is_told_to_stop_sends_readers_away_and_ends_well", bounded, async () => {
    const { broker } = await startAll({ TOKENCAST_DRAIN_WINDOW: "500ms" });
    const stream = await post(broker, { prompt: "x", options: { text: "word ".repeat(2000), rate: 20 } });
    const told = stream.text();
    assert.deepEqual(await broker.stop(images.broker.config.StopSignal), { code: 0, signal: null }, broker.log);
    assert.match(await told, /^event: bye\nretry: \d+\ndata: .*"drain"/m);
  });

  test("worker_that_is_told_to_stop_finishes_what_it_has_and_ends_well", bounded, async () => {
    const { broker, worker } = await startAll({ TOKENCAST_SETTLE: "0" });
    const stream = await post(broker, { prompt: "x", options: { text: TEXT, rate: 20 } });
    const reader = stream.body.getReader();
    const [bytes, first] = [[], () => /event: delta/.test(Buffer.concat(bytes).toString())];
    while (!first()) bytes.push((await reader.read()).value);
    const ends = worker.stop(images.worker.config.StopSignal);
    for (let next = await reader.read(); !next.done; next = await reader.read()) bytes.push(next.value);
    assert.equal(await textOf(new Response(Buffer.concat(bytes))), TEXT);
    assert.deepEqual(await ends, { code: 0, signal: null }, worker.log);
  });

  describe("with_certificates", () => {
    let model;
    before(async () => {
      const make = (name, ...more) => {
        const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", at(`${name}.key`)];
        return run("openssl", ["req", "-x509", ...key, "-days", "2", "-subj", `/CN=${name}`, ...more, "-out", at(`${name}.pem`)]);
      };
      await make("ca", "-addext", "keyUsage=critical,keyCertSign");
      const leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:redis,DNS:model"];
      await make("server", "-CA", at("ca.pem"), "-CAkey", at("ca.key"), ...leaf);
      model = createServer({ cert: await readFile(at("server.pem")), key: await readFile(at("server.key")) }, (request, answer) => {
        answer.writeHead(200, { "content-type": "text/event-stream" });
        const say = (delta, finish_reason = null) => answer.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
        say({ role: "assistant", content: TEXT });
        say({}, "stop");
        answer.end("data: [DONE]\n\n");
      }).listen(0, "127.0.0.1");
      await event(model, "listening");
    }, bounded);
    after(async () => {
      model?.closeAllConnections();
      model?.close();
    });

    /** Everything over TLS: Redis by OpenSSL, the model server by libcurl. */
    async function sealed(env) {
      const [port, tlsPort] = await freePorts(2);
      const tls = ["--tls-port", tlsPort, "--tls-cert-file", at("server.pem"), "--tls-key-file", at("server.key"), "--tls-ca-cert-file", at("ca.pem"), "--tls-auth-clients", "no"];
      await startRedis(port, tls);
      const upstream = `https://model:${model.address().port}/v1`;
      return { upstream, plain: `redis://redis:${port}`, redis: `rediss://redis:${tlsPort}`, ...env };
    }
    const asked = ({ upstream }) => ({ TOKENCAST_PROVIDER: "openai", TOKENCAST_UPSTREAM: upstream, TOKENCAST_MODEL: "m", TOKENCAST_MAX_RETRIES: "0" });

    test("the_images_file_of_certificates_is_where_both_libraries_look", bounded, async () => {
      const to = await sealed();
      const bundle = at("ca.pem");
      await start("worker", { ...asked(to), TOKENCAST_REDIS: to.redis }, { bundle });
      const broker = await start("broker", { TOKENCAST_REDIS: to.redis }, { bundle });
      assert.equal(await textOf(await post(broker, { prompt: "x" })), TEXT);
    });

    test("servers_that_the_images_certificates_do_not_know_are_refused", bounded, async () => {
      const to = await sealed();
      const worker = await start("worker", { ...asked(to), TOKENCAST_REDIS: to.plain });
      const broker = await start("broker", { TOKENCAST_REDIS: to.plain });
      const said = await (await post(broker, { prompt: "x" })).text();
      assert.match(said, /"reason":"error"/, `${said}\n${worker.log}`);
      assert.match(`${said}${worker.log}`, /certificate/i);
      assert.doesNotMatch(said, /naïve/);
    });
  });
});
