import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Signal } from '../../async/signal.js';

const never = () => new Promise(() => {});

test('waiting ends when it is raised, or has been', async () => {
  const signal = new Signal();
  const waiting = signal.wait();
  signal.raise();
  await waiting;
  await signal.wait();
});

test('a promise that settles first gives its outcome', async () => {
  const signal = new Signal();
  assert.equal(await signal.until(Promise.resolve(7), 1000), 7);
  await assert.rejects(signal.until(Promise.reject(new Error('no')), 1000), /no/);
});

test('the signal ends the wait for a promise', async () => {
  const signal = new Signal();
  const waiting = signal.until(never(), 1000);
  signal.raise();
  assert.equal(await waiting, undefined);
  assert.equal(await signal.until(Promise.resolve(7), 1000), undefined);
});

test('time ends the wait for a promise', async () => {
  assert.equal(await new Signal().until(never(), 5), undefined);
});
