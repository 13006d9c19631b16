/**
 * @file The way beside the socket: GET /events, read on from a number, with the same events and the
 *   same token.
 */

import { explainAnswer, FeedError } from './feed-error.js';

/** A whole page is 1 MiB; nobody else ends a request that hangs. */
const PATIENCE_MS = 30_000;

/**
 * @typedef {import('./position.js').FeedEvent} FeedEvent
 *
 * @typedef {object} Page
 * @property {FeedEvent[]} events
 * @property {number | null} next the `after` of the next page, if there is more already
 * @property {number} last the newest
 * @property {{ first: number, last: number } | null} gap what was dropped before it was read
 */

export class EventPages {
  #settings;
  #signal;

  /**
   * @param {import('./options.js').Settings} settings
   * @param {AbortSignal} signal ends the request under way
   */
  constructor(settings, signal) {
    this.#settings = settings;
    this.#signal = signal;
  }

  /**
   * The number of the newest event.
   *
   * @param {string} token
   */
  async last(token) {
    return (await this.#get(token, { limit: '0' }, 0)).last;
  }

  /**
   * The events after a number, as soon as there are some, or none after a while.
   *
   * @param {string} token
   * @param {number} after
   * @param {number} waitSeconds
   * @returns {Promise<Page>}
   */
  after(token, after, waitSeconds) {
    return this.#get(token, { after: `${after}`, wait: `${waitSeconds}` }, waitSeconds);
  }

  /**
   * @param {string} token
   * @param {Record<string, string>} query
   * @param {number} waitSeconds
   * @returns {Promise<Page>}
   */
  async #get(token, query, waitSeconds) {
    const { url, sessions, types } = this.#settings;
    const address = new URL('events', url);
    const filters = { session: sessions.join(), type: types.join() };
    for (const [name, value] of Object.entries({ ...query, ...filters }))
      if (value !== '') address.searchParams.set(name, value);
    const signal = AbortSignal.any([
      this.#signal,
      AbortSignal.timeout(PATIENCE_MS + waitSeconds * 1000),
    ]);
    try {
      const response = await fetch(address, {
        headers: { authorization: `Bearer ${token}` },
        signal,
      });
      if (!response.ok) throw await explainAnswer(response);
      return await response.json();
    } catch (error) {
      throw error instanceof FeedError ? error : unanswered(address, error);
    }
  }
}

/**
 * @param {URL} address
 * @param {unknown} error
 */
function unanswered({ origin }, error) {
  return error instanceof Error && error.name === 'TimeoutError'
    ? new FeedError('timeout', `Timeout: ${origin} did not answer in time.`, { cause: error })
    : new FeedError('unreachable', `${origin} cannot be reached.`, { cause: error });
}
