/** @file How long to wait before the next try: doubling, bounded, and not all clients at once. */

/** The share of a wait that chance may take away or add, so that clients do not return as one. */
const JITTER = 0.2;

export class Backoff {
  #firstMs;
  #mostMs;
  #random;
  /** Tries that have failed in a row. */
  failures = 0;

  /**
   * @param {number} firstMs the first wait
   * @param {number} mostMs the longest one, jitter apart
   * @param {() => number} [random] from 0 to 1
   */
  constructor(firstMs, mostMs, random = Math.random) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#random = random;
  }

  /** It has failed once more: how long to wait, in ms. */
  next() {
    const ms = Math.min(this.#firstMs * 2 ** this.failures, this.#mostMs);
    this.failures += 1;
    return this.#spread(ms);
  }

  /** The longest wait, in ms. */
  longest() {
    return this.#spread(this.#mostMs);
  }

  /**
   * A wait that somebody has asked for: as long or a little longer, never shorter.
   *
   * @param {number} ms
   */
  later(ms) {
    return Math.round(ms * (1 + JITTER * this.#random()));
  }

  /** @param {number} ms */
  #spread(ms) {
    return Math.round(ms * (1 - JITTER + 2 * JITTER * this.#random()));
  }

  reset() {
    this.failures = 0;
  }
}
