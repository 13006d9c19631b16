/**
 * @file Hands on the websocket below a Baileys socket: it reports what Baileys does not, and ends
 *   without waiting. Knows the inside of rc14; when Baileys changes, this is the file to look at.
 */

import { Intake } from './intake.js';

/**
 * @typedef {import('@whiskeysockets/baileys').WASocket} WASocket
 * @typedef {import('./close-reason.js').CloseFacts} CloseFacts
 *
 * @typedef {object} TransportOwner
 * @property {boolean} paired the creds hold a pairing; there is none to come
 * @property {() => boolean} mustBeSilent nothing may be said to the server for now
 * @property {() => void} onUpgraded the server, or what stands before it, speaks WebSocket
 * @property {() => void} onLogin the handshake's last message, which logs in or registers, was
 *   handed to the socket
 * @property {() => void} onPairing the server offers a pairing; Baileys has not seen it yet
 * @property {(facts: CloseFacts) => void} onEnd something ended the connection that Baileys would
 *   not tell, or not live through
 * @property {(error: Error) => void} onUndecryptable
 */

/** The client's first frame opens the handshake, its second ends it. */
const LOGIN_FRAME = 2;
/**
 * How long a server may take to answer our goodbye. ws alone would give it 30 s, and a dead line
 * never answers.
 */
const GOODBYE_MS = 250;
/** Boom, in which Baileys wraps all ends, throws on anything below. */
const LOWEST_BOOM_CODE = 400;

export class Transport {
  /** @type {any} Baileys' WebSocketClient; its `socket` is declared protected */
  #ws;
  /** @type {import('node:net').Socket | null} */
  #tcp = null;
  #owner;
  /** @type {(frame: unknown, sent?: () => void) => void} */
  #send;
  #frames = 0;
  /** Frames that wait, in order. @type {unknown[]} */
  #held = [];
  #pairingUnconfirmed = false;
  #pretending = false;

  /**
   * @param {WASocket} sock
   * @param {TransportOwner} owner
   */
  constructor(sock, owner) {
    this.#ws = sock.ws;
    this.#owner = owner;
    const { socket } = this.#ws;
    this.#send = socket.send.bind(socket);
    socket.send = (/** @type {unknown} */ frame, /** @type {(() => void) | undefined} */ sent) => {
      if (this.#pretending || this.#mustWait) return this.#hold(frame, sent);
      this.speak();
      this.#pass(frame, sent);
    };
    this.intake = new Intake(socket, () => this.#tcp);
    this.#ws.on('upgrade', (/** @type {import('node:http').IncomingMessage} */ response) => {
      this.#tcp = response.socket;
      owner.onUpgraded();
    });
    this.#reportRefusedUpgrade(owner);
    this.#reportUndecryptable(owner);
    this.#reportUnspeakableCodes(owner);
    if (!owner.paired)
      this.#ws.prependListener('CB:iq,,pair-success', () => this.#awaitConfirmation());
    this.#ws.close = () => this.#sayGoodbye();
  }

  /** The server does not know yet that we accept its pairing. */
  get holdsBack() {
    return this.#pairingUnconfirmed;
  }

  /** The pairing is durable: the server may be told. */
  letGo() {
    this.#pairingUnconfirmed = false;
    this.speak();
  }

  /** Says what had to wait, if it need not wait any more. */
  speak() {
    if (this.#pretending || this.#mustWait) return;
    // a socket that has ended says so by itself
    for (const frame of this.#held.splice(0)) this.#pass(frame, () => {});
  }

  /**
   * Frames wait for our own leave, or nothing is read: that nothing comes back is no fault of the
   * server's.
   */
  get isHeldUp() {
    return this.#held.length > 0 || this.intake.stopped;
  }

  /** The server, or what stands before it, has taken us for a websocket's client. */
  get upgraded() {
    return this.#tcp !== null;
  }

  /** Bytes that came from the server, whatever they were. */
  get bytesRead() {
    return this.#tcp?.bytesRead ?? 0;
  }

  /**
   * Ends the socket now. A goodbye goes out if the line still takes one; nobody waits for the
   * answer.
   */
  terminate() {
    const { socket } = this.#ws;
    this.intake.end();
    if (this.#ws.isOpen) socket.close();
    socket?.terminate();
    // Baileys' unanswered queries, each with a timer of up to 60 s, outlive its `end`; this they
    // hear.
    this.#ws.emit('error', new Error('the socket has ended'));
  }

  /**
   * For the time after the end: to Baileys it is a socket that takes whatever it is given. Baileys
   * may be in the middle of messages whose keys are on the way to the store. Once those are there,
   * no other copy decrypts any more; but Baileys would drop what it cannot confirm to the server.
   */
  pretend() {
    this.#pretending = true;
    Object.defineProperty(this.#ws, 'isOpen', { value: true });
  }

  /**
   * ws itself ends a request that is not answered with 101, unless somebody listens; Baileys
   * listens and then does nothing.
   *
   * @param {TransportOwner} owner
   */
  #reportRefusedUpgrade(owner) {
    this.#ws.on(
      'unexpected-response',
      (
        /** @type {unknown} */ _request,
        /** @type {import('node:http').IncomingMessage} */ { statusCode, headers },
      ) => {
        const retryAfter = headers['retry-after'];
        owner.onEnd({
          code: statusCode ?? null,
          message: `Unexpected server response: ${statusCode}`,
          data: { http_status: String(statusCode), ...(retryAfter && { retry_after: retryAfter }) },
        });
      },
    );
  }

  get #mustWait() {
    return this.#pairingUnconfirmed || this.#owner.mustBeSilent();
  }

  /**
   * Frames are numbered by their encryption, hence all of them wait, in order. Baileys takes them
   * for sent: its time-out of a send must not compete with the attempt's deadline.
   *
   * @param {unknown} frame
   * @param {(() => void) | undefined} sent
   */
  #hold(frame, sent) {
    if (!this.#pretending) this.#held.push(frame);
    if (sent) process.nextTick(sent);
  }

  /**
   * @param {unknown} frame
   * @param {(() => void) | undefined} sent
   */
  #pass(frame, sent) {
    this.#send(frame, sent);
    this.#frames += 1;
    if (this.#frames === LOGIN_FRAME) this.#owner.onLogin();
  }

  /**
   * Baileys accepts a pairing without waiting for the creds to be saved: if they then are not, the
   * phone shows a device that nobody can ever be. So nothing goes out until `letGo`.
   */
  #awaitConfirmation() {
    this.#pairingUnconfirmed = true;
    this.#owner.onPairing();
  }

  /**
   * Baileys reads frames in an async listener, so that a frame which does not decrypt rejects a
   * promise nobody holds: the end of the process, or, with the rejection caught anywhere else, a
   * deaf socket.
   *
   * @param {TransportOwner} owner
   */
  #reportUndecryptable(owner) {
    for (const receive of this.#ws.listeners('message')) {
      this.#ws.off('message', receive);
      this.#ws.on('message', (/** @type {unknown[]} */ ...args) =>
        receive(...args).catch(owner.onUndecryptable),
      );
    }
  }

  /**
   * A `<failure>` or stream error whose code Boom does not take throws inside Baileys, which then
   * never ends. So we are asked first.
   *
   * @param {TransportOwner} owner
   */
  #reportUnspeakableCodes(owner) {
    /** @typedef {{ attrs: Record<string, string> }} Node */
    this.#ws.prependListener('CB:failure', (/** @type {Node} */ { attrs }) => {
      if (!attrs.reason || Number(attrs.reason) >= LOWEST_BOOM_CODE) return;
      owner.onEnd({
        code: wholeNumber(attrs.reason),
        message: 'Connection Failure',
        data: { ...attrs },
      });
    });
    this.#ws.prependListener('CB:stream:error', (/** @type {Node} */ { attrs }) => {
      if (!attrs.code || Number(attrs.code) >= LOWEST_BOOM_CODE) return;
      owner.onEnd({
        code: wholeNumber(attrs.code),
        message: 'Stream Errored (unknown)',
        data: { ...attrs },
      });
    });
  }

  /** Takes the place of Baileys' own `ws.close`, which its `end` awaits before it tells anybody. */
  async #sayGoodbye() {
    const { socket } = this.#ws;
    if (!socket) return;
    const answered = new Promise((resolve) => socket.once('close', resolve));
    socket.close();
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, GOODBYE_MS);
    });
    await Promise.race([answered, patience]);
    clearTimeout(timer);
    socket.terminate();
  }
}

/** @param {string} text */
function wholeNumber(text) {
  const number = Number(text);
  return Number.isInteger(number) ? number : null;
}
