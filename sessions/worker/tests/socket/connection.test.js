/**
 * @file What Baileys does not report or is slow to report, on the way to a login. The rest is in
 *   worker.e2e.test.js.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { test } from 'node:test';
import { BufferJSON, initAuthCreds } from '@whiskeysockets/baileys';
import '../../silence-console.js';
import { AuthStore } from '../../keys/auth-store.js';
import { Plaintexts } from '../../keys/plaintexts.js';
import { createLog } from '../../log.js';
import { SentMessages } from '../../messages/sent-messages.js';
import { Connection } from '../../socket/connection.js';

const DEADLINE_MS = 500;
const WEBSOCKET_MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * @param {string} webSocketUrl
 * @param {unknown} [creds]
 * @returns {{ connection: Connection, frames: any[], auth: AuthStore }}
 */
function connectTo(webSocketUrl, creds = null) {
  /** @type {any[]} */
  const frames = [];
  const auth = new AuthStore(creds, { read: async () => ({}), write: async () => {} }, () => {});
  const connection = new Connection({
    session: 's',
    attempt: 7,
    proxy: null,
    auth,
    sent: new SentMessages(),
    plaintexts: new Plaintexts({ isOnItsWay: () => false, forget: () => {} }),
    settings: {
      worker: 'w',
      token: 't',
      code: 'c',
      adoptionWindowMs: 1000,
      socketPath: '',
      webSocketUrl,
      noiseRootKey: undefined,
      connectTimeoutMs: DEADLINE_MS,
      qrTimeoutMs: undefined,
      probeTimeoutMs: 100,
      heartbeatIntervalMs: 1000,
      logLevel: 'silent',
    },
    log: createLog('silent', 'w'),
    isStoreOwing: () => false,
    mustBeSilent: () => false,
    mustNotRead: () => false,
    report: (frame) => frames.push(frame),
    onMessage: () => {},
    onReceipt: () => {},
    onStanza: () => {},
  });
  connection.open();
  return { connection, frames, auth };
}

/** @param {Record<string, unknown>} [mark] */
function pairedCreds(mark) {
  const creds = {
    ...initAuthCreds(),
    me: { id: '15550000001:1@s.whatsapp.net' },
    account: {},
    ...mark,
  };
  return JSON.parse(JSON.stringify(creds, BufferJSON.replacer));
}

const UNCONFIRMED = { pairingUnconfirmed: true };
const UNKNOWN_DEVICE = { code: 401, message: 'Connection Failure', data: { reason: '401' } };

/**
 * @param {import('node:test').TestContext} t
 * @param {import('node:net').Server} server
 */
async function listen(t, server) {
  /** @type {Set<import('node:net').Socket>} */
  const sockets = new Set();
  server.on('connection', (socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `ws://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}/`;
}

/**
 * @param {(socket: import('node:stream').Duplex) => void} then what the server does with an
 *   accepted websocket
 */
function webSocketServer(then) {
  return createHttpServer().on('upgrade', ({ headers }, socket) => {
    const accept = createHash('sha1')
      .update(`${headers['sec-websocket-key']}${WEBSOCKET_MAGIC}`)
      .digest('base64');
    const answer = [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
    ];
    socket.on('error', () => {});
    socket.write([...answer, `Sec-WebSocket-Accept: ${accept}`, '', ''].join('\r\n'));
    then(socket);
  });
}

/**
 * @param {any[]} frames
 * @param {string[]} stages that were reached before
 */
function onlyClosed(frames, stages = []) {
  assert.deepEqual(
    frames.map(({ type, stage }) => stage ?? type),
    [...stages, 'closed'],
  );
  return frames.at(-1);
}

for (const [status, reason] of /** @type {const} */ ([
  [503, 'unavailable'],
  [429, 'rate_limited'],
  [403, 'upgrade_refused'],
  [200, 'upgrade_refused'],
])) {
  test(`HTTP ${status} at the upgrade is reported at once as ${reason}`, async (t) => {
    const server = createHttpServer((_, response) =>
      response.writeHead(status, { 'retry-after': '7' }).end('go away'),
    );
    const { connection, frames } = connectTo(await listen(t, server));
    await connection.closed;
    const closed = onlyClosed(frames);
    assert.deepEqual(
      [closed.attempt, closed.code, closed.reason, closed.registered],
      [7, status, reason, false],
    );
    assert.deepEqual(closed.data, { http_status: String(status), retry_after: '7' });
  });
}

test('a refused connection is a network that cannot be reached', async (t) => {
  const server = createTcpServer();
  const url = await listen(t, server);
  server.close();
  const { connection, frames } = connectTo(url);
  await connection.closed;
  const { code, reason, data } = onlyClosed(frames);
  assert.deepEqual([code, reason, data.code], [408, 'network_unreachable', 'ECONNREFUSED']);
});

test('a connection that is cut before the upgrade is a network that cannot be reached', async (t) => {
  const server = createTcpServer((socket) => socket.resetAndDestroy());
  const { connection, frames } = connectTo(await listen(t, server));
  await connection.closed;
  assert.equal(onlyClosed(frames).reason, 'network_unreachable');
});

test('a name that nobody knows is told as that', async () => {
  // RFC 6761: never a name of anything
  const { connection, frames } = connectTo('ws://nobody.invalid:9/ws/chat');
  await connection.closed;
  const { reason, message } = onlyClosed(frames);
  assert.equal(reason, 'dns');
  assert.match(message, /getaddrinfo .* nobody\.invalid/);
});

test('an upgrade that is never answered ends with the deadline', async (t) => {
  const { connection, frames } = connectTo(await listen(t, createTcpServer()));
  await connection.closed;
  assert.equal(onlyClosed(frames).reason, 'attempt_timed_out');
});

test('a handshake that is never answered ends with the deadline', async (t) => {
  const { connection, frames } = connectTo(
    await listen(
      t,
      webSocketServer(() => {}),
    ),
  );
  await connection.closed;
  assert.equal(onlyClosed(frames, ['upgraded']).reason, 'attempt_timed_out');
});

test('a server that hangs up within the handshake closes the connection', async (t) => {
  const { connection, frames } = connectTo(
    await listen(
      t,
      webSocketServer((socket) => socket.end()),
    ),
  );
  await connection.closed;
  const { code, reason } = onlyClosed(frames, ['upgraded']);
  assert.deepEqual([code, reason], [428, 'connection_closed']);
});

test('bytes that are no websocket frames are the transport’s fault', async (t) => {
  const server = webSocketServer((socket) => socket.write(Buffer.alloc(64, 0xff)));
  const { connection, frames } = connectTo(await listen(t, server));
  await connection.closed;
  assert.equal(onlyClosed(frames, ['upgraded']).reason, 'connection_lost');
});

test('a close that is asked for comes at once, and only once', async (t) => {
  const { connection, frames } = connectTo(await listen(t, createTcpServer()));
  await Promise.all([connection.close(), connection.close()]);
  connection.fail({ code: 500, message: 'late', data: null });
  await connection.close();
  assert.equal(onlyClosed(frames).reason, 'requested'); // and not that of the deadline
});

test('nothing but a login can be asked of a socket that is not open', async (t) => {
  const { connection } = connectTo(await listen(t, createTcpServer()));
  await assert.rejects(connection.sendText(['5511999990000'], 'hello'), { code: 'not_open' });
  await assert.rejects(connection.pairingCode('5511999990000'), { code: 'not_open' });
  await connection.closed;
});

test('an address that is none ends the attempt, not the process', async () => {
  const { connection, frames } = connectTo('nowhere');
  await connection.closed;
  const { code, reason } = onlyClosed(frames);
  assert.deepEqual([code, reason], [null, 'connection_closed']);
});

test('a 401 for a pairing that was never confirmed takes it back, and is no logout', async (t) => {
  const { connection, frames, auth } = connectTo(
    await listen(t, createTcpServer()),
    pairedCreds(UNCONFIRMED),
  );
  connection.fail(UNKNOWN_DEVICE);
  await connection.closed;
  const { code, reason, message, registered } = onlyClosed(frames);
  assert.deepEqual([code, reason, registered], [401, 'connection_closed', false]);
  assert.match(message, /never confirmed/);
  assert.deepEqual(
    [auth.creds.me, auth.unconfirmed],
    [undefined, false],
    'the next attempt registers afresh',
  );
});

test('a 401 for a pairing that the server knows of is a logout', async (t) => {
  const { connection, frames } = connectTo(await listen(t, createTcpServer()), pairedCreds());
  connection.fail(UNKNOWN_DEVICE);
  await connection.closed;
  const { code, reason, registered } = onlyClosed(frames);
  assert.deepEqual([code, reason, registered], [401, 'logged_out', true]);
});

for (const [what, facts, reason] of /** @type {const} */ ([
  [
    'a 401 of a proxy',
    { code: 401, message: 'Unexpected server response: 401', data: { http_status: '401' } },
    'upgrade_refused',
  ],
  ['a 515 at a login', { code: 515, message: 'Stream Errored', data: null }, 'restart_required'],
  [
    'a lost connection',
    { code: 408, message: 'Connection was lost', data: null },
    'connection_lost',
  ],
])) {
  test(`${what} says nothing of a pairing that may not be confirmed`, async (t) => {
    const { connection, frames, auth } = connectTo(
      await listen(t, createTcpServer()),
      pairedCreds(UNCONFIRMED),
    );
    connection.fail(facts);
    await connection.closed;
    const closed = onlyClosed(frames);
    assert.deepEqual([closed.reason, closed.registered, auth.unconfirmed], [reason, true, true]);
  });
}
