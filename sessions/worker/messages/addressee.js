/**
 * @file Under which of its jids WhatsApp knows a recipient, if under any: asked before a text goes
 *   out.
 */

import { isJidGroup, isPnUser } from '@whiskeysockets/baileys';

/** @typedef {import('@whiskeysockets/baileys').WASocket} WASocket */

/**
 * Baileys encrypts a text for the devices that its look-up finds, and without any it sends a text
 * that nobody can read, which the server acknowledges all the same. The look-up is the one that
 * Baileys itself makes next: its answer is cached there for five minutes, so that it is asked once.
 *
 * When no device is known under the first jid, all of them are asked for: a number can have two
 * forms (in Brazil with and without the ninth digit), and WhatsApp knows it by one.
 *
 * @param {Pick<WASocket, 'getUSyncDevices' | 'onWhatsApp'>} sock
 * @param {string[]} jids of one recipient, the likeliest first
 * @returns {Promise<string | null>} null: WhatsApp knows the recipient by none of them
 */
export async function addressee(sock, jids) {
  const [first] = jids;
  if (isJidGroup(first) || (await hasDevices(sock, first))) return first;
  const numbers = jids.filter((jid) => isPnUser(jid));
  if (numbers.length === 0) return null;
  const answers = await sock.onWhatsApp(...numbers);
  if (!answers) throw new Error('the look-up of the recipient was answered with an error');
  const known = answers.filter(({ exists }) => exists).map(({ jid }) => jid);
  return known.includes(first) ? first : (known[0] ?? null);
}

/**
 * @param {Pick<WASocket, 'getUSyncDevices'>} sock
 * @param {string} jid
 */
async function hasDevices(sock, jid) {
  try {
    const devices = await sock.getUSyncDevices([jid], true, false);
    return devices.length > 0;
  } catch {
    // an error in place of the recipient's devices; whether the number exists is asked next
    return false;
  }
}
