/** @file What a client of the feed can be told, what it does otherwise, and what makes no sense. */

/**
 * @typedef {object} Options
 * @property {string} [url] where wasup's API is, with a proxy's path if there is one; in a browser
 *   by default where the page came from
 * @property {string[]} [sessions] whose events; none: of all that the token may see
 * @property {string[]} [types] which events: names, or groups such as `message.*`; none: all
 * @property {number} [after] go on after this number, which an earlier run remembered; none: only
 *   what happens from now on
 * @property {number} [maxReconnectAttempts] tries in a row, until it falls back or gives up;
 *   Infinity: it never does
 * @property {number} [reconnectDelay] ms before the second try; doubled with each
 * @property {number} [maxReconnectDelay] ms, the longest wait
 * @property {number} [timeout] ms that an attempt may take; doubled, up to four times that, while
 *   attempts time out
 * @property {boolean} [polling] fall back to polling GET /events while the socket does not work
 * @property {number} [pollWait] seconds that the server may hold such a request back, 55 at most
 * @property {number} [renewBefore] seconds before a JWT's expiry at which a fresh one is fetched
 * @property {(error: import('./feed-error.js').FeedError) => void} [onLogin] somebody has to log in
 *   again: show `/login`, say
 * @property {Pick<Console, 'warn'>} [logger] told of trouble in one line each; tokens never
 *
 * @typedef {Required<Omit<Options, 'after' | 'onLogin'>> & Pick<Options, 'after' | 'onLogin'>}
 *   Settings
 */

const DEFAULTS = {
  sessions: /** @type {string[]} */ ([]),
  types: /** @type {string[]} */ ([]),
  maxReconnectAttempts: 5,
  reconnectDelay: 1_000,
  maxReconnectDelay: 30_000,
  timeout: 30_000,
  polling: true,
  pollWait: 25,
  renewBefore: 30,
  logger: /** @type {Pick<Console, 'warn'>} */ (console),
};
const MOST_POLL_WAIT_SECONDS = 55;
/** Whole numbers, and the least that makes sense. */
const LEAST = { reconnectDelay: 1, maxReconnectDelay: 1, timeout: 1 };

/**
 * @param {Options} options
 * @returns {Settings}
 * @throws {TypeError} that names the option, what was given, and what is taken
 */
export function settings(options) {
  const known = new Set([...Object.keys(DEFAULTS), 'url', 'after', 'onLogin']);
  for (const name of Object.keys(options)) {
    if (!known.has(name))
      throw new TypeError(`There is no option ${name}: there is ${[...known].join(', ')}.`);
  }
  const all = { ...DEFAULTS, ...options, url: address(options.url) };
  for (const [name, least] of Object.entries(LEAST))
    whole(name, all[/** @type {keyof typeof LEAST} */ (name)], least);
  if (all.maxReconnectAttempts !== Number.POSITIVE_INFINITY)
    whole('maxReconnectAttempts', all.maxReconnectAttempts, 1);
  whole('pollWait', all.pollWait, 1, MOST_POLL_WAIT_SECONDS);
  whole('renewBefore', all.renewBefore, 0);
  if (all.after !== undefined) whole('after', all.after, 0);
  if (all.maxReconnectDelay < all.reconnectDelay)
    throw new TypeError(
      `maxReconnectDelay is ${all.maxReconnectDelay}: it may not be less than reconnectDelay, which is ${all.reconnectDelay}.`,
    );
  return all;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} least
 * @param {number} [most]
 */
function whole(name, value, least, most = Number.MAX_SAFE_INTEGER) {
  if (Number.isInteger(value) && Number(value) >= least && Number(value) <= most) return;
  const taken =
    most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new TypeError(`${name} is ${String(value)}: it takes a whole number ${taken}.`);
}

/** @param {string | undefined} url ends with a slash afterwards, so that paths can be put to it */
function address(url) {
  const page = /** @type {{ location?: { href: string } }} */ (globalThis).location?.href;
  const parsed = url === undefined ? page && new URL('/', page) : URL.parse(url, page);
  if (!parsed || !['http:', 'https:'].includes(parsed.protocol))
    throw new TypeError(
      `url is ${String(url)}: it takes the address of wasup's API, http://127.0.0.1:4001 for instance.`,
    );
  parsed.search = '';
  parsed.hash = '';
  if (!parsed.pathname.endsWith('/')) parsed.pathname += '/';
  return parsed.href;
}
