// What is wrong with an image's root, as sentences; an empty list is what we want.
import { lstat, open, readlink, realpath } from "node:fs/promises";
import path from "node:path";

import { filesOf } from "./images.mjs";

const LIBRARY = /^usr\/lib(64)?(\/[a-z0-9_]+-linux-gnu)?\/[^/]+\.so(\.[0-9.]+)?$/;
const OTHERS = [
  /^etc\/(passwd|group|nsswitch\.conf|os-release|ssl\/certs\/ca-certificates\.crt)$/,
  /^usr\/share\/(doc\/[a-z0-9.+-]+\/(copyright|LICENSE)|common-licenses\/[A-Za-z0-9.-]+)$/,
  /^var\/lib\/dpkg\/status\.d\/[a-z0-9.+-]+$/,
];

async function startOf(file) {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** A link is followed as a process with this root would. */
async function linkFault(root, name, target) {
  const to = path.join(root, path.isAbsolute(target) ? target : path.join(path.dirname(name), target));
  try {
    return (await realpath(to)).startsWith(`${await realpath(root)}/`) ? [] : [`${name} leads out of the image`];
  } catch {
    return [`${name} leads nowhere`];
  }
}

async function fileFaults(root, program, name) {
  const begins = await startOf(path.join(root, name));
  if (begins.startsWith("#!")) return [`${name} is a script`];
  if (name === `usr/bin/${program}` || LIBRARY.test(name)) return begins === "\x7fELF" ? [] : [`${name} is no program`];
  if (begins === "\x7fELF") return [`${name} is a program that nobody asked for`];
  return OTHERS.some((known) => known.test(name)) ? [] : [`${name} does not belong there`];
}

/** Of its files: what does not belong there, and what somebody but root could change or become root by. */
export async function faultsOf(root, program) {
  const faults = [];
  for (const [name, entry] of await filesOf(root)) {
    const { uid, gid, mode } = await lstat(path.join(root, name));
    if (uid !== 0 || gid !== 0) faults.push(`${name} is not root's`);
    if (mode & 0o6000) faults.push(`${name} runs as its owner`);
    if (entry.isSymbolicLink()) {
      faults.push(...(await linkFault(root, name, await readlink(path.join(root, name)))));
      continue;
    }
    if (mode & 0o022) faults.push(`${name} can be written by others`);
    if (entry.isFile()) faults.push(...(await fileFaults(root, program, name)));
    else if (!entry.isDirectory()) faults.push(`${name} is neither file nor folder`);
  }
  return faults;
}

/** Of its libraries: what the program cannot find, and what it does not ask for. The image's own loader says so. */
export async function libraryFaults(image) {
  const names = (await filesOf(image.root)).map(([name]) => name).filter((name) => LIBRARY.test(name));
  const loader = names.find((name) => path.basename(name).startsWith("ld-linux"));
  const { said } = await image.run([`/${loader}`, "--list", `/usr/bin/${image.program}`]);
  const asked = new Set([...said.matchAll(/(\/\S+) \(0x/g)].map(([, file]) => path.basename(file)));
  const missing = said.split("\n").filter((line) => /not found|cannot open/.test(line));
  const spare = names.filter((name) => !asked.has(path.basename(name)));
  return [...missing.map((line) => line.trim()), ...spare.map((name) => `${name} is not asked for`)];
}
