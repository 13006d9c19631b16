/**
 * @file Whether what the server has kept for us comes. After a login it announces the number
 *   (`offline_preview`), hands the stanzas out, marked as `offline`, and says that this was all
 *   (`offline`). A socket on which it stops half-way answers pings and is of no use.
 */

/** @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode */

/**
 * So long without a sign of it. Batches of a hundred come within seconds; a server that has not
 * sent one stanza of them for a minute will not.
 */
export const STALL_MS = 60_000;
const QUEUED = new Set(['message', 'receipt', 'notification', 'call']);

export class OfflineQueue {
  #now;
  #announced = false;
  #movedAt = 0;

  /** @param {() => number} [now] milliseconds of a clock that is never set */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** @param {BinaryNode} stanza any that came */
  see({ tag, attrs, content }) {
    if (tag === 'ib' && Array.isArray(content)) for (const news of content) this.#hear(news);
    else if (QUEUED.has(tag) && attrs.offline !== undefined) this.moved();
  }

  /** It moved, or could not while we did not read or might not speak. */
  moved() {
    this.#movedAt = this.#now();
  }

  get stalled() {
    return this.#announced && this.#now() - this.#movedAt >= STALL_MS;
  }

  /** @param {BinaryNode} news */
  #hear({ tag, attrs }) {
    if (tag === 'offline') this.#announced = false;
    if (tag !== 'offline_preview') return;
    this.#announced = Number(attrs.count) > 0;
    this.moved();
  }
}
