// A seeded generator of numbers (mulberry32): the same seed, the same sequence, on every machine.
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  /** 0 <= n < 1 */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number, both ends included. */
  int(from, to) {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[this.int(0, list.length - 1)];
  }

  /** Of [[thing, weight], …]. */
  weighted(rows) {
    let left = this.next() * rows.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [thing, weight] of rows) if ((left -= weight) < 0) return thing;
    return rows.at(-1)[0];
  }

  /** A generator of its own, so that what one part draws does not move another. */
  fork() {
    return new Random(Math.floor(this.next() * 4294967296));
  }
}
