/** @file Where a client's token comes from, and when it wants a new one. */

import { FeedError } from './feed-error.js';
import { within } from './waiting.js';

/** @typedef {string | (() => string | Promise<string>)} Token a token, or what fetches one */

export class TokenSource {
  #token;
  #timeoutMs;

  /**
   * @param {Token} token
   * @param {number} timeoutMs how long fetching one may take
   * @throws {FeedError} if it is empty: nothing is asked of the server then
   */
  constructor(token, timeoutMs) {
    this.#token = typeof token === 'function' ? token : notEmpty(token);
    this.#timeoutMs = timeoutMs;
  }

  /** It can be fetched anew. */
  get renewable() {
    return typeof this.#token === 'function';
  }

  /**
   * A token for the next attempt, fetched anew where that is possible.
   *
   * Whatever the function throws, no token was refused: of a proxy's page in place of the answer,
   * JSON.parse says "Unexpected token '<'", and nobody has to log in for that.
   *
   * @throws {FeedError}
   */
  async fresh() {
    const source = this.#token;
    if (typeof source === 'string') return source;
    const fetched = new Promise((resolve) => resolve(source())).catch((thrown) => {
      throw notFetched(thrown);
    });
    return notEmpty(await within(fetched, this.#timeoutMs, tooSlow));
  }
}

/**
 * How long a token is good for, in ms; undefined: it does not say.
 *
 * Only a JWT says it, and the server alone judges it: this is read, not verified.
 *
 * @param {string} token
 * @param {number} [nowMs]
 * @returns {number | undefined}
 */
export function goodForMs(token, nowMs = Date.now()) {
  const payload = token.split('.')[1];
  if (!payload) return undefined;
  try {
    const { exp } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')));
    return typeof exp === 'number' ? exp * 1000 - nowMs : undefined;
  } catch {
    return undefined; // no JWT: an API key may have a dot in it
  }
}

/** @param {unknown} token */
function notEmpty(token) {
  if (typeof token === 'string' && token.trim() !== '') return token;
  throw new FeedError('empty_token', 'The token is empty.');
}

/** @param {unknown} thrown */
function notFetched(thrown) {
  if (thrown instanceof FeedError) return thrown;
  const words = thrown instanceof Error ? thrown.message : String(thrown);
  return new FeedError('unreachable', `The token was not fetched: ${words}`, {
    hint: 'Does the function that fetches the token work, and is what it asks running?',
    cause: thrown,
  });
}

function tooSlow() {
  return new FeedError('timeout', 'Timeout: the token was not fetched in time.');
}
