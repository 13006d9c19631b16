/**
 * The framing on the websocket: an intro, then bodies with a 3-byte length before each.
 * Websocket messages and frames need not coincide, so this reads a byte stream.
 */

import { ProtocolError } from './errors.js';

/** "WA", protocol 6, dictionary 3: also the prologue of the Noise handshake. */
export const PROLOGUE = Buffer.from([0x57, 0x41, 6, 3]);

/**
 * A client that was given routing information shows it before the prologue: "ED", 0, 1, length (3
 * bytes), bytes.
 */
const ROUTING_MARK = Buffer.from([0x45, 0x44, 0, 1]);

const LENGTH_BYTES = 3;

/** @param {Uint8Array} body */
export function frame(body) {
  const header = Buffer.allocUnsafe(LENGTH_BYTES);
  header.writeUIntBE(body.length, 0, LENGTH_BYTES);
  return Buffer.concat([header, body]);
}

/** Turns what comes from one client into frame bodies. */
export class FrameReader {
  /** @type {Buffer} */
  #unread = Buffer.alloc(0);
  #introRead = false;

  /**
   * @param {Buffer} chunk
   * @returns {Buffer[]} the bodies that are complete now
   */
  push(chunk) {
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    this.#introRead ||= this.#readIntro();
    /** @type {Buffer[]} */
    const bodies = [];
    if (!this.#introRead) return bodies;
    for (let body = this.#take(0); body; body = this.#take(0)) bodies.push(body);
    return bodies;
  }

  #readIntro() {
    if (this.#startsWith(ROUTING_MARK) && !this.#take(ROUTING_MARK.length)) return false;
    if (this.#unread.length < PROLOGUE.length) return false;
    if (!this.#startsWith(PROLOGUE))
      throw new ProtocolError('not a WhatsApp client: the intro is wrong');
    this.#unread = this.#unread.subarray(PROLOGUE.length);
    return true;
  }

  /** @param {Buffer} prefix */
  #startsWith(prefix) {
    return this.#unread.subarray(0, prefix.length).equals(prefix);
  }

  /**
   * The bytes whose length stands at `offset`; nothing is taken while they are incomplete.
   * @param {number} offset
   */
  #take(offset) {
    const start = offset + LENGTH_BYTES;
    if (this.#unread.length < start) return undefined;
    const end = start + this.#unread.readUIntBE(offset, LENGTH_BYTES);
    if (this.#unread.length < end) return undefined;
    const body = this.#unread.subarray(start, end);
    this.#unread = this.#unread.subarray(end);
    return body;
  }
}
