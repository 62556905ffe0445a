// Objects against the API's own types, strictly: the type checker finds fields that do not exist, fields that are
// missing and values of the wrong type; the schemas find what has the type and not the form.
import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { title } from "./chart.mjs";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ts = createRequire(import.meta.url)("typescript");

/** The package of an API group; a group that is not here is one that nobody checks, and an error. */
const PACKAGES = {
  "keda.sh": "@kubernetes-models/keda/keda.sh",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api/gateway.networking.k8s.io",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator/monitoring.coreos.com",
};
const BUILT_IN = /^(v1|(apps|batch|autoscaling|policy|networking\.k8s\.io)\/.+)$/;

function moduleOf({ apiVersion, kind }) {
  if (BUILT_IN.test(apiVersion)) return `kubernetes-models/${apiVersion}/${kind}`;
  const [group, version] = apiVersion.split("/");
  if (!PACKAGES[group]) throw new Error(`no schema for ${apiVersion} ${kind}`);
  return `${PACKAGES[group]}/${version}/${kind}`;
}

/** A source file in which every object is a literal of its type: only literals are checked for unknown fields. */
function sourceOf(objects) {
  const imports = [...new Set(objects.map(moduleOf))].map((from, i) => ({ from, name: `T${i}`, type: `I${from.split("/").at(-1)}` }));
  const lines = imports.map(({ from, name, type }) => `import type { ${type} as ${name} } from "${from}";`);
  const first = lines.length;
  for (const object of objects) {
    const { name } = imports.find(({ from }) => from === moduleOf(object));
    lines.push(`export const o${lines.length - first}: ${name} = ${JSON.stringify(object)};`);
  }
  return { text: `${lines.join("\n")}\n`, first };
}

const OPTIONS = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};
const kept = new Map(); // declarations are read and parsed once

function typeFaults(objects) {
  const file = path.join(HERE, "objects.ts"); // in memory: a place from which packages are found
  const { text, first } = sourceOf(objects);
  const host = ts.createCompilerHost(OPTIONS);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.readFile = (name) => (name === file ? text : readFile(name));
  host.getSourceFile = (name, language) => {
    if (name === file) return ts.createSourceFile(name, text, language, true);
    if (!kept.has(name)) kept.set(name, getSourceFile(name, language));
    return kept.get(name);
  };
  const program = ts.createProgram([file], OPTIONS, host);
  const source = program.getSourceFile(file);
  return [...program.getOptionsDiagnostics(), ...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((found) => {
    const line = found.file === source ? source.getLineAndCharacterOfPosition(found.start).line - first : -1;
    return `${objects[line] ? title(objects[line]) : "(all)"}: ${ts.flattenDiagnosticMessageText(found.messageText, " ").replace(/\s+/g, " ")}`;
  });
}

async function formFaults(object) {
  const { [object.kind]: Model } = await import(moduleOf(object));
  try {
    new Model(structuredClone(object)).validate();
    return [];
  } catch (error) {
    return [`${title(object)}: ${error.message}`];
  }
}

/** What the API would refuse, or silently drop: sentences. */
export async function faults(objects) {
  const forms = await Promise.all(objects.map(formFaults));
  return [...typeFaults(objects), ...forms.flat()];
}
