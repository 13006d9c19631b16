/** @file Questions about keys to the supervisor, and its answers, for one session. */

import { WriteRefused } from './auth-store.js';

/**
 * @typedef {object} Waiting
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 *
 * @typedef {import('./auth-store.js').Keeper} Keeper
 */

/** @implements {Keeper} */
export class LineKeeper {
  #session;
  #epoch;
  #send;
  #nextNumber;
  /** @type {Map<number, Waiting>} */
  #reads = new Map();
  /** @type {Map<number, Waiting>} */
  #writes = new Map();
  #abandoned = false;

  /**
   * @param {string} session
   * @param {number} epoch
   * @param {(frame: import('./wire.js').KeysGet | import('./wire.js').KeysSet) => void} send
   * @param {() => number} nextNumber grows by one over all sessions of the worker
   */
  constructor(session, epoch, send, nextNumber) {
    this.#session = session;
    this.#epoch = epoch;
    this.#send = send;
    this.#nextNumber = nextNumber;
  }

  /**
   * @param {string} kind
   * @param {string[]} names
   * @returns {Promise<Record<string, unknown>>}
   */
  read(kind, names) {
    return this.#ask(this.#reads, (id) => ({ type: 'keys.get', ...this.#owner(), id, kind, names }));
  }

  /**
   * @param {import('./wire.js').KeyEntry[]} entries
   * @returns {Promise<void>}
   */
  write(entries) {
    return this.#ask(this.#writes, (seq) => ({ type: 'keys.set', ...this.#owner(), seq, entries }));
  }

  /** @param {import('./wire.js').KeysValues} answer */
  onValues({ id, values }) {
    take(this.#reads, id)?.resolve(values);
  }

  /** @param {import('./wire.js').KeysAck} answer */
  onAck({ seq, ok, error }) {
    const waiting = take(this.#writes, seq);
    if (ok) waiting?.resolve(undefined);
    else waiting?.reject(new WriteRefused(error ?? 'store_failed'));
  }

  /** The session is no longer ours: who still waits is told so, and nobody may ask again. */
  abandon() {
    this.#abandoned = true;
    for (const waiting of [...this.#reads.values(), ...this.#writes.values()]) waiting.reject(released());
    this.#reads.clear();
    this.#writes.clear();
  }

  #owner() {
    return { session: this.#session, epoch: this.#epoch };
  }

  /**
   * @param {Map<number, Waiting>} questions
   * @param {(number: number) => import('./wire.js').KeysGet | import('./wire.js').KeysSet} frameOf
   * @returns {Promise<any>}
   */
  #ask(questions, frameOf) {
    if (this.#abandoned) return Promise.reject(released());
    return new Promise((resolve, reject) => {
      const number = this.#nextNumber();
      questions.set(number, { resolve, reject });
      this.#send(frameOf(number));
    });
  }
}

function released() {
  return new Error('the session was released');
}

/**
 * @param {Map<number, Waiting>} questions
 * @param {number} number
 */
function take(questions, number) {
  const waiting = questions.get(number);
  questions.delete(number);
  return waiting;
}
