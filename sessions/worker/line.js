/** @file The line to the supervisor: its Unix socket, frames in and out. */

import { createConnection } from 'node:net';
import { decode, encode, LineSplitter, WireError } from './wire.js';

/**
 * @typedef {object} LineOwner
 * @property {() => void} onUp
 * @property {(frame: import('./wire.js').DownFrame) => void} onFrame
 * @property {(cause: string) => void} onLost
 * @property {(error: WireError) => void} onProtocolError
 */

/**
 * What the supervisor has not read yet. Baileys waits for the acknowledgement of nearly all that it does, so a slow
 * supervisor slows the sockets by itself; one that reads nothing at all is as good as gone.
 */
const MAX_BACKLOG_BYTES = 64 * 1024 * 1024;

export class Line {
  #socket;
  #owner;
  #splitter = new LineSplitter();
  #lost = false;

  /**
   * @param {string} path
   * @param {LineOwner} owner
   */
  constructor(path, owner) {
    this.#owner = owner;
    this.#socket = createConnection({ path });
    this.#socket.on('connect', owner.onUp);
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#lose(error.message));
    this.#socket.on('close', () => this.#lose('closed by the supervisor'));
  }

  /** @param {import('./wire.js').UpFrame} frame */
  send(frame) {
    if (this.#lost) return;
    this.#socket.write(encode(frame));
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

  /** @param {Buffer} chunk */
  #receive(chunk) {
    try {
      for (const text of this.#splitter.push(chunk)) this.#owner.onFrame(decode(text));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#owner.onProtocolError(error);
    }
  }

  /** @param {string} cause */
  #lose(cause) {
    if (this.#lost) return;
    this.#lost = true;
    this.#socket.destroy();
    this.#owner.onLost(cause);
  }
}
