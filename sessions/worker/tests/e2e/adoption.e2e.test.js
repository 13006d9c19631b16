/**
 * @file A worker outlives its supervisor: what it keeps, what it tells the next one, and when it
 *   gives up.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { FakeSupervisor } from '../tools/fake-supervisor.js';
import {
  admin,
  disconnected,
  entries,
  eventually,
  pair,
  startStandin,
  startWorker,
  stopStandin,
} from '../tools/testing.js';

const FROM = '5511999990000';

before(startStandin);
after(stopStandin);

/**
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 */
async function isOpen(supervisor, session) {
  supervisor.send({ type: 'probe', session, id: 99 });
  const { ok } = await supervisor.next('probed', ({ id }) => id === 99);
  return ok;
}

/**
 * @param {string} session
 * @param {string} text
 */
function sendText(session, text) {
  return admin('/send-text', { session, from: FROM, text });
}

/**
 * What comes of a first message is written, so that of later ones only their own is.
 *
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 */
async function pairAndMeet(supervisor, session) {
  await pair(supervisor, session);
  await sendText(session, 'nice to meet you');
  await supervisor.next('message');
  await eventually('the last writes', async () => {
    const before = supervisor.writes.length;
    // round trips through worker and server
    for (const _ of [1, 2, 3]) assert.ok(await isOpen(supervisor, session));
    return supervisor.writes.length === before;
  });
}

/** @param {FakeSupervisor} supervisor */
function textsOf(supervisor) {
  return supervisor.frames.filter(({ type }) => type === 'message').map(({ text }) => text);
}

/**
 * More than 16 MiB of messages.
 *
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 * @returns {Promise<number>} the last one's number
 */
async function flood(supervisor, session) {
  const text = 'x'.repeat(1_000_000);
  let last = 0;
  for (let bytes = 0; bytes <= 16 * 1024 * 1024; bytes += text.length) {
    await sendText(session, text);
    ({ seq: last } = await supervisor.next('message'));
  }
  return last;
}

/**
 * A paired session with an open socket, and a message that is on its way, with its keys held back
 * by the store.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} session
 */
async function startWithHeldWrite(t, session) {
  const supervisor = await startWorker(t);
  await pairAndMeet(supervisor, session);
  supervisor.heldWrites = [];
  supervisor.writes = [];
  await sendText(session, 'first');
  await eventually('a write is held', () => supervisor.writes.length > 0);
  return supervisor;
}

describe('a worker', { concurrency: 2 }, () => {
  describe('without its supervisor', { concurrency: 3 }, () => {
    test('keeps its socket, and says so to the next', async (t) => {
      const supervisor = await startWorker(t, {
        WASUP_WORKER_CODE: 'abc',
        WASUP_HEARTBEAT_INTERVAL_MS: '100',
      });
      const session = 'kept';
      const { jid } = await pair(supervisor, session);
      const logins = (await entries(session, 'login')).length;
      supervisor.goAway();
      await sendText(session, 'while nobody was there');
      await pause(300);
      await supervisor.comeBack();
      const hello = await supervisor.next('hello');
      assert.deepEqual([hello.worker, hello.token, hello.code], ['w1', 't', 'abc']);
      const [{ open_for_ms, ...held }] = hello.sessions;
      const nothing = { qr: null, qr_number: null, pairing_code: null, closed: null };
      assert.deepEqual(held, {
        session,
        epoch: 1,
        attempt: 2,
        stage: 'open',
        jid,
        name: 'Shop',
        ...nothing,
      });
      assert.ok(open_for_ms >= 300);
      assert.equal((await supervisor.next('message')).text, 'while nobody was there');
      assert.ok(await isOpen(supervisor, session));
      await supervisor.next('beat');
      assert.equal((await entries(session, 'login')).length, logins, 'no new login');
      for (const event of ['logout', 'removed', 'overlap'])
        assert.deepEqual(await entries(session, event), []);
    });

    test('writes again, with the same number, what was not acknowledged', async (t) => {
      const session = 'rewritten';
      const supervisor = await startWithHeldWrite(t, session);
      supervisor.hangUp();
      const hello = await supervisor.next('hello');
      assert.equal(hello.sessions[0].stage, 'open');
      await eventually('it is written again', () => supervisor.writes.length > 1);
      const [first, again] = supervisor.writes;
      assert.deepEqual(again, first);
      supervisor.heldWrites = [again];
      supervisor.letWritesGo();
      assert.equal((await supervisor.next('message')).text, 'first');
    });

    test('sends events until they are acknowledged, and not after', async (t) => {
      const supervisor = await startWorker(t);
      const session = 'events';
      await pairAndMeet(supervisor, session);
      supervisor.acksEvents = false;
      const events = async (/** @type {number} */ count) => {
        const seen = [];
        for (let index = 0; index < count; index += 1) seen.push(await supervisor.next('message'));
        return seen.map(({ epoch, seq, text }) => [epoch, seq, text]);
      };
      await sendText(session, 'one');
      await sendText(session, 'two');
      const both = [
        [1, 2, 'one'],
        [1, 3, 'two'],
      ];
      assert.deepEqual(await events(2), both);
      supervisor.hangUp();
      await supervisor.next('hello');
      assert.deepEqual(await events(2), both);
      supervisor.acknowledge({ session, epoch: 2, seq: 3 });
      supervisor.acknowledge({ session, epoch: 1, seq: 2 });
      assert.ok(await isOpen(supervisor, session), 'and has read the acknowledgements');
      supervisor.hangUp();
      await supervisor.next('hello');
      assert.deepEqual(await events(1), [[1, 3, 'two']]);
      supervisor.acknowledge({ session, epoch: 1, seq: 3 });
      assert.ok(await isOpen(supervisor, session));
      supervisor.hangUp();
      await supervisor.next('hello');
      await sendText(session, 'three');
      assert.deepEqual(await events(1), [[1, 4, 'three']]);
    });

    test('tells how an attempt ended meanwhile, and reports it no more', async (t) => {
      const supervisor = await startWorker(t);
      const session = 'ended';
      await pairAndMeet(supervisor, session);
      supervisor.goAway();
      await admin('/faults', { fault: 'replace', session });
      await disconnected(session);
      await eventually('the worker has seen its end', () =>
        supervisor.stdout.includes('"reason":"replaced"'),
      );
      const reports = supervisor.frames.filter(({ type }) => type === 'closed').length;
      await supervisor.comeBack();
      const [held] = (await supervisor.next('hello')).sessions;
      assert.deepEqual(
        [held.stage, held.attempt, held.jid, held.open_for_ms],
        ['idle', 2, null, null],
      );
      const { message, ...closed } = held.closed;
      const data = { tag: 'conflict', type: 'replaced' };
      assert.deepEqual(closed, { code: 440, data, registered: true, reason: 'replaced' });
      supervisor.send({ type: 'connect', session, attempt: 3 });
      await supervisor.next('opened');
      assert.equal(supervisor.frames.filter(({ type }) => type === 'closed').length, reports);
      supervisor.hangUp();
      const [again] = (await supervisor.next('hello')).sessions;
      assert.deepEqual([again.stage, again.attempt, again.closed], ['open', 3, null]);
    });

    test('shows its QR to the next', async (t) => {
      const supervisor = await startWorker(t);
      const session = 'shown';
      supervisor.send({ type: 'assign', session, epoch: 3, creds: null, proxy: null });
      supervisor.hangUp();
      const [idle] = (await supervisor.next('hello')).sessions;
      assert.deepEqual([idle.epoch, idle.attempt, idle.stage, idle.closed], [3, 0, 'idle', null]);
      supervisor.send({ type: 'connect', session, attempt: 1 });
      const { qr } = await supervisor.next('qr');
      supervisor.hangUp();
      const [held] = (await supervisor.next('hello')).sessions;
      assert.deepEqual([held.attempt, held.stage, held.qr], [1, 'qr', qr]);
      await admin('/scan', { qr });
      assert.equal((await supervisor.next('closed')).reason, 'restart_required');
    });

    test('gives no answer to what an earlier one asked', async (t) => {
      const supervisor = await startWorker(t, { WASUP_PROBE_TIMEOUT_MS: '3000' });
      const session = 'unasked';
      await pair(supervisor, session);
      await admin('/faults', { fault: 'deaf', session });
      supervisor.send({ type: 'probe', session, id: 7 });
      supervisor.send({ type: 'send', session, id: 8, to: FROM, text: 'anybody?' });
      const asked = async () =>
        (await entries(session, 'unheard')).some(({ query }) => query === 'w:p ping');
      await eventually('they are under way', asked);
      supervisor.hangUp();
      await supervisor.next('hello');
      // What the next one asks is answered, and by then the earlier probe has long run into its
      // time-out.
      supervisor.send({ type: 'probe', session, id: 9 });
      await supervisor.next('probed', ({ id }) => id === 9);
      assert.ok(
        !supervisor.frames.some(
          ({ type, id }) => type === 'replied' || (type === 'probed' && id === 7),
        ),
      );
    });

    test('does not begin what an earlier one has ordered', async (t) => {
      const session = 'overtaken';
      const supervisor = await startWithHeldWrite(t, session);
      supervisor.send({ type: 'close', session });
      // after the close, and that waits for the write
      supervisor.send({ type: 'connect', session, attempt: 3 });
      await disconnected(session);
      supervisor.hangUp();
      const [held] = (await supervisor.next('hello')).sessions;
      assert.deepEqual([held.attempt, held.stage], [2, 'open'], 'it is ending');
      supervisor.letWritesGo();
      const closed = await supervisor.next('closed');
      assert.deepEqual([closed.attempt, closed.reason], [2, 'requested']);
      supervisor.send({ type: 'connect', session, attempt: 4 });
      assert.equal((await supervisor.next('opened')).attempt, 4);
    });

    test('ends with status 5 when it is refused', async (t) => {
      const supervisor = await startWorker(t);
      await pair(supervisor, 'refused');
      supervisor.hangUp();
      await supervisor.next('hello');
      supervisor.send({ type: 'refuse', reason: 'somebody else has it' });
      assert.equal(await supervisor.exitCode(), 5);
      await disconnected('refused');
      assert.deepEqual(await entries('refused', 'removed'), []);
    });

    test('gives up when nobody comes, without a logout', async (t) => {
      const supervisor = await startWorker(t, { WASUP_ADOPTION_WINDOW_MS: '3000' });
      await pair(supervisor, 'orphan');
      supervisor.goAway();
      const goneAt = performance.now();
      assert.equal(await supervisor.exitCode(), 0);
      // Nearly the whole window; a worker that a busy machine has held up counts from when it last
      // heard of somebody.
      assert.ok(performance.now() - goneAt > 1000);
      await disconnected('orphan');
      assert.equal((await entries('orphan', 'logout')).length, 1, 'the end of a login');
      assert.deepEqual(await entries('orphan', 'removed'), [], 'the device stays linked');
    });

    test('does not live on a line that is taken and dropped again and again', async (t) => {
      const supervisor = await startWorker(t, { WASUP_ADOPTION_WINDOW_MS: '3000' });
      await pair(supervisor, 'flapping');
      supervisor.dropsLines = true;
      supervisor.hangUp();
      assert.equal(await supervisor.exitCode(), 0);
      assert.ok(supervisor.frames.filter(({ type }) => type === 'hello').length > 1);
    });

    test('that was frozen for longer than the window says nothing any more', async (t) => {
      const supervisor = await startWorker(t, { WASUP_ADOPTION_WINDOW_MS: '1000' });
      const session = 'frozen';
      await pair(supervisor, session);
      supervisor.process?.kill('SIGSTOP');
      supervisor.goAway();
      const { id } = await sendText(session, 'too late');
      await pause(1500);
      supervisor.process?.kill('SIGCONT');
      assert.equal(await supervisor.exitCode(), 0);
      await disconnected(session);
      const receipts = await entries(session, 'receipt');
      assert.ok(!receipts.some((entry) => entry.id === id), 'the server still has the message');
    });

    test('that was frozen and still has its supervisor goes on', async (t) => {
      const supervisor = await startWorker(t, { WASUP_ADOPTION_WINDOW_MS: '1000' });
      const session = 'thawed';
      await pair(supervisor, session);
      supervisor.process?.kill('SIGSTOP');
      const { id } = await sendText(session, 'just in time');
      await pause(1500);
      supervisor.process?.kill('SIGCONT');
      assert.equal((await supervisor.next('message')).text, 'just in time');
      await eventually('the server has its receipt', async () =>
        (await entries(session, 'receipt')).some((entry) => entry.id === id),
      );
      assert.ok(await isOpen(supervisor, session));
    });

    test('ends at once when it has no session', async (t) => {
      const supervisor = await startWorker(t);
      supervisor.hangUp();
      assert.equal(await supervisor.exitCode(), 0);
    });

    test('that never had one is at fault', async (t) => {
      const supervisor = new FakeSupervisor();
      t.after(() => supervisor.stop());
      await supervisor.launch({ WASUP_SOCKET: 'elsewhere.sock' });
      assert.equal(await supervisor.exitCode(), 1);
    });
  });

  describe('whose supervisor does not acknowledge', { concurrency: 4 }, () => {
    test('leaves messages with the server when it has too many, and then goes on', async (t) => {
      const supervisor = await startWorker(t);
      const session = 'flooded';
      await pairAndMeet(supervisor, session);
      supervisor.acksEvents = false;
      const last = await flood(supervisor, session);
      const { id } = await sendText(session, 'left with the server');
      const isConfirmed = async () =>
        (await entries(session, 'receipt')).some((entry) => entry.id === id);
      await pause(300); // in which nothing comes; a probe would take a sip
      assert.equal(await isConfirmed(), false);
      assert.ok(await isOpen(supervisor, session), 'whom we do not hear is not silent');
      supervisor.acknowledge({ session, epoch: 1, seq: Math.ceil(last / 2) + 1 });
      await eventually('it is confirmed', isConfirmed);
      await eventually('it is there', () => textsOf(supervisor).includes('left with the server'));
    });

    test('does not read with its next socket either', async (t) => {
      const supervisor = await startWorker(t);
      const session = 'flooded-again';
      await pairAndMeet(supervisor, session);
      supervisor.acksEvents = false;
      const last = await flood(supervisor, session);
      supervisor.send({ type: 'connect', session, attempt: 3 });
      assert.equal((await supervisor.next('closed')).reason, 'requested');
      await supervisor.next('opened');
      await sendText(session, 'left with the server');
      await pause(300); // in which nothing comes; a probe would take a sip
      assert.ok(!supervisor.frames.some(({ text }) => text === 'left with the server'));
      supervisor.acknowledge({ session, epoch: 1, seq: last });
      await supervisor.next('message', ({ text }) => text === 'left with the server');
      supervisor.send({ type: 'logout', session, id: 1 });
      assert.equal((await supervisor.next('closed')).reason, 'own_logout');
    });

    test('waits for its keys, however late, and then hands all messages up in order', async (t) => {
      const session = 'late';
      const supervisor = await startWithHeldWrite(t, session);
      for (const text of ['second', 'third', 'fourth']) await sendText(session, text);
      await pause(3000);
      assert.ok(await isOpen(supervisor, session));
      assert.ok(!supervisor.frames.some(({ text }) => text === 'first'));
      supervisor.letWritesGo();
      for (const text of ['first', 'second', 'third', 'fourth']) {
        assert.equal((await supervisor.next('message')).text, text);
      }
      assert.ok(!supervisor.stdout.includes('nobody handled'));
    });

    test('is told of a closed socket all the same, and connects with the writes still first', async (t) => {
      const session = 'owed';
      const supervisor = await startWithHeldWrite(t, session);
      supervisor.send({ type: 'close', session });
      const closed = await supervisor.next('closed');
      assert.deepEqual([closed.attempt, closed.reason], [2, 'requested']);
      supervisor.send({ type: 'connect', session, attempt: 3 });
      await supervisor.next('state');
      assert.equal(supervisor.writes.length, 1, 'one at a time');
      supervisor.letWritesGo();
      await supervisor.next('opened');
      assert.ok(await isOpen(supervisor, session));
      await sendText(session, 'second');
      await eventually('both are there', () => textsOf(supervisor).length >= 3);
      assert.deepEqual(textsOf(supervisor), ['nice to meet you', 'first', 'second']);
      const numbers = supervisor.writes.map(({ seq }) => seq);
      assert.deepEqual(
        numbers,
        numbers.toSorted((one, other) => one - other),
      );
    });
  });
});
