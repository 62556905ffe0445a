// A share of a core for each thread of a program, by the kernel's quota: two loops can be compared with one on a machine
// whose second core the load generator needs. Takes root and the cpu controller of cgroup v1.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const ROOT = '/sys/fs/cgroup/cpu';
const PERIOD_US = 10000;
const made = new Set();

function available() {
  try {
    fs.accessSync(path.join(ROOT, 'cpu.cfs_quota_us'), fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

// The first `count` threads of process `pid`, each by itself: a tokencast-broker's loops are its first threads.
function limitThreads(pid, count, share) {
  const threads = fs.readdirSync(`/proc/${pid}/task`).map(Number).sort((a, b) => a - b).slice(0, count);
  for (const thread of threads) {
    const group = path.join(ROOT, `tokencast-bench-${thread}`);
    fs.mkdirSync(group);
    made.add(group);
    fs.writeFileSync(path.join(group, 'cpu.cfs_period_us'), String(PERIOD_US));
    fs.writeFileSync(path.join(group, 'cpu.cfs_quota_us'), String(Math.round(PERIOD_US * share)));
    fs.writeFileSync(path.join(group, 'tasks'), String(thread));
  }
  return threads.length;
}

// Once the programs have ended.
function release() {
  for (const group of made) {
    try {
      fs.rmdirSync(group);
      made.delete(group);
    } catch {
      // a thread is still in it: tried again at the end
    }
  }
}

process.on('exit', release);

module.exports = { available, limitThreads, release };
