import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteRefused } from '../../keys/auth-store.js';
import { LineKeeper } from '../../line/keeper.js';

function open() {
  /** @type {any[]} */
  const sent = [];
  let number = 0;
  const next = () => {
    number += 1;
    return number;
  };
  return { keeper: new LineKeeper('s', 4, (question) => sent.push(question), next), sent };
}

const ENTRIES = [{ kind: 'session', name: 'a', value: 1 }];

test('what is not answered is asked again, as it was, in the order of the first time', async () => {
  const { keeper, sent } = open();
  const reading = keeper.read('session', ['a']);
  const writing = keeper.write(ENTRIES);
  keeper.read('session', ['b']).catch(() => {});
  const first = sent.splice(0);
  assert.deepEqual(
    first.map(({ type, id, seq }) => [type, id ?? seq]),
    [
      ['keys.get', 1],
      ['keys.set', 2],
      ['keys.get', 3],
    ],
  );
  keeper.resend();
  assert.deepEqual(sent.splice(0), first);
  keeper.onValues({ type: 'keys.values', session: 's', id: 1, values: { a: 7 } });
  assert.deepEqual(await reading, { a: 7 });
  keeper.onAck({ type: 'keys.ack', session: 's', seq: 2, ok: true });
  await writing;
  keeper.resend();
  assert.deepEqual(sent, first.slice(2));
});

test('an answer of the other kind, or a second one, is no answer', async () => {
  const { keeper, sent } = open();
  const writing = keeper.write(ENTRIES);
  keeper.onValues({ type: 'keys.values', session: 's', id: 1, values: {} });
  keeper.resend();
  assert.equal(sent.length, 2);
  keeper.onAck({ type: 'keys.ack', session: 's', seq: 1, ok: false, error: 'stale_epoch' });
  keeper.onAck({ type: 'keys.ack', session: 's', seq: 1, ok: true });
  await assert.rejects(writing, WriteRefused);
});

test('who waits when the session is released is told so, and nothing is asked any more', async () => {
  const { keeper, sent } = open();
  const writing = keeper.write(ENTRIES);
  keeper.abandon();
  await assert.rejects(writing, /released/);
  await assert.rejects(keeper.read('session', ['a']), /released/);
  keeper.resend();
  assert.equal(sent.length, 1);
});
