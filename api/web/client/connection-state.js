/** @file Where a client of the feed stands: a closed set of states, and what each means. */

/**
 * @typedef {'disconnected' | 'connecting' | 'connected' | 'reconnecting' | 'degraded' | 'error'}
 *   ConnectionState
 */

/**
 * Every state, and what a reader of it may rely on.
 * @type {Readonly<Record<ConnectionState, string>>}
 */
export const CONNECTION_STATES = Object.freeze({
  disconnected:
    'Nothing is tried: it was never connected, disconnect() was called, or the server ended it.',
  connecting: 'The first attempts are under way; no event has come yet.',
  connected: 'Events come over the socket as they happen.',
  reconnecting: 'It was connected and comes back by itself; what happens meanwhile is caught up.',
  degraded: 'Events come by polling GET /events, later but all; the socket is tried now and then.',
  error: 'It has given up: the tries are used up, or the token is refused. connect() begins anew.',
});

/** @param {ConnectionState} state whether events come in it */
export function delivers(state) {
  return state === 'connected' || state === 'degraded';
}
