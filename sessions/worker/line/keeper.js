/**
 * @file Questions about keys to the supervisor, and its answers, for one session. A question is
 *   kept until it is answered, however long that takes: on each new line it is asked again, with
 *   the same number.
 */

import { WriteRefused } from '../keys/auth-store.js';

/**
 * @typedef {import('../wire.js').KeysGet | import('../wire.js').KeysSet} Question
 *
 * @typedef {object} Waiting
 * @property {Question} question
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 *
 * @typedef {import('../keys/auth-store.js').Keeper} Keeper
 */

/** @implements {Keeper} */
export class LineKeeper {
  #session;
  #epoch;
  #send;
  #nextNumber;
  /**
   * By number, and with that in the order in which they were asked. @type {Map<number, Waiting>}
   */
  #waiting = new Map();
  #abandoned = false;

  /**
   * @param {string} session
   * @param {number} epoch
   * @param {(question: Question) => void} send may lose it; `resend` is called then
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
    return this.#ask((id) => ({ type: 'keys.get', ...this.#owner(), id, kind, names }));
  }

  /**
   * @param {import('../wire.js').KeyEntry[]} entries
   * @returns {Promise<void>}
   */
  write(entries) {
    return this.#ask((seq) => ({ type: 'keys.set', ...this.#owner(), seq, entries }));
  }

  /** @param {import('../wire.js').KeysValues} answer */
  onValues({ id, values }) {
    this.#take('keys.get', id)?.resolve(values);
  }

  /** @param {import('../wire.js').KeysAck} answer */
  onAck({ seq, ok, error }) {
    const waiting = this.#take('keys.set', seq);
    if (ok) waiting?.resolve(undefined);
    else waiting?.reject(new WriteRefused(error ?? 'store_failed'));
  }

  /** A question waits for its answer. */
  get isOwed() {
    return this.#waiting.size > 0;
  }

  /** On a new line: all that was not answered. */
  resend() {
    for (const { question } of this.#waiting.values()) this.#send(question);
  }

  /** The session is no longer ours: who still waits is told so, and nobody may ask again. */
  abandon() {
    this.#abandoned = true;
    for (const waiting of this.#waiting.values()) waiting.reject(released());
    this.#waiting.clear();
  }

  #owner() {
    return { session: this.#session, epoch: this.#epoch };
  }

  /**
   * @param {(number: number) => Question} questionOf
   * @returns {Promise<any>}
   */
  #ask(questionOf) {
    if (this.#abandoned) return Promise.reject(released());
    return new Promise((resolve, reject) => {
      const number = this.#nextNumber();
      const question = questionOf(number);
      this.#waiting.set(number, { question, resolve, reject });
      this.#send(question);
    });
  }

  /**
   * @param {Question['type']} type
   * @param {number} number
   */
  #take(type, number) {
    const waiting = this.#waiting.get(number);
    if (waiting?.question.type !== type) return undefined;
    this.#waiting.delete(number);
    return waiting;
  }
}

function released() {
  return new Error('the session was released');
}
