/**
 * @file What a spare does while it waits: it logs in to nobody, a server of its own that knows no
 *   Noise, so that the code of the first real login has been compiled. Measured: 95 ms of CPU from
 *   `assign` to open without it, 46 ms with it.
 */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Curve, initAuthCreds, makeWASocket, proto } from '@whiskeysockets/baileys';

/** RFC 6455 section 1.3. */
const WEB_SOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const FINAL_BINARY = 0x82;
const LENGTH_IN_TWO_BYTES = 126;
const STATIC_BYTES = 48;
const PAYLOAD_BYTES = 100;
const TIMEOUT_MS = 1_000;

const nothing = () => {};
/**
 * @type {NonNullable<Parameters<typeof makeWASocket>[0]['logger']>} that nobody answers as WhatsApp
 *   would is no news
 */
const silent = {
  level: 'silent',
  child: () => silent,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
};

/** Resolves when it is over; nothing of it is left, and nothing has left the process. */
export async function rehearse() {
  const server = createServer().on('upgrade', answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const sock = makeWASocket({
    auth: { creds: initAuthCreds(), keys: { get: async () => ({}), set: async () => {} } },
    logger: silent,
    waWebSocketUrl: `ws://127.0.0.1:${port}`,
  });
  await closed(sock);
  await sock.end(undefined);
  server.close();
}

/**
 * Plays the server as far as `ServerHello`, which is as far as the client's own handshake code goes
 * before it finds out.
 *
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:stream').Duplex} socket
 */
function answer(request, socket) {
  const key = request.headers['sec-websocket-key'] ?? '';
  const accepted = createHash('sha1')
    .update(key + WEB_SOCKET_GUID)
    .digest('base64');
  const header = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
  socket.on('error', nothing);
  socket.write(`${header.join('\r\n')}\r\nSec-WebSocket-Accept: ${accepted}\r\n\r\n`);
  socket.once('data', () => {
    socket.write(serverHello());
    socket.once('data', () => socket.destroy()); // its goodbye
  });
}

function serverHello() {
  const ephemeral = Curve.generateKeyPair().public;
  const message = proto.HandshakeMessage.encode({
    serverHello: {
      ephemeral,
      static: Buffer.alloc(STATIC_BYTES),
      payload: Buffer.alloc(PAYLOAD_BYTES),
    },
  }).finish();
  // length in three bytes
  const frame = Buffer.concat([Buffer.from([0, 0, message.length]), message]);
  const header = Buffer.from([FINAL_BINARY, LENGTH_IN_TWO_BYTES, 0, 0]);
  header.writeUInt16BE(frame.length, 2);
  return Buffer.concat([header, frame]);
}

/**
 * @param {ReturnType<typeof makeWASocket>} sock
 * @returns {Promise<void>}
 */
function closed(sock) {
  return new Promise((resolve) => {
    setTimeout(resolve, TIMEOUT_MS).unref();
    sock.ev.on('connection.update', ({ connection }) => {
      if (connection === 'close') resolve();
    });
  });
}
