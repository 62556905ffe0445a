// Writes a generation's log as any foreign writer may (docs/protocol.md): for rows that need a log of a certain shape at
// a certain moment. Entries are MessagePack maps; ids are <attempt>-<seq>.
'use strict';

const ATTEMPT = 1000;

function pack(value) {
  if (typeof value === 'number') return packNumber(value);
  if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    if (bytes.length < 32) return Buffer.concat([Buffer.from([0xa0 | bytes.length]), bytes]);
    const head = Buffer.from([0xda, bytes.length >> 8, bytes.length & 255]);
    return Buffer.concat([head, bytes]);
  }
  const entries = Object.entries(value);
  return Buffer.concat([Buffer.from([0x80 | entries.length]), ...entries.flatMap(([k, v]) => [pack(k), pack(v)])]);
}

function packNumber(value) {
  if (value < 128) return Buffer.from([value]);
  const bytes = Buffer.alloc(9);
  bytes[0] = 0xcf;
  bytes.writeBigUInt64BE(BigInt(value), 1);
  return bytes;
}

class LogWriter {
  constructor(client, id) {
    this.client = client;
    this.path = `/v1/generations/${id}/events`;
    this.key = `tc:{${id}}`;
    this.seq = 0;
    this.offset = 0;
  }

  append(id, event) {
    const bytes = pack({ ...event, at: Date.now() * 1000 });
    return { bytes, added: this.client.call('XADD', `${this.key}:log`, id, 'e', bytes) };
  }

  async start() {
    const all = [this.append('0-1', { type: 'created', model: 'bench' }),
      this.append(`${ATTEMPT}-0`, { type: 'fence', writer: 'bench' }),
      this.append(`${ATTEMPT}-2`, { type: 'start', model: 'bench', provider: 'bench' })];
    await Promise.all(all.map((one) => one.added));
    this.seq = 2;
  }

  // The next event, announced when Redis has it, unless `silent`.
  async event(event, silent) {
    const id = `${ATTEMPT}-${++this.seq}`;
    const { bytes, added } = this.append(id, event);
    await added;
    if (!silent) await this.client.call('PUBLISH', `${this.key}:bell`, Buffer.concat([Buffer.from(`${id} `), bytes]));
  }

  delta(text, silent = false) {
    const offset = this.offset;
    this.offset += text.length;
    return this.event({ type: 'delta', text, offset }, silent);
  }

  // Many at once, unannounced: readers have to look into the log.
  async deltas(count, text) {
    for (let left = count; left > 0; left -= 1000)
      await Promise.all(Array.from({ length: Math.min(left, 1000) }, () => this.delta(text, true)));
  }

  done() {
    return this.event({ type: 'done', reason: 'stop', text_length: this.offset }, false);
  }
}

module.exports = { LogWriter };
