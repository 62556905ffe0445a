// How the chart's objects must fit together. Policies as in policy-pods.mjs.
import { component, containersOf, environment, labelsOf, named, ofKind, podOf, selects, title, workloads } from "./chart.mjs";

const unless = (conditions) => Object.entries(conditions).flatMap(([sentence, holds]) => (holds ? [] : [sentence]));
const tiers = (objects) => ["broker", "worker"].map((name) => component(objects, "Deployment", name));

// ---- selectors

/** What selects pods: [object, matchLabels]. */
function selectors(objects) {
  const own = workloads(objects).filter(({ kind }) => kind !== "Job").map((object) => [object, object.spec.selector.matchLabels]);
  const services = ofKind(objects, "Service").map((object) => [object, object.spec.selector]);
  const budgets = ofKind(objects, "PodDisruptionBudget").map((object) => [object, object.spec.selector.matchLabels]);
  const policies = ofKind(objects, "NetworkPolicy").map((object) => [object, object.spec.podSelector.matchLabels]);
  return [...own, ...services, ...budgets, ...policies];
}

function selectorsMatch(objects) {
  const pods = workloads(objects);
  const missed = selectors(objects)
    .filter(([, wanted]) => !pods.some((workload) => selects(wanted, labelsOf(workload))))
    .map(([object]) => `${title(object)} selects nothing`);
  const own = workloads(objects).filter(({ kind }) => kind !== "Job");
  const strangers = own
    .filter(({ spec }) => pods.filter((other) => selects(spec.selector.matchLabels, labelsOf(other))).length !== 1)
    .map((object) => `${title(object)} does not select its own pods alone`);
  const changing = own
    .filter(({ spec }) => Object.keys(spec.selector.matchLabels).some((key) => /version|chart/.test(key)))
    .map((object) => `${title(object)}: a selector cannot change, and this one does with the version`);
  return [...missed, ...strangers, ...changing];
}

// ---- services, routes, scrapes

const portNames = (objects, wanted) =>
  workloads(objects)
    .filter((workload) => selects(wanted, labelsOf(workload)))
    .flatMap((workload) => containersOf(workload).flatMap(({ ports = [] }) => ports.map(({ name }) => name)));

function servicePorts(objects) {
  return ofKind(objects, "Service").flatMap((service) =>
    service.spec.ports
      .filter(({ targetPort }) => !portNames(objects, service.spec.selector).includes(targetPort))
      .map(({ targetPort }) => `${title(service)}: no container has a port ${targetPort}`),
  );
}

function routes(objects) {
  const http = ofKind(objects, "HTTPRoute").flatMap((route) =>
    route.spec.rules.flatMap(({ timeouts, backendRefs }) => [
      ...unless({ [`${title(route)}: streams are cut by a time-out`]: timeouts?.request === "0s" && timeouts?.backendRequest === "0s" }),
      ...backendRefs
        .filter(({ name, port }) => !named(objects, "Service", name)?.spec.ports.some((p) => p.port === port))
        .map(({ name, port }) => `${title(route)}: no service ${name} with port ${port}`),
    ]),
  );
  const plain = ofKind(objects, "Ingress").flatMap((ingress) =>
    ingress.spec.rules
      .flatMap((rule) => rule.http.paths.map(({ backend }) => backend.service))
      .filter(({ name, port }) => !named(objects, "Service", name)?.spec.ports.some((p) => p.name === port.name))
      .map(({ name }) => `${title(ingress)}: no service ${name} with that port`),
  );
  return [...http, ...plain];
}

function scrapes(objects) {
  return ofKind(objects, "ServiceMonitor").flatMap((monitor) => {
    const found = ofKind(objects, "Service").filter(({ metadata }) => selects(monitor.spec.selector.matchLabels, metadata.labels));
    const [endpoint] = monitor.spec.endpoints;
    return unless({
      [`${title(monitor)}: selects ${found.length} services`]: found.length === 1,
      [`${title(monitor)}: no such port`]: found.every(({ spec }) => spec.ports.some(({ name }) => name === endpoint.port)),
      [`${title(monitor)}: pods that stop are not scraped`]: found.every(({ spec }) => spec.publishNotReadyAddresses === true),
      [`${title(monitor)}: no version on metrics, so a rollout cannot be judged`]: (endpoint.relabelings ?? []).some(({ targetLabel }) => targetLabel === "version"),
    });
  });
}

// ---- scaling

const targetOf = (objects, { kind, name }) => named(objects, kind ?? "Deployment", name);

function scalers(objects) {
  return ofKind(objects, "HorizontalPodAutoscaler", "ScaledObject").flatMap((scaler) => {
    const target = targetOf(objects, scaler.spec.scaleTargetRef);
    const least = scaler.spec.minReplicas ?? scaler.spec.minReplicaCount;
    return unless({
      [`${title(scaler)}: no such target`]: target !== undefined,
      [`${title(scaler)}: every upgrade would set the number of pods back`]: target?.spec.replicas === undefined,
      [`${title(scaler)}: least is above most`]: least <= (scaler.spec.maxReplicas ?? scaler.spec.maxReplicaCount),
    });
  });
}

function brokerScaler(objects) {
  return ofKind(objects, "HorizontalPodAutoscaler").flatMap(({ spec }) =>
    unless({
      "the broker's HPA is not on its streams":
        spec.metrics.length > 0 && spec.metrics.every(({ type, pods }) => type === "Pods" && pods.metric.name === "tokencast_broker_streams"),
      "scaling brokers down is not slow": spec.behavior?.scaleDown?.stabilizationWindowSeconds >= 300,
    }),
  );
}

const KEDA_KEYS = new Set([
  ...["address", "addresses", "sentinelMaster", "databaseIndex", "username", "enableTLS", "unsafeSsl", "stream"],
  ...["consumerGroup", "lagCount", "activationLagCount", "streamLength"],
]);

/** XREADGROUP's group is made by a job, and KEDA looks at the very stream that the workers read. */
function workerScaler(objects) {
  return ofKind(objects, "ScaledObject").flatMap((scaled) => {
    const { triggers, minReplicaCount } = scaled.spec;
    const env = environment(objects, containersOf(component(objects, "Deployment", "worker"))[0]);
    const jobs = `${env.TOKENCAST_PREFIX}jobs${env.TOKENCAST_QUEUE ? `:${env.TOKENCAST_QUEUE}` : ""}`;
    const lag = triggers.find(({ metadata }) => metadata.lagCount);
    const length = triggers.find(({ metadata }) => metadata.streamLength);
    const job = component(objects, "Job", "queue");
    const cluster = env.TOKENCAST_REDIS.includes("+cluster");
    const kind = /\+(sentinel|cluster)/.exec(env.TOKENCAST_REDIS)?.[1];
    const secret = env.TOKENCAST_REDIS_PASSWORD_FILE;
    return unless({
      "workers do not scale from zero by the lag": lag?.metadata.consumerGroup === "workers" && lag.metadata.activationLagCount === "0",
      "what runs and what was handed back does not keep a worker": length !== undefined && length.metadata.consumerGroup === undefined,
      [`KEDA does not look at ${jobs}`]: triggers.every(({ metadata }) => metadata.stream === jobs),
      "KEDA would not know a key": triggers.every(({ metadata }) => Object.keys(metadata).every((key) => KEDA_KEYS.has(key))),
      "KEDA takes text alone": triggers.every(({ metadata }) => Object.values(metadata).every((value) => typeof value === "string")),
      "KEDA speaks to Redis in another way than the workers": triggers.every(({ type }) => type === (kind ? `redis-${kind}-streams` : "redis-streams")),
      "a cluster has no databases": !cluster || triggers.every(({ metadata }) => metadata.databaseIndex === undefined),
      "KEDA has no password": !secret || triggers.every(({ authenticationRef }) => authenticationRef?.name),
      "nobody makes the consumer group before the first worker":
        minReplicaCount > 0 ||
        (job?.metadata.annotations["helm.sh/hook"]?.includes("post-install") && environment(objects, containersOf(job)[0]).JOBS === jobs),
    });
  });
}

// ---- disruption

function budgets(objects) {
  const broker = component(objects, "Deployment", "broker");
  const scaler = ofKind(objects, "HorizontalPodAutoscaler").find(({ spec }) => spec.scaleTargetRef.name === broker.metadata.name);
  if ((scaler?.spec.maxReplicas ?? broker.spec.replicas ?? 1) < 2) return [];
  const found = ofKind(objects, "PodDisruptionBudget").filter(({ spec }) => selects(spec.selector.matchLabels, labelsOf(broker)));
  return unless({
    "several brokers and no disruption budget": found.length === 1,
    "a budget that lets no node be drained": found.every(({ spec }) => Number.parseInt(spec.maxUnavailable) >= 1),
    "brokers that are not ready hold up a node's drain": found.every(({ spec }) => spec.unhealthyPodEvictionPolicy === "AlwaysAllow"),
  });
}

// ---- network

function network(objects) {
  const policies = ofKind(objects, "NetworkPolicy");
  if (policies.length === 0) return [];
  const bare = ({ spec }) => !spec.ingress && !spec.egress && spec.policyTypes.length === 2;
  const open = policies.flatMap((policy) => (policy.spec.egress ?? []).filter((rule) => !rule.ports).map(() => `${title(policy)}: out to every port`));
  return [
    ...open,
    ...workloads(objects).flatMap((workload) => {
      const mine = policies.filter(({ spec }) => selects(spec.podSelector.matchLabels, labelsOf(workload)));
      const ports = new Set(containersOf(workload).flatMap(({ ports = [] }) => ports.map(({ name }) => name)));
      const allowed = mine.flatMap(({ spec }) => (spec.ingress ?? []).flatMap((rule) => rule.ports.map(({ port }) => port)));
      return unless({
        [`${title(workload)}: not denied by default`]: mine.some(bare),
        [`${title(workload)}: no policy of its own`]: mine.some((policy) => !bare(policy)),
        [`${title(workload)}: a port is not let in, or one that is not there is`]: JSON.stringify([...ports].sort()) === JSON.stringify([...new Set(allowed)].sort()),
        [`${title(workload)}: cannot ask for names`]:
          title(workload).endsWith("-redis") || mine.some(({ spec }) => spec.egress?.some((rule) => rule.ports.some(({ port }) => port === 53))),
      });
    }),
  ];
}

// ---- configuration

function checksums(objects) {
  return workloads(objects)
    .filter(({ kind }) => kind !== "Job")
    .filter(({ spec }) => !/^[0-9a-f]{64}$/.test(spec.template.metadata.annotations?.["checksum/config"]))
    .map((object) => `${title(object)}: a new configuration makes no new pods`);
}

/** Programs against docs/configuration.md: {broker: Set of variables, worker: …}. */
const strangers = (known) => (objects) =>
  ["broker", "worker"].flatMap((name) =>
    Object.keys(component(objects, "ConfigMap", name).data)
      .filter((variable) => !known[name].has(variable))
      .map((variable) => `tokencast-${name} has no option for ${variable}`),
  );

const any = (objects, kind) => ofKind(objects, kind)[0];
/** Breaks the first object of a kind, if there is one. */
const inFirst = (kind, fault) => (objects) => any(objects, kind) !== undefined && fault(any(objects, kind));

export const releasePolicies = (known) => [
  {
    name: "selectors_find_their_own",
    check: selectorsMatch,
    plants: {
      service: inFirst("Service", ({ spec }) => (spec.selector["app.kubernetes.io/component"] = "brokers")),
      policy: inFirst("NetworkPolicy", ({ spec }) => (spec.podSelector.matchLabels.tier = "x")),
      budget: inFirst("PodDisruptionBudget", ({ spec }) => (spec.selector.matchLabels.tier = "x")),
      both_tiers: (objects) => delete tiers(objects)[0].spec.selector.matchLabels["app.kubernetes.io/component"],
      version: (objects) => (tiers(objects)[0].spec.selector.matchLabels["app.kubernetes.io/version"] = labelsOf(tiers(objects)[0])["app.kubernetes.io/version"]),
    },
  },
  {
    name: "services_reach_ports_that_are_there",
    check: servicePorts,
    plants: { port: inFirst("Service", ({ spec }) => (spec.ports[0].targetPort = "web")) },
  },
  {
    name: "routes_lead_to_the_broker_without_time_outs",
    check: routes,
    plants: {
      time_out: inFirst("HTTPRoute", ({ spec }) => delete spec.rules[0].timeouts),
      backend: inFirst("HTTPRoute", ({ spec }) => (spec.rules[0].backendRefs[0].port = 8080)),
      ingress: inFirst("Ingress", ({ spec }) => (spec.rules[0].http.paths[0].backend.service.name = "broker")),
    },
  },
  {
    name: "scrapes_find_metrics_and_versions",
    check: scrapes,
    plants: {
      port: inFirst("ServiceMonitor", ({ spec }) => (spec.endpoints[0].port = "http")),
      version: inFirst("ServiceMonitor", ({ spec }) => delete spec.endpoints[0].relabelings),
      selector: inFirst("ServiceMonitor", ({ spec }) => delete spec.selector.matchLabels["tokencast/ops"]),
    },
  },
  {
    name: "scalers_own_the_number_of_pods",
    check: scalers,
    plants: {
      replicas: (objects) => any(objects, "ScaledObject") !== undefined && (tiers(objects)[1].spec.replicas = 1) === 1,
      target: inFirst("HorizontalPodAutoscaler", ({ spec }) => (spec.scaleTargetRef.name = "broker")),
    },
  },
  {
    name: "brokers_scale_by_their_streams",
    check: brokerScaler,
    plants: {
      metric: inFirst("HorizontalPodAutoscaler", ({ spec }) => (spec.metrics = [{ type: "Resource", resource: { name: "cpu" } }])),
      quick: inFirst("HorizontalPodAutoscaler", ({ spec }) => delete spec.behavior),
    },
  },
  {
    name: "workers_scale_by_their_queue",
    check: workerScaler,
    plants: {
      activation: inFirst("ScaledObject", ({ spec }) => delete spec.triggers[0].metadata.activationLagCount),
      length: inFirst("ScaledObject", ({ spec }) => spec.triggers.pop()),
      stream: inFirst("ScaledObject", ({ spec }) => (spec.triggers[0].metadata.stream = "jobs")),
      key: inFirst("ScaledObject", ({ spec }) => (spec.triggers[0].metadata.lagcount = "1")),
      number: inFirst("ScaledObject", ({ spec }) => (spec.triggers[0].metadata.lagCount = 16)),
      group: (objects) => {
        const scaled = any(objects, "ScaledObject");
        const at = objects.findIndex(({ kind }) => kind === "Job");
        return scaled?.spec.minReplicaCount === 0 && objects.splice(at, 1).length === 1;
      },
      password: (objects) => any(objects, "TriggerAuthentication") !== undefined && delete any(objects, "ScaledObject").spec.triggers[1].authenticationRef,
    },
  },
  {
    name: "several_brokers_have_a_disruption_budget",
    check: budgets,
    plants: {
      none: (objects) => {
        const at = objects.findIndex(({ kind }) => kind === "PodDisruptionBudget");
        return at >= 0 && objects.splice(at, 1).length === 1;
      },
      stuck: inFirst("PodDisruptionBudget", ({ spec }) => (spec.maxUnavailable = 0) === 0),
      unhealthy: inFirst("PodDisruptionBudget", ({ spec }) => delete spec.unhealthyPodEvictionPolicy),
    },
  },
  {
    name: "network_policies_hold_every_pod",
    check: network,
    plants: {
      no_default: (objects) => {
        const at = objects.findIndex(({ kind, metadata }) => kind === "NetworkPolicy" && metadata.name.endsWith("-deny"));
        return at >= 0 && objects.splice(at, 1).length === 1;
      },
      own: (objects) => {
        const policy = component(objects, "NetworkPolicy", "worker");
        return policy !== undefined && (policy.spec.podSelector.matchLabels["app.kubernetes.io/component"] = "broker");
      },
      port: (objects) => component(objects, "NetworkPolicy", "broker")?.spec.ingress.pop() !== undefined,
      anywhere: (objects) => component(objects, "NetworkPolicy", "worker")?.spec.egress.push({}) > 0,
      names: (objects) => component(objects, "NetworkPolicy", "broker")?.spec.egress.shift() !== undefined,
    },
  },
  {
    name: "a_new_configuration_makes_new_pods",
    check: checksums,
    plants: { none: (objects) => delete tiers(objects)[1].spec.template.metadata.annotations["checksum/config"] },
  },
  {
    name: "options_are_those_of_the_programs",
    check: strangers(known),
    plants: { unknown: (objects) => (component(objects, "ConfigMap", "broker").data.TOKENCAST_HEARBEAT = "15s") },
  },
];
