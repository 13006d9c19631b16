/** @file What is a sign of the account's own phone, and how often it is told. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../../silence-console.js';
import { PhoneWatch, signOfPhone } from '../../messages/phone.js';

const ACCOUNT = { id: '15550000001:3@s.whatsapp.net', lid: '987@lid' };
const T = '1700000000';

/** @type {[string, string, Record<string, string>, boolean][]} */
const STANZAS = [
  [
    'a message of our phone',
    'message',
    { from: '15550000001@s.whatsapp.net', recipient: '1@s.whatsapp.net' },
    true,
  ],
  ['the same by its LID', 'message', { from: '987@lid' }, true],
  [
    'data for its devices',
    'message',
    { from: '15550000001@s.whatsapp.net', category: 'peer' },
    true,
  ],
  ['our phone in a group', 'message', { from: '1-2@g.us', participant: '987:0@lid' }, true],
  [
    'a receipt of our phone',
    'receipt',
    { from: '15550000001@s.whatsapp.net', type: 'read-self' },
    true,
  ],
  ['another device of ours', 'message', { from: '15550000001:7@s.whatsapp.net' }, false],
  ['our own device', 'receipt', { from: '15550000001:3@s.whatsapp.net' }, false],
  ['somebody else', 'message', { from: '15550000002@s.whatsapp.net' }, false],
  [
    'somebody else in a group',
    'message',
    { from: '1-2@g.us', participant: '15550000002@s.whatsapp.net' },
    false,
  ],
  ['our number, as a LID', 'message', { from: '15550000001@lid' }, false],
  [
    'the server about us',
    'notification',
    { from: '15550000001@s.whatsapp.net', type: 'account_sync' },
    false,
  ],
  ['nobody', 'message', {}, false],
];

for (const [name, tag, attrs, isSign] of STANZAS) {
  test(`${name}: ${isSign ? 'a sign' : 'no sign'}`, () => {
    assert.equal(
      signOfPhone({ tag, attrs: { ...attrs, t: T } }, ACCOUNT),
      isSign ? Number(T) : null,
    );
  });
}

test('without a time it is of now', () => {
  const seen = signOfPhone({ tag: 'message', attrs: { from: '987@lid' } }, ACCOUNT);
  assert.ok(Math.abs(Number(seen) - Date.now() / 1000) < 5);
});

test('it is told at once, then once in ten minutes, and again when it could not be told', () => {
  /** @type {number[]} */
  const told = [];
  let [ms, isHeard] = [0, true];
  const watch = new PhoneWatch(
    (at) => isHeard && told.push(at) > 0,
    () => ms,
  );
  const sign = { tag: 'message', attrs: { from: '987@lid', t: T } };
  watch.see(sign, undefined);
  watch.see({ tag: 'message', attrs: { from: '1@lid' } }, ACCOUNT);
  assert.equal(told.length, 0);
  for (const [after, expected] of [
    [0, 1],
    [599_999, 1],
    [600_000, 2],
  ]) {
    ms = after;
    watch.see(sign, ACCOUNT);
    assert.equal(told.length, expected);
  }
  [ms, isHeard] = [1_300_000, false];
  watch.see(sign, ACCOUNT);
  isHeard = true;
  watch.see(sign, ACCOUNT);
  assert.equal(told.length, 3);
});
