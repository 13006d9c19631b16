/** @file Waits double up to a bound, and chance keeps clients apart. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../backoff.js';

test('one second, doubled with each failure, up to thirty', () => {
  const backoff = new Backoff(1_000, 30_000, () => 0.5);
  const waits = Array.from({ length: 7 }, () => backoff.next());
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  backoff.reset();
  assert.equal(backoff.next(), 1_000);
});

test('chance takes away or adds a fifth; what a server asks for is never cut short', () => {
  const least = new Backoff(1_000, 30_000, () => 0);
  const most = new Backoff(1_000, 30_000, () => 1);
  assert.deepEqual([least.next(), most.next()], [800, 1_200]);
  assert.deepEqual([least.later(5_000), most.later(5_000)], [5_000, 6_000]);
});
