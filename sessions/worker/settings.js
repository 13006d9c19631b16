/** @file What the supervisor passes in the environment (docs/wire.md), read once and checked. */

/**
 * @typedef {object} Settings
 * @property {string} worker the worker's name
 * @property {string} token proves to the supervisor that we are its own child
 * @property {string} code names the worker's code, for the supervisor to compare
 * @property {number} adoptionWindowMs how long to live on without a supervisor
 * @property {string} socketPath the supervisor's Unix socket
 * @property {string | undefined} webSocketUrl where WhatsApp is; may hold `{session}`
 * @property {Buffer<ArrayBuffer> | undefined} noiseRootKey replaces Baileys' pinned root
 * @property {number} connectTimeoutMs
 * @property {number | undefined} qrTimeoutMs how long each QR is shown; absent: 60 s the first, 20
 *   s the others
 * @property {number} probeTimeoutMs
 * @property {number} heartbeatIntervalMs
 * @property {string} logLevel
 */

const NOISE_ROOT_KEY_BYTES = 32;
/** As `URL` writes hosts: whole dotted quads, no upper case. */
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/;

/** The environment does not say what it has to say. */
export class SettingsError extends Error {}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {Settings}
 */
export function readSettings(env) {
  if (env.WASUP_NOISE_ROOT_KEY) assertLoopback(env.WASUP_WEB_SOCKET_URL);
  return {
    worker: required(env, 'WASUP_WORKER_ID'),
    token: required(env, 'WASUP_WORKER_TOKEN'),
    code: env.WASUP_WORKER_CODE || 'unknown',
    adoptionWindowMs: milliseconds(env, 'WASUP_ADOPTION_WINDOW_MS', 60_000),
    socketPath: required(env, 'WASUP_SOCKET'),
    webSocketUrl: env.WASUP_WEB_SOCKET_URL || undefined,
    noiseRootKey: noiseRootKey(env.WASUP_NOISE_ROOT_KEY),
    connectTimeoutMs: milliseconds(env, 'WASUP_CONNECT_TIMEOUT_MS', 30_000),
    qrTimeoutMs: env.WASUP_QR_TIMEOUT_MS ? milliseconds(env, 'WASUP_QR_TIMEOUT_MS', 0) : undefined,
    probeTimeoutMs: milliseconds(env, 'WASUP_PROBE_TIMEOUT_MS', 10_000),
    heartbeatIntervalMs: milliseconds(env, 'WASUP_HEARTBEAT_INTERVAL_MS', 5_000),
    logLevel: env.WASUP_LOG_LEVEL || 'info',
  };
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string} name
 */
function required(env, name) {
  const value = env[name];
  if (!value) throw new SettingsError(`${name} is not set`);
  return value;
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string} name
 * @param {number} fallback
 */
function milliseconds(env, name, fallback) {
  const text = env[name];
  if (!text) return fallback;
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0)
    throw new SettingsError(`${name} is not a number of milliseconds`);
  return value;
}

/**
 * Whoever holds the root key can pose as WhatsApp. The supervisor has looked too, but with a parser
 * of its own; what counts is where the parser that connects would go.
 *
 * @param {string | undefined} url
 */
function assertLoopback(url) {
  const hostname = url && URL.canParse(url) ? new URL(url).hostname : '';
  if (LOOPBACK.test(hostname)) return;
  throw new SettingsError(
    'WASUP_NOISE_ROOT_KEY is set, but WASUP_WEB_SOCKET_URL is not on this host',
  );
}

/** @param {string | undefined} hex */
function noiseRootKey(hex) {
  if (!hex) return undefined;
  const key = Buffer.from(hex, 'hex');
  if (key.length !== NOISE_ROOT_KEY_BYTES || hex.length !== 2 * NOISE_ROOT_KEY_BYTES) {
    throw new SettingsError(`WASUP_NOISE_ROOT_KEY is not ${NOISE_ROOT_KEY_BYTES} bytes of hex`);
  }
  return key;
}
