/**
 * @file The worker's log, one JSON line each on stdout, which is the worker's own file. It says
 *   what happened, never what was said.
 */

import { destination, pino } from 'pino';

/**
 * @typedef {import('pino').Logger} Log
 * @typedef {Parameters<typeof import('@whiskeysockets/baileys').default>[0]['logger']}
 *   BaileysLogger
 */

/** Second net only: nothing of this is handed to the log in the first place. */
const SECRETS = [
  'token',
  'creds',
  'qr',
  'text',
  'code',
  'value',
  'values',
  'entries',
  'keys',
].flatMap((name) => [name, `*.${name}`]);
const LONGEST_CAUSE = 200;

/**
 * @param {string} level
 * @param {string} worker
 * @returns {Log}
 */
export function createLog(level, worker) {
  const redact = { paths: SECRETS, censor: '[redacted]' };
  // Synchronous: the last lines before an exit are the ones that matter.
  const out = destination({ fd: 1, sync: true });
  out.on('error', () => {}); // a full disk costs the line, not the sessions
  return pino({ level, base: { worker }, redact }, out);
}

/**
 * A logger for Baileys that lets through warnings and errors, and of those the sentence and the
 * error's message. Its objects hold whole nodes, keys and texts among them; naming what may pass is
 * safer than naming what may not.
 *
 * @param {Log} log
 * @returns {NonNullable<BaileysLogger>}
 */
export function baileysLogger(log) {
  const nothing = () => {};
  /** @type {(level: 'warn' | 'error') => (first: unknown, message?: string) => void} */
  const pass = (level) => (first, message) => {
    const sentence = typeof first === 'string' ? first : message;
    log[level]({ from: 'baileys', cause: causeOf(first) }, sentence ?? 'no message');
  };
  const logger = {
    level: 'warn',
    child: () => logger,
    trace: nothing,
    debug: nothing,
    info: nothing,
    warn: pass('warn'),
    error: pass('error'),
  };
  return logger;
}

/** @param {unknown} details */
function causeOf(details) {
  if (typeof details !== 'object' || details === null) return undefined;
  const { err, error, e, trace } = /** @type {Record<string, any>} */ (details);
  const cause = err?.message ?? error?.message ?? e?.message ?? trace;
  return typeof cause === 'string' ? cause.split('\n')[0].slice(0, LONGEST_CAUSE) : undefined;
}
