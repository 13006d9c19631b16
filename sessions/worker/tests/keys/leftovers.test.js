/**
 * @file Entries made by hand. With real keys, and the crash of a whole worker: plaintexts.test.js,
 *   plaintexts.e2e.test.js.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proto } from '@whiskeysockets/baileys';
import { envelopes, findLeftovers, plaintextOf } from '../../keys/leftovers.js';
import { createLog } from '../../log.js';

const ME = { id: '15550000001:2@s.whatsapp.net', lid: '900000000000001:2@lid' };
const FRIEND = '15550000009@s.whatsapp.net';
const FRIEND_LID = '900000000000009@lid';
const GROUP = '120363000000000000@g.us';
const T = 1_700_000_000;
const DAY_MS = 24 * 60 * 60 * 1000;
const log = createLog('silent', 'w');

/** @typedef {import('@whiskeysockets/baileys').proto.IMessage} Content */

let stanzas = 0;

/**
 * What a worker keeps of a message; one entry for each content.
 *
 * @param {Record<string, string>} attrs
 * @param {Content[]} contents
 * @returns {Record<string, any>}
 */
function kept(attrs, ...contents) {
  stanzas += 1;
  const stanza = { id: `M${stanzas}`, from: FRIEND, t: String(T), type: 'text', ...attrs };
  const ciphertexts = contents.map((_, part) => Buffer.from(`${stanzas} ${part}`));
  const entries = envelopes(stanza, ciphertexts, stanzas).map((envelope, part) => {
    const padded = Buffer.concat([
      proto.Message.encode(contents[part]).finish(),
      Buffer.from([2, 2]),
    ]);
    return [`${stanza.id} ${part}`, { plaintext: padded.toString('base64'), ...envelope }];
  });
  return JSON.parse(JSON.stringify(Object.fromEntries(entries)));
}

/**
 * @param {Record<string, unknown>} entries
 * @param {number} [nowMs]
 */
function find(entries, nowMs = T * 1000) {
  return findLeftovers(entries, ME, log, nowMs);
}

/**
 * @param {Record<string, string>} attrs
 * @param {Content} [content]
 */
async function shown(attrs, content = { conversation: 'hi' }) {
  const { shown } = await find(kept({ id: 'M', ...attrs }, content));
  return shown[0]?.message;
}

test('it comes out as it would have from the network', async () => {
  const plain = {
    id: 'M',
    from: FRIEND,
    participant: null,
    text: 'hi',
    timestamp_seconds: T,
    kind: 'conversation',
    from_me: false,
  };
  assert.deepEqual(await shown({}), plain);
  assert.deepEqual(
    await shown({ from: '15550000009:7@s.whatsapp.net' }),
    plain,
    'of one of his devices',
  );
  assert.deepEqual(
    await shown({ from: FRIEND_LID, sender_pn: FRIEND, addressing_mode: 'lid' }),
    plain,
  );
  assert.deepEqual(await shown({ from: FRIEND_LID }), { ...plain, from: FRIEND_LID });
  const inGroup = { ...plain, from: GROUP, participant: FRIEND };
  assert.deepEqual(await shown({ from: GROUP, participant: FRIEND }), inGroup);
  const lid = {
    from: GROUP,
    participant: FRIEND_LID,
    participant_pn: FRIEND,
    addressing_mode: 'lid',
  };
  assert.deepEqual(await shown(lid), inGroup);
  const own = { from: '15550000001@s.whatsapp.net', recipient: FRIEND };
  const sentByPhone = {
    deviceSentMessage: { destinationJid: FRIEND, message: { conversation: 'hi' } },
  };
  assert.deepEqual(await shown(own, sentByPhone), { ...plain, from_me: true });
  const image = { imageMessage: { caption: 'look' } };
  assert.deepEqual(await shown({}, image), { ...plain, text: 'look', kind: 'imageMessage' });
});

test('the parts of one message are one event, which names them all', async () => {
  const keys = { senderKeyDistributionMessage: { groupId: GROUP } };
  const parts = kept({ id: 'G', from: GROUP, participant: FRIEND }, keys, { conversation: 'all' });
  const swapped = Object.fromEntries(Object.entries(parts).toReversed());
  for (const entries of [parts, swapped]) {
    const { shown } = await find(entries);
    assert.deepEqual(
      shown.map(({ message, kept: names }) => [message.text, message.kind, names.toSorted()]),
      [['all', 'conversation', ['G 0', 'G 1']]],
    );
  }
});

test('the order is that of their arrival', async () => {
  stanzas = 97; // 98, 99, 100, ...: no order of letters
  const late = kept({ t: String(T + 1) }, { conversation: 'late' });
  const texts = ['one', 'two', 'three', 'four'].map((text) => kept({}, { conversation: text }));
  const { shown } = await find(Object.assign({}, late, ...texts.toReversed()));
  assert.deepEqual(
    shown.map(({ message }) => message.text),
    ['one', 'two', 'three', 'four', 'late'],
  );
});

test('what shows nothing is left for a copy, and needless after a day', async () => {
  const housekeeping = kept({ id: 'P' }, { protocolMessage: { type: 0 } });
  const { 'C 0': cut } = kept(
    { id: 'C' },
    { senderKeyDistributionMessage: {} },
    { conversation: 'not decrypted' },
  );
  const entries = { ...housekeeping, 'C 0': cut };
  const nothing = { shown: [], needless: [], mute: [] };
  assert.deepEqual(await find(entries), nothing);
  assert.deepEqual(await find(entries, T * 1000 + DAY_MS - 1), nothing);
  const later = await find(entries, T * 1000 + DAY_MS);
  assert.deepEqual(later, { ...nothing, needless: ['P 0', 'C 0'] });
  const { needless } = await find(kept({ id: 'X', t: 'never' }, { protocolMessage: {} }));
  assert.deepEqual(needless, ['X 0'], 'what has no time is of no time');
});

test('what is not as it should be harms nobody else', async () => {
  const { 'N 0': noProtobuf } = kept({ id: 'N' }, { conversation: 'x' });
  noProtobuf.plaintext = Buffer.from([0xff, 0xff, 1]).toString('base64');
  const { 'R 0': foreign } = kept(
    { id: 'R', recipient: '15550000008@s.whatsapp.net' },
    { conversation: 'not from me' },
  );
  const {
    'F 0': { stanza: _, ...noEnvelope },
  } = kept({ id: 'F' }, { conversation: 'x' });
  const mute = {
    old: 'CgVoZWxsbwE=',
    noEnvelope,
    null: null,
    number: 7,
    list: [],
    noNumbers: { ...foreign, n: 'x' },
  };
  const good = kept({ id: 'good' }, { conversation: 'good' });
  const findings = await find({ ...mute, 'N 0': noProtobuf, 'R 0': foreign, ...good });
  assert.deepEqual(
    findings.shown.map(({ message }) => message.text),
    ['good'],
  );
  assert.deepEqual(findings.mute, Object.keys(mute));
  assert.deepEqual(findings.needless, []);
});

test('the plaintext is read from either form', () => {
  const { 'B 0': entry } = kept({ id: 'B' }, { conversation: 'hello' });
  assert.deepEqual(plaintextOf(entry), Buffer.from(entry.plaintext, 'base64'));
  assert.deepEqual(
    plaintextOf(entry.plaintext),
    Buffer.from(entry.plaintext, 'base64'),
    'an earlier version wrote it',
  );
  for (const broken of [undefined, null, 7, {}, { plaintext: 7 }])
    assert.equal(plaintextOf(broken), undefined);
});
