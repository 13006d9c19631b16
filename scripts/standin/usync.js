/**
 * `usync`: what the server knows of users. Clients ask before they send, to learn of the
 * recipient's devices and LID.
 */

import { isLid, jidOf, lidOf, parseJid } from './jids.js';
import { bytes, child, children, node } from './nodes.js';

/**
 * @typedef {import("./queries.js").Answer} Answer
 * @typedef {import("./nodes.js").Node} Node
 * @typedef {{ world: import("./standin.js").World, jid: string, user: string, number: string }}
 *   Person
 */

/**
 * What is told, by the name of what is asked for. @type {Record<string, (person: Person) =>
 * Node[]>}
 */
const TOLD = {
  contact: ({ world, user, number }) => [
    node('contact', { type: world.phones.isAbsent(user) ? 'out' : 'in' }, Buffer.from(number)),
  ],
  devices: ({ world, user }) => [
    node('devices', {}, [node('device-list', {}, devicesOf(world, user))]),
  ],
  // Whoever asks by LID knows it; and Baileys would take the pair for a mapping from a LID to
  // itself.
  lid: ({ world, jid, user }) =>
    isLid(jid) || world.phones.isAbsent(user) ? [] : [node('lid', { val: lidOf(user) })],
};

/** @type {Answer} */
export function usync({ world, question }) {
  const asked = children(child(question, 'query')).map(({ tag }) => tag);
  const users = children(child(question, 'list')).flatMap((user) => tell(world, user, asked));
  return [node('usync', {}, [node('list', {}, users)])];
}

/**
 * @param {import("./standin.js").World} world
 * @param {Node} user
 * @param {string[]} asked
 */
function tell(world, user, asked) {
  const number = bytes(child(user, 'contact')).toString();
  const jid = user.attrs.jid ?? jidOf(number.replace('+', ''));
  const address = parseJid(jid);
  if (!address) return [];
  const person = { world, jid, user: address.user, number };
  return [
    node(
      'user',
      { jid },
      asked.flatMap((name) => TOLD[name]?.(person) ?? []),
    ),
  ];
}

/**
 * The phone, and the linked devices; nothing of a number without WhatsApp. Clients pass over a
 * linked device without a key index.
 * @param {import("./standin.js").World} world
 * @param {string} user
 */
function devicesOf(world, user) {
  if (world.phones.isAbsent(user)) return [];
  const linked = world.devices.ofUser(user).map(({ record: { device, keyIndex } }) => {
    return node('device', { id: String(device), 'key-index': String(keyIndex) });
  });
  return [node('device', { id: '0' }), ...linked];
}
