/** @file For tests: little proxies on loopback, that remember whom they have connected. */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/**
 * @typedef {import('node:net').Socket} Socket
 * @typedef {{ url: string, port: number, reached: string[], sockets: Set<Socket> }} Proxy
 * @typedef {{ user: string, password: string }} Account
 */

/**
 * A server whose every connection is served by `serve`; it ends with the test.
 *
 * @param {import('node:test').TestContext} t
 * @param {(socket: Socket, proxy: Proxy) => Promise<void> | void} serve
 * @param {string} scheme
 * @param {Account} [account]
 * @returns {Promise<Proxy>}
 */
export async function startProxy(t, serve, scheme = 'http', account) {
  /** @type {Proxy} */
  const proxy = { url: '', port: 0, reached: [], sockets: new Set() };
  const server = createServer((socket) => {
    proxy.sockets.add(socket);
    socket.on('close', () => proxy.sockets.delete(socket));
    socket.on('error', () => {});
    Promise.resolve(serve(socket, proxy)).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of proxy.sockets) socket.destroy();
    server.close();
  });
  proxy.port = /** @type {import('node:net').AddressInfo} */ (server.address()).port;
  const who = account
    ? `${encodeURIComponent(account.user)}:${encodeURIComponent(account.password)}@`
    : '';
  proxy.url = `${scheme}://${who}127.0.0.1:${proxy.port}`;
  return proxy;
}

/**
 * An HTTP proxy that knows CONNECT.
 *
 * @param {import('node:test').TestContext} t
 * @param {Account} [account] whom it lets through; everybody if absent
 */
export function startHttpProxy(t, account) {
  return startProxy(t, (socket, proxy) => serveConnect(socket, proxy, account), 'http', account);
}

/**
 * A SOCKS 5 proxy (RFC 1928, RFC 1929).
 *
 * @param {import('node:test').TestContext} t
 * @param {Account} [account] whom it lets through; everybody if absent
 * @param {'socks5' | 'socks5h'} [scheme]
 */
export function startSocksProxy(t, account, scheme = 'socks5') {
  return startProxy(t, (socket, proxy) => serveSocks(socket, proxy, account), scheme, account);
}

/**
 * @param {Socket} socket
 * @param {Proxy} proxy
 * @param {Account} [account]
 */
async function serveConnect(socket, proxy, account) {
  const head = String(await readUntil(socket, (bytes) => bytes.includes('\r\n\r\n')));
  const [, host, port] = /^CONNECT ([^:]+):(\d+) /.exec(head) ?? [];
  const basic = account && Buffer.from(`${account.user}:${account.password}`).toString('base64');
  if (basic && !head.includes(`Proxy-Authorization: Basic ${basic}\r\n`)) {
    socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    return;
  }
  proxy.reached.push(`${host}:${port}`);
  socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
  join(socket, connect(Number(port), host));
}

/**
 * @param {Socket} socket
 * @param {Proxy} proxy
 * @param {Account} [account]
 */
async function serveSocks(socket, proxy, account) {
  await readUntil(socket, (bytes) => bytes.length >= 2 && bytes.length >= 2 + bytes[1]);
  socket.write(Buffer.from([5, account ? 2 : 0]));
  if (account) {
    const wanted = Buffer.concat([prefixed(account.user), prefixed(account.password)]);
    const given = await readUntil(
      socket,
      (bytes) => bytes.length > 2 && bytes.length >= 3 + bytes[1] + bytes[2 + bytes[1]],
    );
    const right = given.subarray(1).equals(wanted);
    socket.write(Buffer.from([1, right ? 0 : 1]));
    if (!right) return void socket.end();
  }
  const request = await readUntil(
    socket,
    (bytes) => bytes.length >= 10 && bytes.length >= destination(bytes).end + 2,
  );
  const { host, end } = destination(request);
  const port = request.readUInt16BE(end);
  proxy.reached.push(`${host}:${port}`);
  socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  join(socket, connect(port, host));
}

/**
 * Where a request wants to go, by the kind of its address (RFC 1928, section 5): IPv4, IPv6, or a
 * name. `end`: in bytes.
 *
 * @param {Buffer} request of 5 bytes at least
 */
function destination(request) {
  const [, , , kind, length] = request;
  if (kind === 1) return { host: request.subarray(4, 8).join('.'), end: 8 };
  if (kind === 4)
    return {
      host: (request.subarray(4, 20).toString('hex').match(/..../g) ?? []).join(':'),
      end: 20,
    };
  return { host: String(request.subarray(5, 5 + length)), end: 5 + length };
}

/** @param {string} text */
function prefixed(text) {
  return Buffer.concat([Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)]);
}

/**
 * @param {Socket} socket
 * @param {(bytes: Buffer) => boolean} isWhole
 * @returns {Promise<Buffer>}
 */
async function readUntil(socket, isWhole) {
  let bytes = Buffer.alloc(0);
  while (!isWhole(bytes)) bytes = Buffer.concat([bytes, (await once(socket, 'data'))[0]]);
  return bytes;
}

/**
 * @param {Socket} here
 * @param {Socket} there
 */
function join(here, there) {
  there.on('error', () => here.destroy());
  here.on('close', () => there.destroy());
  there.on('close', () => here.destroy());
  here.pipe(there).pipe(here);
}
