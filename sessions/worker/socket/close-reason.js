/**
 * @file What closed a socket, in our own words. Pure, and the only place that knows a close code's
 *   number.
 *
 * A bare code is ambiguous: 408 is "lost", "timed out" and "QR refs used up", 401 is a removed
 * device and our own logout, 500 is Baileys' word for whatever it does not know. So the message and
 * the state of the pairing are looked at too. docs/wire.md has the table.
 */

/**
 * @typedef {'restart_required' | 'connection_closed' | 'connection_lost' | 'network_unreachable' |
 *   'dns' | 'tls_untrusted' | 'proxy' | 'qr_expired' | 'passkey_required' | 'server_error' |
 *   'unavailable' | 'rate_limited' | 'upgrade_refused' | 'replaced' | 'logged_out' | 'own_logout' |
 *   'temporarily_banned' | 'locked' | 'client_outdated' | 'banned' | 'repair_needed' |
 *   'unknown_failure' | 'attempt_timed_out' | 'undecryptable_frame' | 'store_failed' | 'requested'}
 *   CloseReason
 *
 * @typedef {object} CloseFacts
 * @property {number | null} code
 * @property {string} message
 * @property {Record<string, string> | null} data
 *
 * @typedef {object} PairingState
 * @property {boolean} registered the creds hold a completed pairing
 * @property {boolean} qrShown the attempt has shown a QR
 * @property {boolean} upgraded the websocket stood: what ends it from then on is a connection lost,
 *   not one never had
 */

/** @type {Readonly<Record<number, CloseReason>>} */
const REASON_OF_CODE = {
  401: 'logged_out',
  402: 'temporarily_banned',
  403: 'locked',
  405: 'client_outdated',
  406: 'banned',
  409: 'repair_needed',
  411: 'repair_needed',
  415: 'repair_needed',
  418: 'repair_needed',
  428: 'connection_closed',
  429: 'rate_limited',
  440: 'replaced',
  500: 'server_error',
  501: 'unavailable',
  503: 'unavailable',
  515: 'restart_required',
};

const TIMED_OUT = 408;
const FAILURE = 'Connection Failure';
const QR_REFS_ENDED = 'QR refs attempts ended';
const OWN_LOGOUT = 'Intentional Logout';
const TRANSPORT_ERROR = /^WebSocket Error \(/;
/** Node's codes for a name that is not known, or that no resolver has answered for. */
const NO_ADDRESS = /^(ENOTFOUND|EAI_[A-Z]+)$/;
/**
 * Node's codes for a certificate that it does not accept: OpenSSL's X509_V_ERR_*, without their
 * prefix (Node's `tls` documentation, "X509 certificate error codes"), and a certificate made out
 * to another name.
 */
const UNTRUSTED = new Set([
  'CERT_CHAIN_TOO_LONG',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REJECTED',
  'CERT_REVOKED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'HOSTNAME_MISMATCH',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY',
  'UNABLE_TO_DECRYPT_CERT_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/**
 * @param {CloseFacts} facts
 * @param {PairingState} pairing
 * @returns {CloseReason}
 */
export function closeReason(facts, pairing) {
  const { code, message, data } = facts;
  if (data?.http_status !== undefined) return reasonOfHttpStatus(Number(data.http_status));
  if (code === 401 && message === OWN_LOGOUT) return 'own_logout';
  if (TRANSPORT_ERROR.test(message)) return reasonOfTransport(data, pairing);
  if (code === TIMED_OUT && message !== FAILURE) return reasonOfTimeOut(message, pairing);
  if (code !== null && code in REASON_OF_CODE) return REASON_OF_CODE[code];
  if (message === FAILURE) return 'unknown_failure';
  return code === null ? 'connection_closed' : 'server_error';
}

/**
 * Where the way to WhatsApp ended: at the proxy, at the name, at the certificate, or nowhere near
 * it.
 *
 * @param {CloseFacts['data']} data
 * @param {PairingState} pairing
 * @returns {CloseReason}
 */
function reasonOfTransport(data, { upgraded }) {
  if (upgraded) return 'connection_lost';
  const { proxy, code = '' } = data ?? {};
  if (proxy !== undefined) return 'proxy';
  if (NO_ADDRESS.test(code)) return 'dns';
  return UNTRUSTED.has(code) ? 'tls_untrusted' : 'network_unreachable';
}

/**
 * A captive portal's 403 is no ban: what answered was not WhatsApp, or not yet.
 *
 * @param {number} status
 * @returns {CloseReason}
 */
function reasonOfHttpStatus(status) {
  if (status === 429) return 'rate_limited';
  return status >= 500 ? 'unavailable' : 'upgrade_refused';
}

/**
 * @param {string} message
 * @param {PairingState} pairing
 * @returns {CloseReason}
 */
function reasonOfTimeOut(message, { registered, qrShown }) {
  if (registered) return 'connection_lost';
  return message === QR_REFS_ENDED || qrShown ? 'qr_expired' : 'connection_lost';
}

/**
 * What Baileys gives as `lastDisconnect.error`: a Boom, any other error, or nothing.
 *
 * @param {unknown} error
 * @returns {CloseFacts}
 */
export function closeFacts(error) {
  if (!(error instanceof Error))
    return { code: null, message: 'closed without an error', data: null };
  const { output, data } = /** @type {{ output?: { statusCode?: unknown }, data?: unknown }} */ (
    error
  );
  const code = output?.statusCode;
  return {
    code: Number.isInteger(code) ? Number(code) : null,
    message: error.message,
    data: plainStrings(data),
  };
}

/**
 * Attributes of a `<failure>`, tag and attributes of a stream error's child, code of a transport
 * error: whatever is a plain value.
 *
 * @param {unknown} data
 * @returns {Record<string, string> | null}
 */
export function plainStrings(data) {
  if (typeof data !== 'object' || data === null) return null;
  const { attrs, stack: _, content: __, ...own } = /** @type {Record<string, unknown>} */ (data);
  const entries = Object.entries({ ...own, .../** @type {object} */ (attrs) })
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => [name, String(value)]);
  return entries.length > 0 ? Object.fromEntries(entries) : null;
}
