/**
 * @file One connection to the supervisor, from its coming up to its loss: frames in and out. It
 *   never comes back.
 */

import { createConnection } from 'node:net';
import { decode, encode, LineSplitter, WireError } from '../wire.js';

/**
 * @typedef {object} LinkOwner
 * @property {() => void} onUp
 * @property {(frame: import('../wire.js').DownFrame) => void} onFrame
 * @property {(cause: string) => void} onLost it never came up, or is up no more
 * @property {(error: WireError) => void} onProtocolError
 */

/**
 * What the supervisor has not read yet. Baileys waits for the acknowledgement of nearly all that it
 * does, so a slow supervisor slows the sockets by itself; one that reads nothing at all is as good
 * as gone.
 */
const MAX_BACKLOG_BYTES = 64 * 1024 * 1024;

export class Link {
  #socket;
  #owner;
  #splitter = new LineSplitter();
  #up = false;
  #lost = false;

  /**
   * @param {string} path
   * @param {LinkOwner} owner
   */
  constructor(path, owner) {
    this.#owner = owner;
    this.#socket = createConnection({ path });
    this.#socket.on('connect', () => this.#onUp());
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#lose(error.message));
    // The other side's end is enough: our own could wait for ever for somebody who reads.
    this.#socket.on('end', () => this.#lose('closed by the supervisor'));
    this.#socket.on('close', () => this.#lose('closed by the supervisor'));
  }

  /** Nobody hears what is said here any more, and nothing that was asked here is still wanted. */
  get lost() {
    return this.#lost;
  }

  /**
   * Nothing happens unless it is up: what has to survive is sent again on the next one.
   *
   * @param {import('../wire.js').UpFrame} frame
   */
  send(frame) {
    this.write(encode(frame));
  }

  /** @param {string} text encoded frames */
  write(text) {
    if (!this.#up || this.#lost) return;
    this.#socket.write(text);
    if (this.#socket.writableLength > MAX_BACKLOG_BYTES) this.#lose('the supervisor does not read');
  }

  /**
   * Resolves when all that was sent is out of our hands.
   *
   * @returns {Promise<void>}
   */
  end() {
    this.#lost = true; // from here on the other side's closing is no loss
    return new Promise((resolve) => this.#socket.end(resolve));
  }

  /** Without a word to anybody. */
  drop() {
    this.#lost = true;
    this.#socket.destroy();
  }

  #onUp() {
    if (this.#lost) return;
    this.#up = true;
    this.#owner.onUp();
  }

  /** @param {Buffer} chunk */
  #receive(chunk) {
    try {
      for (const text of this.#splitter.push(chunk)) {
        if (this.#lost) return;
        this.#owner.onFrame(decode(text));
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#owner.onProtocolError(error);
    }
  }

  /** @param {string} cause */
  #lose(cause) {
    if (this.#lost) return;
    this.drop();
    this.#owner.onLost(cause);
  }
}
