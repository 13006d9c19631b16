/**
 * One-time prekeys of a device as one string: 812 objects per device would be most of the
 * stand-in's memory and state. A record is 36 bytes (4 of id, 32 of key), which is 48 characters of
 * base64 and nothing over.
 */

import { bigEndian } from './nodes.js';

/** @typedef {{ id: number, key: Buffer }} PreKey the key without its type byte */

const ID_BYTES = 4;
const RECORD_CHARACTERS = 48;

/** @param {PreKey[]} preKeys */
export const pack = (preKeys) =>
  preKeys
    .map(({ id, key }) => Buffer.concat([bigEndian(id, ID_BYTES), key]).toString('base64'))
    .join('');

/** @param {string} packed */
export const countOf = (packed) => packed.length / RECORD_CHARACTERS;

/**
 * @param {string} packed
 * @param {number} index
 * @returns {PreKey}
 */
export function preKeyAt(packed, index) {
  const start = index * RECORD_CHARACTERS;
  const record = Buffer.from(packed.slice(start, start + RECORD_CHARACTERS), 'base64');
  return { id: record.readUIntBE(0, ID_BYTES), key: record.subarray(ID_BYTES) };
}

/**
 * @param {string} packed
 * @param {number} count how many to leave out at the front
 */
export const without = (packed, count) => packed.slice(count * RECORD_CHARACTERS);
