/**
 * @file Messages and receipts of one assignment, kept until the supervisor has them for good. They
 *   outlive WhatsApp's sockets and the lines to the supervisor; what is sent again has the same
 *   number.
 */

import { encode } from '../wire.js';

/**
 * @typedef {object} OutboxOwner
 * @property {(text: string) => void} write an encoded frame; may get lost
 * @property {() => void} onFull it has more than it should: no more of it, please
 * @property {() => void} onRoom half of it is gone
 *
 * @typedef {({ type: 'message', kept: string[] } & import('../messages/messages.js').Inbound) |
 *   ({ type: 'receipt' } & import('../messages/messages.js').Receipt)} Event
 */

const MAX_EVENTS = 5_000;
const MAX_BYTES = 16 * 1024 * 1024;

export class Outbox {
  #session;
  #epoch;
  #owner;
  #lastSeq = 0;
  /** By number, in order. @type {Map<number, { text: string, bytes: number, kept: string[] }>} */
  #waiting = new Map();
  /** What those are made of. @type {Set<string>} */
  #kept = new Set();
  #bytes = 0;
  #full = false;

  /**
   * @param {string} session
   * @param {number} epoch
   * @param {OutboxOwner} owner
   */
  constructor(session, epoch, owner) {
    this.#session = session;
    this.#epoch = epoch;
    this.#owner = owner;
  }

  /** From one bound to the other: it has been full, and is not half empty yet. */
  get full() {
    return this.#full;
  }

  /**
   * An event that was made of it waits.
   *
   * @param {string} name of what was kept of a message
   */
  holds(name) {
    return this.#kept.has(name);
  }

  /** @param {Event} event */
  add(event) {
    this.#lastSeq += 1;
    const whose = { session: this.#session, epoch: this.#epoch, seq: this.#lastSeq };
    const text = encode(
      /** @type {import('../wire.js').Message | import('../wire.js').Receipt} */ ({
        ...event,
        ...whose,
      }),
    );
    const bytes = Buffer.byteLength(text);
    const kept = event.type === 'message' ? event.kept : [];
    this.#waiting.set(this.#lastSeq, { text, bytes, kept });
    for (const name of kept) this.#kept.add(name);
    this.#bytes += bytes;
    this.#owner.write(text);
    if (!this.#full && this.#exceeds(MAX_EVENTS, MAX_BYTES)) {
      this.#full = true;
      this.#owner.onFull();
    }
  }

  /**
   * @param {import('../wire.js').EventsAck} ack covers everything up to its number; of another
   *   epoch it is not for us
   */
  onAck({ epoch, seq }) {
    if (epoch !== this.#epoch) return;
    for (const [number, { bytes, kept }] of this.#waiting) {
      if (number > seq) break;
      this.#waiting.delete(number);
      for (const name of kept) this.#kept.delete(name);
      this.#bytes -= bytes;
    }
    if (this.#full && !this.#exceeds(MAX_EVENTS / 2, MAX_BYTES / 2)) {
      this.#full = false;
      this.#owner.onRoom();
    }
  }

  /** On a new line: all that may not have arrived. */
  resend() {
    for (const { text } of this.#waiting.values()) this.#owner.write(text);
  }

  /**
   * @param {number} events
   * @param {number} bytes
   */
  #exceeds(events, bytes) {
    return this.#waiting.size > events || this.#bytes > bytes;
  }
}
