// The Helm chart: lint, what it refuses, its objects against the API's types, and policies over what it renders.
// Every check is seen to fail on a planted fault. Needs a build (TC_BUILD) and tests/node_modules.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { before, describe, test } from "node:test";
import { promisify } from "node:util";

import { load } from "js-yaml";

import { BUILD } from "../clients/harness.mjs";
import { bounded } from "../lib/wait.mjs";
import { CHART, ROOT, RELEASE, component, containersOf, helm, ofKind, refusal, render, valuesFiles, workloads } from "./chart.mjs";
import { podPolicies } from "./policy-pods.mjs";
import { releasePolicies } from "./policy-release.mjs";
import { faults } from "./strict.mjs";

const run = promisify(execFile);
const files = await valuesFiles();
const fileOf = (name) => files.find((file) => file.name === name).file;
const rendered = {}; // by the name of the values file; not to be changed: structuredClone
before(async () => {
  for (const { name, file } of files) rendered[name] = await render("-f", file);
}, bounded);

// ---- the chart itself

test("chart_has_the_version_of_the_programs", bounded, async () => {
  const [, version] = /^project\(tokencast VERSION ([\d.]+)/m.exec(await readFile(path.join(ROOT, "CMakeLists.txt"), "utf8"));
  const chart = await readFile(path.join(CHART, "Chart.yaml"), "utf8");
  assert.equal(/^appVersion: (.*)$/m.exec(chart)[1], version);
});

for (const { name, file } of files) {
  test(`lint_of_${name}_finds_nothing`, bounded, async () => {
    const said = await helm("lint", "--strict", "-f", file, CHART);
    assert.match(said, /1 chart\(s\) linted, 0 chart\(s\) failed/);
  });
}

test("lint_of_a_wrong_value_fails", bounded, async () => {
  await assert.rejects(helm("lint", "--strict", "-f", fileOf("trial"), "--set", "broker.loops=many", CHART), /loops/);
});

test("notes_give_the_line_to_try_it_with_and_say_who_may_come", bounded, async () => {
  const notes = async (name) => (await helm("install", "--dry-run=client", RELEASE, CHART, "-f", fileOf(name))).split("\nNOTES:\n")[1];
  const curl = "curl -N -H 'Accept: text/event-stream' -d '{\"prompt\": \"hello\"}' ";
  const trial = await notes("trial");
  assert.ok(trial.includes(`${curl}http://127.0.0.1:8080/v1/generations`), trial);
  assert.match(trial, /THE BROKER IS OPEN/);
  assert.match(trial, /service\/rel-tokencast-broker 8080:80/);
  const production = await notes("production");
  assert.ok(production.includes(`${curl}https://chat.example.com/v1/generations`), production);
  assert.match(production, /this decides who may come: the gateway's JWT policy/);
  assert.doesNotMatch(production, /OPEN/);
});

// ---- what it refuses

const refused = {
  nothing_said_about_access: [["--set", "redis.addresses={r:6379}"], /broker has no access control.*authenticatedBy.*allowAnonymous/],
  no_redis: [["--set", "broker.access.allowAnonymous=true"], /redis\.addresses is empty/],
  bundled_redis_without_a_password: [["-f", fileOf("trial"), "--set", "redis.password="], /needs redis\.password/],
  bundled_redis_and_another: [["-f", fileOf("trial"), "--set", "redis.addresses={r:6379}"], /exclude each other/],
  bundled_redis_with_tls: [["-f", fileOf("trial"), "--set", "redis.tls.enabled=true"], /without TLS/],
  two_addresses_of_one_server: [["-f", fileOf("minimal"), "--set", "redis.addresses={a:1,b:2}"], /takes one address/],
  database_of_a_cluster: [["-f", fileOf("cluster"), "--set", "redis.database=1"], /only database 0/],
  provider_without_its_server: [["-f", fileOf("minimal"), "--set", "worker.provider.upstream="], /upstream is empty/],
  recording_with_a_server: [["-f", fileOf("trial"), "--set", "worker.provider.upstream=http://m"], /replay provider has no upstream/],
  route_without_a_gateway: [["-f", fileOf("trial"), "--set", "httpRoute.enabled=true"], /parentRefs is empty/],
  least_brokers_above_most: [["-f", fileOf("trial"), "--set", "broker.autoscaling.minReplicas=30"], /minReplicas is more/],
  least_workers_above_most: [["-f", fileOf("trial"), "--set", "worker.keda.minReplicas=30"], /minReplicas is more/],
  // by values.schema.json
  value_that_does_not_exist: [["-f", fileOf("trial"), "--set", "broker.replica=3"], /additional properties 'replica'/],
  number_as_text: [["-f", fileOf("trial"), "--set-string", "broker.replicas=3"], /got string, want integer/],
  password_in_an_address: [["-f", fileOf("minimal"), "--set", "redis.addresses={:secret@r:6379}"], /does not match pattern/],
  password_that_would_break_a_file: [["-f", fileOf("trial"), "--set", 'redis.password=a"b'], /does not match pattern/],
  root: [["-f", fileOf("trial"), "--set", "runAs.user=0"], /minimum/],
  option_that_the_chart_sets: [["-f", fileOf("trial"), "--set", "broker.options.drain-window=1h"], /drain-window/],
  option_with_dashes: [["-f", fileOf("trial"), "--set", "broker.options.--heartbeat=1s"], /--heartbeat/],
  label_that_the_chart_sets: [["-f", fileOf("trial"), "--set", "broker.podLabels.app\\.kubernetes\\.io/version=1"], /podLabels/],
  limit_in_other_units: [["-f", fileOf("trial"), "--set", "broker.resources.limits.memory=1G"], /does not match pattern/],
  no_limit: [["-f", fileOf("trial"), "--set", "worker.resources.limits=null"], /limits/],
  drain_without_a_margin: [["-f", fileOf("trial"), "--set", "broker.drain.marginSeconds=0"], /minimum/],
  budget_that_stops_drains: [["-f", fileOf("trial"), "--set", "broker.pdb.maxUnavailable=0"], /minimum/],
};
for (const [what, [args, sentence]] of Object.entries(refused)) {
  test(`chart_refuses_${what}`, bounded, async () => {
    assert.match(await refusal(...args), sentence);
  });
}

// ---- the API's types

describe("objects and the API's types", () => {
  for (const { name } of files) {
    test(`objects_of_${name}_are_what_the_api_takes`, bounded, async () => {
      assert.deepEqual(await faults(rendered[name]), []);
    });
  }

  /** A fault in the first object of the kind must be found, and named. */
  const planted = (kind, sentence, fault) =>
    test(`fault_is_found_in_${kind}_${sentence.source.replaceAll(/\W+/g, "_")}`, bounded, async () => {
      const [object] = ofKind(Object.values(rendered).flat(), kind);
      const broken = structuredClone(object);
      fault(broken);
      const found = await faults([broken]);
      assert.ok(found.length > 0, "the fault was not found");
      assert.match(found.join("\n"), sentence);
      assert.match(found[0], new RegExp(`^${kind} `));
    });
  const container = ({ spec }) => spec.template.spec.containers[0];
  planted("Deployment", /minReadySecond/, ({ spec }) => (spec.minReadySecond = 3));
  planted("Deployment", /readOnlyRootFileSystem/, (o) => (container(o).securityContext.readOnlyRootFileSystem = true));
  planted("Deployment", /httpget/, (o) => (container(o).readinessProbe.httpget = {}));
  planted("Deployment", /\btemplate"' is missing/, ({ spec }) => delete spec.template);
  planted("Deployment", /'string' is not assignable to type 'number'/, ({ spec }) => (spec.template.spec.terminationGracePeriodSeconds = "40"));
  planted("StatefulSet", /volumeClaimTemplate/, ({ spec }) => (spec.volumeClaimTemplate = []));
  planted("Job", /backofLimit/, ({ spec }) => (spec.backofLimit = 3));
  planted("Service", /targetport/, ({ spec }) => (spec.ports[0].targetport = "http"));
  planted("ConfigMap", /'number' is not assignable to type 'string'/, ({ data }) => (data.TOKENCAST_LOOPS = 2));
  planted("Secret", /stringdata/, (o) => (o.stringdata = {}));
  planted("PodDisruptionBudget", /maxunavailable/, ({ spec }) => (spec.maxunavailable = 1));
  planted("HorizontalPodAutoscaler", /averagevalue/, ({ spec }) => (spec.metrics[0].pods.target.averagevalue = "1"));
  planted("NetworkPolicy", /podSelectors/, ({ spec }) => (spec.podSelectors = {}));
  planted("Ingress", /pathtype/, ({ spec }) => (spec.rules[0].http.paths[0].pathtype = "Prefix"));
  planted("HTTPRoute", /backendTimeout/, ({ spec }) => (spec.rules[0].timeouts.backendTimeout = "0s"));
  planted("HTTPRoute", /must match pattern/, ({ spec }) => (spec.rules[0].timeouts.request = "for ever"));
  planted("ScaledObject", /minReplicas/, ({ spec }) => (spec.minReplicas = 0));
  planted("ScaledObject", /\btriggers"' is missing/, ({ spec }) => delete spec.triggers);
  planted("TriggerAuthentication", /secretTargetRefs/, ({ spec }) => (spec.secretTargetRefs = []));
  planted("ServiceMonitor", /relabelling/, ({ spec }) => (spec.endpoints[0].relabelling = []));
  planted("ServiceMonitor", /must match pattern/, ({ spec }) => (spec.endpoints[0].interval = "often"));

  planted("PrometheusRule", /alrt/, ({ spec }) => (spec.groups[0].rules[0].alrt = "x"));

  test("kind_without_a_schema_is_an_error", bounded, async () => {
    await assert.rejects(faults([{ apiVersion: "traefik.io/v1alpha1", kind: "IngressRoute", metadata: { name: "x" } }]), /no schema/);
  });
});

// ---- policies

/** The variables of docs/configuration.md, by program. */
async function variables() {
  const text = await readFile(path.join(ROOT, "docs/configuration.md"), "utf8");
  const of = (name) => new Set([...text.split(`\n## tokencast-${name}\n`)[1].split("\n## ")[0].matchAll(/`(TOKENCAST_[A-Z_]+)`/g)].map(([, found]) => found));
  return { broker: of("broker"), worker: of("worker") };
}
const policies = [...podPolicies, ...releasePolicies(await variables())];

for (const { name, check, plants } of policies) {
  describe(name, () => {
    for (const file of files) {
      test(`${name}_in_${file.name}`, bounded, () => assert.deepEqual(check(rendered[file.name]), []));
    }
    for (const [what, plant] of Object.entries(plants)) {
      test(`${name}_finds_${what}`, bounded, () => {
        const broken = files.map((file) => structuredClone(rendered[file.name])).filter((objects) => plant(objects) !== false);
        assert.ok(broken.length > 0, "no values file has what this fault needs");
        for (const objects of broken) assert.notDeepEqual(check(objects), [], "the fault was not found");
      });
    }
  });
}

test("secrets_given_as_values_are_in_secrets_alone", bounded, () => {
  for (const name of ["trial", "minimal"]) {
    const others = rendered[name].filter(({ kind }) => kind !== "Secret");
    assert.ok(!JSON.stringify(others).includes("only-a-trial"), name);
    assert.ok(JSON.stringify(rendered[name]).includes(Buffer.from("only-a-trial").toString("base64")), name);
  }
});

// ---- dashboards and rules

const OBSERVABILITY = path.join(ROOT, "deploy/observability");
const LARGEST = 1 << 20; // what the API takes in one config map

/** [{name, text}] of a folder's files with that ending. */
async function filesOf(folder, ending) {
  const names = (await readdir(path.join(OBSERVABILITY, folder))).filter((name) => name.endsWith(ending));
  assert.ok(names.length > 0, `${folder} is empty`);
  return Promise.all(names.map(async (name) => ({ name, text: await readFile(path.join(OBSERVABILITY, folder, name), "utf8") })));
}

test("every_dashboard_is_provisioned_as_it_is", bounded, async () => {
  const maps = ofKind(rendered.production, "ConfigMap").filter(({ metadata }) => metadata.labels.grafana_dashboard === "1");
  const dashboards = await filesOf("dashboards", ".json");
  assert.deepEqual(maps.flatMap(({ data }) => Object.keys(data)).sort(), dashboards.map(({ name }) => name).sort());
  for (const { name, text } of dashboards) {
    const given = maps.find(({ data }) => data[name]).data[name];
    assert.deepEqual(JSON.parse(given), JSON.parse(text), name);
    assert.ok(Buffer.byteLength(given) < LARGEST, name);
  }
});

test("every_rule_is_provisioned_as_it_is", bounded, async () => {
  const given = ofKind(rendered.production, "PrometheusRule").flatMap(({ spec }) => spec.groups);
  const rules = await filesOf("rules", ".yaml");
  assert.deepEqual(given, rules.sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap(({ text }) => load(text).groups));
});

test("nothing_of_an_operator_is_rendered_unasked", bounded, () => {
  const foreign = ({ apiVersion }) => /keda|gateway|monitoring/.test(apiVersion);
  for (const name of ["trial", "minimal"]) assert.deepEqual(rendered[name].filter(foreign), [], name);
});

// ---- configuration

const checksum = (objects, name) => component(objects, "Deployment", name).spec.template.metadata.annotations["checksum/config"];

/** Rendered with and without a change: [of the broker, of the worker], true where pods are made anew. */
async function anew(...args) {
  const changed = await render("-f", fileOf("minimal"), ...args);
  return ["broker", "worker"].map((name) => checksum(changed, name) !== checksum(rendered.minimal, name));
}

test("pods_are_made_anew_for_what_their_program_reads_once", bounded, async () => {
  assert.deepEqual(await anew("--set", "broker.options.heartbeat=5s"), [true, false]);
  assert.deepEqual(await anew("--set", "worker.slots=8"), [false, true]);
  assert.deepEqual(await anew("--set", "shared.retention=2h"), [true, true]);
  assert.deepEqual(await anew("--set", "redis.password=another"), [true, true]);
});

test("pods_stay_when_a_provider_key_changes", bounded, async () => {
  assert.deepEqual(await anew("--set", "worker.provider.apiKey=another"), [false, false]);
});

test("versions_of_pods_are_those_of_their_images", bounded, () => {
  const version = (objects, name) => component(objects, "Deployment", name).spec.template.metadata.labels["app.kubernetes.io/version"];
  assert.equal(version(rendered.cluster, "broker"), "0123456789ab");
  assert.equal(version(rendered.cluster, "worker"), "0.1.0-7");
  const [{ image }] = containersOf(component(rendered.minimal, "Deployment", "broker"));
  assert.equal(version(rendered.minimal, "broker"), image.split(":")[1]);
});

test("pods_stay_when_the_chart_alone_has_a_new_version", bounded, () => {
  for (const objects of Object.values(rendered)) {
    for (const { spec } of workloads(objects)) assert.equal(spec.template.metadata.labels["helm.sh/chart"], undefined);
  }
});

/** The programs read their environment in strange ways only if the chart wrote it so: let them say it themselves. */
for (const name of ["broker", "worker"]) {
  test(`${name}_takes_its_configuration`, bounded, async () => {
    const program = path.join(BUILD, "bin", `tokencast-${name}`);
    for (const objects of Object.values(rendered)) {
      const env = component(objects, "ConfigMap", name).data;
      const { stdout } = await run(program, ["--check-config"], { env, timeout: 30000 });
      assert.match(stdout, /configuration is valid/);
      const broken = { ...env, TOKENCAST_RETENTION: "soon" };
      await assert.rejects(run(program, ["--check-config"], { env: broken, timeout: 30000 }), /TOKENCAST_RETENTION/);
    }
  });
}

test("large_numbers_stay_whole", bounded, () => {
  assert.equal(component(rendered.production, "ConfigMap", "worker").data.TOKENCAST_MAX_LOG_BYTES, "16777216");
});

test("scripts_in_pods_pass_shellcheck", bounded, async () => {
  const scripts = Object.values(rendered)
    .flatMap((objects) => workloads(objects).flatMap(containersOf))
    .flatMap(({ command = [], readinessProbe }) => [command, readinessProbe?.exec?.command ?? []])
    .filter(([shell, dash]) => shell === "sh" && dash === "-c")
    .map(([, , text]) => text);
  assert.ok(new Set(scripts).size >= 3, `${scripts.length} scripts`);
  for (const text of new Set(scripts)) {
    const checked = run("shellcheck", ["-s", "sh", "-e", "SC2154", "-"], { timeout: 60000 });
    checked.child.stdin.end(`${text}\n`);
    await checked.catch((error) => assert.fail(error.stdout));
  }
});
