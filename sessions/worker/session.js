/** @file One session in this worker: the orders about it, its keys, and at most one socket at a time. */

import { AuthStore, WriteRefused } from './auth-store.js';
import { Connection, LOGOUT_NOT_SENT, RequestError } from './connection.js';
import { LineKeeper } from './keeper.js';
import { SentMessages } from './sent-messages.js';

/**
 * @typedef {object} SessionContext
 * @property {import('./settings.js').Settings} settings
 * @property {import('./log.js').Log} log
 * @property {(frame: import('./wire.js').UpFrame) => void} send
 * @property {() => number} nextNumber numbers writes and reads, over all sessions
 * @property {() => void} onStaleEpoch somebody else owns the session
 * @property {Promise<void> | undefined} after what has to end before this session may have a socket
 *
 * @typedef {import('./wire.js').Order} Order
 */

/** @type {import('./connection.js').ProbeResult} */
const NO_SOCKET = { ok: false, round_trip_ms: null, silent: true };
const SILENT = {
  code: 408,
  message: 'The socket is silent: a probe went unanswered and not one byte came',
  data: null,
};
const STORE_FAILED = { code: null, message: "the supervisor could not save this session's keys", data: null };

export class Session {
  #id;
  #context;
  #keeper;
  #auth;
  #sent = new SentMessages();
  /** @type {Connection | null} */
  #connection = null;
  #lastAttempt = 0;
  #lastEvent = 0;
  /** Orders that begin or end a socket wait for one another: there are never two. */
  /** @type {Promise<void>} */
  #turn;

  /**
   * @param {import('./wire.js').Assign} assignment
   * @param {SessionContext} context
   */
  constructor({ session, epoch, creds }, context) {
    this.#turn = context.after ?? Promise.resolve();
    this.#id = session;
    this.#context = context;
    this.#keeper = new LineKeeper(session, epoch, context.send, context.nextNumber);
    this.#auth = new AuthStore(creds ?? null, this.#keeper, (refusal) => this.#onRefused(refusal));
  }

  /** @param {Exclude<Order, { type: 'release' }>} order */
  obey(order) {
    switch (order.type) {
      case 'keys.values':
        return this.#keeper.onValues(order);
      case 'keys.ack':
        return this.#keeper.onAck(order);
      case 'connect':
        return this.#inTurn(() => this.#connect(order.attempt));
      case 'close':
        return this.#inTurn(() => this.#close());
      case 'logout':
        return this.#inTurn(() => this.#logout());
      case 'probe':
        return this.#probe(order.id);
      case 'send':
        return this.#reply(order.id, (connection) => connection.sendText(order.to, order.text));
      case 'pairing-code':
        return this.#reply(order.id, (connection) => connection.pairingCode(order.phone));
    }
  }

  /** Ends the socket, if there is one, and forgets the keys. */
  release() {
    return this.#inTurn(async () => {
      await this.#connection?.close();
      this.abort();
    });
  }

  /** At once and without a word: the process is about to end, or somebody else owns the session. */
  abort() {
    this.#connection?.abort();
    this.#auth.revoke();
    this.#keeper.abandon();
  }

  /** @param {() => Promise<void>} step */
  #inTurn(step) {
    this.#turn = this.#turn.then(step);
    return this.#turn;
  }

  /** @param {number} attempt */
  async #connect(attempt) {
    await this.#connection?.close(); // no-op when it has ended by itself
    this.#lastAttempt = attempt;
    const { settings, log, send } = this.#context;
    const connection = new Connection({
      session: this.#id,
      attempt,
      auth: this.#auth,
      sent: this.#sent,
      settings,
      log,
      report: send,
      onMessage: (message) => send({ type: 'message', session: this.#id, seq: this.#nextEvent(), ...message }),
      onReceipt: (receipt) => send({ type: 'receipt', session: this.#id, seq: this.#nextEvent(), ...receipt }),
    });
    connection.closed.then(() => {
      if (this.#connection === connection) this.#connection = null;
    });
    this.#connection = connection;
    connection.open();
  }

  async #close() {
    if (this.#connection) await this.#connection.close();
    else this.#reportNoSocket('requested by the supervisor', 'requested');
  }

  async #logout() {
    if (this.#connection) await this.#connection.logout();
    else this.#reportNoSocket(LOGOUT_NOT_SENT.message, 'connection_closed');
  }

  /** @param {number} id */
  async #probe(id) {
    const connection = this.#connection;
    const result = connection?.isOpen ? await connection.probe() : NO_SOCKET;
    this.#context.send({ type: 'probed', session: this.#id, id, ...result });
    if (result.silent && connection?.isOpen) connection.fail(SILENT);
  }

  /**
   * @param {number} id
   * @param {(connection: Connection) => Promise<Record<string, string>>} request
   */
  async #reply(id, request) {
    const frame = { type: /** @type {const} */ ('replied'), session: this.#id, id };
    try {
      await this.#turn; // a `connect` just before has its socket then
      if (!this.#connection) throw new RequestError('not_open', 'the session has no socket');
      const result = await request(this.#connection);
      this.#context.send({ ...frame, ok: true, result, error: null });
    } catch (error) {
      const code = error instanceof RequestError ? error.code : 'failed';
      const message = error instanceof Error ? error.message : String(error);
      this.#context.send({ ...frame, ok: false, result: null, error: { code, message } });
    }
  }

  /** @param {Error} refusal */
  #onRefused(refusal) {
    if (!(refusal instanceof WriteRefused)) return; // released: the socket is gone already
    if (refusal.code === 'stale_epoch') this.#context.onStaleEpoch();
    else this.#connection?.fail(STORE_FAILED, 'store_failed');
  }

  #nextEvent() {
    this.#lastEvent += 1;
    return this.#lastEvent;
  }

  /**
   * @param {string} message
   * @param {import('./close-reason.js').CloseReason} reason
   */
  #reportNoSocket(message, reason) {
    const { registered } = this.#auth;
    const facts = { code: null, message, data: null };
    this.#context.send({ type: 'closed', session: this.#id, attempt: this.#lastAttempt, ...facts, registered, reason });
  }
}
