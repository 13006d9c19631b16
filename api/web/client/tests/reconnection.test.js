/** @file It comes back by itself, misses nothing, and gives up only when that is right. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FeedServer } from './feed-server.js';
import { eventually, follow, upTo } from './tools.js';

/** @type {FeedServer} */
let server;
beforeEach(async () => {
  server = await new FeedServer().listen();
});
afterEach(() => server.close());

test('it logs in by WebSocket, asks for what is wanted, and reads what happens', async (t) => {
  const asked = { sessions: ['loja-1'], types: ['message.*'] };
  const { client, read, states } = follow(t, { url: server.url, ...asked, after: 0 });
  server.happen(3);
  await client.connect('secret');
  server.happen();
  await eventually(() => read.length === 4);
  assert.deepEqual(read, upTo(4));
  assert.deepEqual(server.tokens, ['secret']);
  assert.deepEqual(server.transports, ['websocket']);
  assert.deepEqual(server.subscriptions, [{ ...asked, after: 0 }]);
  assert.deepEqual(states, ['connecting', 'connected']);
  assert.equal(client.after, 4);
});

test('who names no number reads what happens from now on', async (t) => {
  const { client, read } = follow(t, { url: server.url });
  server.happen(3);
  await client.connect('secret');
  server.happen();
  await eventually(() => read.length > 0);
  assert.deepEqual(read, [4]);
});

test('where no WebSocket gets through, Socket.IO polls', async (t) => {
  const without = await new FeedServer({ transports: ['polling'] }).listen();
  t.after(() => without.close());
  const { client } = follow(t, { url: without.url });
  await client.connect('secret');
  assert.deepEqual(without.transports, ['polling']);
});

test('a lost connection comes back, with a fresh token, and what was missed is read once', async (t) => {
  let fetched = 0;
  const { client, read, states } = follow(t, { url: server.url, after: 0 });
  await client.connect(async () => `token-${++fetched}`);
  server.happen(2);
  await eventually(() => read.length === 2);
  server.cut();
  server.happen(3);
  await eventually(() => read.length === 5 && client.getConnectionState() === 'connected');
  assert.deepEqual(read, upTo(5));
  assert.deepEqual(server.tokens, ['token-1', 'token-2']);
  assert.deepEqual(states, ['connecting', 'connected', 'reconnecting', 'connected']);
});

test("the server's own disconnect is the end, unless it has said that it comes back", async (t) => {
  const { client, states } = follow(t, { url: server.url, after: 0 });
  await client.connect('secret');
  server.tell('going_away', { retryAfterSeconds: 0 });
  for (const socket of server.sockets) socket.disconnect(true);
  await eventually(() => states.filter((state) => state === 'connected').length === 2);
  for (const socket of server.sockets) socket.disconnect(true);
  await eventually(() => client.getConnectionState() === 'disconnected');
  await assert.rejects(client.waitForConnection(), { code: 'disconnected' });
  assert.equal(server.tokens.length, 2);
});

test('five tries after the first, then it gives up, and connect() begins anew', async (t) => {
  const { port = 0, url } = server;
  await server.close();
  const { client, errors, states } = follow(t, { url, after: 0 });
  await assert.rejects(client.connect('secret'), { code: 'unreachable' });
  assert.equal(errors.length, 6);
  assert.deepEqual(states, ['connecting', 'error']);
  server = await new FeedServer().listen(port);
  await client.connect('secret');
  assert.equal(client.getConnectionState(), 'connected');
});

test('an attempt that takes too long is a timeout, and the next may take longer', async (t) => {
  server.silent = true;
  const { client, errors } = follow(t, { url: server.url, timeout: 40, polling: false });
  await assert.rejects(client.connect('secret'), { code: 'timeout' });
  assert.deepEqual(new Set(errors.map(({ code }) => code)), new Set(['timeout']));
  assert.match(errors[5].message, /within 160 ms/);
});

test('a slow client that is told so reads on from its number', async (t) => {
  const { client, read } = follow(t, { url: server.url, after: 0 });
  let resyncs = 0;
  client.on('resync', () => resyncs++);
  await client.connect('secret');
  for (const socket of server.sockets) socket.leave('followers');
  server.happen(4);
  server.tell('resync', { after: 0 });
  await eventually(() => read.length === 4);
  assert.deepEqual(read, upTo(4));
  assert.equal(resyncs, 1);
});

test('a frame that leaves something out is not believed: it is asked for again', async (t) => {
  const { client, read } = follow(t, { url: server.url, after: 0 });
  await client.connect('secret');
  for (const socket of server.sockets) socket.leave('followers');
  server.happen(3);
  server.tell('events', { after: 2, to: 3, events: server.log.slice(2) });
  await eventually(() => read.length === 3);
  assert.deepEqual(read, upTo(3));
});

test('a frame that comes again is read once, and a gap is told and passed', async (t) => {
  const { client, read } = follow(t, { url: server.url, after: 0 });
  /** @type {unknown[]} */
  const gaps = [];
  client.on('gap', (gap) => gaps.push(gap));
  await client.connect('secret');
  server.happen(2);
  server.tell('events', { after: 0, to: 2, events: server.log });
  server.tell('gap', { first: 3, last: 9, message: '', hint: '' });
  const event = { ...server.log[0], n: 10 };
  server.tell('events', { after: 9, to: 10, events: [event] });
  await eventually(() => read.length === 3);
  assert.deepEqual(read, [1, 2, 10]);
  assert.deepEqual(gaps, [{ first: 3, last: 9, reason: 'dropped' }]);
});

test('a log that has begun anew is read from its beginning, and that is told', async (t) => {
  const { client, read } = follow(t, { url: server.url, after: 70 });
  /** @type {unknown[]} */
  const gaps = [];
  client.on('gap', (gap) => gaps.push(gap));
  server.happen(2);
  await client.connect('secret');
  await eventually(() => read.length === 2);
  assert.deepEqual(read, upTo(2));
  assert.deepEqual(gaps, [{ first: null, last: null, reason: 'log_restarted' }]);
});

test('disconnect() ends all that is under way', async (t) => {
  const { client, states } = follow(t, {
    url: 'http://127.0.0.1:9',
    reconnectDelay: 20_000,
    maxReconnectDelay: 20_000,
  });
  const connecting = client.connect('secret');
  const outcome = assert.rejects(connecting, { code: 'disconnected' });
  await client.disconnect();
  await outcome;
  assert.deepEqual(states, ['connecting', 'disconnected']);
});

test('what is asked for leaves nothing behind on the connection', async (t) => {
  const { client } = follow(t, { url: server.url, after: 0 });
  await client.connect('secret');
  const before = client.socket?.listeners('disconnect').length;
  for (let asked = 2; asked <= 20; asked += 1) {
    server.tell('resync');
    await eventually(() => server.subscriptions.length === asked);
  }
  assert.equal(client.socket?.listeners('disconnect').length, before);
});

test('a connection that ends before the answer is no timeout', async (t) => {
  server.mute = true;
  const { client, errors } = follow(t, { url: server.url, after: 0 });
  const connecting = client.connect('secret');
  await eventually(() => server.subscriptions.length === 1);
  server.mute = false;
  server.cut();
  await connecting;
  assert.deepEqual(
    errors.map(({ code, message }) => [code, message]),
    [['unreachable', 'The connection ended before subscribe was answered.']],
  );
});
