/** @file Tokens: none is shown that is empty, each attempt has a fresh one, and nobody logs one. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { goodForMs } from '../tokens.js';
import { FeedServer } from './feed-server.js';
import { eventually, follow, jwt } from './tools.js';

const EXPIRED = {
  code: 'invalid_token',
  reason: 'expired',
  message: 'The token has expired.',
  hint: 'Get a fresh token, and connect again with it.',
  retryAfterSeconds: null,
};

/** @type {FeedServer} */
let server;
beforeEach(async () => {
  server = await new FeedServer().listen();
});
afterEach(() => server.close());

test('an empty token is refused before anything is asked of the server', async (t) => {
  const { client, states } = follow(t, { url: server.url });
  for (const empty of ['', '  '])
    await assert.rejects(client.connect(empty), { code: 'empty_token' });
  await assert.rejects(client.connect(/** @type {any} */ (undefined)), { code: 'empty_token' });
  assert.deepEqual([server.tokens, states], [[], []]);
  await assert.rejects(
    client.connect(async () => ''),
    { code: 'empty_token' },
  );
  assert.deepEqual(server.tokens, []);
});

test('a refused token is fetched anew once', async (t) => {
  server.refusals = [EXPIRED];
  let fetched = 0;
  const { client, errors } = follow(t, { url: server.url });
  await client.connect(() => `token-${++fetched}`);
  assert.deepEqual(server.tokens, ['token-1', 'token-2']);
  assert.deepEqual([errors[0].code, errors[0].reason], ['refused_token', 'expired']);
});

test('a token that is refused twice, or cannot be fetched anew, calls for a login', async (t) => {
  for (const { token, shown } of [
    { token: () => 'other', shown: 2 },
    { token: 'only', shown: 1 },
  ]) {
    server.refusals = [EXPIRED, EXPIRED];
    server.tokens = [];
    /** @type {string[]} */
    const told = [];
    const onLogin = (/** @type {{ code: string }} */ { code }) => told.push(`login ${code}`);
    const { client } = follow(t, { url: server.url, onLogin });
    client.on('auth_error', ({ hint }) => told.push(hint));
    await assert.rejects(client.connect(token), { code: 'refused_token', reason: 'expired' });
    assert.equal(client.getConnectionState(), 'error');
    assert.deepEqual(told, [EXPIRED.hint, 'login refused_token']);
    assert.equal(server.tokens.length, shown);
  }
});

test('a fresh token is handed in before the old one expires', async (t) => {
  const { client, states } = follow(t, { url: server.url });
  await client.connect(() => jwt(server.tokens.length === 0 ? 2 : 3600));
  await eventually(() => server.renewals.length === 1);
  assert.equal(server.tokens.length, 1);
  assert.deepEqual(states, ['connecting', 'connected']);
});

test('when the server says that it has expired, a fresh one is handed in, or login is called for', async (t) => {
  const { client } = follow(t, { url: server.url });
  await client.connect(() => 'fresh');
  server.tell('token_expired', { graceSeconds: 25 });
  await eventually(() => server.renewals.length === 1);
  await client.connect('only');
  server.tell('token_expired', { graceSeconds: 25 });
  await eventually(() => client.getConnectionState() === 'error');
  await assert.rejects(client.waitForConnection(), { code: 'refused_token' });
});

test('a token that cannot be fetched is a failed attempt like any other', async (t) => {
  let asked = 0;
  const { client, errors } = follow(t, { url: server.url });
  await client.connect(async () => {
    asked += 1;
    if (asked < 3) throw new TypeError('fetch failed');
    return 'secret';
  });
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['unreachable', 'unreachable'],
  );
});

test('whatever the function for tokens throws, no token was refused', async (t) => {
  const thrown = [
    new TypeError('fetch failed'),
    new SyntaxError(`Unexpected token '<', "<html>" is not valid JSON`),
    Object.assign(new Error('unauthorized'), { data: { code: 'expired' } }),
  ];
  const { client, errors } = follow(t, { url: server.url });
  await client.connect(async () => {
    const error = thrown.shift();
    if (error) throw error;
    return 'secret';
  });
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['unreachable', 'unreachable', 'unreachable'],
  );
  assert.match(errors[1].message, /The token was not fetched: Unexpected token/);
  assert.equal(client.getConnectionState(), 'connected');
});

test('a server that refuses a token in words alone is understood', async (t) => {
  for (const words of ['Authentication error', 'invalid token']) {
    server.refusals = [new Error(words)];
    const { client } = follow(t, { url: server.url });
    await assert.rejects(client.connect('only'), { code: 'refused_token', message: words });
  }
});

test('no token is in what is logged', async (t) => {
  server.refusals = [EXPIRED, EXPIRED];
  /** @type {string[]} */
  const lines = [];
  const logger = { warn: (/** @type {string} */ line) => lines.push(line) };
  const { client } = follow(t, { url: server.url, logger });
  await assert.rejects(client.connect('very-secret'));
  assert.match(lines.join(), /refused_token/);
  assert.doesNotMatch(lines.join(), /very-secret/);
});

test('how long a JWT is good for is read from it, and from nothing else', () => {
  const left = goodForMs(jwt(60)) ?? 0;
  assert.ok(left > 30_000 && left <= 60_000);
  for (const other of ['wasup_abc', 'a.b.c', 'a.bnVsbA.c', ''])
    assert.equal(goodForMs(other), undefined);
});
