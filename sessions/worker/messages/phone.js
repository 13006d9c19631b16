/**
 * @file Signs of the account's own phone. WhatsApp unlinks devices whose phone was away for 14
 *   days, and says nothing before; but what the phone sends goes to its linked devices, too.
 */

import { jidDecode } from '@whiskeysockets/baileys';

/**
 * @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode
 * @typedef {{ id: string, lid?: string }} Account the device's own addresses
 */

/**
 * Not `notification`: those of the account are the server's word that something has changed, on
 * whichever device; a sign that may be none would put off a warning.
 */
const OF_A_DEVICE = new Set(['message', 'receipt']);
/** How often the supervisor is told. Days are what matters. */
const INTERVAL_MS = 10 * 60 * 1000;

/**
 * When the phone sent this, in seconds of wall clock; null if it did not. A stanza that the server
 * has kept says when it was sent.
 *
 * @param {BinaryNode} stanza
 * @param {Account} account
 * @returns {number | null}
 */
export function signOfPhone({ tag, attrs }, account) {
  if (!OF_A_DEVICE.has(tag)) return null;
  const author = jidDecode(attrs.participant ?? attrs.from);
  if (!author || author.device) return null; // the phone is device 0
  const own = [account.id, account.lid].map((jid) => jidDecode(jid));
  const isOurs = own.some((one) => one?.user === author.user && one.server === author.server);
  if (!isOurs) return null;
  const sentAt = Number(attrs.t);
  return Number.isSafeInteger(sentAt) && sentAt > 0 ? sentAt : Math.floor(Date.now() / 1000);
}

/** Passes the first sign on at once, and then one in ten minutes. */
export class PhoneWatch {
  #tell;
  #now;
  #toldAt = Number.NEGATIVE_INFINITY;

  /**
   * @param {(seenAtSeconds: number) => boolean} tell whether it could be told
   * @param {() => number} [now] milliseconds of a clock that is never set
   */
  constructor(tell, now = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /**
   * @param {BinaryNode} stanza any that came
   * @param {Account | undefined} account
   */
  see(stanza, account) {
    if (!account || this.#now() - this.#toldAt < INTERVAL_MS) return;
    const seenAt = signOfPhone(stanza, account);
    if (seenAt !== null && this.#tell(seenAt)) this.#toldAt = this.#now();
  }
}
