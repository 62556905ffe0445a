// Envoy and Traefik, which Debian does not have: run only where TC_PROXIES names them ("envoy,traefik") and their programs
// are on the PATH. Their files are YAML, so changes are made in what was read, not in the text.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import yaml from "js-yaml";

async function read(snippets, file, changes = []) {
  let text = await readFile(path.join(snippets, file), "utf8");
  for (const [from, to] of changes) text = text.replaceAll(from, () => to);
  return yaml.load(text);
}
const partsOf = (url) => [new URL(url).hostname, Number(new URL(url).port)];

// ---- Envoy

const socket = ([address, port_value]) => ({ socket_address: { address, port_value } });
const extension = (name, type, more = {}) => ({ name, typed_config: { "@type": `type.googleapis.com/${type}`, ...more } });

async function envoyDefault(at) {
  const router = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router");
  const manager = extension(
    "envoy.filters.network.http_connection_manager",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    {
      stat_prefix: "in",
      http_filters: [router],
      route_config: {
        virtual_hosts: [{ name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: "brokers" } }] }],
      },
    },
  );
  const endpoints = at.brokers.map(({ url }) => ({ endpoint: { address: socket(partsOf(url)) } }));
  const load_assignment = { cluster_name: "brokers", endpoints: [{ lb_endpoints: endpoints }] };
  return JSON.stringify({
    static_resources: {
      listeners: [{ name: "in", address: socket(["127.0.0.1", at.port]), filter_chains: [{ filters: [manager] }] }],
      clusters: [{ name: "brokers", type: "STATIC", load_assignment }],
    },
  });
}

async function envoySnippet(at, snippets) {
  const config = await read(snippets, "envoy.yaml", at.more.changes);
  const { listeners, clusters } = config.static_resources;
  const [{ transport_socket, filters }] = listeners[0].filter_chains;
  listeners[0].address = socket(["127.0.0.1", at.tlsPort]);
  const [files] = transport_socket.typed_config.common_tls_context.tls_certificates;
  files.certificate_chain.filename = at.pem;
  files.private_key.filename = at.key;
  listeners.push({ name: "plain", address: socket(["127.0.0.1", at.port]), filter_chains: [{ filters }] });
  if (at.more.idle) filters[0].typed_config.stream_idle_timeout = at.more.idle;
  clusters[0].load_assignment.endpoints[0].lb_endpoints = at.brokers.map(({ url, ops }) => ({
    endpoint: { address: socket(partsOf(url)), health_check_config: { port_value: partsOf(ops)[1] } },
  }));
  return JSON.stringify(config);
}

export const ENVOY = {
  file: "envoy.yaml",
  default: envoyDefault,
  snippet: envoySnippet,
  command: (file) => ["envoy", "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"],
};

// ---- Traefik

async function traefik(at, staticPart, dynamicPart) {
  const filename = path.join(at.dir, "dynamic.yaml");
  await writeFile(filename, JSON.stringify(dynamicPart));
  return JSON.stringify({ ...staticPart, providers: { file: { filename } } });
}

async function traefikDefault(at) {
  const servers = at.brokers.map(({ url }) => ({ url }));
  const routers = { all: { rule: "PathPrefix(`/`)", service: "brokers" } };
  const dynamicPart = { http: { routers, services: { brokers: { loadBalancer: { servers } } } } };
  return traefik(at, { entryPoints: { in: { address: `127.0.0.1:${at.port}` } } }, dynamicPart);
}

async function traefikSnippet(at, snippets) {
  const staticPart = await read(snippets, "traefik-static.yaml");
  const dynamicPart = await read(snippets, "traefik-dynamic.yaml");
  staticPart.entryPoints.websecure.address = `127.0.0.1:${at.tlsPort}`;
  staticPart.entryPoints.plain = { ...staticPart.entryPoints.websecure, address: `127.0.0.1:${at.port}` };
  const { routers, services } = dynamicPart.http;
  routers.tokencast.rule = "PathPrefix(`/`)";
  routers.plain = { ...routers.tokencast, entryPoints: ["plain"] };
  delete routers.plain.tls;
  services.tokencast.loadBalancer.servers = at.brokers.map(({ url }) => ({ url }));
  dynamicPart.tls.certificates = [{ certFile: at.pem, keyFile: at.key }];
  return traefik(at, staticPart, dynamicPart);
}

export const TRAEFIK = {
  file: "traefik.yaml",
  default: traefikDefault,
  snippet: traefikSnippet,
  command: (file) => ["traefik", `--configFile=${file}`],
};
