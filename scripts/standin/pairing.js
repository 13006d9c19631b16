/**
 * Linking a device: what is the same for QR and code. The account's phone signs the client's
 * identity, the client signs back, and the server has it connect again (515).
 */

import { createHmac, randomInt } from 'node:crypto';
import { proto } from '@whiskeysockets/baileys/WAProto/index.js';
import { AdminError, ProtocolError } from './errors.js';
import { jidOf } from './jids.js';
import { sign, verify, withType } from './keys.js';
import { bytes, child, node, streamError } from './nodes.js';
import { beforeSuccess } from './registration-news.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 *
 * @typedef {object} Registration what a new client says of itself
 * @property {Buffer} identity
 * @property {number} registrationId
 * @property {{ id: number, key: Buffer, signature: Buffer }} signedPreKey
 *
 * @typedef {object} Pairing the state of an unfinished one
 * @property {Registration} registration
 * @property {string[]} refs shown in QR codes
 * @property {import("./pairing-code.js").CodeRequest} [codeRequest]
 * @property {Set<string>} unacknowledged ids of refreshes that the client has not acknowledged: all
 *   that it shows is void
 * @property {boolean} wantsPasskey
 */

const ACCOUNT_SIGNATURE = Buffer.from([6, 0]);
const DEVICE_SIGNATURE = Buffer.from([6, 1]);

/** The client is to come back, with a login this time. */
const RESTART_REQUIRED = streamError({ code: 515 });

/**
 * @param {Registration} registration
 * @param {string[]} refs
 * @returns {Pairing}
 */
export const newPairing = (registration, refs) => ({
  registration,
  refs,
  unacknowledged: new Set(),
  wantsPasskey: false,
});

/**
 * @param {proto.ClientPayload.IDevicePairingRegistrationData} data
 * @returns {Registration}
 */
export function readRegistration({ eIdent, eRegid, eSkeyId, eSkeyVal, eSkeySig }) {
  if (
    eIdent?.length !== 32 ||
    eRegid?.length !== 4 ||
    eSkeyId?.length !== 3 ||
    !eSkeyVal ||
    !eSkeySig
  ) {
    throw new ProtocolError('a registration without its keys');
  }
  return {
    identity: Buffer.from(eIdent),
    registrationId: Buffer.from(eRegid).readUInt32BE(),
    signedPreKey: {
      id: Buffer.from(eSkeyId).readUIntBE(0, 3),
      key: Buffer.from(eSkeyVal),
      signature: Buffer.from(eSkeySig),
    },
  };
}

/**
 * Links the client of a connection to an account. Settled when the client has confirmed it.
 * @param {World} world
 * @param {Connection} connection
 * @param {{ phone: string, name?: string, advSecret: Uint8Array }} account `advSecret` is what only
 *   client and phone know
 * @returns {Promise<{ jid: string }>}
 */
export async function link(world, connection, { phone, name = `Phone ${phone}`, advSecret }) {
  const registration = registrationOf(connection);
  // Stored before the client hears of it: a pairing that the client knows of and the server not is
  // lost for ever.
  const device = store(world, connection, registration, phone, name);
  beforeSuccess(world, connection);
  connection.pairing = undefined;
  const identity = signedIdentity(world, device.record, registration.identity);
  const details = proto.ADVSignedDeviceIdentity.encode(identity).finish();
  const hmac = createHmac('sha256', advSecret).update(details).digest();
  const sealed = proto.ADVSignedDeviceIdentityHMAC.encode({
    details,
    hmac,
    accountType: 0,
  }).finish();
  const answer = await connection.ask(pairSuccess(device, sealed));
  checkDeviceSignature(answer, identity, registration.identity);
  device.update({ confirmed: true });
  world.log.add('paired', { ...connection.subject, jid: device.jid }, { phone });
  connection.finish(RESTART_REQUIRED, 'server');
  return { jid: device.jid };
}

/** @param {Connection} connection */
function registrationOf({ pairing }) {
  if (!pairing) {
    throw new AdminError(
      409,
      'not_pairing',
      'this connection is not waiting to be paired',
      'ask the client for a new QR',
    );
  }
  const { identity, signedPreKey } = pairing.registration;
  if (verify(identity, withType(signedPreKey.key), signedPreKey.signature))
    return pairing.registration;
  throw new AdminError(
    409,
    'bad_client',
    "the client's signed prekey is not signed by its identity",
    'look at the client',
  );
}

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {Registration} registration
 * @param {string} user
 * @param {string} name
 */
function store(world, connection, { identity, registrationId, signedPreKey }, user, name) {
  const device = world.devices.add({
    user,
    name,
    session: connection.session ?? '',
    paired_at_ms: Date.now(),
    registrationId,
    noiseKey: connection.noiseKey.toString('base64'),
    identity: identity.toString('base64'),
    signedPreKey: {
      id: signedPreKey.id,
      key: signedPreKey.key.toString('base64'),
      signature: signedPreKey.signature.toString('base64'),
    },
  });
  if (device) return device;
  throw new AdminError(
    409,
    'too_many_devices',
    `${jidOf(user)} has no device number left`,
    'unlink one, or use another phone',
  );
}

/**
 * @param {World} world
 * @param {import("./devices.js").DeviceRecord} record
 * @param {Buffer} clientIdentity
 */
function signedIdentity(world, { user, keyIndex }, clientIdentity) {
  const account = world.phones.get(user).identity;
  const timestamp = Math.floor(Date.now() / 1000);
  const details = proto.ADVDeviceIdentity.encode({
    rawId: randomInt(1, 2 ** 31),
    timestamp,
    keyIndex,
    accountType: 0,
    deviceType: 0,
  }).finish();
  const accountSignature = sign(
    account.private,
    Buffer.concat([ACCOUNT_SIGNATURE, details, clientIdentity]),
  );
  return { details, accountSignatureKey: account.public, accountSignature };
}

/**
 * @param {import("./devices.js").Device} device
 * @param {Uint8Array} sealedIdentity
 */
function pairSuccess({ jid, lid, record }, sealedIdentity) {
  return node('iq', { type: 'set', xmlns: 'md' }, [
    node('pair-success', {}, [
      node('device-identity', {}, sealedIdentity),
      // Without a name Baileys never says that it is available.
      node('biz', { name: record.name }),
      node('platform', { name: 'smba' }),
      node('device', { jid, lid }),
    ]),
  ]);
}

/**
 * @param {import("./nodes.js").Node} answer
 * @param {{ details: Uint8Array, accountSignatureKey: Uint8Array }} identity
 * @param {Buffer} clientIdentity
 */
function checkDeviceSignature(answer, { details, accountSignatureKey }, clientIdentity) {
  const reply = child(child(answer, 'pair-device-sign'), 'device-identity');
  const { deviceSignature } = proto.ADVSignedDeviceIdentity.decode(bytes(reply));
  const signed = Buffer.concat([DEVICE_SIGNATURE, details, clientIdentity, accountSignatureKey]);
  if (deviceSignature && verify(clientIdentity, signed, deviceSignature)) return;
  throw new AdminError(
    409,
    'bad_client',
    "the client's device signature is wrong",
    'look at the client',
  );
}
