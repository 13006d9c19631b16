/** @file Why there are no events: one kind of error, made of whatever was thrown or answered. */

/**
 * @typedef {'empty_token' | 'refused_token' | 'insufficient_resources' | 'timeout' | 'unreachable'
 *   | 'refused' | 'disconnected'} FeedErrorCode
 *
 * @typedef {object} Details
 * @property {string} [hint] what to do about it
 * @property {string} [reason] the server's word for it, `expired` for instance
 * @property {number} [retryAfterSeconds] when the server wants to be asked again
 * @property {unknown} [cause]
 */

/** What to do where the server does not say it. @type {Record<FeedErrorCode, string>} */
const HINTS = {
  empty_token: 'Give connect() a token, or a function that fetches one.',
  refused_token: 'Log in again: the token is expired, revoked, or of another installation.',
  insufficient_resources: 'The server has no room for one more; it is tried again later.',
  timeout: 'The server answers slowly, or something on the way drops the packets.',
  unreachable: "Is wasup running, and do the address and the proxy's upgrade headers fit?",
  refused: 'The server does not take what is asked for: see the message.',
  disconnected: 'connect() begins anew.',
};

export class FeedError extends Error {
  /**
   * @param {FeedErrorCode} code
   * @param {string} message
   * @param {Details} [details]
   */
  constructor(code, message, details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'FeedError';
    this.code = code;
    this.hint = details.hint ?? HINTS[code];
    this.reason = details.reason;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}

/** What the server calls a token that it does not take. */
const TOKEN_REASONS = new Set(['empty_token', 'expired', 'invalid']);
const TOKEN_CODES = new Set(['unauthorized', 'invalid_token', ...TOKEN_REASONS]);

/**
 * What a failed attempt at the socket was about. The server says it in `data`; what is only thrown
 * on the way is told by its words. A token is refused by a server alone: also by one that says so in
 * words and sends no `data`, which the library then sets to undefined.
 *
 * @param {unknown} thrown
 * @returns {FeedError}
 */
export function explain(thrown) {
  if (thrown instanceof FeedError) return thrown;
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { data } = /** @type {{ data?: unknown }} */ (error);
  return data && typeof data === 'object'
    ? fromServer(error, /** @type {Record<string, unknown>} */ (data))
    : fromWords(error, 'data' in error);
}

/**
 * @param {Error} error
 * @param {Record<string, unknown>} data
 */
function fromServer(error, data) {
  const code = text(data.code);
  const reason = text(data.reason);
  const details = {
    hint: text(data.hint),
    reason: reason ?? code,
    retryAfterSeconds: positive(data.retryAfterSeconds),
    cause: error,
  };
  const message = text(data.message) ?? error.message;
  if (TOKEN_CODES.has(code ?? '') || TOKEN_REASONS.has(reason ?? ''))
    return new FeedError('refused_token', message, details);
  if (code === 'insufficient_resources' || reason === 'insufficient_resources')
    return new FeedError('insufficient_resources', message, details);
  if (code === 'connection_timeout') return new FeedError('timeout', message, details);
  return new FeedError('refused', message, details);
}

/**
 * @param {Error} error
 * @param {boolean} isServers the words are a server's
 */
function fromWords(error, isServers) {
  const words = error.message.toLowerCase();
  if (words.includes('insufficient resources'))
    return new FeedError('insufficient_resources', error.message, { cause: error });
  if (words.includes('timeout')) return new FeedError('timeout', error.message, { cause: error });
  if (isServers && (words.includes('auth') || words.includes('token')))
    return new FeedError('refused_token', error.message, { cause: error });
  return new FeedError('unreachable', error.message, { cause: error });
}

/**
 * What an answer of the API was about.
 *
 * @param {Response} response one that is not ok
 * @returns {Promise<FeedError>}
 */
export async function explainAnswer(response) {
  const body = await response.json().catch(() => ({}));
  const { code, message = `status ${response.status}`, hint } = body?.error ?? {};
  const details = {
    hint: text(hint),
    reason: text(code),
    retryAfterSeconds: positive(Number(response.headers.get('retry-after') ?? Number.NaN)),
  };
  if (response.status === 401) return new FeedError('refused_token', message, details);
  if (response.status === 429 || response.status === 503)
    return new FeedError('insufficient_resources', message, details);
  return new FeedError(response.status >= 500 ? 'unreachable' : 'refused', message, details);
}

/** @param {unknown} value */
function text(value) {
  return typeof value === 'string' ? value : undefined;
}

/** @param {unknown} value */
function positive(value) {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
