// The Debian packages on a machine of their own: a minimal Debian whose apt-get installs them and whose systemd, process 1
// of its own namespaces, runs their units as they are. Needs root, lintian, man, and the mirrors that apt-get knows.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { until } from "../lib/wait.mjs";
import { Machine, ROOT, asRoot, packages } from "./machine.mjs";

const run = promisify(execFile);
const LONG = { timeout: 600000 };
const EXPOSURE = 11; // tenths, as `systemd-analyze security` counts: how far a unit is from a full sandbox
const PROGRAMS = ["tokencast-broker", "tokencast-worker"];
const UNITS = ["tokencast-broker.service", "tokencast-worker.service", "tokencast-worker@.service"];
const NAMES = [...PROGRAMS, "libtokencast-dev"];
const SAID = "one two three four five six seven eight nine ten";

/** @type {string[]} */
let debs;
/** @type {Machine} */
let machine;

before(async () => {
  debs = await packages();
  machine = await Machine.make(debs);
}, LONG);
after(() => machine?.remove(), LONG);

const inRoot = (file) => path.join(machine.root, file);

describe("packages", () => {
  test("packages_pass_lintian", LONG, async () => {
    assert.deepEqual(debs.map((file) => path.basename(file).split("_")[0]), NAMES.toSorted());
    // That an upload to Debian would close a bug is no fault of a package that is none.
    await run("lintian", ["--allow-root", "--fail-on", "error,warning", "--suppress-tags", "initial-upload-closes-no-bugs", ...debs]);
  });

  test("programs_of_the_packages_run", LONG, async () => {
    for (const program of PROGRAMS) {
      assert.match(await machine.chroot(program, "--version"), new RegExp(`^${program} \\d+\\.\\d+\\.\\d+\n$`));
      assert.equal(await machine.chroot(program, "--check-config"), "configuration is valid\n");
    }
  });

  test("packages_have_their_files", LONG, async () => {
    const files = (await machine.chroot("dpkg", "-L", ...NAMES)).split("\n");
    const expected = [
      ...PROGRAMS.map((name) => `/usr/bin/${name}`),
      ...UNITS.map((name) => `/usr/lib/systemd/system/${name}`),
      ...PROGRAMS.map((name) => `/usr/share/man/man8/${name}.8.gz`),
      ...PROGRAMS.map((name) => `/etc/tokencast/${name.replace("tokencast-", "")}.env`),
      ...NAMES.map((name) => `/usr/share/doc/${name}/copyright`),
      "/usr/share/man/man3/libtokencast.3.gz",
      "/usr/include/libtokencast/tokencast/publish.h",
    ];
    assert.deepEqual(expected.filter((file) => !files.includes(file)), []);
    for (const end of ["/libtokencast.a", "/pkgconfig/tokencast.pc"]) assert.ok(files.some((file) => file.endsWith(end)), end);
    const conffiles = await machine.chroot("dpkg-query", "-W", "-f", "${Conffiles}", ...PROGRAMS);
    for (const tier of ["broker", "worker"]) assert.ok(conffiles.includes(`/etc/tokencast/${tier}.env`));
  });

  test("packages_of_the_same_sources_are_the_same", LONG, async () => {
    const sums = async (files) => (await run("sha256sum", files)).stdout;
    const before = await sums(debs);
    assert.equal(await sums(await packages()), before);
  });

  test("pages_are_clean", LONG, async () => {
    for (const page of ["man8/tokencast-broker.8", "man8/tokencast-worker.8", "man3/libtokencast.3"]) {
      const { stderr } = await run("man", ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", inRoot(`usr/share/man/${page}.gz`)], {
        env: { ...process.env, LC_ALL: "C.UTF-8", MANROFFSEQ: "" },
      });
      assert.equal(stderr, "", page);
    }
  });

  test("pages_name_every_option", LONG, async () => {
    for (const program of PROGRAMS) {
      const help = await machine.chroot(program, "--help");
      const { stdout: page } = await run("man", ["-l", inRoot(`usr/share/man/man8/${program}.8.gz`)], {
        env: { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "400", MAN_KEEP_FORMATTING: "" },
      });
      const rows = [...help.matchAll(/^ {2}(--[a-z-]+.*)\n {6}(.*)\n {6}(\(TOKENCAST_.*\))$/gm)];
      assert.ok(rows.length > 20, `--help names only ${rows.length} options`);
      const listed = page.split("\n").map((line) => line.trim());
      for (const [, flag, what, detail] of rows) {
        // A short flag shares its line with what it does.
        assert.ok(listed.some((line) => line === flag || line.startsWith(`${flag}  `)), `${program}: ${flag}`);
        assert.ok(listed.some((line) => line.endsWith(`${what}.`)), `${program}: ${what}`);
        assert.ok(listed.includes(detail), `${program}: ${detail}`);
      }
      const flags = (text) => text.match(/--[a-z][a-z-]*/g);
      const common = ["--name", "--no-name"];
      assert.deepEqual(flags(page).filter((flag) => !flags(help).includes(flag) && !common.includes(flag)), []);
      assert.deepEqual(flags(help).filter((flag) => !flags(page).includes(flag) && !common.includes(flag)), []);
    }
  });

  test("library_page_names_every_function", LONG, async () => {
    const header = await readFile(inRoot("usr/include/libtokencast/tokencast/publish.h"), "utf8");
    const page = await readFile(path.join(ROOT, "deploy/man/libtokencast.3"), "utf8");
    const declared = [...header.matchAll(/^[^/ *].*?\b(tc_[a-z_]+)\(/gm), ...header.matchAll(/\(\*(on_[a-z]+)\)/g)].map(([, name]) => name);
    assert.ok(declared.length > 20, `only ${declared.length} in the header`);
    assert.deepEqual(declared.filter((name) => !new RegExp(`^\\.(It )?Fn ${name}\\b`, "m").test(page)), []);
    const prototypes = [...page.matchAll(/^\.Fn (tc_[a-z_]+) "/gm)].map(([, name]) => name);
    assert.deepEqual(prototypes.filter((name) => !declared.includes(name)), []);
  });

  test("units_are_valid_and_sandboxed", LONG, async () => {
    for (const unit of UNITS) {
      const file = `/usr/lib/systemd/system/${unit}`;
      assert.equal(await machine.chroot("systemd-analyze", "verify", "--man=no", file.replace("@.", "@9470.")).catch(String), "");
      await machine.chroot("systemd-analyze", "security", "--offline=yes", `--threshold=${EXPOSURE}`, file);
    }
  });

  test("example_compiles_against_the_installed_library", LONG, async () => {
    const script = `cc -std=c11 -Wall -Wextra -Werror -D_POSIX_C_SOURCE=200809L $(pkg-config --cflags tokencast) -o /usr/local/bin/publish \\
      /usr/share/doc/libtokencast-dev/examples/publish.c $(pkg-config --libs tokencast)`;
    await machine.chroot("sh", "-ec", script);
    // Nor does a module that carries it export it.
    const module = `printf '#include "tokencast/publish.h"\\nint f(void);int f(void){return tc_publisher_stats(0)!=0;}' >/tmp/m.c
      cc -shared -fPIC $(pkg-config --cflags tokencast) -o /tmp/m.so /tmp/m.c $(pkg-config --libs tokencast)
      nm -D --defined-only /tmp/m.so | cut -d' ' -f3 | grep -v '^_'; rm /tmp/m.c /tmp/m.so`;
    assert.equal(await machine.chroot("sh", "-ec", module), "f\n");
  });
});

/** A generation by the broker of the system: its id. */
async function post(text, { rate = 1000, url = "http://127.0.0.1:8080" } = {}) {
  const body = JSON.stringify({ prompt: "x", model: "replay", options: { text, rate } });
  const answer = await machine.curl("--fail-with-body", "-H", "content-type: application/json", "-d", body, `${url}/v1/generations`);
  return JSON.parse(answer).id;
}

const read = (id) => machine.curl("-N", `http://127.0.0.1:8080/v1/generations/${id}/events`);

/** The text of a stream's deltas. */
const textOf = (stream) => [...stream.matchAll(/^data: (\{.*"type":"delta".*)$/gm)].map(([, json]) => JSON.parse(json).text).join("");

async function assertServes() {
  assert.equal(textOf(await read(await post(SAID))), SAID);
}

/** The most descriptors that a process may ask for. */
async function descriptors(pid) {
  return Number((await machine.run("cat", `/proc/${pid}/limits`)).match(/^Max open files +\d+ +(\d+) /m)[1]);
}

/** One of the files that docs/plain-machines.md shows, by the path in its first line. */
async function shown(file) {
  const text = await readFile(path.join(ROOT, "docs/plain-machines.md"), "utf8");
  const block = [...text.matchAll(/^```ini\n# (\S+)\n([\s\S]*?)^```$/gm)].find(([, name]) => name === file);
  assert.ok(block, `docs/plain-machines.md does not show ${file}`);
  return block[2];
}

async function reload(...units) {
  await machine.run("systemctl", "daemon-reload");
  await machine.run("systemctl", "restart", ...units);
}

/** Runs `body` with further settings of a unit, or with one of the shown files, and takes them back. */
async function withDropIn(file, text, body) {
  const [, unit] = file.match(/system\/(.*)\.d\//);
  await machine.write(file, text);
  try {
    await reload(unit);
    await body(unit);
  } finally {
    await machine.run("rm", "-f", file);
    await machine.run("systemctl", "reset-failed", unit);
    await reload(unit);
  }
}

const dropIn = (unit) => `/etc/systemd/system/${unit}.d/trial.conf`;
const settings = (...lines) => ["[Service]", ...lines, ""].join("\n");

describe("services", () => {
  before(() => machine.boot(), LONG);

  test("services_are_neither_enabled_nor_started_by_installing", LONG, async () => {
    for (const unit of PROGRAMS) assert.equal((await machine.show(unit, "UnitFileState")).UnitFileState, "disabled");
    for (const unit of PROGRAMS) assert.equal((await machine.show(unit, "ActiveState")).ActiveState, "inactive");
  });

  test("enabled_services_run_and_stream", LONG, async () => {
    await machine.run("systemctl", "enable", "--now", ...PROGRAMS);
    for (const unit of PROGRAMS) await machine.becomes(unit, { ActiveState: "active", StatusText: "ready" });
    await assertServes();
  });

  test("enabled_services_start_with_the_system", LONG, async () => {
    await machine.halt();
    await machine.boot();
    for (const unit of PROGRAMS) await machine.becomes(unit, { ActiveState: "active", StatusText: "ready" });
    await assertServes();
  });

  test("example_writes_what_the_broker_streams", LONG, async () => {
    await machine.run("publish", "redis://127.0.0.1:6379", "gen_example", SAID);
    assert.equal(textOf(await read("gen_example")), SAID);
  });

  test("processes_are_locked_in", LONG, async () => {
    for (const unit of PROGRAMS) {
      const { MainPID } = await machine.show(unit, "MainPID");
      const status = await machine.run("cat", `/proc/${MainPID}/status`);
      for (const fact of [/^CapBnd:\t0+$/m, /^CapEff:\t0+$/m, /^NoNewPrivs:\t1$/m, /^Seccomp:\t2$/m]) assert.match(status, fact);
      assert.doesNotMatch(status, /^Uid:\t0\b/m);
      const { LimitNOFILE } = await machine.show(unit, "LimitNOFILE");
      assert.equal(LimitNOFILE, unit === "tokencast-broker" ? "1048576" : "262144");
      assert.equal(await descriptors(MainPID), Math.min(LimitNOFILE, await descriptors(1))); // what the machine allows
      const environment = await machine.run("cat", `/proc/${MainPID}/environ`);
      assert.ok(environment.includes("NOTIFY_SOCKET="), "the test looks at the right process");
    }
  });

  test("io_uring_is_as_free_in_the_sandbox_as_outside", LONG, async () => {
    const word = "sent without io_uring";
    // `timeout` gives 124.
    const outside = await machine.sh("timeout 2 tokencast-broker --io uring --listen 127.0.0.1:0 --ops-listen 127.0.0.1:0 2>&1 || [ $? -eq 124 ] || [ $? -eq 0 ]");
    await withDropIn(dropIn("tokencast-broker.service"), settings("Environment=TOKENCAST_IO=uring"), async (unit) => {
      await assertServes();
      const { InvocationID } = await machine.show(unit, "InvocationID");
      const inside = await machine.run("journalctl", "-o", "cat", `_SYSTEMD_INVOCATION_ID=${InvocationID}`);
      assert.equal(inside.includes(word), outside.includes(word), inside);
    });
  });

  test("killed_service_is_started_again", LONG, async () => {
    for (const unit of PROGRAMS) {
      await machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit);
      await machine.becomes(unit, { NRestarts: "1", ActiveState: "active", StatusText: "ready" });
    }
    await assertServes();
  });

  test("hung_service_is_noticed_by_the_watchdog", LONG, async () => {
    for (const unit of PROGRAMS) {
      assert.notEqual((await machine.show(unit, "WatchdogUSec")).WatchdogUSec, "0");
      await withDropIn(dropIn(`${unit}.service`), settings("WatchdogSec=1s"), async () => {
        const { MainPID } = await machine.show(unit, "MainPID");
        await new Promise((wake) => setTimeout(wake, 3000)); // a healthy one is left alone
        assert.equal((await machine.show(unit, "MainPID")).MainPID, MainPID);
        await machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", unit);
        await machine.becomes(unit, { NRestarts: "1", ActiveState: "active" });
        assert.match(await machine.journal(unit), /Watchdog timeout/);
      });
    }
  });

  test("wrong_options_are_not_tried_again", LONG, async () => {
    await machine.write(dropIn("tokencast-broker.service"), settings("Environment=TOKENCAST_LOOPS=many"));
    await machine.run("systemctl", "daemon-reload");
    await assert.rejects(machine.run("systemctl", "restart", "tokencast-broker"));
    const unit = await machine.show("tokencast-broker", "ActiveState", "ExecMainStatus", "NRestarts");
    assert.deepEqual(unit, { ActiveState: "failed", ExecMainStatus: "2", NRestarts: "0" });
    await machine.run("rm", dropIn("tokencast-broker.service"));
    await reload("tokencast-broker");
  });

  test("a_drain_is_given_its_time", LONG, async () => {
    // Far more than TimeoutStopSec: the broker says how much.
    const lines = settings("TimeoutStopSec=1s", "Environment=TOKENCAST_DRAIN_WINDOW=4s");
    let id;
    await withDropIn(dropIn("tokencast-broker.service"), lines, async (unit) => {
      id = await post("word ".repeat(4000), { rate: 20 });
      const streams = Array.from({ length: 8 }, () => read(id));
      await until(async () => /streams(?:{[^}]*})? 8\b/.test(await machine.curl("http://127.0.0.1:9464/metrics")), "eight streams");
      await machine.run("systemctl", "stop", unit);
      for (const stream of await Promise.all(streams)) assert.match(stream, /^event: bye$/m);
      const stopped = await machine.show(unit, "ActiveState", "Result", "ExecMainStatus");
      assert.deepEqual(stopped, { ActiveState: "inactive", Result: "success", ExecMainStatus: "0" });
    });
    await machine.becomes("tokencast-broker", { StatusText: "ready" });
    await machine.curl("--fail-with-body", "-X", "POST", `http://127.0.0.1:8080/v1/generations/${id}/cancel`); // a worker that stops would wait for it
  });

  test("further_workers_are_named_by_their_port", LONG, async () => {
    await machine.write("/etc/tokencast/worker-9471.env", "TOKENCAST_NAME=second\n");
    await machine.run("systemctl", "start", "tokencast-worker@9470", "tokencast-worker@9471");
    for (const port of [9465, 9470, 9471]) assert.equal(await machine.curl(`http://127.0.0.1:${port}/readyz`), "ready\n");
    assert.match(await machine.journal("tokencast-worker@9471"), /name=second/);
    await machine.run("rm", "/etc/tokencast/worker-9471.env");
    await machine.run("systemctl", "stop", "tokencast-worker@9471");
  });

  test("a_password_comes_as_a_credential", LONG, async () => {
    const secret = "correct horse battery staple";
    const file = "/etc/systemd/system/tokencast-broker.service.d/redis.conf";
    const config = async (...words) => machine.run("redis-cli", "--no-auth-warning", ...words);
    await machine.write("/etc/tokencast/redis-password", secret);
    await machine.run("chmod", "600", "/etc/tokencast/redis-password");
    try {
      await config("config", "set", "requirepass", secret);
      await withDropIn(file, await shown(file), (unit) => machine.becomes(unit, { StatusText: "ready" }));
      await machine.becomes("tokencast-broker", { StatusText: "redis is down" }); // without it
    } finally {
      await config("-a", secret, "config", "set", "requirepass", "");
      await machine.run("rm", "/etc/tokencast/redis-password");
    }
    await machine.becomes("tokencast-broker", { StatusText: "ready" });
  });

  test("redis_is_reached_by_its_socket", LONG, async () => {
    const file = "/etc/systemd/system/tokencast-broker.service.d/socket.conf";
    const server = "/etc/systemd/system/redis-server.service.d/trial.conf";
    const more = "ExecStart=\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no --unixsocket /run/redis/redis-server.sock --unixsocketperm 770";
    await withDropIn(server, settings(more), async () => {
      await withDropIn(file, await shown(file), async (unit) => {
        await machine.becomes(unit, { StatusText: "ready" });
        await assertServes();
      });
    });
  });

  test("an_upgrade_restarts_what_runs_and_nothing_else", LONG, async () => {
    await machine.run("systemctl", "stop", "tokencast-worker");
    const units = ["tokencast-broker", "tokencast-worker@9470"];
    const pids = async () => Promise.all(units.map(async (unit) => (await machine.show(unit, "MainPID")).MainPID));
    const before = await pids();
    await machine.sh("dpkg -i /packages/tokencast-*.deb");
    const after = await pids();
    for (let i = 0; i < units.length; i++) assert.ok(after[i] !== "0" && after[i] !== before[i], `${units[i]}: ${before[i]}, ${after[i]}`);
    assert.equal((await machine.show("tokencast-worker", "ActiveState")).ActiveState, "inactive");
  });

  test("purging_leaves_nothing", LONG, async () => {
    await machine.run("systemctl", "enable", "tokencast-worker@9470");
    await machine.run("apt-get", "-q", "-y", "remove", ...PROGRAMS);
    await machine.becomes("tokencast-broker", { ActiveState: "inactive" });
    await machine.run("test", "-e", "/etc/tokencast/broker.env"); // what the administrator wrote stays until a purge
    await machine.run("apt-get", "-q", "-y", "purge", ...NAMES);
    await machine.run("apt-get", "-q", "-y", "autoremove", "--purge");
    assert.equal(await machine.run("systemctl", "list-units", "--all", "--no-legend", "tokencast*"), "");
    const before = new Set((await readFile(`${machine.root}.before`, "utf8")).split("\n"));
    const now = (await machine.run("find", "/usr", "/etc", "/opt", "/srv", "/var/lib", "-xdev")).split("\n");
    // What the trial itself has left, and the books of apt, dpkg, systemd and Redis.
    const ours = /^\/usr\/local\/bin\/publish$|^\/etc\/systemd\/system\/(tokencast-|redis-server)[a-z]*\.service\.d$|^\/var\/lib\/(apt|dpkg|systemd|redis)\/|^\/etc\/(machine-id|ld.so.cache|.*~)$|^\/etc\/\.|\.dpkg-/;
    const left = now.filter((file) => file !== "" && !before.has(file) && !ours.test(file));
    assert.deepEqual(left, []);
    assert.deepEqual((await asRoot(["chroot", machine.root, "dpkg", "-l"])).match(/tokencast\S*/g), null);
  });
});
