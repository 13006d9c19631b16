/**
 * Plain Baileys, for `python -m scripts.bench` to compare with: the unmodified library at its own
 * defaults, connecting anew at once when it says `close`, as Baileys' own Example does. All sockets
 * are in one process; it pairs them by itself.
 *
 * `node plain-baileys.js URL ADMIN ROOT_KEY SESSION...` prints a JSON line for each `open` and
 * `close`, until it is ended.
 */

import { DisconnectReason } from '@whiskeysockets/baileys';
import { call, connect, newAuth } from './testing.js';

const [url, admin, rootKey, ...sessions] = process.argv.slice(2);
const standin = { url, admin, rootKey };

for (const session of sessions) void live(session);

/** @param {string} session */
async function live(session) {
  const auth = newAuth();
  for (;;) {
    const attempt = connect(standin, session, auth);
    void attempt.qr.then((qr) => call(standin, 'POST /scan', { qr, name: session }));
    void attempt.opened.then(() => say({ session, event: 'open' }));
    const { code, message } = await attempt.closed;
    say({ session, event: 'close', code, message });
    if (code === DisconnectReason.loggedOut) return;
  }
}

/** @param {Record<string, unknown>} what */
function say(what) {
  process.stdout.write(`${JSON.stringify({ time_ms: Date.now(), ...what })}\n`);
}
