#!/usr/bin/env node
// The benchmark: runs the rows of rows/, prints what they measured and, beside it, what was to be reached. Speed is
// reported, never judged; a client whose stream is not whole fails the run, and so does a row whose time is up.
//
// A row is a file rows/NAME.cjs that exports
//   name, order, title    order among the rows; optional: true for those that only --only asks for
//   full, quick           its shapes; `limit` in a shape is the row's time in seconds (300)
//   run(shape, context)   a promise of its result, which goes into the JSON; null if nothing was measured;
//                         {skipped: 'why'} where the machine or the build has not what it takes
//   print(result)         its table
//   reached(result)       lines of the last table: [what, figure, what is to be reached]
// context: rounds, brokerArgs, quick, progress(text), fail(text), fitting(clients). Programs come from programs.cjs and
// stack.cjs, rounds from measure.cjs; a row ends what it started, and what is left when its time is up is killed.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { describe } = require('./machine.cjs');
const { BUILD, killAll, program } = require('./programs.cjs');

const rows = fs.readdirSync(path.join(__dirname, 'rows')).filter((file) => file.endsWith('.cjs'))
  .map((file) => require(path.join(__dirname, 'rows', file))).sort((a, b) => a.order - b.order);
const SPARE_FILES = 200; // what a broker or the load generator holds beside its connections

const USAGE = `usage: ./dev bench [--quick] [--json FILE] [--only NAMES] [--rounds N] [--broker-arg ARG]...
  --quick        shorter and fewer rounds: a few minutes in all
  --json FILE    also writes what was measured to FILE
  --only NAMES   some of the rows below, with commas
  --rounds N     rounds of the rows that take several (3)
  --broker-arg A passed on to the broker; may be repeated
Rows:
${rows.map((row) => `  ${row.name.padEnd(13)}${row.title}${row.optional ? ' (only by name)' : ''}`).join('\n')}
The programs are taken from TC_BUILD (default: build/). Needs redis-server.`;

function parseArgs(argv) {
  const args = { quick: false, json: null, only: null, rounds: 3, brokerArgs: [] };
  const value = (i) => {
    if (i >= argv.length) throw new Error(`${argv[i - 1]} wants a value\n${USAGE}`);
    return argv[i];
  };
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--help' || argv[i] === '-h') {
      console.log(USAGE);
      process.exit(0);
    } else if (argv[i] === '--quick') args.quick = true;
    else if (argv[i] === '--json') args.json = value(++i);
    else if (argv[i] === '--only') args.only = value(++i).split(',');
    else if (argv[i] === '--rounds') args.rounds = Number(value(++i));
    else if (argv[i] === '--broker-arg') args.brokerArgs.push(value(++i));
    else throw new Error(`unknown argument ${argv[i]}\n${USAGE}`);
  }
  const known = rows.map((row) => row.name);
  if (args.only && !args.only.every((name) => known.includes(name)))
    throw new Error(`--only takes some of ${known.join(',')}`);
  if (!Number.isInteger(args.rounds) || args.rounds < 1 || args.rounds > 99)
    throw new Error('--rounds is a number from 1 to 99');
  return args;
}

// Node raises its own soft limit to the hard one, and its children inherit that.
function fileLimit() {
  const found = /^Max open files\s+(\S+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8'));
  return found === null || found[1] === 'unlimited' ? Infinity : Number(found[1]);
}

function makeContext(args, failures) {
  const progress = (text) => process.stderr.write(`  ${text}\n`);
  return {
    quick: args.quick, rounds: args.rounds, brokerArgs: args.brokerArgs, progress,
    fail: (text) => {
      failures.push(text);
      progress(`FAILED ${text}`);
    },
    // How many of so many clients the file limit allows.
    fitting: (clients) => {
      const fit = Math.min(clients, fileLimit() - SPARE_FILES);
      if (fit < clients) progress(`the file limit allows ${fit} of ${clients} clients`);
      return fit;
    },
  };
}

// Neither a failure nor a hang of one row keeps the others from running.
async function runRow(row, shape, context) {
  const giveUp = new AbortController();
  const limit = shape.limit || 300;
  const began = Date.now();
  const late = sleep(limit * 1000, null, { signal: giveUp.signal }).then(
    () => Promise.reject(new Error(`not ended in ${limit} s`)), () => new Promise(() => {}));
  try {
    return await Promise.race([row.run(shape, context), late]);
  } catch (err) {
    context.fail(`${row.name}: ${err.message}`);
    await killAll();
    return null;
  } finally {
    giveUp.abort();
    context.progress(`${row.name}: ${Math.round((Date.now() - began) / 1000)} s`);
  }
}

function printReached(report) {
  const lines = rows.flatMap((row) => {
    const result = report.rows[row.name];
    if (!result) return [];
    return (result.skipped ? [['', 'skipped', result.skipped]] : row.reached(result)).map((one) => [row.name, ...one]);
  });
  if (lines.length === 0) return;
  console.log(`\n${'row'.padEnd(14)}${'what'.padEnd(48)}${'measured'.padStart(14)}   reach`);
  for (const [name, what, figure, reach] of lines)
    console.log(`${name.padEnd(14)}${what.padEnd(48)}${figure.padStart(14)}   ${reach}`);
}

function print(report) {
  const m = report.machine;
  console.log(`\n${m.tokencast}; ${m.cpu}, ${m.cores} cores, ${m.memory_gib} GiB; ${m.kernel}; libuv ${m.libuv}; ` +
    `redis ${m.redis} without appendonly; ${m.compiler}; ${m.build_type}` +
    `${m.sanitizers ? `, ${m.sanitizers}: NOT A FAIR BUILD` : ''}`);
  console.log('The load generator shares the cores: latency and deliveries/s are its own as well. "Others took" is what\n' +
    'programs beside those measured had of the machine: the more, the less the figures say.');
  for (const row of rows) {
    const result = report.rows[row.name];
    if (result && !result.skipped) row.print(result);
  }
  printReached(report);
  for (const failure of report.failures) console.log(`\nFAILED ${failure}`);
}

async function main() {
  const args = parseArgs(process.argv.slice(2));
  const failures = [];
  const context = makeContext(args, failures);
  const report = { date: new Date().toISOString(), quick: args.quick,
    machine: describe(BUILD, program('tokencast-broker')), rows: {}, failures };
  for (const row of rows) {
    if (args.only ? !args.only.includes(row.name) : row.optional) continue;
    const result = await runRow(row, args.quick ? row.quick : row.full, context);
    if (result) report.rows[row.name] = result;
    if (args.json) fs.writeFileSync(args.json, `${JSON.stringify(report, null, 2)}\n`);
  }
  print(report);
  return failures.length === 0 ? 0 : 1;
}

main().then((code) => process.exit(code), (err) => {
  console.error(`bench: ${err.message}`);
  process.exit(2);
});
