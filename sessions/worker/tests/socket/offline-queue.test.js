/** @file When the offline queue counts as stalled, on a clock of the test's own. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../../silence-console.js';
import { OfflineQueue, STALL_MS } from '../../socket/offline-queue.js';

function start() {
  const clock = { ms: 0 };
  const queue = new OfflineQueue(() => clock.ms);
  return {
    queue,
    /** @param {string} tag @param {Record<string, string>} [attrs] */
    hear: (tag, attrs = {}) => queue.see({ tag: 'ib', attrs: {}, content: [{ tag, attrs }] }),
    /** @param {number} ms */
    pass: (ms) => {
      clock.ms += ms;
    },
  };
}

test('a queue that was announced and does not come is stalled', () => {
  const { queue, hear, pass } = start();
  hear('offline_preview', { count: '3' });
  pass(STALL_MS - 1);
  assert.equal(queue.stalled, false);
  pass(1);
  assert.equal(queue.stalled, true);
});

test('without an announcement, or with nothing in it, silence is silence', () => {
  const { queue, hear, pass } = start();
  pass(10 * STALL_MS);
  assert.equal(queue.stalled, false);
  hear('offline_preview', { count: '0' });
  pass(10 * STALL_MS);
  assert.equal(queue.stalled, false);
});

test('each stanza of it counts, of whatever kind, and live ones do not', () => {
  const { queue, hear, pass } = start();
  hear('offline_preview', { count: '4' });
  for (const tag of ['message', 'receipt', 'notification', 'call']) {
    pass(STALL_MS - 1);
    queue.see({ tag, attrs: { offline: '0' } });
  }
  pass(STALL_MS - 1);
  queue.see({ tag: 'message', attrs: {} });
  queue.see({ tag: 'iq', attrs: { offline: '0' } });
  queue.see({ tag: 'ib', attrs: {} });
  assert.equal(queue.stalled, false);
  pass(1);
  assert.equal(queue.stalled, true);
  queue.moved();
  assert.equal(queue.stalled, false);
});

test('its end ends it', () => {
  const { queue, hear, pass } = start();
  hear('offline_preview', { count: '4' });
  hear('offline', { count: '4' });
  pass(10 * STALL_MS);
  assert.equal(queue.stalled, false);
});
