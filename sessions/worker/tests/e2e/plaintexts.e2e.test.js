/**
 * @file The real worker process, killed between the moment when a message's keys are used up and
 *   the one when its event is durable.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import {
  admin,
  ask,
  disconnected,
  eventually,
  pair,
  startStandin,
  startWorker,
  stopStandin,
} from '../tools/testing.js';

/** @typedef {import('../tools/fake-supervisor.js').FakeSupervisor} FakeSupervisor */

const FROM = '5511999990000';

before(startStandin);
after(stopStandin);

/**
 * @param {string} session
 * @param {string} text
 */
function sendText(session, text) {
  return admin('/send-text', { session, from: FROM, text });
}

/** @param {FakeSupervisor} supervisor */
function textsOf(supervisor) {
  return supervisor.frames.filter(({ type }) => type === 'message').map(({ text }) => text);
}

/** @param {FakeSupervisor} supervisor */
function keptBy(supervisor) {
  return [...supervisor.store.keys()].filter((key) => key.split(' ')[1] === 'inbound');
}

/**
 * What a supervisor hands to the next worker of the session.
 *
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 */
function inboundOf({ store }, session) {
  const prefix = `${session} inbound `;
  const kept = [...store].filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(kept.map(([key, value]) => [key.slice(prefix.length), value]));
}

/**
 * Nothing is left of what was shown, nor of the account's own housekeeping. @param {FakeSupervisor}
 * supervisor
 */
async function untilNothingIsKept(supervisor) {
  await eventually('nothing is kept', () => keptBy(supervisor).length === 0);
}

/**
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 */
async function pairAndTalk(supervisor, session) {
  await pair(supervisor, session);
  await sendText(session, 'nice to meet you');
  await supervisor.next('message');
  supervisor.send({
    type: 'send',
    session,
    id: 1,
    to: FROM,
    text: 'so that the phone goes on with msg',
  });
  await supervisor.next('replied');
  await confirmed(session, 1);
}

/**
 * WhatsApp knows that they have arrived.
 *
 * @param {string} session
 * @param {number} count
 */
async function confirmed(session, count) {
  await eventually(
    `${count} receipts`,
    async () => (await ask(`/receipts?session=${session}`)).length >= count,
  );
}

/**
 * Nobody had to send anything anew.
 *
 * @param {string} session
 */
async function assertNothingWasAskedFor(session) {
  const receipts = await ask(`/receipts?session=${session}`);
  assert.ok(receipts.every((/** @type {any} */ { type }) => type !== 'retry'));
}

/**
 * Kills the worker as soon as a plaintext is durable, and before the worker learns of it.
 *
 * @param {FakeSupervisor} supervisor
 */
async function killOverPlaintext(supervisor) {
  supervisor.mayAcknowledge = ({ entries }) => {
    if (
      !entries.some(
        (/** @type {any} */ { kind, name }) => kind === 'inbound' && name.includes(FROM),
      )
    )
      return true;
    supervisor.process?.kill('SIGKILL');
    return false;
  };
  await once(/** @type {any} */ (supervisor.process), 'exit');
}

/**
 * @param {import('node:test').TestContext} t
 * @param {FakeSupervisor} supervisor whose worker has died
 * @param {string} session
 */
async function startNext(t, supervisor, session) {
  const next = await assignNext(t, supervisor, session, {});
  next.send({ type: 'connect', session, attempt: 1 });
  await next.next('opened');
  return next;
}

/**
 * @param {import('node:test').TestContext} t
 * @param {FakeSupervisor} supervisor whose worker has died
 * @param {string} session
 * @param {Record<string, unknown>} inbound
 */
async function assignNext(t, supervisor, session, inbound) {
  await disconnected(session);
  const next = await startWorker(t);
  next.store = supervisor.store;
  const creds = next.store.get(`${session} creds creds`);
  next.send({ type: 'assign', session, epoch: 2, creds, proxy: null, inbound });
  return next;
}

/**
 * Kills the worker when it has said to WhatsApp that a text has arrived, and the supervisor has not
 * acknowledged it.
 *
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 * @param {string[]} texts
 */
async function killBeforeAcknowledgement(supervisor, session, texts) {
  supervisor.acksEvents = false;
  for (const text of texts) {
    const { id } = await sendText(session, text);
    await supervisor.next('message', (frame) => frame.text === text);
    const receipts = async () => await ask(`/receipts?session=${session}`);
    await eventually('its receipt', async () =>
      (await receipts()).some((/** @type {any} */ of) => of.id === id),
    );
  }
  supervisor.process?.kill('SIGKILL');
  await once(/** @type {any} */ (supervisor.process), 'exit');
}

describe('a text', { concurrency: 3 }, () => {
  for (const [what, session, meet] of /** @type {const} */ ([
    ['the first of a stranger', 'stranger', pair],
    ['one of many', 'friend', pairAndTalk],
  ])) {
    test(`${what}, over which the worker died, is shown once`, async (t) => {
      const supervisor = await startWorker(t);
      await meet(supervisor, session);
      await untilNothingIsKept(supervisor);
      const before = textsOf(supervisor);
      const dying = killOverPlaintext(supervisor);
      await sendText(session, 'once');
      await dying;
      assert.deepEqual(textsOf(supervisor), before);
      assert.equal(keptBy(supervisor).length, 1);
      const next = await startNext(t, supervisor, session);
      // it may come before `opened`
      await eventually('the text', () => textsOf(next).includes('once'));
      await sendText(session, 'and on');
      await next.next('message', ({ text }) => text === 'and on');
      await untilNothingIsKept(next);
      assert.deepEqual(textsOf(next), ['once', 'and on']);
      await assertNothingWasAskedFor(session);
    });
  }

  test('of which WhatsApp knows that it has arrived, and its supervisor does not, is shown by the next worker', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'receipted';
    await pairAndTalk(supervisor, session);
    await untilNothingIsKept(supervisor);
    const texts = ['one', 'two', 'three'];
    await killBeforeAcknowledgement(supervisor, session, texts);
    const inbound = inboundOf(supervisor, session);
    assert.equal(Object.keys(inbound).length, 3);
    const shuffled = Object.fromEntries(Object.entries(inbound).toReversed());
    const next = await assignNext(t, supervisor, session, shuffled);
    const before = supervisor.frames.filter(({ type }) => type === 'message').slice(-3);
    await eventually('they are shown without a socket', () => textsOf(next).length === 3);
    const [first] = next.frames.filter(({ type }) => type === 'message');
    assert.deepEqual(
      { ...first, seq: 0, epoch: 0 },
      { ...before[0], seq: 0, epoch: 0 },
      'as they were before',
    );
    await untilNothingIsKept(next);
    next.send({ type: 'connect', session, attempt: 1 });
    await next.next('opened');
    await sendText(session, 'and on');
    await next.next('message', ({ text }) => text === 'and on');
    assert.deepEqual(textsOf(next), [...texts, 'and on']);
    const numbers = next.frames
      .filter(({ type }) => type === 'message')
      .map(({ epoch, seq }) => [epoch, seq]);
    assert.deepEqual(
      numbers,
      [1, 2, 3, 4].map((seq) => [2, seq]),
    );
    await assertNothingWasAskedFor(session);
  });

  for (const [when, session, acksEvents] of /** @type {const} */ ([
    ['while it waits for the supervisor', 'left-waiting', false],
    ['when it is durable', 'left-durable', true],
  ])) {
    test(`that was left is not shown again ${when}, though WhatsApp delivers it again`, async (t) => {
      const supervisor = await startWorker(t);
      await pairAndTalk(supervisor, session);
      await untilNothingIsKept(supervisor);
      const dying = killOverPlaintext(supervisor);
      const { id } = await sendText(session, 'once');
      await dying;
      const next = await assignNext(t, supervisor, session, inboundOf(supervisor, session));
      next.acksEvents = acksEvents;
      const leftover = await next.next('message');
      assert.deepEqual([leftover.id, leftover.text], [id, 'once']);
      if (acksEvents) await untilNothingIsKept(next);
      const receipts = await ask(`/receipts?session=${session}`);
      assert.ok(
        !receipts.some((/** @type {any} */ of) => of.id === id),
        'so that it comes again with the login',
      );
      next.send({ type: 'connect', session, attempt: 1 });
      await next.next('opened');
      await sendText(session, 'and on');
      const last = await next.next('message', ({ text }) => text === 'and on');
      next.acknowledge(last);
      await untilNothingIsKept(next);
      assert.deepEqual(textsOf(next), ['once', 'and on']);
      await assertNothingWasAskedFor(session);
    });
  }

  test('costs one write, which holds its keys and itself, and one event', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'frugal';
    await pairAndTalk(supervisor, session);
    const { length } = supervisor.writes;
    for (const text of ['one', 'two', 'three']) {
      await sendText(session, text);
      assert.equal((await supervisor.next('message')).text, text);
    }
    const kinds = supervisor.writes
      .slice(length)
      .map(({ entries }) => entries.map((/** @type {any} */ { kind }) => kind));
    assert.deepEqual(
      kinds.map((/** @type {string[]} */ of) => of.filter((kind) => kind !== 'tctoken').sort()),
      [
        ['inbound', 'session'],
        ['inbound', 'session'],
        ['inbound', 'session'],
      ],
    );
    await untilNothingIsKept(supervisor);
  });

  for (const [when, session, acksEvents] of /** @type {const} */ ([
    ['while it waits for the supervisor', 'waiting', false],
    ['when it is durable', 'durable', true],
  ])) {
    test(`is not shown again ${when}, though WhatsApp does not know that it has arrived`, async (t) => {
      const supervisor = await startWorker(t);
      await pairAndTalk(supervisor, session);
      supervisor.acksEvents = acksEvents;
      await admin('/faults', { fault: 'deaf', session });
      await sendText(session, 'once');
      const { text, kept } = await supervisor.next('message');
      assert.deepEqual([text, kept.length], ['once', 1]);
      await admin('/faults', { fault: 'drop', session });
      await supervisor.next('closed');
      supervisor.send({ type: 'connect', session, attempt: 3 });
      await supervisor.next('opened');
      await sendText(session, 'and on');
      const last = await supervisor.next('message', ({ text }) => text === 'and on');
      await assertNothingWasAskedFor(session);
      supervisor.acknowledge(last);
      await untilNothingIsKept(supervisor);
      assert.deepEqual(textsOf(supervisor), ['nice to meet you', 'once', 'and on']);
    });
  }
});
