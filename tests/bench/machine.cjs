// What the figures were taken on: without it they compare with nothing.
'use strict';
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

function firstLine(file, args) {
  try {
    return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')[0].trim();
  } catch {
    return 'unknown';
  }
}

function cached(build, name) {
  try {
    const cache = fs.readFileSync(path.join(build, 'CMakeCache.txt'), 'utf8');
    return (new RegExp(`^${name}:[A-Z]+=(.*)$`, 'm').exec(cache) || [, ''])[1];
  } catch {
    return '';
  }
}

function describe(build, broker) {
  const cpus = os.cpus();
  return {
    cpu: cpus.length > 0 ? cpus[0].model.trim() : 'unknown',
    cores: cpus.length,
    memory_gib: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release()}`,
    tokencast: firstLine(broker, ['--version']),
    libuv: firstLine('pkg-config', ['--modversion', 'libuv']),
    redis: (/v=(\S+)/.exec(firstLine('redis-server', ['--version'])) || [, 'unknown'])[1],
    compiler: firstLine(cached(build, 'CMAKE_C_COMPILER') || 'cc', ['--version']),
    build_type: cached(build, 'CMAKE_BUILD_TYPE') || 'unknown',
    sanitizers: cached(build, 'TC_SANITIZE'),
  };
}

module.exports = { describe };
