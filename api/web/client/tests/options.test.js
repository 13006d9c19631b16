/** @file An option that makes no sense is refused with its name and what is taken. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONNECTION_STATES, ResilientWebSocketService } from '../resilient-websocket-service.js';

const url = 'http://127.0.0.1:4001';

/** @type {[options: any, words: RegExp][]} */
const REFUSED = [
  [{}, /url is undefined: it takes the address/],
  [{ url: 'ftp://x' }, /url is ftp:\/\/x/],
  [{ url, timeout: 0 }, /timeout is 0: it takes a whole number of at least 1/],
  [{ url, maxReconnectAttempts: 0 }, /maxReconnectAttempts is 0: it takes a whole number/],
  [{ url, pollWait: 60 }, /pollWait is 60: it takes a whole number from 1 to 55/],
  [{ url, after: -1 }, /after is -1/],
  [{ url, reconnectDelay: 10, maxReconnectDelay: 5 }, /maxReconnectDelay is 5: it may not be less/],
  [{ url, retries: 5 }, /There is no option retries: there is .*maxReconnectAttempts/],
];

test('what makes no sense is refused', () => {
  for (const [options, words] of REFUSED)
    assert.throws(() => new ResilientWebSocketService(options), words);
});

test('the states are a closed set, and each says what it means', () => {
  assert.deepEqual(Object.keys(CONNECTION_STATES), [
    'disconnected',
    'connecting',
    'connected',
    'reconnecting',
    'degraded',
    'error',
  ]);
  assert.ok(Object.isFrozen(CONNECTION_STATES));
  assert.equal(new ResilientWebSocketService({ url }).getConnectionState(), 'disconnected');
});
