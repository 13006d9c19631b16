/**
 * What the server makes of a client that has said who it is: a new client that wants to be linked,
 * a device that logs in, or nobody.
 */

import { jidOf } from './jids.js';
import { failure, node, nowSeconds, REPLACED, streamError } from './nodes.js';
import { newPairing, readRegistration } from './pairing.js';
import { newRefs, pairDevice } from './pairing-qr.js';
import { atRegistration } from './registration-news.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./connection.js").ClientPayload} ClientPayload
 * @typedef {import("./nodes.js").Node} Node
 */

const UNKNOWN_DEVICE = 401;

/**
 * Faults that stand in for the verdict, and what they say instead. @type {Record<string, (params:
 * import("./faults.js").Params) => { reason: number | string, words: Node }>}
 */
const FALSE_VERDICTS = {
  'login-failure': ({ reason, attributes }) => ({ reason, words: failure(reason, attributes) }),
  'login-stream-error': (what) => ({
    reason: what.code ?? what.child ?? 'unknown',
    words: streamError(what),
  }),
};

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {ClientPayload} payload
 */
export function introduced(world, connection, payload) {
  if (payload.devicePairingData) startPairing(world, connection, payload.devicePairingData);
  else
    connection.attend(
      logIn(world, connection, jidOf(String(payload.username), payload.device ?? 0)),
    );
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {NonNullable<ClientPayload["devicePairingData"]>} data
 */
function startPairing(world, connection, data) {
  connection.stage = 'pairing';
  connection.pairing = newPairing(readRegistration(data), newRefs());
  world.log.add('registered', connection.subject);
  // Baileys' answer to the references says nothing; a client that goes instead is no matter either.
  connection.ask(pairDevice(connection.pairing.refs)).catch(() => {});
  atRegistration(world, connection);
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {string} jid
 */
async function logIn(world, connection, jid) {
  connection.stage = 'login';
  const subject = { ...connection.subject, jid };
  await world.faults.take('login-silence', subject)?.over;
  if (connection.ended) return;
  for (const [name, verdict] of Object.entries(FALSE_VERDICTS)) {
    const fault = world.faults.take(name, subject);
    if (fault) return refuse(world, connection, subject, { ...verdict(fault.params), by: 'fault' });
  }
  const device = world.devices.get(jid);
  if (
    !device?.record.confirmed ||
    device.record.noiseKey !== connection.noiseKey.toString('base64')
  ) {
    return refuse(world, connection, subject, {
      reason: UNKNOWN_DEVICE,
      words: failure(UNKNOWN_DEVICE),
      by: 'server',
    });
  }
  admit(world, connection, device);
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {import("./log.js").Subject} subject
 * @param {{ reason: number | string, words: Node, by: "server" | "fault" }} verdict
 */
function refuse(world, connection, subject, { reason, words, by }) {
  world.log.add('login_refused', subject, { reason, by });
  connection.finish(words, by);
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {import("./devices.js").Device} device
 */
function admit(world, connection, device) {
  const older = [...device.connections];
  connection.device = device;
  device.connections.add(connection);
  for (const other of older) {
    world.log.add('overlap', connection.subject, { older: other.id });
    other.finish(REPLACED, 'server');
  }
  connection.silence = world.faults.take('silence', connection.subject);
  world.log.add('login', connection.subject);
  connection.send(node('success', { t: nowSeconds(), lid: device.lid }));
}
