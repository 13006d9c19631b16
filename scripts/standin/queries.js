/**
 * The questions that clients ask (`<iq>`), and their answers: one table per stage, by namespace and
 * first child. What is not in a table gets an empty result, because a question without an answer
 * holds Baileys up for 60 s.
 */

import { syncHistory } from './history-sync.js';
import { parseJid } from './jids.js';
import { digest, handOutBundles, rotateSignedPreKey, uploadPreKeys } from './key-queries.js';
import { announceOffline, deliverOffline } from './mail.js';
import { child, children, node, SERVER } from './nodes.js';
import { answerCodeRequest } from './pairing-code.js';
import { unlink } from './unlink.js';
import { usync } from './usync.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./devices.js").Device} Device
 * @typedef {import("./nodes.js").Node} Node
 *
 * @typedef {object} Query
 * @property {World} world
 * @property {Connection} connection
 * @property {Device} device that asks
 * @property {Node} iq
 * @property {Node} question the first child, or the iq itself if it has none
 *
 * @typedef {(query: Query) => Node[]} Answer gives the content of the result
 */

const PRIVACY = {
  readreceipts: 'all',
  last: 'all',
  online: 'all',
  profile: 'all',
  status: 'all',
  groupadd: 'all',
};

/** @type {Answer} */
const nothing = () => [];

/** @type {Record<string, Answer>} */
const WHEN_PAIRING = {
  'md link_code_companion_reg': ({ connection, question }) =>
    answerCodeRequest(connection, question),
};

/** @type {Record<string, Answer>} */
const WHEN_LOGGED_IN = {
  'abt props': () => [node('props', { protocol: '1', hash: 'standin' })],
  'blocklist ': () => [node('list')],
  'encrypt count': ({ device }) => [node('count', { value: String(device.preKeyCount) })],
  'encrypt digest': digest,
  'encrypt key': handOutBundles,
  'encrypt registration': uploadPreKeys,
  'encrypt rotate': rotateSignedPreKey,
  'md remove-companion-device': removeCompanion,
  'privacy privacy': () => [
    node(
      'privacy',
      {},
      Object.entries(PRIVACY).map(([name, value]) => node('category', { name, value })),
    ),
  ],
  'usync usync': usync,
  'w:g2 participating': () => [node('groups')],
  'w:sync:app:state sync': ({ question }) => [node('sync', {}, children(question).map(unchanged))],
};

/** What happens once the answer is out. @type {Record<string, (query: Query) => void>} */
const AFTERWARDS = {
  'passive active': ({ world, connection, device }) => {
    connection.takesMail = true;
    const stalled = world.faults.take('stall-queue', connection.subject);
    if (stalled) announceOffline(connection, stalled.params.messages ?? 1);
    else deliverOffline(connection, device);
  },
  // `digest` is the last question before Baileys says `open`.
  'encrypt digest': ({ world, connection, device }) => {
    if (connection.stage === 'open') return;
    connection.stage = 'open';
    world.log.add('open', connection.subject);
    if (!device.record.historySynced) connection.attend(syncHistory(world, connection, device));
  },
};

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {Node} iq
 */
export function answerQuery(world, connection, iq) {
  // The answers to our own questions have found their way before; what is left of results is for
  // nobody.
  if (iq.attrs.type === 'result' || iq.attrs.type === 'error') return;
  const question = child(iq);
  const name = `${iq.attrs.xmlns} ${question?.tag ?? ''}`;
  // Without a verdict on its login a client gets answers to keep-alives, and to nothing else.
  if (connection.stage === 'login' && !connection.device && name !== 'w:p ping') return;
  if (connection.deaf) {
    world.log.add('unheard', connection.subject, { query: name });
    return;
  }
  const answer = (connection.device ? WHEN_LOGGED_IN : WHEN_PAIRING)[name] ?? nothing;
  const query = {
    world,
    connection,
    device: /** @type {Device} */ (connection.device),
    iq,
    question: question ?? iq,
  };
  const content = answer(query);
  connection.send(
    node(
      'iq',
      { from: SERVER, type: 'result', id: iq.attrs.id },
      content.length > 0 ? content : undefined,
    ),
  );
  if (connection.device) AFTERWARDS[name]?.(query);
}

/** A collection of app state in which nothing has happened. @param {Node} collection */
const unchanged = ({ attrs: { name, version } }) => node('collection', { name, version });

/** A device unlinks itself, or another one of its account: Baileys' `logout()`. @type {Answer} */
function removeCompanion({ world, connection, device, question }) {
  const target = world.devices.get(question.attrs.jid);
  const sameAccount = parseJid(question.attrs.jid)?.user === device.record.user;
  if (target && sameAccount) unlink(world, target, 'client', connection);
  return [];
}
