/**
 * What WhatsApp may tell a client that is not linked yet: that what it shows is retired (since July
 * 2026), or that the account wants a passkey first. A phone that scans what is retired fails, and
 * nobody tells the client.
 */

import { randomBytes } from 'node:crypto';
import { AdminError } from './errors.js';
import { node, nowSeconds, SERVER } from './nodes.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./nodes.js").Node} Node
 */

/** Either child is a refresh. The first is what there is without a word about it. */
export const REFRESHES = /** @type {const} */ (['companion_reg_refresh', 'pair-device-rotate-qr']);

/** @param {string} qr */
export const secretIn = (qr) => qr.slice(qr.indexOf('#') + 1).split(',')[3] ?? '';

/** What is retired stays so, for every connection. @type {Set<string>} */
const retired = new Set();

/**
 * Retires what the client shows: until it acknowledges all of it; for good the secret that is
 * named, and any code.
 * @param {Connection} connection
 * @param {{ child?: string, secret?: string }} [what]
 */
export function refresh(connection, { child = REFRESHES[0], secret } = {}) {
  const { pairing } = connection;
  if (!pairing) return;
  const id = newId();
  pairing.unacknowledged.add(id);
  if (secret) retired.add(secret);
  pairing.codeRequest = undefined;
  connection.send(notification('companion_reg_refresh', id, node(child)));
}

/**
 * Asks for a passkey, and links nobody without one. What the options hold is made up after public
 * reports.
 * @param {Connection} connection
 */
export function askForPasskey(connection) {
  const { pairing } = connection;
  if (!pairing) return;
  pairing.wantsPasskey = true;
  const options = JSON.stringify({
    rpId: 'whatsapp.com',
    userVerification: 'required',
    timeout: 600_000,
  });
  connection.send(
    notification(
      'passkey_prologue_request',
      newId(),
      node('passkey_request_options', {}, Buffer.from(options)),
    ),
  );
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {Node} ack
 */
export function acknowledged(world, connection, { attrs }) {
  connection.pairing?.unacknowledged.delete(attrs.id);
  world.log.add('acknowledged', connection.subject, { attributes: { ...attrs } });
}

/**
 * A client that registers, and has been given its references.
 * @param {World} world
 * @param {Connection} connection
 */
export function atRegistration(world, connection) {
  const refreshed = world.faults.take('refresh-at-registration', connection.subject);
  if (refreshed) refresh(connection, refreshed.params);
  if (world.faults.take('passkey-at-registration', connection.subject)) askForPasskey(connection);
}

/**
 * A phone has scanned the QR, or its owner has typed the code. Throws what it tells its owner if it
 * does not link.
 * @param {World} world
 * @param {Connection} connection
 * @param {string} [secret] that the QR holds
 */
export function atScan(world, connection, secret) {
  const { pairing, subject } = connection;
  const refreshed = world.faults.take('refresh-at-scan', subject);
  if (refreshed) refresh(connection, { ...refreshed.params, secret });
  if (world.faults.take('passkey-at-scan', subject)) askForPasskey(connection);
  if (!pairing) return;
  if (pairing.wantsPasskey)
    refuse(world, connection, 'passkey_wanted', 'this account wants a passkey first');
  if (pairing.unacknowledged.size > 0 || (secret && retired.has(secret)))
    refuse(world, connection, 'retired', 'what it shows is retired');
}

/**
 * The phone has linked it, and the server is about to say so, under the secret that the phone was
 * shown.
 * @param {World} world
 * @param {Connection} connection
 */
export function beforeSuccess(world, connection) {
  const refreshed = world.faults.take('refresh-at-success', connection.subject);
  if (refreshed) refresh(connection, refreshed.params);
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {string} code
 * @param {string} why
 */
function refuse(world, connection, code, why) {
  world.log.add('link_failed', connection.subject, { why: code });
  throw new AdminError(
    409,
    code,
    `the phone could not link the device: ${why}`,
    'the client is told nothing of it',
  );
}

const newId = () => randomBytes(8).toString('hex');

/**
 * @param {string} type
 * @param {string} id
 * @param {Node} content
 */
const notification = (type, id, content) =>
  node('notification', { from: SERVER, id, type, t: nowSeconds() }, [content]);
