/**
 * @file A client of wasup's live feed that comes back by itself and misses nothing: the door of
 *   this package (docs/client.md).
 *
 * One loop, `#follow`, says what happens when: an attempt, what it was refused for, the wait after
 * it, or the end of a connection. Events come over the socket, and by polling while it does not work.
 */

import { Emitter } from '@socket.io/component-emitter';
import { Backoff } from './backoff.js';
import { CONNECTION_STATES, delivers } from './connection-state.js';
import { Fallback } from './fallback.js';
import { explain, FeedError } from './feed-error.js';
import { ask, login, newSocket } from './feed-socket.js';
import { settings } from './options.js';
import { Position } from './position.js';
import { goodForMs, TokenSource } from './tokens.js';
import { pause } from './waiting.js';

export { CONNECTION_STATES, FeedError };

/**
 * @typedef {import('./connection-state.js').ConnectionState} ConnectionState
 * @typedef {import('./options.js').Options} Options
 * @typedef {import('./position.js').FeedEvent} FeedEvent
 * @typedef {import('./tokens.js').Token} Token
 *
 * @typedef {object} Frame of events
 * @property {number} after
 * @property {number} to after the one, up to the other, there is nothing else for us
 * @property {FeedEvent[]} events
 *
 * @typedef {object} Gap events that nobody can give any more: read the present state instead
 * @property {number | null} first the first of their numbers; null: nobody knows
 * @property {number | null} last
 * @property {'dropped' | 'log_restarted'} reason the log does not reach so far back; or its numbers
 *   have begun anew (a restore?), and all that it has is read
 *
 * @typedef {object} Listeners what `on` can be called with
 * @property {(event: FeedEvent) => void} event each once, in the order of their numbers
 * @property {(state: ConnectionState, before: ConnectionState) => void} state
 * @property {(gap: Gap) => void} gap
 * @property {() => void} resync we were too slow: what was dropped is read again from the log
 * @property {(notice: { retryAfterSeconds?: number }) => void} going_away the server goes, to come
 *   back; so do we
 * @property {(error: FeedError) => void} connect_error an attempt has failed
 * @property {(error: FeedError) => void} auth_error the token is refused, and no fresh one helps
 *
 * @typedef {object} Reaction to a failed attempt
 * @property {number | undefined} waitMs until the next; undefined: there is none
 * @property {boolean} poll meanwhile
 */

/** Why a connection ended, in the library's words: the server did it; we did. */
const BY_SERVER = 'io server disconnect';
const BY_US = 'io client disconnect';
/** An attempt's time-out grows to so many times what was set. */
const MOST_TIMEOUTS = 4;
/** A renewal is not tried more often, however soon the token expires. */
const LEAST_RENEWAL_WAIT_MS = 1_000;
/** The longest that a timer can wait; tokens may be good for longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** @extends {Emitter<{}, {}, Listeners>} */
export class ResilientWebSocketService extends Emitter {
  /** @type {import('socket.io-client').Socket | null} the connection, while there is one */
  socket = null;

  #settings;
  #position;
  /** Of tries that fail. */
  #backoff;
  /** Of connections that do not last. */
  #losses;
  /** @type {ConnectionState} */
  #state = 'disconnected';
  /** Ended by disconnect(), and when it gives up. */
  #life = new AbortController();
  #tokens = new TokenSource('none yet', 0);
  /** @type {Fallback | undefined} */
  #fallback;
  /** Of the next attempt. */
  #timeoutMs;
  /** In a row, of tokens. */
  #refusals = 0;
  /** Events have come since connect() was called. */
  #hasDelivered = false;
  /** Requests under way for what is wanted. */
  #subscribing = 0;
  /** When the server that goes away wants us back. @type {number | undefined} */
  #backInSeconds;
  /** Why it is not connected. @type {FeedError | undefined} */
  #error;

  /**
   * @param {Options} [options]
   * @throws {TypeError} if one of them makes no sense
   */
  constructor(options = {}) {
    super();
    this.#settings = settings(options);
    const { after, reconnectDelay, maxReconnectDelay, timeout } = this.#settings;
    this.#position = new Position(after);
    this.#backoff = new Backoff(reconnectDelay, maxReconnectDelay);
    this.#losses = new Backoff(reconnectDelay, maxReconnectDelay);
    this.#timeoutMs = timeout;
  }

  /** The number of the last event that was handed on: where a later run goes on. */
  get after() {
    return this.#position.after;
  }

  /** Where it stands. @returns {ConnectionState} one of CONNECTION_STATES, which says what it means */
  getConnectionState() {
    return this.#state;
  }

  /**
   * Begins to follow the feed. Done when events come, by whichever way.
   *
   * @param {Token} token or a function that fetches one: it is asked before each attempt
   * @throws {FeedError} at once if the token is empty; later if it has given up
   */
  async connect(token) {
    const tokens = new TokenSource(token, this.#settings.timeout);
    const before = this.disconnect();
    this.#life = new AbortController();
    this.#tokens = tokens;
    this.#fallback = new Fallback(this.#settings, tokens, {
      position: this.#position,
      onWorking: () => this.#enter('degraded'),
      onEvent: (event) => this.#handOn(event),
      onGap: (gap) => this.#tell('gap', gap),
    });
    this.#error = undefined;
    this.#hasDelivered = false;
    this.#refusals = 0;
    this.#backoff.reset();
    this.#losses.reset();
    this.#timeoutMs = this.#settings.timeout;
    this.#enter('connecting');
    void this.#follow(before, tokens, this.#fallback, this.#life.signal);
    await this.waitForConnection();
  }

  /** Ends it. What was read so far is remembered in `after`. */
  async disconnect() {
    this.#end('disconnected', new FeedError('disconnected', 'disconnect() was called.'));
    await this.#fallback?.stop();
  }

  /**
   * Done as soon as events come, by whichever way.
   *
   * @returns {Promise<void>}
   * @throws {FeedError} if nothing more is tried
   */
  waitForConnection() {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (delivers(this.#state)) resolve();
        else if (this.#state === 'error' || this.#state === 'disconnected')
          reject(this.#error ?? new FeedError('disconnected', 'connect() was not called.'));
        else return;
        this.off('state', look);
      };
      this.on('state', look);
      look();
    });
  }

  /**
   * From one connection to the next. Never throws.
   *
   * @param {Promise<void>} before what has to be over first
   * @param {TokenSource} tokens
   * @param {Fallback} fallback
   * @param {AbortSignal} signal
   */
  async #follow(before, tokens, fallback, signal) {
    await before;
    while (!signal.aborted) {
      try {
        const ended = await this.#open(tokens, fallback, signal);
        await this.#comeBack(await ended.reason, signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.attemptReconnection(this.handleConnectionError(error));
      }
    }
  }

  /**
   * One attempt: a fresh token, the transport, the login, and what is asked for.
   *
   * @param {TokenSource} tokens
   * @param {Fallback} fallback
   * @param {AbortSignal} signal
   * @returns {Promise<{ reason: Promise<string> }>} of the connection's end
   */
  async #open(tokens, fallback, signal) {
    const token = await tokens.fresh();
    signal.throwIfAborted();
    const socket = newSocket(this.#settings.url, token, this.#timeoutMs);
    /** @type {Promise<string>} */
    const reason = new Promise((resolve) => socket.once('disconnect', resolve));
    const close = () => socket.disconnect();
    signal.addEventListener('abort', close, { once: true });
    socket.once('disconnect', () => signal.removeEventListener('abort', close));
    this.socket = socket;
    this.setupEventHandlers();
    try {
      await login(socket, this.#timeoutMs);
      await fallback.stop(); // or an event could be overtaken by a later one
      await this.#subscribe(socket);
    } catch (error) {
      close();
      signal.removeEventListener('abort', close);
      throw error;
    }
    signal.throwIfAborted();
    this.#connected(socket, token, reason);
    return { reason };
  }

  /**
   * @param {import('socket.io-client').Socket} socket
   * @param {string} token
   * @param {Promise<string>} reason
   */
  #connected(socket, token, reason) {
    const ended = new AbortController();
    void reason.then(() => ended.abort());
    const stood = setTimeout(() => this.#losses.reset(), this.#settings.maxReconnectDelay);
    void reason.then(() => clearTimeout(stood));
    this.#backoff.reset();
    this.#refusals = 0;
    this.#timeoutMs = this.#settings.timeout;
    this.#backInSeconds = undefined;
    this.#enter('connected');
    void this.#keepFresh(socket, token, ended.signal);
  }

  /** What the server may say on the connection. */
  setupEventHandlers() {
    const { socket } = this;
    if (!socket) return;
    socket.on('events', (/** @type {Frame} */ frame) => this.#read(socket, frame));
    socket.on('gap', (/** @type {Gap} */ { first, last }) => {
      this.#position.moveTo(last);
      this.#tell('gap', { first, last, reason: 'dropped' });
    });
    socket.on('resync', () => this.#resync(socket));
    socket.on('going_away', (/** @type {{ retryAfterSeconds?: number }} */ notice) => {
      this.#backInSeconds = notice?.retryAfterSeconds ?? 0;
      this.#tell('going_away', notice ?? {});
    });
    socket.on('token_expired', () => this.#expired(socket));
    socket.on('auth_error', (error) => this.#giveUp(refusedToken(error?.message)));
  }

  /**
   * What a failed attempt calls for.
   *
   * @param {unknown} thrown
   * @returns {Reaction}
   */
  handleConnectionError(thrown) {
    const error = explain(thrown);
    const { timeout, maxReconnectAttempts, polling, logger } = this.#settings;
    this.#error = error;
    logger.warn(`wasup: no connection to the feed (${error.code}): ${error.message}`);
    this.#tell('connect_error', error);
    if (error.code === 'empty_token') return { waitMs: undefined, poll: false };
    if (error.code === 'refused_token') {
      this.#refusals += 1;
      const again = this.#tokens.renewable && this.#refusals === 1;
      return { waitMs: again ? 0 : undefined, poll: false };
    }
    if (error.code === 'timeout')
      this.#timeoutMs = Math.min(this.#timeoutMs * 2, timeout * MOST_TIMEOUTS);
    const isFull = error.code === 'insufficient_resources';
    const longerMs = isFull ? this.#backoff.longest() : 0;
    const askedMs = error.retryAfterSeconds && this.#backoff.later(error.retryAfterSeconds * 1000);
    return {
      waitMs: Math.max(this.#backoff.next(), askedMs ?? longerMs),
      poll: polling && (isFull || this.#backoff.failures > maxReconnectAttempts),
    };
  }

  /**
   * Waits until the next attempt, with events from polling if that is called for and works; or
   * gives up.
   *
   * @param {Reaction} reaction
   */
  async attemptReconnection({ waitMs, poll }) {
    const { signal } = this.#life;
    const fallback = this.#fallback;
    const error = this.#error ?? new FeedError('unreachable', 'It was not reached.');
    if (waitMs === undefined || !fallback) {
      this.#giveUp(error);
      return;
    }
    const polls = poll && (await fallback.begin());
    if (signal.aborted) return;
    if (!polls && this.#backoff.failures > this.#settings.maxReconnectAttempts) {
      this.#giveUp(error);
      return;
    }
    if (!polls) this.#enter(this.#hasDelivered ? 'reconnecting' : 'connecting');
    const waits = [pause(waitMs, signal)];
    if (polls) waits.push(fallback.ended);
    await Promise.race(waits);
  }

  /**
   * After a connection has ended: wait for as long as is right, or leave it at that.
   *
   * @param {string} reason
   * @param {AbortSignal} signal
   */
  async #comeBack(reason, signal) {
    if (signal.aborted) return;
    this.socket = null;
    if (reason === BY_SERVER && this.#backInSeconds === undefined) {
      this.#end('disconnected', new FeedError('disconnected', 'The server ended the connection.'));
      return;
    }
    this.#error = new FeedError('unreachable', `The connection was lost: ${reason}.`);
    this.#enter('reconnecting');
    if (reason === BY_US) return; // a fresh token waits to be shown
    const askedMs = this.#backoff.later((this.#backInSeconds ?? 0) * 1000);
    await pause(Math.max(this.#backoff.next(), this.#losses.next(), askedMs), signal);
  }

  /**
   * Asks for what is wanted, from the number on that was read last.
   *
   * @param {import('socket.io-client').Socket} socket
   * @returns {Promise<void>}
   */
  async #subscribe(socket) {
    const { sessions, types } = this.#settings;
    const { after } = this.#position;
    const wanted = { sessions, types, ...(after === undefined ? {} : { after }) };
    this.#subscribing += 1;
    const asked = ask(socket, this.#timeoutMs, 'subscribe', wanted);
    const answer = await asked.finally(() => {
      this.#subscribing -= 1;
    });
    if (answer.error?.code === 'gone' && after !== undefined) {
      this.#tell('gap', this.#position.restart());
      return await this.#subscribe(socket);
    }
    refuse(answer);
    this.#position.moveTo(answer.after);
  }

  /**
   * Before the token expires, hands in a fresh one.
   *
   * @param {import('socket.io-client').Socket} socket
   * @param {string} first the token that it is connected by
   * @param {AbortSignal} signal of the connection's end
   */
  async #keepFresh(socket, first, signal) {
    let token = first;
    while (this.#tokens.renewable && !signal.aborted) {
      const leftMs = goodForMs(token);
      if (leftMs === undefined) return;
      const aheadMs = Math.min(this.#settings.renewBefore * 1000, leftMs / 2);
      const waitMs = Math.max(leftMs - aheadMs, LEAST_RENEWAL_WAIT_MS);
      await pause(Math.min(waitMs, LONGEST_TIMER_MS), signal);
      if (signal.aborted || waitMs > LONGEST_TIMER_MS) continue;
      try {
        token = await this.#renew(socket);
      } catch (error) {
        // It is good for a while yet; in the end the server says so, by `token_expired`.
        this.#settings.logger.warn(`wasup: no fresh token: ${explain(error).message}`);
      }
    }
  }

  /** @param {import('socket.io-client').Socket} socket */
  async #renew(socket) {
    const token = await this.#tokens.fresh();
    refuse(await ask(socket, this.#timeoutMs, 'token', { token }));
    return token;
  }

  /**
   * The last moment for a fresh token. If it cannot be handed in, it is shown at the door.
   *
   * @param {import('socket.io-client').Socket} socket
   */
  #expired(socket) {
    if (this.#tokens.renewable) void this.#renew(socket).catch(() => socket.disconnect());
    else this.#giveUp(refusedToken('The token has expired.'));
  }

  /**
   * @param {import('socket.io-client').Socket} socket
   * @param {Frame} frame
   */
  #read(socket, { after, to, events }) {
    if (this.#position.misses(after)) {
      if (this.#subscribing === 0) this.#resync(socket);
      return; // what is on its way already comes again
    }
    this.#enter('connected'); // the answer to what was asked for may be read after its events
    for (const event of events) this.#handOn(event);
    this.#position.moveTo(to);
  }

  /**
   * What was dropped on the way is read again from the log.
   *
   * @param {import('socket.io-client').Socket} socket
   */
  #resync(socket) {
    this.#tell('resync');
    void this.#subscribe(socket).catch(() => socket.disconnect());
  }

  /** @param {FeedEvent} event */
  #handOn(event) {
    if (this.#position.passes(event)) this.#tell('event', event);
  }

  /** @param {FeedError} error */
  #giveUp(error) {
    this.#end('error', error);
    if (error.code !== 'refused_token' && error.code !== 'empty_token') return;
    this.#tell('auth_error', error);
    this.#settings.onLogin?.(error);
  }

  /**
   * @param {ConnectionState} state
   * @param {FeedError} error
   */
  #end(state, error) {
    this.#error = error;
    this.#life.abort();
    void this.#fallback?.stop();
    this.socket = null;
    this.#enter(state);
  }

  /** @param {ConnectionState} state */
  #enter(state) {
    const before = this.#state;
    if (state === before) return;
    this.#state = state;
    this.#hasDelivered ||= delivers(state);
    this.#tell('state', state, before);
  }

  /**
   * Calls who listens. What a listener throws is its own, as of any timer's function: it ends
   * neither the connection nor what comes after it.
   *
   * @template {keyof Listeners} Name
   * @param {Name} name
   * @param {Parameters<Listeners[Name]>} details
   */
  #tell(name, ...details) {
    try {
      this.emitReserved(name, ...details);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

/**
 * @param {any} answer
 * @throws {Error} of the kind of a `connect_error`, if it is a refusal
 */
function refuse(answer) {
  if (answer?.error) throw Object.assign(new Error(answer.error.message), { data: answer.error });
}

/** @param {string} [message] */
function refusedToken(message = 'The token is refused.') {
  return new FeedError('refused_token', message);
}
