// A real HAProxy in front of the brokers, with the settings that http-api.md names. Brokers come and go at run time
// through its admin socket; whether one may have connections is said by its own /readyz.
import { writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";

import { Program } from "../chaos/program.mjs";
import { freePort } from "../lib/ports.mjs";
import { eventually, until } from "../lib/wait.mjs";

const PLACES = 16;
const LIMIT_MS = 60000; // bounds a hang

const config = (socket, port) => `global
    stats socket ${socket} mode 600 level admin
    stats timeout 1m
    nbthread 1
    maxconn 4000
defaults
    mode http
    option http-no-delay
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response 503
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 2s
frontend readers
    bind 127.0.0.1:${port}
    default_backend brokers
backend brokers
    balance leastconn
    option httpchk GET /readyz
    http-check expect status 200
    http-request disable-l7-retry if METH_POST !{ req.hdr(idempotency-key) -m found }
    http-response set-header X-Served-By %s
    server-template b 1-${PLACES} 127.0.0.1:1 check port 1 inter 300ms fall 3 rise 1 disabled
`;

export class HaProxy {
  #free = Array.from({ length: PLACES }, (_, i) => `b${i + 1}`);

  constructor(dir) {
    this.dir = dir;
    this.socket = path.join(dir, "h.sock");
  }

  async start() {
    const port = await freePort();
    const file = path.join(this.dir, "haproxy.cfg");
    writeFileSync(file, config(this.socket, port));
    this.url = `http://127.0.0.1:${port}`;
    this.program = new Program("haproxy", path.join(this.dir, "haproxy.log"), "haproxy", ["-db", "-f", file]);
    await eventually(async () => {
      if (this.program.exited) throw new Error(this.program.log);
      return (await this.#say("show info")).includes("Version");
    }, "an answer of HAProxy");
  }

  #say(command) {
    return new Promise((resolve, reject) => {
      let answer = "";
      const socket = net.connect(this.socket, () => socket.write(`${command}\n`));
      socket.setTimeout(LIMIT_MS, () => socket.destroy(new Error(`HAProxy: no answer to ${command}`)));
      socket.setEncoding("utf8");
      socket.on("data", (text) => (answer += text));
      socket.on("error", reject);
      socket.on("end", () => resolve(answer));
    });
  }

  /** A command that answers nothing if it was understood. */
  async #order(command) {
    const answer = (await this.#say(command)).trim();
    if (answer !== "" && !/^(changing|no need to change|IP changed|port changed)/i.test(answer))
      throw new Error(`HAProxy: ${command}: ${answer}`);
  }

  /** A list of objects, by the names in the first line. */
  async #stat() {
    const [head, ...lines] = (await this.#say("show stat")).trim().split("\n");
    const names = head.replace(/^# /, "").split(",");
    return lines.map((line) => Object.fromEntries(line.split(",").map((value, i) => [names[i], value])));
  }

  async #status(place) {
    return (await this.#stat()).find(({ svname }) => svname === place).status;
  }

  /** Resolves its place once it may have connections. */
  async add({ listen, ops }) {
    const place = this.#free.shift();
    if (!place) throw new Error("HAProxy: no place left for a broker");
    const [host, port] = listen.split(":");
    await this.#order(`set server brokers/${place} addr ${host} port ${port}`);
    await this.#order(`set server brokers/${place} check-port ${ops.split(":")[1]}`);
    await this.#order(`set server brokers/${place} state ready`);
    let last;
    await until(
      async () => (last = await this.#status(place)).startsWith("UP"),
      () => `${place} is ${last}`,
    );
    return place;
  }

  /** When the broker is gone. */
  async remove(place) {
    await this.#order(`set server brokers/${place} state maint`);
    this.#free.push(place);
  }

  /** What it did to help: connections tried again, requests given to another broker, answers that it made up itself. */
  async helped() {
    const backend = (await this.#stat()).find(({ svname }) => svname === "BACKEND");
    return { retries: Number(backend.wretr), redispatches: Number(backend.wredis), errors: Number(backend.hrsp_5xx) };
  }

  async stop() {
    await this.program?.end("SIGTERM");
  }
}
