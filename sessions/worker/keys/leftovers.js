/// <reference lib="es2024.collection" />
/**
 * @file What earlier workers have decrypted and nobody was shown: supervisor and worker ended
 *   before its event was durable. WhatsApp may know already that the message has arrived; then it
 *   never comes again, and what was kept of it is all that there is.
 *
 * It becomes an event as it would have from the network: Baileys reads the stanza, only that
 * nothing is left to decrypt. Knows the inside of rc14, as far as `handleMessage` makes a message
 * of a stanza.
 */

import { createHash } from 'node:crypto';
import { cleanMessage, decryptMessageNode } from '@whiskeysockets/baileys';
import { baileysLogger } from '../log.js';
import { inbound } from '../messages/messages.js';

/**
 * @typedef {object} Entry what is kept of one ciphertext
 * @property {string} plaintext base64, as it was decrypted: with its padding
 * @property {Record<string, string>} stanza the attributes of the stanza that it came with
 * @property {string} message names the stanza by all its ciphertexts: a copy has the same, what is
 *   sent anew has not
 * @property {number} part which of its ciphertexts, from 0
 * @property {number} parts how many it had
 * @property {number} n grows with each stanza that the worker received
 *
 * @typedef {{ id: string, lid?: string }} Account the device's own addresses
 * @typedef {{ message: import('../messages/messages.js').Inbound, kept: string[] }} Leftover
 *
 * @typedef {object} Findings
 * @property {Leftover[]} shown in the order in which they were received
 * @property {string[]} needless entries that lead to nothing that could be shown, and that nobody
 *   will ask for
 * @property {string[]} mute entries that do not say what they are of
 *
 * @typedef {{ name: string, entry: Entry }} Named
 */

/**
 * What shows nothing (keys of a group, housekeeping; parts of a message that were not all
 * decrypted) may still be needed to work on a copy, if WhatsApp delivers one. After so long it does
 * not come any more.
 */
const USEFUL_FOR_MS = 24 * 60 * 60 * 1000;

/** Takes what it is given for decrypted, and has no keys. */
const OPENED = {
  decryptMessage: async (/** @type {{ ciphertext: Uint8Array }} */ { ciphertext }) => ciphertext,
  decryptGroupMessage: async (/** @type {{ msg: Uint8Array }} */ { msg }) => msg,
  processSenderKeyDistributionMessage: async () => {},
  migrateSession: async () => {},
  lidMapping: { getLIDForPN: async () => null, storeLIDPNMappings: async () => {} },
};

/**
 * The entries' place in a stanza; the plaintext comes to it when there is one.
 *
 * @param {Record<string, string>} stanza
 * @param {Uint8Array[]} ciphertexts
 * @param {number} n
 * @returns {Omit<Entry, 'plaintext'>[]} one for each ciphertext
 */
export function envelopes(stanza, ciphertexts, n) {
  const digest = createHash('sha256');
  for (const ciphertext of ciphertexts) digest.update(ciphertext);
  const message = digest.digest('base64url').slice(0, 22);
  return ciphertexts.map((_, part) => ({
    stanza: { ...stanza },
    message,
    part,
    parts: ciphertexts.length,
    n,
  }));
}

/**
 * @param {unknown} value of an entry; earlier versions kept the plaintext alone
 * @returns {Buffer | undefined}
 */
export function plaintextOf(value) {
  const text =
    typeof value === 'string' ? value : /** @type {Partial<Entry> | null} */ (value)?.plaintext;
  return typeof text === 'string' ? Buffer.from(text, 'base64') : undefined;
}

/**
 * Never rejects: one entry that is not as it should be costs nobody else anything.
 *
 * @param {Record<string, unknown>} entries by name
 * @param {Account} me
 * @param {import('../log.js').Log} log
 * @param {number} [nowMs]
 * @returns {Promise<Findings>}
 */
export async function findLeftovers(entries, me, log, nowMs = Date.now()) {
  /** @type {Findings} */
  const findings = { shown: [], needless: [], mute: [] };
  /** @type {Named[]} */
  const readable = [];
  for (const [name, value] of Object.entries(entries)) {
    if (isEntry(value)) readable.push({ name, entry: value });
    else findings.mute.push(name);
  }
  const messages = Map.groupBy(readable, ({ entry }) => entry.message);
  for (const parts of [...messages.values()].toSorted(byArrival)) {
    const message = await messageOf(parts, me, log);
    const kept = parts.map(({ name }) => name);
    if (message) findings.shown.push({ message, kept });
    else if (!(nowMs - timestampMs(parts) < USEFUL_FOR_MS)) findings.needless.push(...kept);
  }
  return findings;
}

/**
 * @param {Named[]} parts
 * @param {Account} me
 * @param {import('../log.js').Log} log
 */
async function messageOf(parts, { id, lid }, log) {
  const [{ entry }] = parts;
  if (parts.length < entry.parts) return null;
  const inOrder = parts.toSorted((one, other) => one.entry.part - other.entry.part);
  const content = inOrder.map(({ entry: { plaintext } }) => ({
    tag: 'enc',
    attrs: { type: 'msg' },
    content: Buffer.from(plaintext, 'base64'),
  }));
  try {
    const stanza = { tag: 'message', attrs: entry.stanza, content };
    const opened = /** @type {any} */ (OPENED);
    const { fullMessage, decrypt } = decryptMessageNode(
      stanza,
      id,
      lid ?? '',
      opened,
      baileysLogger(log),
    );
    await decrypt();
    cleanMessage(fullMessage, id, lid ?? '');
    return inbound(fullMessage);
  } catch (error) {
    log.error(
      { message: entry.stanza.id, cause: String(error) },
      'a message that was kept cannot be read',
    );
    return null;
  }
}

/**
 * WhatsApp's seconds first, since two workers may have counted; within one, as they came.
 *
 * @param {Named[]} one
 * @param {Named[]} other
 */
function byArrival(one, other) {
  return timestampMs(one) - timestampMs(other) || one[0].entry.n - other[0].entry.n;
}

/** @param {Named[]} parts */
function timestampMs([{ entry }]) {
  return Number(entry.stanza.t) * 1000;
}

/**
 * @param {unknown} value
 * @returns {value is Entry}
 */
function isEntry(value) {
  const { plaintext, stanza, message, part, parts, n } = /** @type {Partial<Entry>} */ (
    value ?? {}
  );
  const isText = typeof plaintext === 'string' && typeof message === 'string';
  return (
    isText &&
    typeof stanza === 'object' &&
    stanza !== null &&
    [part, parts, n].every(Number.isSafeInteger)
  );
}
