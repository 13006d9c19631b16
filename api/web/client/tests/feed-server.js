/**
 * @file A feed to test against: the real Socket.IO server with the protocol of docs/live-feed.md,
 *   and GET /events beside it. It keeps the log and notes who came with which token; what it refuses
 *   is up to the test. The real supervisor's feed is in tests/e2e.
 */

import { createServer } from 'node:http';
import { Server } from 'socket.io';

/** @typedef {import('../resilient-websocket-service.js').FeedEvent} FeedEvent */

export class FeedServer {
  /** @type {FeedEvent[]} */
  log = [];
  /** Those of each handshake. @type {string[]} */
  tokens = [];
  /** Of each handshake. @type {('websocket' | 'polling')[]} */
  transports = [];
  /** @type {unknown[]} */
  subscriptions = [];
  /** Handed in later. @type {string[]} */
  renewals = [];
  /** Requests of GET /events. */
  polls = 0;
  /** What the next handshakes are refused with; an error: in words alone. @type {(Error | Record<string, unknown>)[]} */
  refusals = [];
  /** Of GET /events; 200: none. */
  pollStatus = 200;
  /** The oldest number that is kept. */
  oldest = 1;
  /** Handshakes are left without an answer. */
  silent = false;
  /** So is what is asked for. */
  mute = false;

  #http;
  #io;

  /** @param {{ transports?: ('websocket' | 'polling')[] }} [options] */
  constructor({ transports = ['websocket', 'polling'] } = {}) {
    this.#http = createServer((request, response) => this.#answer(request, response));
    this.#io = new Server(this.#http, { transports, serveClient: false });
    this.#io.use((socket, next) => {
      this.tokens.push(socket.handshake.auth.token);
      this.transports.push(/** @type {'websocket' | 'polling'} */ (socket.conn.transport.name));
      if (this.silent) return;
      const refusal = this.refusals.shift();
      const isWords = !refusal || refusal instanceof Error;
      next(isWords ? refusal : Object.assign(new Error(`${refusal.message}`), { data: refusal }));
    });
    this.#io.on('connection', (socket) => {
      socket.on('subscribe', (asked, answer) => {
        this.subscriptions.push(asked);
        if (this.mute) return;
        if (asked.after > this.last) {
          answer({
            error: { code: 'gone', reason: 'log_began_anew', message: 'There was no such.' },
          });
          return;
        }
        const after = asked.after ?? this.last;
        answer({ after });
        socket.emit('events', this.#frame(after));
        socket.join('followers');
      });
      socket.on('token', ({ token }, answer) => {
        this.renewals.push(token);
        answer({});
      });
    });
  }

  get last() {
    return this.log.length;
  }

  get sockets() {
    return [...this.#io.sockets.sockets.values()];
  }

  /** @param {number} [port] */
  async listen(port = 0) {
    await new Promise((resolve) => this.#http.listen(port, '127.0.0.1', () => resolve(undefined)));
    const { port: taken } = /** @type {import('node:net').AddressInfo} */ (this.#http.address());
    this.port = taken;
    this.url = `http://127.0.0.1:${taken}`;
    return this;
  }

  async close() {
    this.#http.closeAllConnections();
    await this.#io.close();
  }

  /** Ends every connection as a broken network would. */
  cut() {
    for (const socket of this.sockets) socket.conn.close();
  }

  /**
   * @param {string} name
   * @param {unknown} [told]
   */
  tell(name, told) {
    this.#io.emit(name, told);
  }

  /** Something happens. @param {number} [times] */
  happen(times = 1) {
    const after = this.last;
    for (let count = 0; count < times; count += 1) {
      const n = this.last + 1;
      const head = {
        n,
        id: `evt_${n}`,
        type: 'message.received',
        time: '2026-11-30T08:00:00.000Z',
      };
      this.log.push({ ...head, session: 'loja-1', data: {} });
    }
    this.#io.to('followers').emit('events', this.#frame(after));
  }

  /** @param {number} after */
  #frame(after) {
    return { after, to: this.last, events: this.#kept(after) };
  }

  /** @param {number} after */
  #kept(after) {
    return this.log.filter(({ n }) => n > after && n >= this.oldest);
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://feed');
    if (pathname !== '/events') return; // Socket.IO's own
    this.polls += 1;
    const after = Number(searchParams.get('after') ?? 0);
    const [status, body] = this.#page(after, searchParams.get('limit') === '0');
    // A request that may wait waits a little, or the client would ask without a pause.
    const waitMs = searchParams.get('wait') !== '0' && status === 200 ? 20 : 0;
    setTimeout(() => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    }, waitMs);
  }

  /**
   * @param {number} after
   * @param {boolean} isEmpty
   * @returns {[number, object]}
   */
  #page(after, isEmpty) {
    if (this.pollStatus !== 200)
      return [this.pollStatus, { error: { code: 'refused', message: 'Not now.', hint: '' } }];
    if (after > this.last)
      return [410, { error: { code: 'gone', message: 'The log has begun anew.', hint: '' } }];
    const events = isEmpty ? [] : this.#kept(after);
    const gap = this.oldest > after + 1 ? { first: after + 1, last: this.oldest - 1 } : null;
    return [200, { events, next: null, oldest: this.oldest, last: this.last, gap }];
  }
}
