/**
 * The certificate chain that the server shows in the Noise handshake: root → intermediate → leaf.
 * The leaf names the server's static Noise key. Real clients pin the root's public key.
 */

import { proto } from '@whiskeysockets/baileys/WAProto/index.js';
import { generateKeyPair, sign } from './keys.js';

/** @typedef {import("./keys.js").KeyPair} KeyPair */

const { NoiseCertificate } = proto.CertChain;

/** Clients compare the intermediate's issuer with this. */
const ROOT_SERIAL = 0;
const INTERMEDIATE_SERIAL = 1;
const LEAF_SERIAL = 2;
const YEAR_S = 365 * 24 * 3600;

/**
 * A chain for `leafKey`, with a throw-away intermediate: only the root has to last.
 * @param {KeyPair} root
 * @param {Uint8Array} leafKey the server's static public key
 * @returns {Uint8Array} an encoded `CertChain`
 */
export function issueChain(root, leafKey) {
  const intermediate = generateKeyPair();
  return proto.CertChain.encode({
    intermediate: certificate(root, {
      serial: INTERMEDIATE_SERIAL,
      issuerSerial: ROOT_SERIAL,
      key: intermediate.public,
    }),
    leaf: certificate(intermediate, {
      serial: LEAF_SERIAL,
      issuerSerial: INTERMEDIATE_SERIAL,
      key: leafKey,
    }),
  }).finish();
}

/**
 * @param {KeyPair} issuer
 * @param {{ serial: number, issuerSerial: number, key: Uint8Array }} subject
 */
function certificate(issuer, subject) {
  const now = Math.floor(Date.now() / 1000);
  const details = NoiseCertificate.Details.encode({
    ...subject,
    notBefore: now - YEAR_S,
    notAfter: now + YEAR_S,
  }).finish();
  return { details, signature: sign(issuer.private, details) };
}
