import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isUsedUp } from '../../keys/used-keys.js';

const CHAIN = Buffer.alloc(33, 5);

/** @param {...number} counter as a varint */
function message(...counter) {
  const fields = [
    Buffer.from([0x33, 0x0a, 33]),
    CHAIN,
    Buffer.from([0x10, ...counter, 0x18, 0, 0x22, 1, 7]),
  ];
  return Buffer.concat([...fields, Buffer.alloc(8)]);
}

/** Has come to message 300, and has not seen 7. */
const sessions = {
  _sessions: {
    older: { _chains: {} },
    newer: {
      _chains: {
        [CHAIN.toString('base64')]: { chainKey: { counter: 300 }, messageKeys: { 7: 'a key' } },
      },
    },
  },
};

for (const [what, counter, used] of /** @type {[string, number[], boolean][]} */ ([
  ['before the last one', [6], true],
  ['that was overtaken by others', [7], false],
  ['the last one', [0xac, 0x02], true],
  ['to come', [0xad, 0x02], false],
])) {
  test(`a message ${what} ${used ? 'was decrypted before' : 'was not decrypted before'}`, () => {
    assert.equal(isUsedUp(sessions, message(...counter)), used);
  });
}

test('of an unknown chain, of nobody, and of what is no message nothing is known', () => {
  assert.equal(isUsedUp({ _sessions: { other: { _chains: {} } } }, message(1)), false);
  assert.equal(isUsedUp(undefined, message(1)), false);
  for (const ciphertext of [
    Buffer.alloc(0),
    Buffer.alloc(5),
    Buffer.alloc(60, 0x33),
    message(1).subarray(0, 40),
  ]) {
    assert.equal(isUsedUp(sessions, ciphertext), false);
  }
});
