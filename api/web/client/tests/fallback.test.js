/** @file While the socket does not work, the same events come by polling, each once. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { FeedServer } from './feed-server.js';
import { eventually, follow, upTo } from './tools.js';

const FULL = {
  code: 'insufficient_resources',
  reason: 'insufficient resources',
  message: 'There are insufficient resources: 500 clients of 500.',
  hint: 'Try again when retryAfterSeconds have passed.',
  retryAfterSeconds: 0.2,
};

/** @type {FeedServer} */
let server;
beforeEach(async () => {
  server = await new FeedServer().listen();
});
afterEach(() => server.close());

test('where there is no room, it polls at once, and goes back when there is', async (t) => {
  server.refusals = [FULL];
  server.happen(2);
  const { client, read, states, errors } = follow(t, { url: server.url, after: 0 });
  await client.connect('secret');
  assert.equal(client.getConnectionState(), 'degraded');
  server.happen(2);
  await eventually(() => read.length === 4);
  assert.equal(errors[0].retryAfterSeconds, 0.2);
  await eventually(() => client.getConnectionState() === 'connected');
  const polls = server.polls;
  server.happen();
  await eventually(() => read.length === 5);
  assert.deepEqual(read, upTo(5));
  assert.deepEqual(states, ['connecting', 'degraded', 'connected']);
  assert.equal(server.polls, polls);
});

test('when all tries at the socket have failed, it polls', async (t) => {
  server.refusals = Array(1000).fill({ code: 'internal_error', message: 'no', reason: 'no' });
  const { client, read, errors } = follow(t, { url: server.url });
  server.happen(2);
  await client.connect('secret');
  assert.equal(client.getConnectionState(), 'degraded');
  assert.equal(errors.length, 6);
  server.happen();
  await eventually(() => read.length === 1);
  assert.deepEqual(read, [3]); // what happens from now on
});

test('without polling, or where it does not work either, it gives up', async (t) => {
  for (const { polling, pollStatus } of [
    { polling: false, pollStatus: 200 },
    { polling: true, pollStatus: 500 },
  ]) {
    server.refusals = Array(10).fill({ ...FULL, retryAfterSeconds: 0 });
    server.pollStatus = pollStatus;
    const { client } = follow(t, { url: server.url, after: 0, polling });
    await assert.rejects(client.connect('secret'), { code: 'insufficient_resources' });
    assert.equal(client.getConnectionState(), 'error');
  }
});

test('polling tells what it cannot give any more, and begins anew with a log that did', async (t) => {
  server.refusals = Array(1000).fill(FULL);
  server.happen(9);
  server.oldest = 5;
  /** @type {unknown[]} */
  const gaps = [];
  const { client, read } = follow(t, { url: server.url, after: 2 });
  client.on('gap', (gap) => gaps.push(gap));
  await client.connect('secret');
  await eventually(() => read.length === 5);
  server.log.length = 0;
  server.oldest = 1;
  server.happen(2);
  await eventually(() => read.length === 7);
  assert.deepEqual(read, [5, 6, 7, 8, 9, 1, 2]);
  assert.deepEqual(gaps, [
    { first: 3, last: 4, reason: 'dropped' },
    { first: null, last: null, reason: 'log_restarted' },
  ]);
});

test('a poll that fails now and then ends nothing; the token is fetched anew when it is refused', async (t) => {
  server.refusals = Array(1000).fill({ ...FULL, retryAfterSeconds: 30 });
  let fetched = 0;
  const { client, read } = follow(t, { url: server.url, after: 0 });
  await client.connect(() => `token-${++fetched}`);
  server.pollStatus = 401;
  await eventually(() => fetched > 2);
  server.pollStatus = 503;
  const polls = server.polls;
  await eventually(() => server.polls > polls);
  server.pollStatus = 200;
  server.happen();
  await eventually(() => read.length === 1);
  assert.equal(client.getConnectionState(), 'degraded');
});

test('why polling has ended is in the log, once', async (t) => {
  server.refusals = Array(1000).fill({ ...FULL, retryAfterSeconds: 0 });
  /** @type {string[]} */
  const lines = [];
  const logger = { warn: (/** @type {string} */ line) => lines.push(line) };
  const { client } = follow(t, { url: server.url, after: 0, logger });
  await client.connect('secret');
  server.pollStatus = 500;
  await eventually(() => client.getConnectionState() === 'error');
  const told = lines.filter((line) => line.startsWith('wasup: polling has ended'));
  assert.deepEqual(told, ['wasup: polling has ended (unreachable): Not now.']);
});
