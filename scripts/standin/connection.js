/**
 * One client's websocket, from the upgrade to its end: handshake, then nodes both ways.
 *
 * Owns the stage, the order of what is sent, and the truth about who ended it. Says nothing by
 * itself: `answers` decides. There is no timer per connection; only a `delay` fault makes some.
 */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConnectionEnded, ProtocolError } from './errors.js';
import { FrameReader, frame, PROLOGUE } from './frames.js';
import { decodeNode, encodeNode, SERVER } from './nodes.js';
import { Handshake } from './noise.js';

/**
 * @typedef {import("./nodes.js").Node} Node
 * @typedef {import("./devices.js").Device} Device
 * @typedef {import("./faults.js").StandingFault} StandingFault
 * @typedef {import("./noise.js").ServerIdentity} ServerIdentity
 * @typedef {import("@whiskeysockets/baileys/WAProto/index.js").proto.ClientPayload} ClientPayload
 * @typedef {"handshake" | "pairing" | "login" | "open"} Stage
 * @typedef {"client" | "server" | "fault"} Party
 *
 * @typedef {object} Answers what decides what the server says
 * @property {(connection: Connection) => Promise<void> | undefined} beforeHello a wait before the
 *   ServerHello
 * @property {(connection: Connection, payload: ClientPayload) => void} introduced the client has
 *   said who it is
 * @property {(connection: Connection, received: Node) => void} received
 * @property {(connection: Connection) => void} ended
 */

/** RFC 6455 section 5.2: the last frame of a binary message, unmasked, with 256 bytes to follow. */
const HEADER_OF_256_BYTES = Buffer.from([0x82, 126, 1, 0]);

export class Connection {
  /** @type {Stage} */
  stage = 'handshake';
  /** The noise key by which the client authenticated itself. @type {Buffer} */
  noiseKey = Buffer.alloc(0);
  /** @type {Device | undefined} */
  device;
  /** @type {import("./pairing.js").Pairing | undefined} */
  pairing;
  /** The client has asked to be active: mail may go out. */
  takesMail = false;
  ended = false;
  /** @type {Party} */
  endedBy = 'client';
  sinceMs = Date.now();
  /** Queries are heard no more; everything else goes on. */
  deaf = false;
  /** Messages from the client are lost: no ack, no receipt. */
  losesMail = false;
  /** @type {StandingFault | undefined} */
  silence;
  /** @type {StandingFault | undefined} */
  delay;

  #ws;
  #socket;
  #answers;
  #handshake;
  #reader = new FrameReader();
  #greeted = false;
  /** @type {import("./noise.js").Transport | undefined} */
  #transport;
  #blackholed = false;
  /** What a delay has not let out yet. @type {Promise<void> | undefined} */
  #outbox;
  #lastId = 0;
  /** @type {Map<string, { resolve: (answer: Node) => void, reject: (error: Error) => void }>} */
  #asked = new Map();

  /**
   * @param {number} id
   * @param {string | undefined} session
   * @param {{ ws: import("ws").WebSocket, socket: import("node:stream").Duplex }} line
   * @param {ServerIdentity} server
   * @param {Answers} answers
   */
  constructor(id, session, { ws, socket }, server, answers) {
    this.id = id;
    this.session = session;
    this.#ws = ws;
    this.#socket = /** @type {import("node:net").Socket} */ (socket);
    this.#answers = answers;
    this.#handshake = new Handshake(server, PROLOGUE);
    ws.on('message', (data) => this.#guard(() => this.#read(/** @type {Buffer} */ (data))));
    // A websocket error is always followed by the end of the socket, and that is where we look.
    ws.on('error', () => {});
    // The client's FIN counts, not our own closing: an overlap is about whether the *client* still
    // holds a socket.
    socket.once('end', () => this.#end());
    socket.once('close', () => this.#end());
  }

  /** Whom the log should say it is about. */
  get subject() {
    return { session: this.session, jid: this.device?.jid, connection: this.id };
  }

  /** Open, and struck dumb by a `silence` fault that is still standing. */
  get silent() {
    return this.stage === 'open' && (this.silence?.active ?? false);
  }

  /** @param {Node} what */
  send(what) {
    if (!this.silent) this.#inOrder(() => this.#sendNow(what));
  }

  /**
   * Sends an iq and gives the client's answer to it.
   * @param {Node} iq without an id
   * @returns {Promise<Node>}
   */
  ask(iq) {
    const id = `standin-${this.id}-${++this.#lastId}`;
    this.send({ ...iq, attrs: { from: SERVER, ...iq.attrs, id } });
    return new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
  }

  /**
   * Lets work for this client go on by itself; if it fails, this connection has to bear it.
   * @param {Promise<unknown>} work
   */
  attend(work) {
    work.catch((error) => this.#fail(error));
  }

  /**
   * Last words, then the end. A client in the handshake cannot be told anything yet.
   * @param {Node} lastWords
   * @param {Party} by
   */
  finish(lastWords, by) {
    this.#inOrder(() => {
      this.#sendNow(lastWords);
      this.#closeNow(by, 1000);
    });
  }

  /**
   * A websocket close.
   * @param {Party} by
   * @param {number} code
   */
  close(by, code) {
    this.#inOrder(() => this.#closeNow(by, code));
  }

  /**
   * Ends TCP without a word.
   * @param {"fin" | "reset"} how
   * @param {Party} by
   */
  drop(how, by) {
    this.endedBy = by;
    if (how === 'reset') this.#socket.resetAndDestroy();
    else this.#socket.end(() => this.#socket.destroy());
  }

  /**
   * From now on nothing is understood and nothing is said. The socket is drained, or its FIN would
   * never be seen.
   */
  blackhole() {
    this.#blackholed = true;
    this.#socket.removeAllListeners('data');
    this.#socket.resume();
    this.#socket.on('data', () => {});
  }

  /** A frame that does not decrypt. */
  sendGarbage() {
    this.#write(randomBytes(64));
  }

  /**
   * A websocket frame that is cut in the middle, and then the end of TCP: what a server does that
   * is killed while it writes.
   * @param {Party} by
   */
  sendTruncated(by) {
    if (!this.#blackholed)
      this.#socket.write(Buffer.concat([HEADER_OF_256_BYTES, randomBytes(100)]));
    this.drop('fin', by);
  }

  /** @param {Buffer} data */
  #read(data) {
    for (const body of this.#reader.push(data)) this.#frame(body);
  }

  /** @param {Buffer} body */
  #frame(body) {
    if (this.#transport) return this.#receive(decodeNode(this.#transport.decrypt(body)));
    return this.#greeted ? this.#finishHandshake(body) : this.#hello(body);
  }

  /** @param {Buffer} body */
  #hello(body) {
    this.#greeted = true;
    const answer = this.#handshake.answerHello(body);
    const reply = () => this.#inOrder(() => this.#write(answer));
    const wait = this.#answers.beforeHello(this);
    if (wait) wait.then(reply);
    else reply();
  }

  /** @param {Buffer} body */
  #finishHandshake(body) {
    const { clientStatic, payload, transport } = this.#handshake.finish(body);
    this.noiseKey = clientStatic;
    this.#transport = transport;
    this.#answers.introduced(this, payload);
  }

  /** @param {Node} received */
  #receive(received) {
    if (this.silent) return;
    const asked = received.tag === 'iq' ? this.#asked.get(received.attrs.id) : undefined;
    if (!asked) return this.#answers.received(this, received);
    this.#asked.delete(received.attrs.id);
    asked.resolve(received);
  }

  /**
   * Sends now, or, under a `delay`, that much later and still after everything before it.
   * @param {() => void} write
   */
  #inOrder(write) {
    const delay = this.delay?.active ? this.delay : undefined;
    if (!delay && !this.#outbox) return write();
    const due = Date.now() + (delay?.params.ms ?? 0);
    const turn = (this.#outbox ?? Promise.resolve())
      .then(() =>
        Promise.race([sleep(Math.max(0, due - Date.now())), delay?.over ?? Promise.resolve()]),
      )
      .then(write)
      .finally(() => {
        if (this.#outbox === turn) this.#outbox = undefined;
      });
    this.#outbox = turn;
  }

  /** @param {Node} what */
  #sendNow(what) {
    if (this.#transport && !this.#blackholed)
      this.#write(this.#transport.encrypt(encodeNode(what)));
  }

  /** @param {Uint8Array} body */
  #write(body) {
    if (!this.#blackholed && this.#ws.readyState === this.#ws.OPEN) this.#ws.send(frame(body));
  }

  /**
   * @param {Party} by
   * @param {number} code
   */
  #closeNow(by, code) {
    if (this.#blackholed) return;
    if (this.#ws.readyState === this.#ws.OPEN) this.endedBy = by;
    this.#ws.close(code);
  }

  /**
   * A client that breaks the protocol loses its connection, and nobody else does.
   * @param {() => void} work
   */
  #guard(work) {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    if (!(error instanceof ProtocolError)) {
      process.stderr.write(`connection ${this.id}: ${/** @type {Error} */ (error).stack}\n`);
    }
    this.drop('fin', 'server');
  }

  #end() {
    if (this.ended) return;
    this.ended = true;
    for (const { reject } of this.#asked.values()) reject(new ConnectionEnded());
    this.#answers.ended(this);
  }
}
