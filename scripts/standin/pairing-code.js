/**
 * Pairing by code: the client shows eight characters, a person types them on the phone, and both
 * sides agree on the secret that a QR would have carried.
 */

import { createCipheriv, createDecipheriv, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { AdminError, ProtocolError } from './errors.js';
import { parseJid } from './jids.js';
import { agree, generateKeyPair, hkdf } from './keys.js';
import { childBytes, node, SERVER } from './nodes.js';
import { link } from './pairing.js';
import { atScan } from './registration-news.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./nodes.js").Node} Node
 *
 * @typedef {object} CodeRequest a client that shows a code
 * @property {string} phone
 * @property {Buffer} ref
 * @property {Buffer} wrappedEphemeral
 * @property {(request: Node) => void} [finish] takes the client's second message
 */

const deriveBits = promisify(pbkdf2);

const ITERATIONS = 2 << 16;
const SALT = 32;
const CTR_IV = 16;
const GCM_IV = 12;
const GCM_TAG = 16;

/**
 * How the client's two messages are answered, by their `stage`. @type {Record<string, (connection:
 * Connection, request: Node) => Node[]>}
 */
const STAGES = {
  companion_hello: (connection, request) => [
    node('link_code_companion_reg', {}, [refNode(hello(connection, request))]),
  ],
  companion_finish: (connection, request) => {
    connection.pairing?.codeRequest?.finish?.(request);
    return [];
  },
};

/**
 * @param {Connection} connection
 * @param {Node} request `<link_code_companion_reg>`
 * @returns {Node[]} the content of the answer
 */
export function answerCodeRequest(connection, request) {
  const answer = STAGES[request.attrs.stage];
  if (!answer || !connection.pairing) throw new ProtocolError('a pairing code at the wrong time');
  return answer(connection, request);
}

/**
 * Plays the person who types the code on the phone.
 * @param {World} world
 * @param {{ phone: string, code: string, name?: string }} typed
 */
export async function enterCode(world, { phone, code, name }) {
  const connection = [...world.connections].findLast(
    ({ pairing }) => pairing?.codeRequest?.phone === phone,
  );
  const request = connection?.pairing?.codeRequest;
  if (!connection || !request) {
    throw new AdminError(
      404,
      'no_code_shown',
      `no client shows a code for ${phone}`,
      'ask the client for a code first',
    );
  }
  const primary = world.phones.get(phone).identity;
  const ephemeral = generateKeyPair();
  const companionEphemeral = await unwrap(request.wrappedEphemeral, code);
  const shared = agree(ephemeral.private, companionEphemeral);
  const answer = nextMessage(request);
  connection.send(notification(request, primary.public, await wrap(ephemeral.public, code)));
  const { identity, random } = openBundle(
    childBytes(await answer, 'link_code_pairing_wrapped_key_bundle'),
    shared,
  );
  atScan(world, connection);
  const secret = Buffer.concat([shared, agree(primary.private, identity), random]);
  return link(world, connection, {
    phone,
    name,
    advSecret: hkdf(secret, 32, { info: 'adv_secret' }),
  });
}

/**
 * @param {Connection} connection
 * @param {Node} request
 */
function hello(connection, request) {
  const address = parseJid(request.attrs.jid);
  const wrappedEphemeral = childBytes(request, 'link_code_pairing_wrapped_companion_ephemeral_pub');
  const noiseKey = childBytes(request, 'companion_server_auth_key_pub');
  if (!connection.pairing || !address || wrappedEphemeral.length !== SALT + CTR_IV + 32) {
    throw new ProtocolError('a pairing code request that is not complete');
  }
  if (!noiseKey.equals(connection.noiseKey))
    throw new ProtocolError('a pairing code request for another client');
  connection.pairing.codeRequest = { phone: address.user, ref: randomBytes(16), wrappedEphemeral };
  return connection.pairing.codeRequest;
}

/**
 * @param {CodeRequest} request
 * @returns {Promise<Node>}
 */
const nextMessage = (request) =>
  new Promise((resolve) => {
    request.finish = resolve;
  });

/** @param {CodeRequest} request */
const refNode = ({ ref }) => node('link_code_pairing_ref', {}, ref);

/**
 * @param {CodeRequest} request
 * @param {Buffer} identity
 * @param {Buffer} wrappedEphemeral
 */
function notification(request, identity, wrappedEphemeral) {
  const id = randomBytes(8).toString('hex');
  return node(
    'notification',
    { from: SERVER, id, type: 'link_code_companion_reg', t: String(Math.floor(Date.now() / 1000)) },
    [
      node('link_code_companion_reg', {}, [
        refNode(request),
        node('link_code_pairing_wrapped_primary_ephemeral_pub', {}, wrappedEphemeral),
        node('primary_identity_pub', {}, identity),
      ]),
    ],
  );
}

/**
 * @param {Buffer} key
 * @param {string} code
 */
async function wrap(key, code) {
  const salt = randomBytes(SALT);
  const iv = randomBytes(CTR_IV);
  const cipher = createCipheriv(
    'aes-256-ctr',
    await deriveBits(code, salt, ITERATIONS, 32, 'sha256'),
    iv,
  );
  return Buffer.concat([salt, iv, cipher.update(key), cipher.final()]);
}

/**
 * @param {Buffer} wrapped
 * @param {string} code
 */
async function unwrap(wrapped, code) {
  const salt = wrapped.subarray(0, SALT);
  const iv = wrapped.subarray(SALT, SALT + CTR_IV);
  const cipher = createDecipheriv(
    'aes-256-ctr',
    await deriveBits(code, salt, ITERATIONS, 32, 'sha256'),
    iv,
  );
  return Buffer.concat([cipher.update(wrapped.subarray(SALT + CTR_IV)), cipher.final()]);
}

/**
 * The first place where a wrong code shows: nothing before it is authenticated.
 * @param {Buffer} bundle
 * @param {Buffer} shared
 */
function openBundle(bundle, shared) {
  const salt = bundle.subarray(0, SALT);
  const iv = bundle.subarray(SALT, SALT + GCM_IV);
  const key = hkdf(shared, 32, { salt, info: 'link_code_pairing_key_bundle_encryption_key' });
  const cipher = createDecipheriv('aes-256-gcm', key, iv);
  cipher.setAuthTag(bundle.subarray(-GCM_TAG));
  try {
    const plain = Buffer.concat([
      cipher.update(bundle.subarray(SALT + GCM_IV, -GCM_TAG)),
      cipher.final(),
    ]);
    return { identity: plain.subarray(0, 32), random: plain.subarray(64, 96) };
  } catch {
    throw new AdminError(
      409,
      'wrong_code',
      'this is not the code that the client shows',
      'codes are case-sensitive',
    );
  }
}
