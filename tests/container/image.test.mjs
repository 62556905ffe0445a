// What is in the two images and what they say of themselves. Built first, which takes a minute and a half on two cores.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, chown, copyFile, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { CHART, component, containersOf, render } from "../deploy/chart.mjs";
import { bounded } from "../lib/wait.mjs";
import { faultsOf, libraryFaults } from "./faults.mjs";
import { BUILD_MS, Image, ROOT, build, filesOf, sourceVersion, takenFrom } from "./images.mjs";

const run = promisify(execFile);
const LABEL = "org.opencontainers.image.";
const MOST_BYTES = { broker: 10e6, worker: 23e6 };

before(build, { timeout: BUILD_MS });

for (const tier of ["broker", "worker"]) {
  describe(`image_of_the_${tier}`, () => {
    let image;
    before(async () => (image = await Image.open(tier)), bounded);
    after(() => image?.close(), bounded);

    test("has_only_what_the_program_needs_and_nothing_that_others_may_change", bounded, async () => {
      assert.deepEqual(await faultsOf(image.root, image.program), []);
    });

    test("has_every_library_that_is_asked_for_and_no_other", bounded, async () => {
      await image.mountPoints();
      assert.deepEqual(await libraryFaults(image), []);
    });

    test("has_the_usual_authorities_certificates_and_a_name_for_its_user", bounded, async () => {
      const bundle = await readFile(path.join(image.root, "etc/ssl/certs/ca-certificates.crt"), "utf8");
      assert.ok(bundle.split("-----BEGIN CERTIFICATE-----").length > 100, "too few certificates");
      const [user, group] = image.config.User.split(":");
      assert.match(await readFile(path.join(image.root, "etc/passwd"), "utf8"), new RegExp(`^tokencast:x:${user}:${group}:`, "m"));
      assert.match(await readFile(path.join(image.root, "etc/group"), "utf8"), new RegExp(`^tokencast:x:${group}:$`, "m"));
    });

    test("is_small", bounded, async () => {
      let bytes = 0;
      for (const [name, entry] of await filesOf(image.root)) if (entry.isFile()) bytes += (await stat(path.join(image.root, name))).size;
      assert.ok(bytes < MOST_BYTES[tier], `${bytes} bytes`);
    });

    test("says_which_packages_and_licences_are_in_it", bounded, async () => {
      const packages = await readdir(path.join(image.root, "var/lib/dpkg/status.d"));
      for (const name of ["libc6", "libssl3", "libuv1", "ca-certificates"]) assert.ok(packages.includes(name), name);
      for (const name of packages) {
        const status = await readFile(path.join(image.root, "var/lib/dpkg/status.d", name), "utf8");
        assert.match(status, new RegExp(`^Package: ${name.replaceAll(/[.+]/g, "\\$&")}$`, "m"));
        assert.match(status, /^Version: \d/m);
        assert.ok((await stat(path.join(image.root, "usr/share/doc", name, "copyright"))).size > 0, name);
      }
      assert.match(await readFile(path.join(image.root, "usr/share/doc/tokencast/LICENSE"), "utf8"), /Apache License/);
    });

    test("labels_say_what_the_program_says", bounded, async () => {
      const version = await sourceVersion();
      const { Labels } = image.config;
      assert.equal(Labels[`${LABEL}version`], version);
      assert.equal(Labels[`${LABEL}title`], image.program);
      assert.equal(Labels[`${LABEL}licenses`], "Apache-2.0");
      assert.match(Labels[`${LABEL}revision`], /^([0-9a-f]{40}(-modified)?|unknown)$/);
      assert.match(Labels[`${LABEL}source`], /^(https:\/\/[^@]+|unknown)$/);
      await image.mountPoints();
      assert.deepEqual(await image.run([image.program, "--version"]), { status: 0, said: `${image.program} ${version}\n` });
    });

    test("is_what_the_chart_runs", bounded, async () => {
      const objects = await render("-f", path.join(CHART, "ci/trial-values.yaml"));
      const deployment = component(objects, "Deployment", tier);
      const [container] = containersOf(deployment);
      const { runAsUser, runAsGroup } = deployment.spec.template.spec.securityContext;
      assert.equal(image.config.User, `${runAsUser}:${runAsGroup}`);
      assert.deepEqual(container.command, image.config.Entrypoint);
      assert.ok(container.image.endsWith(`tokencast/${tier}:${await sourceVersion()}`), container.image);
      const ports = (container.ports ?? []).map(({ containerPort }) => `${containerPort}/tcp`);
      assert.deepEqual(Object.keys(image.config.ExposedPorts).sort(), ports.sort());
    });

    test("program_is_found_by_its_name_in_buildahs_isolation", bounded, async () => {
      assert.equal(await image.runByBuildah(...image.config.Entrypoint, "--version"), `${image.program} ${await sourceVersion()}`);
    });

    test("own_configuration_listens_to_all_but_serves_nobody_unasked", bounded, async () => {
      await image.mountPoints();
      const check = (env) => image.run([image.program, "--check-config"], env);
      assert.equal((await check({ TOKENCAST_ALLOW_ANONYMOUS: "true" })).status, 0);
      const unasked = await check({});
      assert.equal(unasked.status, tier === "broker" ? 2 : 0, unasked.said);
      if (tier === "broker") assert.match(unasked.said, /--allow-anonymous/);
    });
  });
}

test("version_is_the_same_wherever_it_is_written", bounded, async () => {
  const version = await sourceVersion();
  const found = async (file, pattern) => [...(await readFile(path.join(ROOT, file), "utf8")).matchAll(pattern)].map(([, text]) => text);
  assert.deepEqual(await found("deploy/container/Dockerfile", /^ARG VERSION=(\S+)$/gm), [version, version]);
  assert.deepEqual(await found("deploy/compose/compose.yaml", /^ +image: tokencast\/\w+:(\S+)$/gm), [version, version]);
  assert.deepEqual(await found("deploy/helm/tokencast/Chart.yaml", /^appVersion: (\S+)$/gm), [version]);
});

test("build_takes_sources_along_and_not_what_lies_about", bounded, async () => {
  const dir = await mkdtemp(path.join(tmpdir(), "tc-context-"));
  const wanted = ["CMakeLists.txt", "broker/main.c", "deploy/container/collect.sh", "tools/deps.sh"];
  const others = ["key.pem", ".env", ".git/config", "build/bin/x", "deploy/container/notes", "deploy/values.yaml", "tests/x.mjs", "tools/demo.sh"];
  try {
    await copyFile(path.join(ROOT, ".dockerignore"), path.join(dir, ".dockerignore"));
    for (const name of [...wanted, ...others]) {
      await mkdir(path.join(dir, path.dirname(name)), { recursive: true });
      await writeFile(path.join(dir, name), "x");
    }
    assert.deepEqual(await takenFrom(dir), wanted);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

// The checks above are checked: each plant alone, in a copy of the broker's root, must be named.
describe("checks_of_a_root", () => {
  let image;
  before(async () => (image = await Image.open("broker")), bounded);
  after(() => image?.close(), bounded);

  const planted = (name, plant, faults, wanted) =>
    test(`${name}_is_seen`, bounded, async () => {
      const dir = await mkdtemp(path.join(tmpdir(), "tc-image-"));
      try {
        await run("cp", ["-a", `${image.root}/.`, dir]);
        await plant((file) => path.join(dir, file));
        assert.match((await faults(dir)).join("\n"), wanted);
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    });
  const files = (root) => faultsOf(root, image.program);
  const libraries = async (root) => {
    const copy = Object.assign(Object.create(Image.prototype), image, { root });
    await chmod(root, 0o755); // a temporary folder is ours alone
    await copy.mountPoints();
    return libraryFaults(copy);
  };

  planted("shell", (at) => copyFile("/bin/sh", at("usr/bin/sh")), files, /^usr\/bin\/sh is a program that nobody asked for$/m);
  planted("script", (at) => writeFile(at("usr/bin/start"), "#!/bin/sh\n"), files, /^usr\/bin\/start is a script$/m);
  planted("key", (at) => writeFile(at("etc/key.pem"), "x"), files, /^etc\/key\.pem does not belong there$/m);
  planted("setuid_bit", (at) => chmod(at("usr/bin/tokencast-broker"), 0o4755), files, /^usr\/bin\/tokencast-broker runs as its owner$/m);
  planted("file_of_another", (at) => chown(at("etc/passwd"), 65532, 65532), files, /^etc\/passwd is not root's$/m);
  planted("open_folder", (at) => chmod(at("etc"), 0o777), files, /^etc can be written by others$/m);
  planted("link_to_nothing", (at) => symlink("/nothing", at("etc/mtab")), files, /^etc\/mtab leads nowhere$/m);
  planted("missing_library", async (at) => {
    for (const [name] of await filesOf(at(""))) if (name.endsWith("/libjansson.so.4")) await unlink(at(name));
  }, libraries, /libjansson\.so\.4: .*cannot open shared object|libjansson\.so\.4 => not found/);
  planted("spare_library", (at) => copyFile(at("usr/lib64/ld-linux-x86-64.so.2"), at("usr/lib64/libspare.so.1")), libraries, /^usr\/lib64\/libspare\.so\.1 is not asked for$/m);
});
