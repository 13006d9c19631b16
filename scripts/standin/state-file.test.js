/** What is written can be read again, also after a process that died in the middle of a line. */

import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { StateFile } from './state-file.js';

const folder = mkdtempSync(join(tmpdir(), 'standin-state-'));
after(() => rmSync(folder, { recursive: true }));

test('every change is on disk at once, and the last one counts', () => {
  const path = join(folder, 'state');
  const first = new StateFile(path);
  first.set('a', { n: 1 });
  first.set('a', { n: 2 });
  first.set('b', 'gone');
  first.set('b', undefined);
  // Not closed: this is what a kill -9 leaves.
  const second = new StateFile(path);
  assert.deepEqual(second.list(''), [['a', { n: 2 }]]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('half a line at the end is dropped, and the file is whole again', () => {
  const path = join(folder, 'torn');
  new StateFile(path).set('a', 1);
  appendFileSync(path, '{"key":"b","val');
  const state = new StateFile(path);
  state.set('c', 3);
  assert.deepEqual(new StateFile(path).list(''), [
    ['a', 1],
    ['c', 3],
  ]);
  assert.equal(readFileSync(path, 'utf8').trimEnd().split('\n').length, 2);
});
