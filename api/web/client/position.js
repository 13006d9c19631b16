/** @file How far a client has read: each event once, in the order of its numbers. */

/**
 * @typedef {object} FeedEvent something that has happened (docs/events.md)
 * @property {number} n its number; they grow and are never used again
 * @property {string} id its name for ever
 * @property {string} type `message.received` for instance
 * @property {string} time ISO 8601
 * @property {string | null} session null: the fleet's, or the host's
 * @property {Record<string, any>} data
 */

export class Position {
  /** The number of the last event that was handed on; undefined: not known yet. */
  #after;

  /** @param {number | undefined} after */
  constructor(after) {
    this.#after = after;
  }

  get after() {
    return this.#after;
  }

  /**
   * Whether it has not been handed on before; from now on it has.
   *
   * @param {FeedEvent} event
   */
  passes(event) {
    if (this.#after !== undefined && event.n <= this.#after) return false;
    this.#after = event.n;
    return true;
  }

  /**
   * Whether what begins after this number would leave something out.
   *
   * @param {number} n
   */
  misses(n) {
    return this.#after !== undefined && n > this.#after;
  }

  /**
   * There is nothing for us up to this number.
   *
   * @param {unknown} n
   */
  moveTo(n) {
    if (typeof n === 'number' && (this.#after === undefined || n > this.#after)) this.#after = n;
  }

  /**
   * The log has begun anew, and its numbers with it: all that it has is read, since nobody knows
   * what of it is new.
   *
   * @returns {import('./resilient-websocket-service.js').Gap}
   */
  restart() {
    this.#after = 0;
    return { first: null, last: null, reason: 'log_restarted' };
  }
}
