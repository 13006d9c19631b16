/**
 * @file A client as a process: prints what befalls it, a JSON line each, until its input ends. For
 *   the tests with the real supervisor (tests/e2e/delivery/test_client.py).
 *
 * `node report.js URL TOKEN [AFTER]`
 */

import { ResilientWebSocketService } from '../resilient-websocket-service.js';

const [url, token, after] = process.argv.slice(2);
const client = new ResilientWebSocketService({
  url,
  after: after === undefined ? undefined : Number(after),
  maxReconnectAttempts: Number.POSITIVE_INFINITY, // a busy machine's supervisor needs its time
  reconnectDelay: 100,
  maxReconnectDelay: 1_000,
  pollWait: 1,
});
const tell = (/** @type {object} */ what) => process.stdout.write(`${JSON.stringify(what)}\n`);

client.on('event', ({ n, type }) => tell({ n, type }));
client.on('state', (state) => tell({ state }));
client.on('gap', (gap) => tell({ gap }));
client.on('connect_error', ({ code, reason, hint }) => tell({ code, reason, hint }));
process.stdin.resume().on('end', () => client.disconnect());
client.connect(token).catch((error) => {
  tell({ gaveUp: error.code });
  process.stdin.destroy();
});
