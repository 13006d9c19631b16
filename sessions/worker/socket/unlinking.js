/**
 * @file How a logout ends: what is said of a device that the server was asked to remove.
 */

/**
 * @typedef {import('./close-reason.js').CloseFacts} CloseFacts
 * @typedef {import('./close-reason.js').CloseReason} CloseReason
 */

/** @type {CloseFacts} */
export const LOGOUT_NOT_SENT = {
  code: null,
  message: 'not open: the server was not told',
  data: null,
};
/** @type {CloseFacts} */
export const LOGGED_OUT = { code: 401, message: 'Intentional Logout', data: null };
/** @type {CloseFacts} */
export const LOGOUT_UNANSWERED = {
  code: null,
  message: 'the server did not answer the logout',
  data: null,
};
/** @type {CloseFacts} */
export const LOGOUT_REFUSED = { code: null, message: 'the server refused the logout', data: null };

/**
 * Once the server was asked to remove the device, its saying that the device is removed is the
 * answer, and any other end of the line is none. A verdict on the account remains what it is.
 *
 * @param {CloseFacts} facts
 * @param {CloseReason} reason
 * @returns {[CloseFacts, CloseReason]}
 */
export function afterUnlinking(facts, reason) {
  if (reason === 'logged_out') return [LOGGED_OUT, 'own_logout'];
  const lineEnded =
    reason === 'connection_closed' || (reason === 'connection_lost' && facts !== LOGOUT_REFUSED);
  return lineEnded ? [LOGOUT_UNANSWERED, 'connection_lost'] : [facts, reason];
}
