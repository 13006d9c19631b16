/** @typedef {import('socket.io-client').Socket} Socket */
/**
 * A socket that is not connected yet.
 *
 * @param {string} url of wasup's API, with its final slash
 * @param {string} token
 * @param {number} timeoutMs of the transport
 * @returns {Socket}
 */
export function newSocket(url: string, token: string, timeoutMs: number): Socket;
/**
 * Connects it, and logs in. What it throws is for `explain`.
 *
 * @param {Socket} socket
 * @param {number} timeoutMs for all of it: the library's own does not cover the login
 * @returns {Promise<void>}
 */
export function login(socket: Socket, timeoutMs: number): Promise<void>;
/**
 * Asks for something and awaits the answer. The library ends the wait also with the connection.
 *
 * @param {Socket} socket
 * @param {number} timeoutMs
 * @param {string} request
 * @param {unknown} [details]
 * @returns {Promise<any>}
 */
export function ask(socket: Socket, timeoutMs: number, request: string, details?: unknown): Promise<any>;
export type Socket = import("socket.io-client").Socket;
