/**
 * @file One session in this worker: the orders about it, its keys, and at most one socket at a
 *   time.
 */

import { mustNotReject } from './async/must-not-reject.js';
import { AuthStore, WriteRefused } from './keys/auth-store.js';
import { findLeftovers } from './keys/leftovers.js';
import { KIND, Plaintexts } from './keys/plaintexts.js';
import { LineKeeper } from './line/keeper.js';
import { Outbox } from './line/outbox.js';
import { PhoneWatch } from './messages/phone.js';
import { SentMessages } from './messages/sent-messages.js';
import { Connection, RequestError } from './socket/connection.js';
import { IDLE } from './socket/standing.js';
import { LOGOUT_NOT_SENT } from './socket/unlinking.js';

/**
 * @typedef {object} SessionContext
 * @property {import('./settings.js').Settings} settings
 * @property {import('./log.js').Log} log
 * @property {(frame: import('./wire.js').UpFrame) => void} send dropped while no line is up
 * @property {(text: string) => void} write encoded frames; dropped while no line is up
 * @property {() => boolean} mustBeSilent nothing may be said to WhatsApp for now
 * @property {() => number} nextNumber numbers writes and reads, over all sessions
 * @property {() => void} onStaleEpoch somebody else owns the session
 * @property {Promise<void> | undefined} after what has to end before this session may have a socket
 *
 * @typedef {import('./wire.js').Order} Order
 * @typedef {import('./line/link.js').Link} Link
 */

/** @type {import('./socket/connection.js').ProbeResult} */
const NO_SOCKET = { ok: false, round_trip_ms: null, silent: true, stalled: null };
const SILENT = {
  code: 408,
  message: 'The socket is silent: a probe went unanswered and not one byte came',
  data: null,
};
const STORE_FAILED = {
  code: null,
  message: "the supervisor could not save this session's keys",
  data: null,
};

export class Session {
  #id;
  #epoch;
  #proxy;
  #context;
  #keeper;
  #auth;
  #outbox;
  #sent = new SentMessages();
  #phone;
  #plaintexts;
  /** @type {Connection | null} */
  #connection = null;
  #lastAttempt = 0;
  /** How the last attempt ended. @type {import('./wire.js').HowClosed | null} */
  #lastClosed = null;
  /** Orders that begin or end a socket wait for one another: there are never two. */
  /** @type {Promise<void>} */
  #turn;

  /**
   * @param {import('./wire.js').Assign} assignment
   * @param {SessionContext} context
   */
  constructor({ session, epoch, creds, proxy, inbound }, context) {
    this.#turn = context.after ?? Promise.resolve();
    this.#id = session;
    this.#epoch = epoch;
    this.#proxy = proxy;
    this.#context = context;
    this.#keeper = new LineKeeper(session, epoch, context.send, context.nextNumber);
    this.#auth = new AuthStore(creds ?? null, this.#keeper, (refusal) => this.#onRefused(refusal));
    const govern = () => this.#connection?.govern();
    this.#outbox = new Outbox(session, epoch, {
      write: context.write,
      onFull: govern,
      onRoom: govern,
    });
    this.#phone = new PhoneWatch((seenAt) => this.#tellOfPhone(seenAt));
    this.#plaintexts = new Plaintexts({
      isOnItsWay: (name) => this.#outbox.holds(name),
      forget: (names) => this.#auth.forget(KIND, names),
    });
    this.#inTurn(() => this.#showLeftovers(inbound ?? {})); // before any socket
  }

  /** @returns {import('./wire.js').Held} */
  held() {
    const standing = this.#connection?.standing ?? IDLE;
    const whose = { session: this.#id, epoch: this.#epoch, attempt: this.#lastAttempt };
    return { ...whose, ...standing, closed: this.#connection ? null : this.#lastClosed };
  }

  resendQuestions() {
    this.#keeper.resend();
  }

  resendEvents() {
    this.#outbox.resend();
  }

  /** Says to WhatsApp what had to wait while nothing might be said. */
  speak() {
    this.#connection?.speak();
  }

  /**
   * @param {Exclude<Order, { type: 'release' }>} order
   * @param {Link} link takes the answer. When it is lost, what has not begun is not wanted any
   *   more: `hello` has told the next supervisor how things stand, and that one gives its own
   *   orders.
   */
  obey(order, link) {
    switch (order.type) {
      case 'keys.values':
        return this.#keeper.onValues(order);
      case 'keys.ack':
        return this.#keeper.onAck(order);
      case 'events.ack':
        return this.#outbox.onAck(order);
      case 'connect':
        return this.#inTurn(async () => link.lost || this.#connect(order.attempt));
      case 'close':
        return this.#inTurn(async () => link.lost || this.#close());
      case 'logout':
        return this.#inTurn(async () => link.lost || this.#logout());
      case 'probe':
        return mustNotReject(this.#probe(order.id, link));
      case 'send':
        return mustNotReject(
          this.#reply(order.id, link, (connection) =>
            connection.sendText([order.to, ...(order.others ?? [])], order.text),
          ),
        );
      case 'pairing-code':
        return mustNotReject(
          this.#reply(order.id, link, (connection) => connection.pairingCode(order.phone)),
        );
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

  /** Nobody will answer about keys any more: nothing may wait for that. */
  stopAsking() {
    this.#keeper.abandon();
  }

  /** @param {() => Promise<unknown>} step */
  #inTurn(step) {
    this.#turn = this.#turn.then(async () => {
      await step();
    });
    return mustNotReject(this.#turn); // else every later order would be skipped, without a word
  }

  /**
   * @param {Record<string, unknown>} inbound what earlier workers have kept of messages, by name
   */
  async #showLeftovers(inbound) {
    const { log } = this.#context;
    const { id = '', lid } = this.#auth.creds.me ?? {};
    const { shown, needless, mute } = await findLeftovers(inbound, { id, lid }, log);
    const session = this.#id;
    if (shown.length > 0)
      log.info(
        { session, messages: shown.length },
        'messages that an earlier worker left are shown',
      );
    // Where they are they do no harm, and WhatsApp may yet deliver a copy that has nothing else.
    if (mute.length > 0)
      log.error(
        { session, messages: mute.length },
        'kept messages without envelope are left alone',
      );
    for (const { message, kept } of shown) this.#outbox.add({ type: 'message', ...message, kept });
    if (needless.length > 0) this.#auth.forget(KIND, needless);
  }

  /** @param {number} attempt */
  async #connect(attempt) {
    await this.#connection?.close(); // no-op when it has ended by itself
    this.#lastAttempt = attempt;
    const { settings, log, mustBeSilent } = this.#context;
    const connection = new Connection({
      session: this.#id,
      attempt,
      proxy: this.#proxy,
      auth: this.#auth,
      sent: this.#sent,
      plaintexts: this.#plaintexts,
      settings,
      log,
      isStoreOwing: () => this.#keeper.isOwed,
      mustBeSilent,
      mustNotRead: () => this.#outbox.full,
      report: (frame) => this.#report(frame),
      onMessage: (message) =>
        this.#outbox.add({ type: 'message', ...message, kept: this.#plaintexts.take() }),
      onReceipt: (receipt) => this.#outbox.add({ type: 'receipt', ...receipt }),
      onStanza: (stanza) => this.#phone.see(stanza, this.#auth.creds.me),
    });
    this.#connection = connection;
    mustNotReject(connection.open());
  }

  /**
   * @param {number} seenAt
   * @returns {boolean} whether somebody is there to hear it
   */
  #tellOfPhone(seenAt) {
    if (this.#context.mustBeSilent()) return false; // without a supervisor; a later sign will do
    this.#context.send({ type: 'phone', session: this.#id, seen_at_seconds: seenAt });
    return true;
  }

  /** @param {Parameters<import('./socket/connection.js').ConnectionContext['report']>[0]} frame */
  #report(frame) {
    if (frame.type === 'closed') {
      const { code, message, data, registered, reason } = frame;
      this.#lastClosed = { code, message, data, registered, reason };
      this.#connection = null;
    }
    this.#context.send(frame);
  }

  async #close() {
    if (this.#connection) await this.#connection.close();
    else this.#reportNoSocket('requested by the supervisor', 'requested');
  }

  async #logout() {
    if (this.#connection) await this.#connection.logout();
    else this.#reportNoSocket(LOGOUT_NOT_SENT.message, 'connection_closed');
  }

  /**
   * @param {number} id
   * @param {Link} link
   */
  async #probe(id, link) {
    const connection = this.#connection;
    const result = connection?.isOpen ? await connection.probe() : NO_SOCKET;
    link.send({ type: 'probed', session: this.#id, id, ...result });
    if (result.silent && connection?.isOpen) connection.fail(SILENT);
  }

  /**
   * @param {number} id
   * @param {Link} link
   * @param {(connection: Connection) => Promise<Record<string, string>>} request
   */
  async #reply(id, link, request) {
    const frame = { type: /** @type {const} */ ('replied'), session: this.#id, id };
    try {
      await this.#turn; // a `connect` just before has its socket then
      if (link.lost) return;
      if (!this.#connection) throw new RequestError('not_open', 'the session has no socket');
      const result = await request(this.#connection);
      link.send({ ...frame, ok: true, result, error: null });
    } catch (error) {
      const code = error instanceof RequestError ? error.code : 'failed';
      const message = error instanceof Error ? error.message : String(error);
      link.send({ ...frame, ok: false, result: null, error: { code, message } });
    }
  }

  /** @param {Error} refusal */
  #onRefused(refusal) {
    if (!(refusal instanceof WriteRefused)) return; // released: the socket is gone already
    if (refusal.code === 'stale_epoch') this.#context.onStaleEpoch();
    else this.#connection?.fail(STORE_FAILED, 'store_failed');
  }

  /**
   * @param {string} message
   * @param {import('./socket/close-reason.js').CloseReason} reason
   */
  #reportNoSocket(message, reason) {
    const { registered } = this.#auth;
    const facts = { code: null, message, data: null };
    this.#context.send({
      type: 'closed',
      session: this.#id,
      attempt: this.#lastAttempt,
      ...facts,
      registered,
      reason,
    });
  }
}
