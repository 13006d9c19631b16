/**
 * Curve25519 as WhatsApp uses it: X25519 agreement, XEdDSA signatures with the same keys, HKDF.
 *
 * Agreements run in OpenSSL; signatures are libsignal's pure JavaScript (about 10 ms each), so sign
 * and verify once per pairing and never once per login.
 */

import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
} from 'node:crypto';
import * as curve from 'libsignal/src/curve.js';

/** @typedef {{ public: Buffer, private: Buffer }} KeyPair 32 raw bytes each */

const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_DER = Buffer.from('302a300506032b656e032100', 'hex');

/** The byte that Signal puts before a Curve25519 public key. */
const DJB_TYPE = Buffer.from([5]);

/** @param {Uint8Array} raw */
const privateKeyObject = (raw) =>
  createPrivateKey({ key: Buffer.concat([PRIVATE_DER, raw]), format: 'der', type: 'pkcs8' });

/** @param {Uint8Array} raw */
const publicKeyObject = (raw) =>
  createPublicKey({ key: Buffer.concat([PUBLIC_DER, raw]), format: 'der', type: 'spki' });

/** @param {import("node:crypto").KeyObject} publicKey */
const rawPublic = (publicKey) =>
  publicKey.export({ format: 'der', type: 'spki' }).subarray(PUBLIC_DER.length);

/** @returns {KeyPair} */
export function generateKeyPair() {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  return { public: rawPublic(publicKey), private: der.subarray(PRIVATE_DER.length) };
}

/**
 * @param {Uint8Array} secret 32 bytes, clamped or not
 * @returns {KeyPair}
 */
export function keyPairFrom(secret) {
  const clamped = Buffer.from(secret);
  clamped[0] &= 248;
  clamped[31] = (clamped[31] & 127) | 64;
  return { public: rawPublic(createPublicKey(privateKeyObject(clamped))), private: clamped };
}

/**
 * @param {Uint8Array} privateKey
 * @param {Uint8Array} publicKey
 */
export function agree(privateKey, publicKey) {
  return diffieHellman({
    privateKey: privateKeyObject(privateKey),
    publicKey: publicKeyObject(publicKey),
  });
}

/**
 * XEdDSA.
 * @param {Uint8Array} privateKey
 * @param {Uint8Array} message
 */
export function sign(privateKey, message) {
  return Buffer.from(curve.calculateSignature(Buffer.from(privateKey), message));
}

/**
 * XEdDSA. (Baileys' own `Curve.verify` forgets to look at the verdict; this one does not.)
 * @param {Uint8Array} publicKey
 * @param {Uint8Array} message
 * @param {Uint8Array} signature
 */
export function verify(publicKey, message, signature) {
  return signature.length === 64 && curve.verifySignature(withType(publicKey), message, signature);
}

/**
 * The 33 byte form that libsignal wants.
 * @param {Uint8Array} publicKey
 */
export function withType(publicKey) {
  return Buffer.concat([DJB_TYPE, publicKey]);
}

/**
 * HKDF-SHA256.
 * @param {Uint8Array} secret
 * @param {number} length
 * @param {{ salt?: Uint8Array, info?: string }} [options]
 */
export function hkdf(secret, length, { salt = Buffer.alloc(0), info = '' } = {}) {
  return Buffer.from(hkdfSync('sha256', secret, salt, info, length));
}
