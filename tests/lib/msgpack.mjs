// MessagePack, as much of it as entries of a log hold.

const head = (tag, n) => Buffer.from([tag, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);

/** Strings, numbers, booleans, null, lists and objects; lengths always take four bytes. */
export function pack(value) {
  if (value === null || value === undefined) return Buffer.from([0xc0]);
  if (typeof value === "boolean") return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === "number") {
    const out = Buffer.alloc(9);
    out[0] = Number.isInteger(value) ? 0xd3 : 0xcb;
    if (out[0] === 0xd3) out.writeBigInt64BE(BigInt(value), 1);
    else out.writeDoubleBE(value, 1);
    return out;
  }
  if (typeof value === "string") {
    const bytes = Buffer.from(value);
    return Buffer.concat([head(0xdb, bytes.length), bytes]);
  }
  if (Array.isArray(value)) return Buffer.concat([head(0xdd, value.length), ...value.map(pack)]);
  const fields = Object.entries(value);
  return Buffer.concat([head(0xdf, fields.length), ...fields.flatMap(([k, v]) => [pack(k), pack(v)])]);
}

/** @param {Buffer} bytes one whole value; numbers beyond 2^53 come as BigInt, unknown types throw */
export function unpack(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new Error(`MessagePack: ${bytes.length - reader.at} bytes too many`);
  return value;
}

const number = (big) => (big >= Number.MIN_SAFE_INTEGER && big <= Number.MAX_SAFE_INTEGER ? Number(big) : big);

class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  #take(n) {
    if (this.at + n > this.bytes.length) throw new Error("MessagePack: cut off");
    this.at += n;
    return this.at - n;
  }

  #uint(n) {
    return n === 8 ? number(this.bytes.readBigUInt64BE(this.#take(8))) : this.bytes.readUIntBE(this.#take(n), n);
  }

  #int(n) {
    return n === 8 ? number(this.bytes.readBigInt64BE(this.#take(8))) : this.bytes.readIntBE(this.#take(n), n);
  }

  #text(n) {
    const from = this.#take(n);
    return this.bytes.toString("utf8", from, from + n);
  }

  #list(n) {
    return Array.from({ length: n }, () => this.value());
  }

  #map(n) {
    const map = {};
    for (let i = 0; i < n; i++) {
      const key = this.value();
      map[key] = this.value();
    }
    return map;
  }

  value() {
    const tag = this.bytes[this.#take(1)];
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 15);
    if (tag < 0xa0) return this.#list(tag & 15);
    if (tag < 0xc0) return this.#text(tag & 31);
    if (tag >= 0xe0) return tag - 256;
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return tag === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6: {
        const n = this.#uint(1 << (tag - 0xc4));
        const from = this.#take(n);
        return this.bytes.subarray(from, from + n);
      }
      case 0xca:
        return this.bytes.readFloatBE(this.#take(4));
      case 0xcb:
        return this.bytes.readDoubleBE(this.#take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.#uint(1 << (tag - 0xcc));
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return this.#int(1 << (tag - 0xd0));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#list(this.#uint(2 << (tag - 0xdc)));
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(2 << (tag - 0xde)));
      default:
        throw new Error(`MessagePack: type 0x${tag.toString(16)}`);
    }
  }
}
