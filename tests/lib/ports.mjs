// Free ports, for servers that cannot be told to take any: asked from the kernel and given back.
import { once } from "node:events";
import net from "node:net";

async function hold(port) {
  const server = net.createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** `apart`: the port that far behind each is free as well. */
export async function freePorts(count, apart = 0) {
  const ports = [];
  const held = [];
  while (ports.length < count) {
    const first = await hold(0);
    held.push(first);
    const { port } = first.address();
    const second = apart === 0 || (port + apart < 65536 && (await hold(port + apart).catch(() => null)));
    if (!second) continue;
    if (apart) held.push(second);
    ports.push(port);
  }
  await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

export async function freePort(apart = 0) {
  return (await freePorts(1, apart))[0];
}
