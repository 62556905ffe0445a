// What every pod of the chart must be. A policy is a name, a check that gives complaints, and a fault to plant that
// the check must complain about: plant(objects) breaks them, and gives false where there is nothing to break.
import { component, containersOf, environment, mebibytes, podOf, seconds, title, workloads } from "./chart.mjs";

const servers = (objects) => workloads(objects).filter(({ kind }) => kind !== "Job");
const tier = (objects, name) => component(objects, "Deployment", name);

/** Complaints about each workload, with its name. */
const ofEach = (list, look) => list.flatMap((workload) => look(workload).map((complaint) => `${title(workload)}: ${complaint}`));
const ofEachContainer = (list, look) =>
  ofEach(list, (workload) => containersOf(workload).flatMap((c) => look(c, workload).map((complaint) => `${c.name}: ${complaint}`)));

/** Sentences whose condition does not hold. */
const unless = (conditions) => Object.entries(conditions).flatMap(([sentence, holds]) => (holds ? [] : [sentence]));

function identity(workload) {
  const pod = podOf(workload);
  const is = pod.securityContext ?? {};
  const risen = containersOf(workload).filter(({ securityContext: own = {} }) => own.runAsUser === 0 || own.runAsNonRoot === false);
  return unless({
    "may run as root": is.runAsNonRoot === true && is.runAsUser > 0 && is.runAsGroup > 0,
    "a container may run as root": risen.length === 0,
    "no seccomp profile RuntimeDefault": is.seccompProfile?.type === "RuntimeDefault",
    "has a service account's token": pod.automountServiceAccountToken === false,
    "gets variables of every service": pod.enableServiceLinks === false,
    "shares something of its node": !pod.hostNetwork && !pod.hostPID && !pod.hostIPC && !pod.volumes?.some(({ hostPath }) => hostPath),
  });
}

function hardened({ securityContext: has = {} }) {
  return unless({
    "may gain privileges": has.allowPrivilegeEscalation === false && !has.privileged,
    "can write to its root file system": has.readOnlyRootFilesystem === true,
    "has capabilities": has.capabilities?.drop?.includes("ALL") === true && !has.capabilities.add,
    "has another seccomp profile": has.seccompProfile === undefined,
  });
}

function bounded({ resources = {} }) {
  const wanted = ["requests", "limits"].flatMap((kind) => ["cpu", "memory"].map((what) => [kind, what]));
  return wanted.filter(([kind, what]) => !resources[kind]?.[what]).map(([kind, what]) => `no ${kind} of ${what}`);
}

function probed(container) {
  const ports = new Set((container.ports ?? []).map(({ name }) => name));
  const reaches = (probe) => {
    const port = (probe?.httpGet ?? probe?.tcpSocket)?.port;
    return probe !== undefined && (probe.exec !== undefined || ports.has(port));
  };
  return unless({
    "no liveness probe on a port that is there": reaches(container.livenessProbe),
    "no readiness probe on a port that is there": reaches(container.readinessProbe),
    "one probe for both: what is not ready would be killed":
      JSON.stringify(container.livenessProbe?.httpGet ?? 1) !== JSON.stringify(container.readinessProbe?.httpGet ?? 2),
  });
}

const MARGIN_S = 5;

function brokerGrace(objects) {
  const workload = tier(objects, "broker");
  const [container] = containersOf(workload);
  const env = environment(objects, container);
  const sleep = container.lifecycle?.preStop?.sleep?.seconds ?? 0;
  const drain = seconds(env.TOKENCAST_DRAIN_DELAY) + seconds(env.TOKENCAST_DRAIN_WINDOW) + seconds(env.TOKENCAST_DRAIN);
  const grace = podOf(workload).terminationGracePeriodSeconds ?? 30;
  return unless({
    "broker: nothing sleeps while endpoints are taken away": sleep + seconds(env.TOKENCAST_DRAIN_DELAY) >= 3,
    [`broker: ${grace} s of grace for ${sleep} + ${drain} s of drain`]: grace >= sleep + drain + MARGIN_S,
  });
}

function workerGrace(objects) {
  const workload = tier(objects, "worker");
  const wanted = seconds(environment(objects, containersOf(workload)[0]).TOKENCAST_GRACE);
  const grace = podOf(workload).terminationGracePeriodSeconds ?? 30;
  return unless({ [`worker: ${grace} s of grace for --grace ${wanted} s`]: grace >= wanted + MARGIN_S });
}

/** A file that an option names must be there: the mount of a volume that has it. */
function filesThere(container, workload, objects) {
  const named = Object.entries(environment(objects, container)).filter(([name, value]) => name.endsWith("_FILE") && value);
  return named.flatMap(([name, file]) => {
    const mount = (container.volumeMounts ?? []).find(({ mountPath }) => file.startsWith(`${mountPath}/`));
    const volume = (podOf(workload).volumes ?? []).find((v) => v.name === mount?.name);
    const inside = file.slice((mount?.mountPath ?? "").length + 1);
    const there = volume?.secret && (!volume.secret.items || volume.secret.items.some((item) => item.path === inside));
    return there ? [] : [`${name} names ${file}, which no Secret is mounted at`];
  });
}

const SECRET_NAME = /PASSWORD|SECRET|TOKEN$|KEY|AUTH/;

function plainSecrets(container, objects) {
  const own = Object.entries(environment(objects, container));
  return own
    .filter(([name, value]) => value !== undefined && value !== "" && !name.endsWith("_FILE"))
    .filter(([name, value]) => SECRET_NAME.test(name) || /:\/\/[^/@]*:[^/@]+@/.test(value))
    .map(([name]) => `${name} holds a secret for everybody to read`);
}

/** What libuv counts is the node's cores, and what the kernel kills for is the limit. */
function fitsItsLimits(objects) {
  const [container] = containersOf(tier(objects, "broker"));
  const env = environment(objects, container);
  const limit = mebibytes(container.resources.limits.memory);
  const share = mebibytes(env.TOKENCAST_MAX_MEMORY) / limit;
  return unless({
    "broker: a loop for each core of the node": Number(env.TOKENCAST_LOOPS) > 0,
    [`broker: --max-memory is ${share} of the limit`]: share > 0.8 && share <= 0.85,
  });
}

function spread(workload) {
  const constraints = podOf(workload).topologySpreadConstraints ?? [];
  return unless({
    "not spread over zones": constraints.some(({ topologyKey }) => topologyKey === "topology.kubernetes.io/zone"),
    "spread together with the revision before": constraints.every((c) => c.matchLabelKeys?.includes("pod-template-hash")),
    "a spread that counts other pods": constraints.every(
      ({ labelSelector }) => JSON.stringify(labelSelector.matchLabels) === JSON.stringify(workload.spec.selector.matchLabels),
    ),
  });
}

const first = (objects) => containersOf(tier(objects, "broker"))[0];

export const podPolicies = [
  {
    name: "pods_run_as_nobody_of_importance",
    check: (objects) => ofEach(workloads(objects), identity),
    plants: {
      root: (objects) => (podOf(tier(objects, "worker")).securityContext.runAsUser = 0) === 0,
      container_root: (objects) => (first(objects).securityContext.runAsUser = 0) === 0,
      no_seccomp: (objects) => delete podOf(tier(objects, "broker")).securityContext.seccompProfile,
      token: (objects) => (podOf(component(objects, "Job", "queue")).automountServiceAccountToken = true),
      host: (objects) => (podOf(tier(objects, "broker")).hostNetwork = true),
    },
  },
  {
    name: "containers_have_no_privileges",
    check: (objects) => ofEachContainer(workloads(objects), hardened),
    plants: {
      escalation: (objects) => delete first(objects).securityContext.allowPrivilegeEscalation,
      writable: (objects) => delete containersOf(component(objects, "Job", "queue"))[0].securityContext.readOnlyRootFilesystem,
      capabilities: (objects) => (first(objects).securityContext.capabilities = { drop: ["ALL"], add: ["NET_RAW"] }),
      not_dropped: (objects) => (first(objects).securityContext.capabilities = { drop: ["NET_RAW"] }),
      unconfined: (objects) => (first(objects).securityContext.seccompProfile = { type: "Unconfined" }),
    },
  },
  {
    name: "containers_have_requests_and_limits",
    check: (objects) => ofEachContainer(workloads(objects), bounded),
    plants: {
      limit: (objects) => delete first(objects).resources.limits.memory,
      requests: (objects) => delete containersOf(component(objects, "Job", "queue"))[0].resources.requests,
    },
  },
  {
    name: "servers_have_probes",
    check: (objects) => ofEachContainer(servers(objects), probed),
    plants: {
      liveness: (objects) => delete first(objects).livenessProbe,
      readiness: (objects) => delete containersOf(tier(objects, "worker"))[0].readinessProbe,
      port: (objects) => (first(objects).readinessProbe.httpGet.port = "metrics"),
      same: (objects) => (first(objects).livenessProbe.httpGet.path = "/readyz"),
      redis: (objects) => {
        const redis = component(objects, "StatefulSet", "redis");
        return redis !== undefined && delete containersOf(redis)[0].readinessProbe;
      },
    },
  },
  {
    name: "grace_is_longer_than_the_drain",
    check: (objects) => [...brokerGrace(objects), ...workerGrace(objects)],
    plants: {
      broker: (objects) => (podOf(tier(objects, "broker")).terminationGracePeriodSeconds = 30),
      pre_stop: (objects) => delete first(objects).lifecycle,
      worker: (objects) => delete podOf(tier(objects, "worker")).terminationGracePeriodSeconds,
      unit: (objects) => (component(objects, "ConfigMap", "worker").data.TOKENCAST_GRACE = "11m"),
    },
  },
  {
    name: "rollouts_take_nothing_away_first",
    check: (objects) =>
      ofEach(
        ["broker", "worker"].map((name) => tier(objects, name)),
        ({ spec: { strategy } }) =>
          unless({
            "maxUnavailable is not 0": strategy?.rollingUpdate?.maxUnavailable === 0,
            "no room for a surge": Number.parseInt(strategy?.rollingUpdate?.maxSurge) > 0,
          }),
      ),
    plants: {
      recreate: (objects) => (tier(objects, "worker").spec.strategy = { type: "Recreate" }),
      unavailable: (objects) => (tier(objects, "broker").spec.strategy.rollingUpdate.maxUnavailable = "25%"),
    },
  },
  {
    name: "files_that_options_name_are_mounted",
    check: (objects) => ofEachContainer(workloads(objects), (c, workload) => filesThere(c, workload, objects)),
    plants: {
      no_mount: (objects) => first(objects).volumeMounts?.splice(0).length > 0,
      other_item: (objects) => {
        const secret = podOf(tier(objects, "broker")).volumes?.find(({ name }) => name === "redis")?.secret;
        return secret !== undefined && (secret.items[0].path = "pass");
      },
    },
  },
  {
    name: "secrets_are_not_in_the_environment",
    check: (objects) => ofEachContainer(workloads(objects), (c) => plainSecrets(c, objects)),
    plants: {
      variable: (objects) => (first(objects).env = [{ name: "REDIS_PASSWORD", value: "x" }]),
      config_map: (objects) => (component(objects, "ConfigMap", "worker").data.OPENAI_API_KEY = "sk-x"),
      url: (objects) => (component(objects, "ConfigMap", "broker").data.TOKENCAST_REDIS = "redis://:x@redis:6379"),
    },
  },
  {
    name: "broker_fits_its_limits",
    check: fitsItsLimits,
    plants: {
      loops: (objects) => (component(objects, "ConfigMap", "broker").data.TOKENCAST_LOOPS = "0"),
      memory: (objects) => (component(objects, "ConfigMap", "broker").data.TOKENCAST_MAX_MEMORY = "64g"),
    },
  },
  {
    name: "tiers_are_spread_over_zones",
    check: (objects) => ofEach(["broker", "worker"].map((name) => tier(objects, name)), spread),
    plants: {
      none: (objects) => delete podOf(tier(objects, "worker")).topologySpreadConstraints,
      revision: (objects) => delete podOf(tier(objects, "broker")).topologySpreadConstraints[0].matchLabelKeys,
      others: (objects) => delete podOf(tier(objects, "broker")).topologySpreadConstraints[0].labelSelector.matchLabels["app.kubernetes.io/instance"],
    },
  },
  {
    name: "images_are_pinned",
    check: (objects) =>
      ofEachContainer(workloads(objects), ({ image }) => unless({ [`the image ${image} may be any`]: /(@sha256:[0-9a-f]{64}|:(?!latest$)[\w.-]+)$/.test(image) })),
    plants: {
      latest: (objects) => (first(objects).image = "tokencast/broker:latest"),
      none: (objects) => (first(objects).image = "tokencast/broker"),
    },
  },
];
