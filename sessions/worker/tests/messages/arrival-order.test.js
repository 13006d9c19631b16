import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { makeMutex } from '@whiskeysockets/baileys/lib/Utils/make-mutex.js';
import { ArrivalOrder } from '../../messages/arrival-order.js';

const ANA = '5511999990001@s.whatsapp.net';
const ANA_LID = '111@lid';
const BIA = '5511999990002@s.whatsapp.net';

/**
 * Works on messages as Baileys does: a look-up, which a test ends, and then one after the other.
 */
class Worker {
  ws = new EventEmitter();
  messageMutex = makeMutex();
  isHeldUp = false;
  order = new ArrivalOrder(() => this.isHeldUp);
  /** @type {string[]} */
  shown = [];
  /** @type {Map<string, () => void>} */
  lookUps = new Map();
  /** @type {any[]} */
  #queue = [];

  constructor() {
    this.ws.on('CB:message', async (node) =>
      node.attrs.offline ? this.#enqueue(node) : this.#handle(node),
    );
    this.order.attend(/** @type {any} */ (this));
  }

  /**
   * @param {string} id
   * @param {Record<string, string>} attrs
   */
  receive(id, attrs) {
    this.ws.emit('CB:message', { tag: 'message', attrs: { id, ...attrs } });
  }

  /** @param {string} id */
  async lookedUp(id) {
    this.lookUps.get(id)?.();
    this.lookUps.delete(id);
    for (let turn = 0; turn < 5; turn += 1) await nextTurn();
  }

  /** @param {any} node */
  async #enqueue(node) {
    this.#queue.push(node);
    if (this.#queue.length > 1) return;
    while (this.#queue.length > 0) {
      await this.#handle(this.#queue[0]);
      this.#queue.shift();
    }
  }

  /** @param {any} node */
  async #handle({ attrs: { id, drop, duplicate } }) {
    await new Promise((resolve) => this.lookUps.set(id, () => resolve(undefined)));
    if (drop) return;
    await this.messageMutex.mutex(async () => {
      if (duplicate) return;
      this.order.shown(id);
      this.shown.push(id);
    });
  }
}

/**
 * One after the other, as they do when nothing is frozen.
 *
 * @param {import('node:test').TestContext} t
 * @param {number} seconds
 */
async function pass(t, seconds) {
  for (let second = 0; second < seconds; second += 1) {
    t.mock.timers.tick(1_000);
    for (let turn = 0; turn < 5; turn += 1) await nextTurn();
  }
}

test('who is looked up faster does not overtake in his chat, and waits for no other chat', async () => {
  const worker = new Worker();
  worker.receive('a1', { from: ANA });
  worker.receive('a2', { from: ANA });
  worker.receive('b1', { from: BIA });
  worker.receive('a3', { from: ANA });
  for (const id of ['a3', 'b1', 'a2']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, ['b1']);
  await worker.lookedUp('a1');
  assert.deepEqual(worker.shown, ['b1', 'a1', 'a2', 'a3']);
});

test('a person is one chat by number, by LID and from any device', async () => {
  const worker = new Worker();
  worker.receive('1', { from: ANA, sender_lid: ANA_LID });
  worker.receive('2', { from: ANA_LID });
  worker.receive('3', { from: '111:7@lid', sender_pn: ANA });
  for (const id of ['3', '2', '1']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, ['1', '2', '3']);
});

test('what we wrote from another device is in the order of its chat, and a group is one chat', async () => {
  const worker = new Worker();
  worker.receive('in', { from: ANA });
  worker.receive('out', { from: '5511999990009:3@s.whatsapp.net', recipient: ANA });
  worker.receive('g1', { from: '1@g.us', participant: ANA, sender_lid: ANA_LID });
  worker.receive('g2', { from: '1@g.us', participant: BIA });
  for (const id of ['out', 'g2', 'g1', 'in']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, ['g1', 'g2', 'in', 'out']);
});

test('a message that leads to nothing lets nobody past those before it', async () => {
  const worker = new Worker();
  worker.receive('1', { from: ANA });
  worker.receive('2', { from: ANA, drop: 'yes' });
  worker.receive('3', { from: ANA });
  for (const id of ['3', '2', '1']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, ['1', '3']);
});

test('what is live does not overtake what the server has kept', async () => {
  const worker = new Worker();
  for (const id of ['k1', 'k2', 'k3']) worker.receive(id, { from: ANA, offline: '0' });
  worker.receive('live', { from: ANA });
  worker.receive('other', { from: BIA });
  for (const id of ['live', 'other', 'k1', 'k2']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, ['other', 'k1', 'k2']);
  await worker.lookedUp('k3');
  assert.deepEqual(worker.shown, ['other', 'k1', 'k2', 'k3', 'live']);
});

test('duplicates in the queue hold nobody up when they are worked off', async () => {
  const worker = new Worker();
  for (const id of ['k1', 'k2', 'k3'])
    worker.receive(id, { from: ANA, offline: '0', duplicate: 'yes' });
  worker.receive('live', { from: ANA });
  for (const id of ['live', 'k1', 'k2']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, []);
  await worker.lookedUp('k3');
  assert.deepEqual(worker.shown, ['live']);
});

test('the last one in the queue, if it leads to nothing, holds nobody up for long', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const worker = new Worker();
  worker.receive('k1', { from: ANA, offline: '0', drop: 'yes' });
  worker.receive('live', { from: ANA });
  await worker.lookedUp('k1');
  await worker.lookedUp('live');
  assert.deepEqual(worker.shown, []);
  await pass(t, 10);
  assert.deepEqual(worker.shown, ['live']);
});

test('a message that is stuck costs the order of its chat once, and no message', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const worker = new Worker();
  worker.receive('stuck', { from: ANA });
  worker.receive('next', { from: ANA });
  await worker.lookedUp('next');
  assert.deepEqual(worker.shown, []);
  await pass(t, 30);
  worker.receive('later', { from: ANA });
  await worker.lookedUp('later');
  assert.deepEqual(worker.shown, ['next', 'later']);
});

test('while we are held up, what is live does not overtake what the server has kept, for however long', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const worker = new Worker();
  worker.isHeldUp = true;
  for (const id of ['k1', 'k2']) worker.receive(id, { from: ANA, offline: '0' });
  worker.receive('live', { from: ANA });
  await worker.lookedUp('live');
  await pass(t, 120);
  worker.isHeldUp = false;
  for (const id of ['k1', 'k2']) await worker.lookedUp(id);
  assert.deepEqual(worker.shown, ['k1', 'k2', 'live']);
});

test('while we are held up, nobody overtakes one that is looked up, for however long', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const worker = new Worker();
  worker.isHeldUp = true;
  worker.receive('1', { from: ANA });
  worker.receive('2', { from: ANA });
  await worker.lookedUp('2');
  await pass(t, 120);
  worker.isHeldUp = false;
  await worker.lookedUp('1');
  assert.deepEqual(worker.shown, ['1', '2']);
});
