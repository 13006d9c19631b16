import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from '../../line/outbox.js';

/** @param {number} epoch */
function open(epoch = 1) {
  /** @type {any[]} */
  const sent = [];
  /** @type {string[]} */
  const bounds = [];
  const outbox = new Outbox('s', epoch, {
    write: (text) => sent.push(JSON.parse(text)),
    onFull: () => bounds.push('full'),
    onRoom: () => bounds.push('room'),
  });
  const add = (id = 'i') => outbox.add({ type: 'receipt', id, from: 'f', status: 'read' });
  const ack = (/** @type {number} */ seq, of = epoch) =>
    outbox.onAck({ type: 'events.ack', session: 's', epoch: of, seq });
  return { outbox, sent, bounds, add, ack };
}

test('events are numbered from 1 within their epoch', () => {
  const { sent, add } = open(7);
  add();
  add();
  assert.deepEqual(
    sent.map(({ type, session, epoch, seq }) => [type, session, epoch, seq]),
    [
      ['receipt', 's', 7, 1],
      ['receipt', 's', 7, 2],
    ],
  );
});

test('what is not acknowledged is sent again, as it was, in order', () => {
  const { outbox, sent, add, ack } = open();
  for (const id of ['a', 'b', 'c']) add(id);
  const first = sent.splice(0);
  ack(1);
  ack(1);
  ack(9, 2);
  outbox.resend();
  assert.deepEqual(sent.splice(0), first.slice(1));
  ack(3);
  outbox.resend();
  assert.deepEqual(sent, []);
});

test('it knows what the waiting events are made of', () => {
  const { outbox, ack } = open();
  const nobody = {
    participant: null,
    text: 't',
    timestamp_seconds: 7,
    kind: 'conversation',
    from_me: false,
  };
  for (const name of ['a', 'b'])
    outbox.add({ type: 'message', id: name, from: 'f', ...nobody, kept: [name, `${name}2`] });
  ack(1);
  assert.deepEqual(
    ['a', 'a2', 'b', 'b2'].map((name) => outbox.holds(name)),
    [false, false, true, true],
  );
});

test('it is full with more than 5,000 events, and has room with half of that', () => {
  const { outbox, bounds, add, ack } = open();
  for (let count = 0; count < 5_000; count += 1) add();
  assert.equal(outbox.full, false);
  add();
  add();
  assert.deepEqual([outbox.full, bounds], [true, ['full']]);
  ack(2_501);
  assert.equal(outbox.full, true);
  ack(2_502);
  assert.deepEqual([outbox.full, bounds], [false, ['full', 'room']]);
  outbox.resend();
});

test('it is full with more than 16 MiB', () => {
  const { bounds, add, ack } = open();
  const mebibytes = 'x'.repeat(4 * 1024 * 1024);
  for (let count = 0; count < 4; count += 1) add(mebibytes);
  assert.deepEqual(bounds, ['full']);
  ack(2);
  assert.deepEqual(bounds, ['full'], 'the frames are longer than the texts');
  ack(3);
  assert.deepEqual(bounds, ['full', 'room']);
});
