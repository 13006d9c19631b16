/**
 * For `python -m scripts.bench_reconnect`: plain Baileys with a reconnect strategy that people run
 * today. All sockets are in one process, as theirs are; credentials are files
 * (`useMultiFileAuthState`), so that it can be started again.
 *
 * `node rival-baileys.js STRATEGY DIRECTORY URL ADMIN ROOT_KEY SESSION...` runs until it is ended;
 * it pairs by itself what is not paired.
 */

import path from 'node:path';
import { DisconnectReason, useMultiFileAuthState } from '@whiskeysockets/baileys';
import { call, connect } from './testing.js';

const [strategy = '', directory = '', url = '', admin = '', rootKey = '', ...sessions] =
  process.argv.slice(2);
const standin = { url, admin, rootKey };

/**
 * Seconds before attempt n (1: the first after an open socket closed); undefined: it gives up. The
 * same as strategies.py has.
 * @type {Record<string, (attempt: number) => number | undefined>}
 */
const WAITS = {
  fixed: () => 2,
  'at-once': () => 0,
  linear: (attempt) => 2 * (attempt - 1),
  exponential: (attempt) => (attempt > 10 ? undefined : Math.min(300, 2 ** attempt)),
  fibonacci: (attempt) => Math.min(900, fibonacci(attempt)) * (0.9 + 0.2 * Math.random()),
};
/** How long a socket has to be open before the attempts are counted anew, in ms. */
const CALM_MS = strategy === 'fibonacci' ? 30_000 : 0;

const wait = WAITS[strategy];
if (wait === undefined) throw new Error(`no such strategy: ${strategy}`);
for (const session of sessions) void live(session, wait);

/**
 * @param {string} session
 * @param {(attempt: number) => number | undefined} waits
 */
async function live(session, waits) {
  const { state, saveCreds } = await useMultiFileAuthState(path.join(directory, session));
  for (let attempts = 0; ; ) {
    /** @type {number | undefined} */
    let openedAt;
    const attempt = connect(standin, session, state);
    attempt.sock.ev.on('creds.update', () => void saveCreds());
    void attempt.qr.then((qr) => call(standin, 'POST /scan', { qr, name: session }));
    void attempt.opened.then(() => {
      openedAt = Date.now();
    });
    const { code } = await attempt.closed;
    if (code === DisconnectReason.loggedOut) return;
    if (code === DisconnectReason.restartRequired) continue;
    if (openedAt !== undefined && Date.now() - openedAt >= CALM_MS) attempts = 0;
    attempts += 1;
    const seconds = waits(attempts);
    if (seconds === undefined) return;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

/** @param {number} attempt */
function fibonacci(attempt) {
  let [now, next] = [1, 1];
  for (let n = 1; n < attempt; n += 1) [now, next] = [next, now + next];
  return now;
}
