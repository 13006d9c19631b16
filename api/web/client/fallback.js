/**
 * @file Events without the socket: page after page of GET /events, until the socket works again.
 */

import { Backoff } from './backoff.js';
import { explain, FeedError } from './feed-error.js';
import { EventPages } from './polling.js';
import { goodForMs } from './tokens.js';
import { pause } from './waiting.js';

/**
 * @typedef {object} Reader what becomes of it
 * @property {import('./position.js').Position} position
 * @property {() => void} onWorking the first page is there
 * @property {(event: import('./position.js').FeedEvent) => void} onEvent
 * @property {(gap: import('./resilient-websocket-service.js').Gap) => void} onGap
 */

export class Fallback {
  #settings;
  #tokens;
  #reader;
  /** @type {AbortController | undefined} */
  #running;
  /** @type {Promise<void>} */
  #ended = Promise.resolve();
  #token = '';

  /**
   * @param {import('./options.js').Settings} settings
   * @param {import('./tokens.js').TokenSource} tokens
   * @param {Reader} reader
   */
  constructor(settings, tokens, reader) {
    this.#settings = settings;
    this.#tokens = tokens;
    this.#reader = reader;
  }

  /** Events come by it. */
  get working() {
    return this.#running !== undefined;
  }

  /** Done when it works no more; what has ended it, if it was not stopped, is in the log. */
  get ended() {
    return this.#ended;
  }

  /**
   * Asks for the first page; whether that worked. From then on events come until it is stopped or
   * fails as often in a row as the socket may.
   */
  async begin() {
    if (this.#running) return true;
    const running = new AbortController();
    this.#running = running;
    const pages = new EventPages(this.#settings, running.signal);
    try {
      this.#token = await this.#tokens.fresh();
      await this.#read(pages, running.signal, 0);
    } catch (error) {
      if (running.signal.aborted) return false;
      this.#settings.logger.warn(`wasup: polling does not work either: ${explain(error).message}`);
      this.#running = undefined;
      return false;
    }
    this.#ended = this.#follow(pages, running.signal).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    return true;
  }

  /** No more of it; done when the last event has been handed on. */
  async stop() {
    this.#running?.abort();
    this.#running = undefined;
    await this.#ended;
  }

  /**
   * @param {EventPages} pages
   * @param {AbortSignal} signal
   */
  async #follow(pages, signal) {
    const { maxReconnectAttempts, reconnectDelay, maxReconnectDelay, pollWait, logger } =
      this.#settings;
    const backoff = new Backoff(reconnectDelay, maxReconnectDelay);
    while (!signal.aborted) {
      try {
        if ((goodForMs(this.#token) ?? Number.POSITIVE_INFINITY) < pollWait * 1000)
          this.#token = await this.#tokens.fresh();
        await this.#read(pages, signal, pollWait);
        backoff.reset();
      } catch (thrown) {
        if (signal.aborted) return;
        const error = explain(thrown);
        if (backoff.failures >= maxReconnectAttempts) {
          logger.warn(`wasup: polling has ended (${error.code}): ${error.message}`);
          return;
        }
        const askedMs = backoff.later((error.retryAfterSeconds ?? 0) * 1000);
        await pause(Math.max(backoff.next(), askedMs), signal);
        // The page that comes next asks for a new one, as this one may be the trouble.
        if (error.code === 'refused_token') this.#token = '';
        if (this.#token === '') this.#token = await this.#tokens.fresh().catch(() => '');
      }
    }
  }

  /**
   * One page, handed on.
   *
   * @param {EventPages} pages
   * @param {AbortSignal} signal once it is aborted nothing more is handed on
   * @param {number} waitSeconds
   */
  async #read(pages, signal, waitSeconds) {
    const { position } = this.#reader;
    if (position.after === undefined) {
      const last = await pages.last(this.#token);
      signal.throwIfAborted();
      position.moveTo(last);
      this.#reader.onWorking();
      return;
    }
    const { after } = position;
    const page = await pages.after(this.#token, after, waitSeconds).catch((error) => {
      if (!(error instanceof FeedError) || error.reason !== 'gone') throw error;
      return undefined;
    });
    signal.throwIfAborted();
    this.#reader.onWorking();
    if (!page) {
      this.#reader.onGap(position.restart());
      return;
    }
    if (page.gap) this.#reader.onGap({ ...page.gap, reason: 'dropped' });
    for (const event of page.events) this.#reader.onEvent(event);
    position.moveTo(page.next ?? page.last);
  }
}
