/**
 * @file Questions to the server that Baileys does not ask as we need them: an `iq`, and whatever
 *   answers it, an error too.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { S_WHATSAPP_NET } from '@whiskeysockets/baileys';

/**
 * @typedef {import('@whiskeysockets/baileys').WASocket} WASocket
 * @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode
 */

/** @typedef {{ type: 'get' | 'set', xmlns: string, content: BinaryNode }} Question */

/** @type {Question} */
export const PING = { type: 'get', xmlns: 'w:p', content: { tag: 'ping', attrs: {} } };

/**
 * @param {string} jid
 * @returns {Question}
 */
export function removal(jid) {
  const attrs = { jid, reason: 'user_initiated' };
  return { type: 'set', xmlns: 'md', content: { tag: 'remove-companion-device', attrs } };
}

/**
 * Baileys' `query` would do, but for two things: it throws when the answer is an error, and its
 * time-out may fire before an answer is read that has long come, when the event loop was stalled.
 *
 * @param {WASocket} sock
 * @param {Question} question
 * @param {number} timeoutMs
 * @returns {Promise<BinaryNode | undefined>}
 */
export async function ask(sock, { type, xmlns, content }, timeoutMs) {
  const id = sock.generateMessageTag();
  const answer = /** @type {Promise<BinaryNode | undefined>} */ (
    sock.waitForMessage(id, 2 * timeoutMs)
  );
  const attrs = { id, to: S_WHATSAPP_NET, type, xmlns };
  sock.sendNode({ tag: 'iq', attrs, content: [content] }).catch(() => {});
  const timeOut = pause(timeoutMs)
    .then(() => nextTurn())
    .then(() => undefined);
  return Promise.race([answer.catch(() => undefined), timeOut]);
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
