// Starts a proxy in front of brokers: with the least configuration that works ("default"), or with the file of
// deploy/proxies ("snippet") in which nothing but addresses, certificates and what a test asks for are replaced. Each
// runs in the foreground, with all of its files in a directory of its own, and is ended by the process started here.
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { freePorts } from "../lib/ports.mjs";
import { eventually } from "../lib/wait.mjs";
import { ENVOY, TRAEFIK } from "./asked.mjs";

const run = promisify(execFile);
const SNIPPETS = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../deploy/proxies");
const END_MS = 10000;

const hostOf = (url) => new URL(url).host;
const portOf = (url) => new URL(url).port;

/** The snippet with each [from, to] replaced; one that it does not contain is a mistake of the test. */
async function snippet(file, changes) {
  let text = await readFile(path.join(SNIPPETS, file), "utf8");
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`${file} does not contain ${JSON.stringify(from)}`);
    text = text.replaceAll(from, () => to);
  }
  return text;
}

/** A certificate that nobody has signed, for 127.0.0.1. */
async function certificate(dir) {
  const [pem, key, both] = ["tls.pem", "tls.key", "both.pem"].map((name) => path.join(dir, name));
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  await run("openssl", ["req", "-x509", ...kind, "-out", pem, "-days", "2", ...subject]);
  await writeFile(both, (await readFile(pem)) + (await readFile(key)));
  return { pem, key, both };
}

// ---- what each is told: `at` has dir, port, tlsPort, pem, key, both, brokers and `more`, which a test wants besides

const NGINX_MAIN = (at, body) => `
daemon off;
worker_processes 1;
${process.getuid() === 0 ? "user root;" : ""}
pid ${at.dir}/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((of) => `${of}_temp_path ${at.dir}/${of};`).join("\n  ")}
${body}
}
`;

async function nginxDefault(at) {
  const servers = at.brokers.map(({ url }) => `server ${hostOf(url)};`).join(" ");
  const location = `location / { proxy_pass http://brokers; ${at.more.location ?? ""} }`;
  const body = `${at.more.http ?? ""}
  upstream brokers { ${servers} }
  server { listen 127.0.0.1:${at.port}; ${location} }`;
  return NGINX_MAIN(at, body);
}

async function nginxSnippet(at) {
  const servers = at.brokers.map(({ url }) => `server ${hostOf(url)} fail_timeout=1s;`);
  const text = await snippet("nginx.conf", [
    ["server 127.0.0.1:8080 fail_timeout=1s;", servers.join("\n    ")],
    ["    server 127.0.0.1:8081 fail_timeout=1s;\n", ""],
    ["listen 443 ssl http2;", `listen 127.0.0.1:${at.port}; listen 127.0.0.1:${at.tlsPort} ssl http2;`],
    ["/etc/nginx/tokencast.pem", at.pem],
    ["/etc/nginx/tokencast.key", at.key],
    ...(at.more.changes ?? []),
  ]);
  return NGINX_MAIN(at, `${at.more.http ?? ""}\n${text}`);
}

const NGINX = {
  file: "nginx.conf",
  default: nginxDefault,
  snippet: nginxSnippet,
  command: (file, at) => ["nginx", "-p", at.dir, "-e", "stderr", "-c", file],
};

// The time-outs are those of the file that Debian installs.
async function haproxyDefault(at) {
  return `
defaults
  mode http
  timeout connect 5000
  timeout client ${at.more.timeout ?? 50000}
  timeout server ${at.more.timeout ?? 50000}
  ${at.more.defaults ?? ""}
frontend in
  bind 127.0.0.1:${at.port}
  default_backend brokers
backend brokers
${at.brokers.map(({ url }, i) => `  server b${i} ${hostOf(url)}`).join("\n")}
`;
}

async function haproxySnippet(at) {
  const servers = at.brokers.map(({ url, ops }, i) => `server broker${i + 1} ${hostOf(url)} check port ${portOf(ops)}`);
  return snippet("haproxy.cfg", [
    ["server broker1 127.0.0.1:8080 check port 9464", servers.join("\n    ")],
    ["    server broker2 127.0.0.1:8081 check port 9465\n", ""],
    ["bind :443 ssl", `bind 127.0.0.1:${at.port}\n    bind 127.0.0.1:${at.tlsPort} ssl`],
    ["/etc/haproxy/tokencast.pem", at.both],
    ...(at.more.changes ?? []),
  ]);
}

const HAPROXY = {
  file: "haproxy.cfg",
  default: haproxyDefault,
  snippet: haproxySnippet,
  command: (file) => ["haproxy", "-db", "-f", file],
};

const CADDY_OPTIONS = `{
	admin off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
}
`;

async function caddyDefault(at) {
  return `${CADDY_OPTIONS}
http://127.0.0.1:${at.port} {
	${at.more.site ?? ""}
	reverse_proxy ${at.brokers.map(({ url }) => hostOf(url)).join(" ")} {
		${at.more.proxy ?? ""}
	}
}
`;
}

async function caddySnippet(at) {
  const text = await snippet("Caddyfile", [
    ["reverse_proxy 127.0.0.1:8080 127.0.0.1:8081", `reverse_proxy ${at.brokers.map(({ url }) => hostOf(url)).join(" ")}`],
    ["tokencast.example {\n", `https://127.0.0.1:${at.tlsPort} {\n\ttls ${at.pem} ${at.key}\n`],
    ...(at.more.changes ?? []),
  ]);
  return `${CADDY_OPTIONS}${text}
http://127.0.0.1:${at.port} {
	${at.more.site ?? ""}
	import tokencast
}
`;
}

const CADDY = {
  file: "Caddyfile",
  default: caddyDefault,
  snippet: caddySnippet,
  command: (file) => ["caddy", "run", "--config", file, "--adapter", "caddyfile"],
};

const PROXIES = { nginx: NGINX, haproxy: HAPROXY, caddy: CADDY, envoy: ENVOY, traefik: TRAEFIK };

/** TC_PROXIES names others than those that Debian has; asked.mjs says which. */
export const NAMES = process.env.TC_PROXIES?.split(",") ?? ["nginx", "haproxy", "caddy"];
export const KINDS = ["default", "snippet"];
/** Every proxy with either configuration: {name, kind, title}. */
export const VARIANTS = NAMES.flatMap((name) => KINDS.map((kind) => ({ name, kind, title: `${name}_${kind}` })));

/** Such as "2.6.2": what it does to streams has changed in later ones. */
export const caddyVersion = () => execFileSync("caddy", ["version"], { encoding: "utf8" }).replace(/^v/, "").trim();

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

export class Proxy {
  log = "";
  exited = false;

  /**
   * @param {{name: string, kind: string}} variant
   * @param {{url: string, ops: string}[]} brokers
   * @param {object} [more] pieces of configuration: for nginx `http` and `location`, for HAProxy `defaults` and `timeout`,
   *   for Caddy `site` and `proxy`; for a snippet `changes`, a list of [from, to]
   */
  static async start({ name, kind }, brokers, more = {}) {
    const made = new Proxy();
    const { file, command, ...configure } = PROXIES[name];
    made.name = `${name} ${kind}`;
    made.dir = await mkdtemp(path.join(tmpdir(), "tc-proxy-"));
    try {
      const [port, tlsPort] = await freePorts(2);
      const tls = kind === "snippet" ? await certificate(made.dir) : {};
      const at = { dir: made.dir, port, tlsPort, brokers, more, ...tls };
      const config = path.join(made.dir, file);
      await mkdir(path.join(made.dir, "home"));
      await writeFile(config, await configure[kind](at, SNIPPETS));
      made.#spawn(command(config, at));
      made.url = `http://127.0.0.1:${port}`;
      made.tlsUrl = kind === "snippet" ? `https://127.0.0.1:${tlsPort}` : null;
      await made.#ready(kind === "snippet" ? [port, tlsPort] : [port]);
      return made;
    } catch (error) {
      await made.stop();
      error.message += `\n${made.log}`;
      throw error;
    }
  }

  #spawn([program, ...args]) {
    const home = path.join(this.dir, "home");
    const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home };
    this.child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const out of [this.child.stdout, this.child.stderr])
      out.setEncoding("utf8").on("data", (text) => (this.log = (this.log + text).slice(-65536)));
    this.gone = new Promise((resolve) => {
      const over = (why) => {
        this.log += why;
        this.exited = true;
        resolve();
      };
      this.child.on("error", (error) => over(String(error)));
      this.child.on("close", () => over(""));
    });
  }

  async #ready(ports) {
    const open = async (port) => this.exited || (await listens(port));
    for (const port of ports) await eventually(() => open(port), `${this.name} listens on ${port}`);
    if (this.exited) throw new Error(`${this.name} ended`);
    // Traefik listens before it knows its routes.
    const known = async () => (await fetch(`${this.url}/client.js`)).status === 200;
    if (this.name.startsWith("traefik")) await eventually(known, "a route");
  }

  async stop() {
    if (this.child && !this.exited) {
      this.child.kill("SIGTERM");
      const timer = setTimeout(() => this.child.kill("SIGKILL"), END_MS);
      await this.gone;
      clearTimeout(timer);
    }
    await rm(this.dir, { recursive: true, force: true });
  }
}
