/**
 * The ground truth: what really happened, with the stand-in's wall clock in milliseconds. Kept in
 * memory for the admin API and appended to a file line by line, so that it survives kill -9.
 */

import { closeSync, openSync, writeSync } from 'node:fs';

/**
 * @typedef {"connected" | "refused" | "registered" | "paired" | "login" | "login_refused" | "open"
 *   | "logout" | "removed" | "overlap" | "message_out" | "message_in" | "receipt" | "fault" |
 *   "acknowledged" | "link_failed" | "unheard"} EventName
 * @typedef {{ session?: string, jid?: string | null, connection?: number }} Subject whom an entry
 *   is about
 * @typedef {{ n: number, time_ms: number, event: EventName, session: string | null, jid: string |
 *   null, connection: number | null, [detail: string]: unknown }} Entry
 */

/** Half a million entries are some 100 MB: enough for any benchmark, and an end to it. */
const KEPT = 500_000;

export class Log {
  /** @type {Entry[]} */
  #entries = [];
  #last = 0;
  #file;

  /** @param {string} [path] */
  constructor(path) {
    this.#file = path === undefined ? undefined : openSync(path, 'a', 0o600);
  }

  /**
   * @param {EventName} event
   * @param {Subject} subject
   * @param {Record<string, unknown>} [details]
   */
  add(event, { session, jid, connection }, details = {}) {
    const about = { session: session ?? null, jid: jid ?? null, connection: connection ?? null };
    const entry = { n: ++this.#last, time_ms: Date.now(), event, ...about, ...details };
    this.#entries.push(entry);
    // In steps of a tenth: moving the whole array for each entry would cost more than the entry.
    if (this.#entries.length > KEPT * 1.1) this.#entries.splice(0, this.#entries.length - KEPT);
    if (this.#file !== undefined) writeSync(this.#file, `${JSON.stringify(entry)}\n`);
  }

  /** @param {number} n */
  after(n) {
    const dropped = this.#last - this.#entries.length;
    return this.#entries.slice(Math.max(0, n - dropped));
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
