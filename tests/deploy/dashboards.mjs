// What a Grafana dashboard must be to work wherever it is imported, and to show nothing that is not there.
import { queryProblems } from "./promql.mjs";

/** What Grafana would put in for its variables: everything, and a window that is never too short. */
export function substituted(query, window = "5m") {
  return query.replaceAll("$__rate_interval", window).replaceAll(/\$(namespace|instance|model)\b/g, ".*");
}

const isVariable = (source) => source?.type === "prometheus" && source.uid === "${datasource}";

function* doubles(values) {
  const seen = new Set();
  for (const value of values) {
    if (seen.has(value)) yield value;
    seen.add(value);
  }
}

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

function* layoutProblems(panels) {
  for (const [i, one] of panels.entries()) {
    const { x, w } = one.gridPos;
    if (x < 0 || x + w > 24) yield `"${one.title}" does not fit on the page`;
    for (const other of panels.slice(i + 1)) {
      if (overlap(one.gridPos, other.gridPos)) yield `"${one.title}" lies over "${other.title}"`;
    }
  }
}

function* targetProblems(panel, known) {
  yield* [...doubles(panel.targets.map((target) => target.refId))].map((id) => `two queries ${id}`);
  for (const target of panel.targets) {
    if (!isVariable(target.datasource)) yield "a query's data source is not the variable";
    if (!target.legendFormat) yield "a query without a legend";
    const shown = [...(target.legendFormat ?? "").matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map((found) => found[1]);
    yield* queryProblems(known, substituted(target.expr ?? ""), shown);
  }
}

function* panelProblems(panel, known) {
  if (!panel.title) yield "no title";
  if (panel.type === "row") return;
  if (!panel.fieldConfig?.defaults?.unit) yield "no unit";
  if (!isVariable(panel.datasource)) yield "its data source is not the variable";
  if (!panel.targets?.length) yield "no query";
  else yield* targetProblems(panel, known);
}

function* variableProblems(board, known) {
  const variables = board.templating?.list ?? [];
  if (!variables.some(({ name, type, query }) => name === "datasource" && type === "datasource" && query === "prometheus"))
    yield "no variable for the data source";
  for (const variable of variables.filter(({ type }) => type === "query")) {
    const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(variable.definition) ?? [];
    if (!selector) yield `variable ${variable.name}: no label_values(metric, label)`;
    else for (const problem of queryProblems(known, substituted(selector), [label])) yield `variable ${variable.name}: ${problem}`;
  }
}

/** Sentences; none for a dashboard that is right. `known`: what programs export, see promql.mjs. */
export function dashboardProblems(board, known) {
  const problems = [...variableProblems(board, known), ...layoutProblems(board.panels)];
  for (const key of ["uid", "title", "schemaVersion"]) if (!board[key]) problems.push(`no ${key}`);
  if (board.id !== undefined || board.__inputs !== undefined) problems.push("was exported for one Grafana");
  for (const id of doubles(board.panels.map((panel) => panel.id))) problems.push(`two panels have the id ${id}`);
  for (const panel of board.panels) {
    for (const problem of panelProblems(panel, known)) problems.push(`panel ${panel.id} "${panel.title ?? ""}": ${problem}`);
  }
  return problems;
}
