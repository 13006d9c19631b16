/**
 * @file The way through a proxy: for node:http (as the websocket goes) and for fetch, and what a
 *   proxy that fails is told of.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import { isIP } from 'node:net';
import { test } from 'node:test';
import { wayThrough } from '../../socket/proxy.js';
import { startHttpProxy, startProxy, startSocksProxy } from '../tools/proxies.js';

const ACCOUNT = { user: 'som@one', password: 'p:ss/w#rd' };

/**
 * @param {import('node:test').TestContext} t
 * @param {string} host
 */
async function startTarget(t, host = '127.0.0.1') {
  const server = createServer((_, response) => response.end('reached')).listen(0, host);
  await once(server, 'listening');
  t.after(() => server.close().closeAllConnections());
  return /** @type {import('node:net').AddressInfo} */ (server.address()).port;
}

/**
 * @param {import('../../socket/proxy.js').Way} way
 * @param {string} url
 * @returns {Promise<string>}
 */
async function ask({ agent }, url) {
  const [response] = await once(get(url, { agent }), 'response');
  return String(await once(response, 'data'));
}

/**
 * @type {[string, (t: import('node:test').TestContext) =>
 *   Promise<import('../tools/proxies.js').Proxy>][]}
 */
const KINDS = [
  ['an HTTP proxy', (t) => startHttpProxy(t)],
  ['an HTTP proxy with a password', (t) => startHttpProxy(t, ACCOUNT)],
  ['a SOCKS 5 proxy', (t) => startSocksProxy(t)],
  ['a SOCKS 5 proxy with a password', (t) => startSocksProxy(t, ACCOUNT)],
  ['a SOCKS 5 proxy that looks names up', (t) => startSocksProxy(t, undefined, 'socks5h')],
];

for (const [name, start] of KINDS) {
  test(`both ways lead through ${name}`, async (t) => {
    const [proxy, port] = [await start(t), await startTarget(t)];
    const way = wayThrough(proxy.url);
    assert.equal(await ask(way, `http://127.0.0.1:${port}`), 'reached');
    const options = /** @type {RequestInit} */ ({ dispatcher: way.dispatcher });
    assert.equal(await (await fetch(`http://127.0.0.1:${port}`, options)).text(), 'reached');
    assert.deepEqual(proxy.reached, [`127.0.0.1:${port}`, `127.0.0.1:${port}`]);
  });
}

test('names are looked up where the scheme says', async (t) => {
  // Whatever `localhost` is here: Debian's own /etc/hosts begins with ::1, others with 127.0.0.1.
  const [proxy, port] = [
    await startSocksProxy(t, undefined, 'socks5h'),
    await startTarget(t, 'localhost'),
  ];
  assert.equal(await ask(wayThrough(proxy.url), `http://localhost:${port}`), 'reached');
  assert.equal(
    await ask(wayThrough(proxy.url.replace('socks5h', 'socks5')), `http://localhost:${port}`),
    'reached',
  );
  const [byTheProxy, byUs] = proxy.reached.map((where) => where.slice(0, where.lastIndexOf(':')));
  assert.equal(byTheProxy, 'localhost');
  assert.notEqual(isIP(byUs), 0, byUs);
});

/**
 * @param {string} url
 * @param {RegExp} expected
 */
async function fails(url, expected) {
  const way = wayThrough(url, 300);
  const options = /** @type {RequestInit} */ ({ dispatcher: way.dispatcher });
  for (const attempt of [
    () => ask(way, 'http://127.0.0.1:9999'),
    () => fetch('http://127.0.0.1:9999', options),
  ]) {
    await assert.rejects(attempt(), (/** @type {any} */ error) => {
      const { message } = error.cause ?? error;
      assert.match(message, expected);
      assert.match(message, /^the proxy (http|socks5):\/\/127\.0\.0\.1:\d+ failed: /);
      assert.doesNotMatch(
        `${message} ${JSON.stringify(error)} ${error.cause?.stack}`,
        /p:ss|p%3Ass|som@one|som%40one/,
      );
      return true;
    });
  }
}

test('a proxy that is not there', async (t) => {
  const { url } = await startHttpProxy(t, ACCOUNT);
  await fails(url.replace(/\d+$/, '9'), /connect ECONNREFUSED 127\.0\.0\.1:9$/);
  await fails(url.replace('http', 'socks5').replace(/\d+$/, '9'), /ECONNREFUSED 127\.0\.0\.1:9$/);
});

test('a proxy that wants another password', async (t) => {
  const [http, socks] = [await startHttpProxy(t, ACCOUNT), await startSocksProxy(t, ACCOUNT)];
  await fails(http.url.replace('w%23rd', ''), /it wants another user or password \(407\)$/);
  await fails(socks.url.replace('w%23rd', ''), /Socks5 Authentication failed$/);
});

test("a proxy's 503 is not WhatsApp's", async (t) => {
  const proxy = await startProxy(t, (socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 503 Busy\r\nRetry-After: 9\r\n\r\n'));
  });
  await fails(proxy.url, /it answered 503 to CONNECT$/);
});

test('a proxy that hangs up, and one that speaks something else', async (t) => {
  const hanging = await startProxy(t, (socket) => void socket.once('data', () => socket.end()));
  await fails(hanging.url, /ended before receiving CONNECT response$/);
  const other = await startProxy(
    t,
    (socket) => void socket.once('data', () => socket.end('+OK POP3\r\n\r\n')),
    'socks5',
  );
  await fails(other.url, /failed: ./);
});

for (const scheme of ['http', 'socks5']) {
  test(`a ${scheme} proxy that says nothing is named, and left`, async (t) => {
    const proxy = await startProxy(t, (socket) => void socket.resume(), scheme);
    await fails(proxy.url, /it has not connected us within 300 ms$/);
    if (scheme === 'socks5') return; // the package leaves by itself, after 30 s
    while (proxy.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });
}

test('an attempt that ends meanwhile leaves no connection behind', async (t) => {
  const proxy = await startProxy(t, (socket) => void socket.resume());
  const way = wayThrough(proxy.url);
  const request = get('http://127.0.0.1:9999', { agent: way.agent });
  const failed = once(request, 'error');
  while (proxy.sockets.size === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  way.end();
  await failed;
  while (proxy.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
});
