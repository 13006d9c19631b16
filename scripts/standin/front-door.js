/**
 * Where clients come in: HTTP, the upgrade to a websocket, and the faults that strike before there
 * is one.
 */

import { createServer, STATUS_CODES } from 'node:http';
import { WebSocketServer } from 'ws';

/**
 * @typedef {import("node:http").IncomingMessage} Request
 * @typedef {import("node:net").Socket} Socket
 * @typedef {(line: { ws: import("ws").WebSocket, socket: Socket, session: string | undefined }) =>
 *   void} Welcome
 */

/** Nobody sends more: the largest is an upload of 812 prekeys, some 60 KB. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/**
 * @param {{ faults: import("./faults.js").Faults, log: import("./log.js").Log }} world
 * @param {Welcome} welcome
 */
export function createFrontDoor({ faults, log }, welcome) {
  const upgrader = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: true,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  const server = createServer((_request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain' }).end('this is a websocket server\n');
  });
  server.on('upgrade', async (request, /** @type {Socket} */ socket, head) => {
    // An upgrading socket is nobody's: without a listener its errors would end the process.
    socket.on('error', () => {});
    socket.setNoDelay(true);
    const session = labelOf(request);
    const refusal = faults.take('refuse', { session });
    if (refusal) {
      const { how = 'reset' } = refusal.params;
      log.add('refused', { session }, { how });
      return refuse(socket, how);
    }
    const stall = faults.take('stall-upgrade', { session });
    if (stall) {
      log.add('refused', { session }, { how: 'stall' });
      await holdUp(socket, stall.over);
    }
    if (!socket.destroyed)
      upgrader.handleUpgrade(request, socket, head, (ws) => welcome({ ws, socket, session }));
  });
  return server;
}

/**
 * Nobody reads from the socket meanwhile, so nobody else would notice that the client has gone.
 * @param {Socket} socket
 * @param {Promise<void>} over
 */
async function holdUp(socket, over) {
  const leave = () => socket.destroy();
  socket.once('end', leave).resume();
  await over;
  socket.off('end', leave);
}

/** @param {Request} request */
function labelOf({ url = '/' }) {
  return URL.parse(url, 'ws://standin')?.searchParams.get('session') ?? undefined;
}

/**
 * @param {Socket} socket
 * @param {"reset" | number} how
 */
function refuse(socket, how) {
  if (how === 'reset') socket.resetAndDestroy();
  else
    socket.end(
      `HTTP/1.1 ${how} ${STATUS_CODES[how] ?? ''}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
    );
}
