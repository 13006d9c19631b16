/**
 * @file One Baileys socket, from `connect` to `closed`. It reports and never reconnects; exactly
 *   one `closed` comes out of it.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { generateMessageIDV2, makeWASocket } from '@whiskeysockets/baileys';
import { mustNotReject } from '../async/must-not-reject.js';
import { Signal } from '../async/signal.js';
import { addressee } from '../messages/addressee.js';
import { ArrivalOrder } from '../messages/arrival-order.js';
import { inbound, receiptsOfReaders, receiptsOfUpdates, recipient } from '../messages/messages.js';
import { closeFacts, closeReason } from './close-reason.js';
import { OfflineQueue } from './offline-queue.js';
import { ask, PING, removal } from './questions.js';
import { Registration } from './registration.js';
import { socketOptions } from './socket-options.js';
import { Standing } from './standing.js';
import { Transport } from './transport.js';
import {
  afterUnlinking,
  LOGGED_OUT,
  LOGOUT_NOT_SENT,
  LOGOUT_REFUSED,
  LOGOUT_UNANSWERED,
} from './unlinking.js';

/**
 * @typedef {import('@whiskeysockets/baileys').WASocket} WASocket
 * @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode
 * @typedef {import('@whiskeysockets/baileys').BaileysEventMap} Events
 * @typedef {import('./close-reason.js').CloseFacts} CloseFacts
 * @typedef {import('./close-reason.js').CloseReason} CloseReason
 *
 * @typedef {object} ConnectionContext
 * @property {string} session
 * @property {number} attempt
 * @property {string | null} proxy its URL; null: none, straight to WhatsApp
 * @property {import('../keys/auth-store.js').AuthStore} auth
 * @property {import('../messages/sent-messages.js').SentMessages} sent
 * @property {import('../keys/plaintexts.js').Plaintexts} plaintexts
 * @property {import('../settings.js').Settings} settings
 * @property {import('../log.js').Log} log
 * @property {(frame: import('../wire.js').State | import('../wire.js').Qr |
 *   import('../wire.js').Opened | import('../wire.js').Closed) => void} report
 * @property {() => boolean} isStoreOwing the supervisor has not answered all questions about keys
 * @property {() => boolean} mustBeSilent nothing may be said to WhatsApp for now
 * @property {() => boolean} mustNotRead more messages and receipts wait for the supervisor than
 *   should
 * @property {(message: import('../messages/messages.js').Inbound) => void} onMessage
 * @property {(receipt: import('../messages/messages.js').Receipt) => void} onReceipt
 * @property {(stanza: BinaryNode) => void} onStanza any that came, as it came
 *
 * @typedef {'offline_queue' | 'sends'} Stall what does not move although the server answers: what
 *   it has kept for us, or its acks of what we send
 * @typedef {{ ok: boolean, round_trip_ms: number | null, silent: boolean, stalled: Stall | null }}
 *   ProbeResult
 */

/** How long `closed` may wait for writes that the supervisor has not acknowledged. */
const WRITES_TIMEOUT_MS = 10_000;
/** Characters of what an end says of itself. */
const MAX_MESSAGE = 1000;
const LOGOUT_TIMEOUT_MS = 5_000;
const SEND_TIMEOUT_MS = 30_000;
/** A single ack may get lost; two texts in a row without one are no chance. */
const UNACKNOWLEDGED_IS_STALLED = 2;

const PASSKEY_ASKED_FOR = 'WhatsApp asks for a passkey before it links this device';
const NEVER_CONFIRMED = 'the server does not know this pairing: it was never confirmed';

/** A request that cannot be met; `code` is for the supervisor. */
export class RequestError extends Error {
  /**
   * @param {'not_open' | 'already_paired' | 'invalid_recipient' | 'no_whatsapp' | 'refused' |
   *   'timed_out' | 'failed'} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Connection {
  #context;
  /** @type {WASocket | null} */
  #sock = null;
  /** @type {Transport | null} */
  #transport = null;
  /** @type {NodeJS.Timeout | undefined} */
  #deadline;
  #standing = new Standing();
  #registration;
  #queue = new OfflineQueue();
  #order = new ArrivalOrder(
    () => this.#context.isStoreOwing() || (this.#transport?.isHeldUp ?? false),
  );
  /** Texts in a row that the server has not acknowledged, though it could have. */
  #unacknowledged = 0;
  /** Through the proxy. @type {import('./proxy.js').Way | null} */
  #way = null;
  #isOpen = false;
  #paired = false;
  /** The server was asked to remove the device. */
  #unlinking = false;
  #qrShown = new Signal();
  #over = new Signal();
  #closed = new Signal();

  /** @param {ConnectionContext} context */
  constructor(context) {
    this.#context = context;
    const { auth, log, settings } = context;
    this.#registration = new Registration({
      auth,
      log,
      over: this.#over,
      timeoutMs: settings.connectTimeoutMs,
      onShown: (shown) => this.#onShown(shown),
      onRetired: () => this.#onRetired(),
      onPasskey: (notification) =>
        this.#finish(
          { code: null, message: PASSKEY_ASKED_FOR, data: { notification } },
          'passkey_required',
        ),
    });
  }

  /** Logged in, and not over. */
  get isOpen() {
    return this.#isOpen && !this.#over.raised;
  }

  /** What `hello` says of it. That it is ending shows only when `closed` is reported. */
  get standing() {
    return this.#standing.describe();
  }

  /** Resolves when `closed` has been reported. */
  get closed() {
    return this.#closed.wait();
  }

  async open() {
    const { session, auth, sent, plaintexts, settings, log, proxy } = this.#context;
    this.#armDeadline();
    try {
      const state = await auth.renew();
      const way = proxy === null ? null : (await import('./proxy.js')).wayThrough(proxy);
      this.#way = way;
      if (this.#over.raised) return;
      this.#sock = makeWASocket(
        socketOptions({ session, settings, auth: state, sent, plaintexts, way, log }),
      );
      this.#listen(this.#sock);
    } catch (error) {
      this.#finish(closeFacts(error));
    }
  }

  /** The supervisor wants it ended. */
  close() {
    this.#finish({ code: null, message: 'requested by the supervisor', data: null }, 'requested');
    return this.closed;
  }

  /**
   * Something outside of the socket makes it useless.
   *
   * @param {CloseFacts} facts
   * @param {CloseReason} [reason]
   */
  fail(facts, reason) {
    this.#finish(facts, reason);
  }

  /** The process is about to end: the socket goes, nobody is told. */
  abort() {
    this.#over.raise();
    this.#dispose();
  }

  /**
   * Unlinks the device, and ends in any case. That it is unlinked is only said when the server has
   * said so.
   */
  async logout() {
    if (this.isOpen && this.#sock) await this.#unlink(this.#sock);
    else this.#finish(LOGOUT_NOT_SENT, 'connection_closed');
    await this.closed;
  }

  /** Reads what the server sends, or leaves it there for now, as `mustNotRead` says. */
  govern() {
    const intake = this.#transport?.intake;
    if (this.isOpen && this.#context.mustNotRead() && !this.#unlinking) intake?.stop();
    else intake?.resume();
  }

  /** Says what had to wait while nothing might be said. */
  speak() {
    this.#queue.moved(); // it may have waited for what we could not say
    this.#transport?.speak();
  }

  /**
   * One real round trip. Any answer to our ping will do, an error too: somebody is there. While we
   * do not read, the answer may be far behind what we have not read; then any byte at all will do,
   * and no byte is silence as ever. (To call such a socket deaf would cost a login, and the next
   * one would have as much to read.)
   *
   * @returns {Promise<ProbeResult>}
   */
  async probe() {
    const sock = this.#openSocket();
    const transport = /** @type {Transport} */ (this.#transport);
    const bytesBefore = transport.bytesRead;
    const startedAt = performance.now();
    const { probeTimeoutMs } = this.#context.settings;
    transport.intake.sip();
    const answered = await this.#over.until(ask(sock, PING, probeTimeoutMs), 2 * probeTimeoutMs);
    if (answered) {
      const roundTripMs = Math.round(performance.now() - startedAt);
      return {
        ok: true,
        round_trip_ms: roundTripMs,
        silent: false,
        stalled: this.#stalled(transport),
      };
    }
    const silent = transport.bytesRead === bytesBefore;
    return { ok: transport.intake.stopped && !silent, round_trip_ms: null, silent, stalled: null };
  }

  /**
   * Sends a text and waits for the server's ack.
   *
   * @param {string[]} to the recipient, by one or several jids of which WhatsApp may know one
   * @param {string} text
   * @returns {Promise<{ id: string }>}
   */
  async sendText(to, text) {
    const jids = to.flatMap((form) => recipient(form) ?? []);
    if (jids.length < to.length)
      throw new RequestError(
        'invalid_recipient',
        'neither a phone number nor the jid of a person or a group',
      );
    const sock = this.#openSocket();
    const id = generateMessageIDV2(sock.user?.id);
    const ack = await this.#over.until(this.#deliver(sock, jids, text, id), SEND_TIMEOUT_MS);
    if (!ack) {
      if (this.isOpen && !this.#transport?.isHeldUp) this.#unacknowledged += 1;
      throw new RequestError(
        'timed_out',
        'not acknowledged by the server; it may arrive all the same',
      );
    }
    this.#unacknowledged = 0;
    const { error } = ack.tag === 'ack' ? ack.attrs : {};
    if (error)
      throw new RequestError('refused', `the server refused the message with error ${error}`);
    return { id };
  }

  /**
   * @param {string} phone
   * @returns {Promise<{ code: string }>}
   */
  async pairingCode(phone) {
    const digits = phone.replace(/[\s()+-]/g, '');
    if (!/^\d{5,15}$/.test(digits))
      throw new RequestError('invalid_recipient', 'not a phone number');
    if (this.#context.auth.registered)
      throw new RequestError('already_paired', 'the session is paired');
    // Only a socket that was given QR refs has been accepted as a registration; earlier the server
    // drops the request.
    const { connectTimeoutMs } = this.#context.settings;
    await this.#over.until(this.#qrShown.wait(), connectTimeoutMs);
    if (!this.#qrShown.raised || this.#over.raised || !this.#sock) throw notOpen();
    const code = await this.#registration.pairingCode(digits);
    if (!code) throw new RequestError('timed_out', 'the request could not be sent');
    return { code };
  }

  /**
   * @param {Transport} transport
   * @returns {Stall | null}
   */
  #stalled(transport) {
    if (transport.isHeldUp) {
      this.#queue.moved();
      return null;
    }
    if (this.#queue.stalled) return 'offline_queue';
    return this.#unacknowledged >= UNACKNOWLEDGED_IS_STALLED ? 'sends' : null;
  }

  /** @param {WASocket} sock */
  #listen(sock) {
    const { auth, plaintexts, mustBeSilent, onReceipt } = this.#context;
    this.#order.attend(sock);
    const desk = plaintexts.attend(sock, () => this.#transport?.speak());
    this.#transport = new Transport(sock, {
      paired: auth.registered,
      mustBeSilent: () => mustBeSilent() || desk.hasUnshown,
      onUpgraded: () => this.#reportUpgraded(),
      onLogin: () => this.#reportStage('login'),
      onPairing: () => auth.beginPairing(),
      onEnd: (facts) => this.#finish(facts),
      onUndecryptable: (error) =>
        this.#finish({ code: null, message: error.message, data: null }, 'undecryptable_frame'),
    });
    this.#registration.attend(sock);
    // a refusal comes back through `fail`
    sock.ev.on('creds.update', () => auth.saveCreds().catch(() => {}));
    sock.ev.on('connection.update', (update) => this.#onUpdate(update));
    sock.ws.on('frame', (frame) => this.#onFrame(frame));
    this.#hearMessages(sock);
    sock.ev.on('messages.update', (updates) => receiptsOfUpdates(updates).forEach(onReceipt));
    sock.ev.on('message-receipt.update', (updates) =>
      receiptsOfReaders(updates).forEach(onReceipt),
    );
  }

  /**
   * As Baileys says it, and not from its buffer: there a message may lie for seconds after a login,
   * with its receipt sent to its sender, and a crash would lose it for good. Those that wait for
   * their keys when the socket ends come here too, though Baileys has destroyed its emitter by
   * then.
   *
   * @param {WASocket} sock
   */
  #hearMessages({ ev }) {
    const { emit } = ev;
    ev.emit = (event, data) => {
      if (event === 'messages.upsert') {
        const { messages } = /** @type {Events['messages.upsert']} */ (data);
        for (const message of messages) {
          this.#order.shown(message.key.id);
          pass(inbound(message), this.#context.onMessage);
        }
        this.#context.plaintexts.shown();
      }
      return emit(event, data);
    };
  }

  /** @param {BinaryNode | Uint8Array} frame those of the handshake are no stanzas */
  #onFrame(frame) {
    if (this.#over.raised || frame instanceof Uint8Array) return;
    this.#queue.see(frame);
    this.#context.onStanza(frame);
  }

  /** @param {Events['connection.update']} update */
  #onUpdate({ connection, qr, isNewLogin, lastDisconnect }) {
    if (this.#over.raised) return;
    if (qr && !this.#paired) this.#onQr(qr);
    if (isNewLogin) mustNotReject(this.#onPaired());
    if (connection === 'open') this.#onOpen();
    if (connection === 'close') this.#finish(closeFacts(lastDisconnect?.error));
  }

  /** @param {string} qr */
  #onQr(qr) {
    // from here on a person is waited for, for as long as Baileys has refs to show
    clearTimeout(this.#deadline);
    this.#registration.next(qr);
    this.#qrShown.raise();
  }

  /** @param {import('./registration.js').Shown} shown */
  #onShown(shown) {
    const { session, attempt, report } = this.#context;
    this.#standing.shows(shown);
    report({ type: 'qr', session, attempt, ...shown });
  }

  /**
   * Whoever asks for the QR must not be given the old one, nor take us for hung while the new one
   * is not durable.
   */
  #onRetired() {
    const { session, attempt, report } = this.#context;
    this.#standing.showsNothing();
    report({ type: 'state', session, attempt, stage: 'qr_retired' });
  }

  async #onPaired() {
    this.#paired = true;
    this.#armDeadline(); // the supervisor owes us an acknowledgement, and then the server a 515
    try {
      await this.#context.auth.flushed();
    } catch {
      return; // a refusal comes back through `fail`
    }
    if (this.#over.raised) return;
    this.#transport?.letGo();
    this.#reportStage('paired');
  }

  #onOpen() {
    const { session, attempt, auth, report } = this.#context;
    clearTimeout(this.#deadline);
    this.#isOpen = true;
    this.#queue.moved();
    auth.confirmPairing();
    const { id = '', name = null } = auth.creds.me ?? {};
    this.#standing.opened(id, name);
    report({ type: 'opened', session, attempt, jid: id, name });
    this.govern();
  }

  /** For the time that it took alone: to a successor it is a connection under way as before. */
  #reportUpgraded() {
    const { session, attempt, report } = this.#context;
    if (!this.#over.raised) report({ type: 'state', session, attempt, stage: 'upgraded' });
  }

  /** @param {'login' | 'paired'} stage */
  #reportStage(stage) {
    const { session, attempt, report } = this.#context;
    if (this.#over.raised) return;
    this.#standing.reached(stage);
    report({ type: 'state', session, attempt, stage });
  }

  #armDeadline() {
    const { connectTimeoutMs } = this.#context.settings;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => mustNotReject(this.#giveUp()), connectTimeoutMs);
  }

  async #giveUp() {
    await nextTurn(); // after a stall of the event loop the answer may be there, unread
    if (this.isOpen || (this.#qrShown.raised && !this.#paired)) return;
    const way = this.#way ? ` through the proxy ${this.#way.name}` : '';
    const message = `not open after ${this.#context.settings.connectTimeoutMs} ms${way}`;
    this.#finish({ code: null, message, data: null }, 'attempt_timed_out');
  }

  /**
   * What Baileys' own `logout` sends; but that waits for no answer.
   *
   * @param {WASocket} sock
   */
  async #unlink(sock) {
    this.#unlinking = true;
    this.govern(); // the answer is behind all that was not read
    const jid = this.#context.auth.creds.me?.id ?? '';
    const answer = await this.#over.until(
      ask(sock, removal(jid), LOGOUT_TIMEOUT_MS),
      2 * LOGOUT_TIMEOUT_MS,
    );
    if (!answer) this.#finish(LOGOUT_UNANSWERED, 'connection_lost');
    else if (answer.attrs.type === 'result') this.#finish(LOGGED_OUT, 'own_logout');
    else this.#finish(LOGOUT_REFUSED, 'connection_lost');
  }

  /**
   * The first verdict counts: what comes later is the echo of our own end.
   *
   * @param {CloseFacts} facts
   * @param {CloseReason} [verdict]
   */
  #finish(facts, verdict) {
    if (this.#over.raised) return;
    this.#over.raise();
    this.#dispose();
    const { auth } = this.#context;
    const { unconfirmed } = auth;
    if (this.#transport?.holdsBack) auth.undoPairing();
    else auth.dropUnfinishedPairing();
    const upgraded = this.#transport?.upgraded ?? false;
    const pairing = { registered: auth.registered, qrShown: this.#qrShown.raised, upgraded };
    const reason = verdict ?? closeReason(facts, pairing);
    let said = /** @type {[CloseFacts, CloseReason]} */ ([facts, reason]);
    if (this.#unlinking) said = afterUnlinking(facts, reason);
    else if (unconfirmed) said = this.#afterPairing(facts, reason);
    mustNotReject(this.#reportClosed(...said)); // whoever waits for the end would wait for ever
  }

  /**
   * An end before anything has shown that the server knows of the pairing; its 515 after our
   * signature does. That it does not know the device is no logout then: we died, or were cut off,
   * before the signature was there.
   *
   * @param {CloseFacts} facts
   * @param {CloseReason} reason
   * @returns {[CloseFacts, CloseReason]}
   */
  #afterPairing(facts, reason) {
    const { auth } = this.#context;
    // nothing to do if it was undone
    if (reason === 'restart_required' && this.#paired) auth.confirmPairing();
    if (reason !== 'logged_out') return [facts, reason];
    auth.undoPairing();
    return [{ ...facts, message: NEVER_CONFIRMED }, 'connection_closed'];
  }

  #dispose() {
    clearTimeout(this.#deadline);
    this.#context.auth.windUp();
    // messages that Baileys holds back, and has confirmed to their senders already
    this.#sock?.ev.flush();
    this.#transport?.terminate();
    this.#way?.end();
    if (this.#isOpen) this.#transport?.pretend();
    // clears Baileys' timers and caches, and destroys its emitter
    this.#sock?.end(undefined).catch(() => {});
  }

  /**
   * @param {CloseFacts} facts
   * @param {CloseReason} reason
   */
  async #reportClosed(facts, reason) {
    const { session, attempt, auth, report, log } = this.#context;
    const { registered } = auth;
    const message = facts.message.slice(0, MAX_MESSAGE); // a proxy may answer with a whole page
    log.info({ session, attempt, close_code: facts.code, reason }, `closed: ${message}`);
    await auth.settled(WRITES_TIMEOUT_MS);
    report({ type: 'closed', session, attempt, ...facts, message, registered, reason });
    this.#closed.raise();
  }

  #openSocket() {
    if (!this.isOpen || !this.#sock) throw notOpen();
    return this.#sock;
  }

  /**
   * @param {WASocket} sock
   * @param {string[]} jids
   * @param {string} text
   * @param {string} id
   * @returns {Promise<BinaryNode | undefined>} what the server answered; undefined when it did not
   */
  async #deliver(sock, jids, text, id) {
    const jid = await addressee(sock, jids).catch(couldNotBeMade);
    if (jid === null)
      throw new RequestError('no_whatsapp', `${jids[0]} has no WhatsApp; nothing was sent`);
    const ack = /** @type {Promise<BinaryNode | undefined>} */ (
      sock.waitForMessage(id, SEND_TIMEOUT_MS)
    );
    ack.catch(() => {});
    try {
      // A null preview: undefined would have Baileys fetch the links in the text.
      const sent = await sock.sendMessage(jid, { text, linkPreview: null }, { messageId: id });
      this.#context.sent.remember(id, sent?.message);
    } catch (error) {
      couldNotBeMade(error);
    }
    return ack;
  }
}

/**
 * @param {unknown} error
 * @returns {never}
 */
function couldNotBeMade(error) {
  throw new RequestError(
    'failed',
    error instanceof Error ? error.message : 'the message could not be sent',
  );
}

function notOpen() {
  return new RequestError('not_open', 'the session has no open socket');
}

/**
 * @template T
 * @param {T | null} value
 * @param {(value: T) => void} receiver
 */
function pass(value, receiver) {
  if (value !== null) receiver(value);
}
