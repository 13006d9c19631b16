/** Pairing by QR: the references that the client shows, and the phone that scans one. */

import { randomBytes } from 'node:crypto';
import { AdminError } from './errors.js';
import { node } from './nodes.js';
import { link } from './pairing.js';
import { atScan } from './registration-news.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 */

/** As many as WhatsApp gives; Baileys shows one after the other and gives up after the last. */
const REFS = 6;

/** No commas: the QR is a list with commas. */
export const newRefs = () =>
  Array.from({ length: REFS }, () => randomBytes(24).toString('base64url'));

/** @param {string[]} refs */
export const pairDevice = (refs) =>
  node('iq', { type: 'set', xmlns: 'md' }, [
    node(
      'pair-device',
      {},
      refs.map((ref) => node('ref', {}, Buffer.from(ref))),
    ),
  ]);

/**
 * @param {World} world
 * @param {{ qr: string, session?: string, phone?: string, name?: string }} scan
 */
export async function scan(world, { qr, session, phone, name }) {
  const [ref, noiseKey, identity, advSecret] = qr.slice(qr.indexOf('#') + 1).split(',');
  const connection = [...world.connections].find(({ pairing }) => pairing?.refs.includes(ref));
  if (!connection?.pairing || (session !== undefined && connection.session !== session)) {
    throw new AdminError(
      404,
      'qr_unknown',
      'no client shows this QR now',
      'it may be used or old: get the newest one',
    );
  }
  const shown = connection.noiseKey.toString('base64') === noiseKey;
  if (!shown || connection.pairing.registration.identity.toString('base64') !== identity) {
    throw new AdminError(
      409,
      'qr_foreign',
      'the keys in the QR are not those of the client that shows it',
      'scan it whole',
    );
  }
  atScan(world, connection, advSecret);
  const secret = Buffer.from(advSecret ?? '', 'base64');
  return link(world, connection, {
    phone: phone ?? world.devices.makeUpPhone(),
    name,
    advSecret: secret,
  });
}
