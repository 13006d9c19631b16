/** Questions about Signal keys: what devices upload, and what they are given to start sessions. */

import { jidOf, parseJid } from './jids.js';
import { bigEndian, child, childBytes, children, node } from './nodes.js';

/**
 * @typedef {import("./queries.js").Answer} Answer
 * @typedef {import("./devices.js").Bundle} Bundle
 * @typedef {import("./devices.js").SignedPreKey} SignedPreKey
 * @typedef {import("./nodes.js").Node} Node
 */

/** Signal's number for Curve25519 keys. */
const KEY_TYPE = Buffer.from([5]);
const ID_BYTES = 3;

/** @type {Answer} */
export function uploadPreKeys({ device, iq }) {
  const preKeys = children(child(iq, 'list')).map((key) => ({
    id: idOf(key),
    key: childBytes(key, 'value'),
  }));
  device.addPreKeys(preKeys);
  const skey = child(iq, 'skey');
  if (skey) device.update({ signedPreKey: readSignedPreKey(skey) });
  return [];
}

/** @type {Answer} */
export function rotateSignedPreKey({ device, question }) {
  const skey = child(question, 'skey');
  if (skey) device.update({ signedPreKey: readSignedPreKey(skey) });
  return [];
}

/** What the server has of a device, for the device to compare. @type {Answer} */
export function digest({ device: { record } }) {
  const signedPreKey = {
    id: record.signedPreKey.id,
    key: Buffer.from(record.signedPreKey.key, 'base64'),
    signature: Buffer.from(record.signedPreKey.signature, 'base64'),
  };
  const { registrationId } = record;
  return [
    node(
      'digest',
      {},
      bundleNodes({
        registrationId,
        identity: Buffer.from(record.identity, 'base64'),
        signedPreKey,
      }),
    ),
  ];
}

/** @type {Answer} */
export function handOutBundles({ world, question }) {
  return [
    node(
      'list',
      {},
      children(question).map(({ attrs: { jid } }) => userNode(world, jid)),
    ),
  ];
}

/**
 * @param {import("./standin.js").World} world
 * @param {string} jid
 */
function userNode(world, jid) {
  const address = parseJid(jid);
  const bundle = address && bundleOf(world, address);
  if (bundle) return node('user', { jid }, bundleNodes(bundle));
  return node('user', { jid }, [node('error', { code: '404', text: 'item-not-found' })]);
}

/**
 * Every number has a phone; only linked devices can be missing.
 * @param {import("./standin.js").World} world
 * @param {import("./jids.js").Address} address
 */
function bundleOf(world, { user, device }) {
  return device
    ? world.devices.get(jidOf(user, device))?.takeBundle()
    : world.phones.get(user).bundle();
}

/** @param {Bundle} bundle */
function bundleNodes({ registrationId, identity, signedPreKey, preKey }) {
  const { id, key, signature } = signedPreKey;
  const nodes = [
    node('registration', {}, bigEndian(registrationId, 4)),
    node('type', {}, KEY_TYPE),
    node('identity', {}, identity),
    node('skey', {}, [...keyNodes({ id, key }), node('signature', {}, signature)]),
  ];
  return preKey ? [...nodes, node('key', {}, keyNodes(preKey))] : nodes;
}

/** @param {import("./devices.js").PreKey} key */
const keyNodes = ({ id, key }) => [node('id', {}, bigEndian(id, ID_BYTES)), node('value', {}, key)];

/** @param {Node} key */
const idOf = (key) => childBytes(key, 'id').readUIntBE(0, ID_BYTES);

/**
 * @param {Node} skey
 * @returns {SignedPreKey}
 */
function readSignedPreKey(skey) {
  const [key, signature] = ['value', 'signature'].map((tag) =>
    childBytes(skey, tag).toString('base64'),
  );
  return { id: idOf(skey), key, signature };
}
