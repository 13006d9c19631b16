import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  check,
  DOWN,
  decode,
  encode,
  LineSplitter,
  MAX_FRAME_BYTES,
  UP,
  WireError,
} from '../wire.js';

/** @type {{ up: any[], down: any[] }} */
const fixtures = JSON.parse(
  readFileSync(join(import.meta.dirname, '../frames.fixtures.json'), 'utf8'),
);

test('the fixtures hold every type of frame', () => {
  assert.deepEqual(new Set(fixtures.up.map(({ type }) => type)), new Set(Object.keys(UP)));
  assert.deepEqual(new Set(fixtures.down.map(({ type }) => type)), new Set(Object.keys(DOWN)));
});

test('every fixture is a frame', () => {
  for (const frame of fixtures.up) check(UP, frame);
  for (const frame of fixtures.down) assert.deepEqual(decode(JSON.stringify(frame)), frame);
});

test('a frame is one line, whatever is in its texts', () => {
  const line = encode({ ...fixtures.up[0], worker: 'two\nlines\u2028' });
  assert.equal(line.indexOf('\n'), line.length - 1);
});

test('half a surrogate pair goes up as U+FFFD, wherever it is; whole pairs stay', () => {
  const halves = {
    'a\ud83d': ['\ude00', { deep: 'x\udbffy' }],
    whole: '😀',
    escape: '\\ud83d',
    none: null,
  };
  const entries = [{ kind: 'session', name: '\udfff', value: halves }];
  const line = encode({ type: 'keys.set', session: 's', epoch: 1, seq: 1, entries });
  assert.ok(line.isWellFormed());
  assert.deepEqual(JSON.parse(line).entries, [
    {
      kind: 'session',
      name: '\ufffd',
      value: {
        'a\ufffd': ['\ufffd', { deep: 'x\ufffdy' }],
        whole: '😀',
        escape: '\\ud83d',
        none: null,
      },
    },
  ]);
  const cut = fixtures.up.find(({ text }) => text?.endsWith('\ufffd'));
  assert.deepEqual(JSON.parse(encode({ ...cut, text: cut.text.replace('\ufffd', '\ud83d') })), cut);
});

test('a frame without one of its fields is refused', () => {
  for (const frame of fixtures.down) {
    for (const field of Object.keys(frame)) {
      const { [field]: _, ...rest } = frame;
      const mayBeAbsent = ['error', 'inbound', 'others'].includes(field);
      if (!mayBeAbsent)
        assert.throws(
          () => decode(JSON.stringify(rest)),
          WireError,
          `${frame.type} without ${field}`,
        );
    }
  }
});

for (const line of [
  '',
  'x',
  'null',
  '[]',
  '7',
  '{}',
  '{"type":"dance"}',
  '{"type":"toString"}',
  '{"type":"connect","session":"s","attempt":"1"}',
  '{"type":"assign","session":"s","epoch":1,"creds":null,"proxy":7}',
]) {
  test(`not a frame: ${line || 'nothing'}`, () => {
    assert.throws(() => decode(line), WireError);
  });
}

test('an error never quotes the line, which may hold keys', () => {
  assert.throws(
    () => decode('{"type":"assign","creds":"hunter2"'),
    (/** @type {Error} */ error) => {
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    },
  );
});

test('lines come out whole, however the bytes are cut', () => {
  const bytes = Buffer.from('{"a":"é"}\n{"b":2}\n');
  for (let size = 1; size <= bytes.length; size += 1) {
    const splitter = new LineSplitter();
    const lines = [];
    for (let at = 0; at < bytes.length; at += size)
      lines.push(...splitter.push(bytes.subarray(at, at + size)));
    assert.deepEqual(lines, ['{"a":"é"}', '{"b":2}']);
  }
});

test('a line that does not end is refused before it fills the memory', () => {
  const splitter = new LineSplitter();
  const half = Buffer.alloc(MAX_FRAME_BYTES / 2, 97);
  splitter.push(half);
  splitter.push(half);
  assert.throws(() => splitter.push(Buffer.from('a')), WireError);
});
