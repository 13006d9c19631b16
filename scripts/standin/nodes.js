/**
 * Nodes: WhatsApp's binary XML. The codec is Baileys' own; here are the small builders and readers.
 *
 * Two traps of the encoder are closed here by type: attribute values are strings, and text content
 * is a Buffer.
 */

import { inflateSync } from 'node:zlib';
import * as constants from '@whiskeysockets/baileys/lib/WABinary/constants.js';
import {
  decodeDecompressedBinaryNode,
  encodeBinaryNode,
} from '@whiskeysockets/baileys/lib/WABinary/index.js';

/** @typedef {import("@whiskeysockets/baileys/lib/WABinary/types.js").BinaryNode} Node */

export const SERVER = '@s.whatsapp.net';

const COMPRESSED_FLAG = 2;

/**
 * @param {string} tag
 * @param {Record<string, string>} [attrs]
 * @param {Node[] | Uint8Array} [content]
 * @returns {Node}
 */
export function node(tag, attrs = {}, content) {
  return content === undefined ? { tag, attrs } : { tag, attrs, content };
}

/** @param {Node} tree */
export const encodeNode = (tree) => encodeBinaryNode(tree);

/**
 * Decodes a node synchronously: Baileys' `decodeBinaryNode` could let one frame overtake another.
 * @param {Buffer} bytes
 * @returns {Node}
 */
export function decodeNode(bytes) {
  const body = bytes.subarray(1);
  return decodeDecompressedBinaryNode(
    bytes[0] & COMPRESSED_FLAG ? inflateSync(body) : body,
    constants,
  );
}

/**
 * @param {Node | undefined} parent
 * @returns {Node[]}
 */
export function children(parent) {
  return Array.isArray(parent?.content) ? parent.content : [];
}

/**
 * The child with that tag, or the first child.
 * @param {Node | undefined} parent
 * @param {string} [tag]
 */
export function child(parent, tag) {
  return children(parent).find((candidate) => tag === undefined || candidate.tag === tag);
}

/**
 * The content as bytes; the codec gives strings for content that is in its dictionary.
 * @param {Node | undefined} holder
 */
export function bytes(holder) {
  const content = holder?.content;
  if (content instanceof Uint8Array) return Buffer.from(content);
  return Buffer.from(typeof content === 'string' ? content : '');
}

/**
 * @param {Node} parent
 * @param {string} tag
 */
export const childBytes = (parent, tag) => bytes(child(parent, tag));

/**
 * @param {number} value
 * @param {number} length in bytes
 */
export function bigEndian(value, length) {
  const buffer = Buffer.alloc(length);
  buffer.writeUIntBE(value, 0, length);
  return buffer;
}

/** Seconds since the epoch, as an attribute. */
export const nowSeconds = () => String(Math.floor(Date.now() / 1000));

/**
 * `<stream:error>`, the last words before a close.
 * @param {{ code?: number, child?: string, type?: string }} what
 */
export function streamError({ code, child: tag, type }) {
  /** @type {Record<string, string>} */
  const attrs = code === undefined ? {} : { code: String(code) };
  return node(
    'stream:error',
    attrs,
    tag === undefined ? undefined : [node(tag, type === undefined ? {} : { type })],
  );
}

/**
 * `<failure>`, the refusal of a login.
 * @param {number} reason
 * @param {Record<string, string>} [attributes]
 */
export function failure(reason, attributes = {}) {
  return node('failure', { reason: String(reason), ...attributes });
}

/** What the older of two logins of one device is told. */
export const REPLACED = streamError({ child: 'conflict', type: 'replaced' });

/** What a device is told when it is unlinked. */
export const DEVICE_REMOVED = streamError({ code: 401, child: 'conflict', type: 'device_removed' });
