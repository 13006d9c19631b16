/** @file How Baileys is set up in a supervised fleet. */

import { Browsers, proto, WA_CERT_DETAILS } from '@whiskeysockets/baileys';
import { baileysLogger } from '../log.js';

/** @typedef {Parameters<typeof import('@whiskeysockets/baileys').default>[0]} SocketOptions */

const HANDSHAKE_TIMEOUT_MS = 20_000;
const { ON_DEMAND } = proto.HistorySync.HistorySyncType;

/**
 * @param {object} given
 * @param {string} given.session
 * @param {import('../settings.js').Settings} given.settings
 * @param {import('@whiskeysockets/baileys').AuthenticationState} given.auth
 * @param {import('../messages/sent-messages.js').SentMessages} given.sent
 * @param {import('../keys/plaintexts.js').Plaintexts} given.plaintexts
 * @param {import('./proxy.js').Way | null} given.way through a proxy, if the session has one
 * @param {import('../log.js').Log} given.log
 * @returns {SocketOptions}
 */
export function socketOptions({ session, settings, auth, sent, plaintexts, way, log }) {
  const { webSocketUrl } = settings;
  return {
    auth,
    logger: baileysLogger(log),
    ...(webSocketUrl && {
      waWebSocketUrl: webSocketUrl.replaceAll('{session}', encodeURIComponent(session)),
    }),
    ...(way && throughProxy(way)),
    // A shorter deadline of the attempt ends it before; the two must not race for the same instant.
    connectTimeoutMs: HANDSHAKE_TIMEOUT_MS,
    qrTimeout: settings.qrTimeoutMs,
    // A pairing code is only taken from a client that names a browser WhatsApp knows.
    browser: Browsers.ubuntu('Chrome'),
    // The phone goes on ringing: a bot that is always there must not eat its owner's notifications.
    markOnlineOnConnect: false,
    // No history: megabytes for each pairing, and offline messages held back for 20 s. What Baileys
    // would learn from it (LIDs) also comes with each message and each look-up. "On demand" only
    // comes when asked for; to refuse it too would earn a warning for each socket.
    syncFullHistory: false,
    shouldSyncHistoryMessage: ({ syncType }) => syncType === ON_DEMAND,
    emitOwnEvents: false,
    generateHighQualityLinkPreview: false,
    getMessage: async (key) => sent.find(key.id),
    makeSignalRepository: plaintexts.makeRepository,
    // A refused write ends the socket. Baileys' ten retries at 3 s would outlive it and write old
    // state over new.
    transactionOpts: { maxCommitRetries: 1, delayBetweenTriesMs: 0 },
  };
}

/**
 * @param {import('./proxy.js').Way} way
 * @returns {Partial<SocketOptions>}
 */
function throughProxy({ agent, dispatcher }) {
  return {
    agent: /** @type {any} */ (agent), // declared as https.Agent; ws takes any
    fetchAgent: agent,
    options: /** @type {RequestInit} */ ({ dispatcher }),
  };
}

/**
 * The stand-in signs with a root of its own. The supervisor allows that for loopback addresses
 * only.
 *
 * @param {Buffer<ArrayBuffer> | undefined} key
 */
export function trustNoiseRoot(key) {
  if (key) WA_CERT_DETAILS.PUBLIC_KEY = key;
}
