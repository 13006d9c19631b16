/** @file One connection of Socket.IO: how it is opened, when it stands, and how it ended. */

import { io } from 'socket.io-client';
import { FeedError } from './feed-error.js';
import { within } from './waiting.js';

/** @typedef {import('socket.io-client').Socket} Socket */

/**
 * A socket that is not connected yet.
 *
 * @param {string} url of wasup's API, with its final slash
 * @param {string} token
 * @param {number} timeoutMs of the transport
 * @returns {Socket}
 */
export function newSocket(url, token, timeoutMs) {
  const { origin, pathname } = new URL(url);
  return io(origin, {
    path: `${pathname}socket.io`,
    auth: { token },
    timeout: timeoutMs,
    transports: ['websocket', 'polling'],
    tryAllTransports: true, // else a proxy that lets no WebSocket through would end it
    upgrade: true,
    rememberUpgrade: true,
    reconnection: false, // the library knows neither our tokens nor the server's retry-after
    forceNew: true,
    autoConnect: false,
  });
}

/**
 * Connects it, and logs in. What it throws is for `explain`.
 *
 * @param {Socket} socket
 * @param {number} timeoutMs for all of it: the library's own does not cover the login
 * @returns {Promise<void>}
 */
export async function login(socket, timeoutMs) {
  /** @type {Promise<void>} */
  const arrived = new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
    // The server may end it without an answer, and then the library says this and nothing else; if
    // there is an answer, it says that a moment later.
    socket.io.once('close', (reason) => queueMicrotask(() => reject(new Error(reason))));
  });
  socket.connect();
  const tooLate = () => new FeedError('timeout', `Timeout: no login within ${timeoutMs} ms.`);
  await within(arrived, timeoutMs, tooLate);
}

/**
 * Asks for something and awaits the answer. The library ends the wait also with the connection.
 *
 * @param {Socket} socket
 * @param {number} timeoutMs
 * @param {string} request
 * @param {unknown} [details]
 * @returns {Promise<any>}
 */
export async function ask(socket, timeoutMs, request, details) {
  try {
    return await socket.timeout(timeoutMs).emitWithAck(request, details);
  } catch (cause) {
    throw socket.connected
      ? new FeedError('timeout', `Timeout: ${request} was not answered.`, { cause })
      : new FeedError('unreachable', `The connection ended before ${request} was answered.`, {
          cause,
        });
  }
}
