/**
 * @file The order of messages with the real Baileys: those of people whom it has never heard of,
 *   and those behind what was kept.
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import {
  admin,
  disconnected,
  eventually,
  pair,
  startStandin,
  startWorker,
  stopStandin,
} from '../tools/testing.js';

before(startStandin);
after(stopStandin);

/**
 * The texts that were shown, by sender.
 *
 * @param {import('../tools/fake-supervisor.js').FakeSupervisor} supervisor
 */
function textsBySender({ frames }) {
  /** @type {Record<string, string[]>} */
  const texts = {};
  for (const { type, from, text } of frames)
    if (type === 'message') texts[from] = [...(texts[from] ?? []), text];
  return texts;
}

test('bursts of six people whom it has never heard of come in order', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'strangers';
  await pair(supervisor, session);
  const senders = [1, 2, 3, 4, 5, 6].map((n) => `551199999010${n}`);
  const texts = ['1', '2', '3', '4', '5', '6'];
  // Each burst is one after the other; the stand-in sends what it is told, in the order of the
  // calls.
  await Promise.all(
    senders.map(async (from) => {
      for (const text of texts) await admin('/send-text', { session, from, text });
    }),
  );
  await eventually(
    'all have come',
    () => Object.values(textsBySender(supervisor)).flat().length === 36,
  );
  const expected = senders.map((from) => [`${from}@s.whatsapp.net`, texts]);
  assert.deepEqual(textsBySender(supervisor), Object.fromEntries(expected));
});

test('what is live does not overtake what the server has kept of its chat', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'returned';
  await pair(supervisor, session);
  const from = '5511999990201';
  const texts = Array.from({ length: 40 }, (_, n) => String(n));
  supervisor.send({ type: 'close', session });
  await supervisor.next('closed', ({ attempt }) => attempt === 2);
  await disconnected(session);
  for (const text of texts.slice(0, 30)) await admin('/send-text', { session, from, text });
  supervisor.send({ type: 'connect', session, attempt: 3 });
  await supervisor.next('opened', ({ attempt }) => attempt === 3);
  for (const text of texts.slice(30)) await admin('/send-text', { session, from, text });
  await eventually(
    'all have come',
    () => Object.values(textsBySender(supervisor)).flat().length === texts.length,
  );
  assert.deepEqual(textsBySender(supervisor), { [`${from}@s.whatsapp.net`]: texts });
});

test('nor does it while the store stands still for longer than any patience', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'stood-still';
  await pair(supervisor, session);
  const from = '5511999990202';
  const texts = Array.from({ length: 12 }, (_, n) => String(n));
  await admin('/send-text', { session, from, text: texts[0] });
  await supervisor.next('message');
  supervisor.send({ type: 'close', session });
  await supervisor.next('closed', ({ attempt }) => attempt === 2);
  await disconnected(session);
  for (const text of texts.slice(1, 8)) await admin('/send-text', { session, from, text });
  supervisor.heldWrites = [];
  supervisor.send({ type: 'connect', session, attempt: 3 });
  await eventually('a write is held', () => (supervisor.heldWrites ?? []).length > 0);
  for (const text of texts.slice(8)) await admin('/send-text', { session, from, text });
  await pause(12_000); // longer than a queue that moves on its own is waited for
  assert.deepEqual(textsBySender(supervisor), { [`${from}@s.whatsapp.net`]: texts.slice(0, 1) });
  supervisor.letWritesGo();
  await eventually(
    'all have come',
    () => Object.values(textsBySender(supervisor)).flat().length === texts.length,
  );
  assert.deepEqual(textsBySender(supervisor), { [`${from}@s.whatsapp.net`]: texts });
});
