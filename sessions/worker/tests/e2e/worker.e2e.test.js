/**
 * @file The real worker process and the real Baileys against the stand-in, from the first QR to the
 *   logout.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { FakeSupervisor } from '../tools/fake-supervisor.js';
import {
  admin,
  ask,
  entries,
  eventually,
  pair,
  ready,
  startStandin,
  startWorker,
  stopStandin,
} from '../tools/testing.js';

before(startStandin);
after(stopStandin);

test('a session from its first QR to its logout', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'shop-1';
  const opened = await pair(supervisor, session);
  assert.match(opened.jid, /^\d+:\d+@s\.whatsapp\.net$/);

  await t.test('sends a text and waits for the ack of the server', async () => {
    supervisor.send({
      type: 'send',
      session,
      id: 1,
      to: '+55 11 99999-0000',
      text: 'see https://example.com',
    });
    const replied = await supervisor.next('replied');
    assert.equal(replied.ok, true, JSON.stringify(replied));
    const messages = await ask(`/messages?session=${session}`);
    assert.deepEqual(
      messages.map((/** @type {any} */ { id, text }) => [id, text]),
      [[replied.result.id, 'see https://example.com']],
    );
  });

  await t.test('refuses what is no recipient', async () => {
    supervisor.send({ type: 'send', session, id: 2, to: 'nobody', text: 'hello' });
    assert.equal((await supervisor.next('replied')).error.code, 'invalid_recipient');
  });

  await t.test(
    'says that a number has no WhatsApp, and finds the other form of one that has',
    async () => {
      const [gone, short] = ['5521988880000', '552188880000'].map(
        (number) => `${number}@s.whatsapp.net`,
      );
      await admin('/without-whatsapp', {
        phones: ['5521988880000', '552188880000', '5531988880000'],
      });
      supervisor.send({
        type: 'send',
        session,
        id: 21,
        to: gone,
        text: 'nobody reads this',
        others: [short],
      });
      assert.equal((await supervisor.next('replied')).error.code, 'no_whatsapp');
      const long = { to: '5531988880000@s.whatsapp.net', others: ['553188880000@s.whatsapp.net'] };
      supervisor.send({ type: 'send', session, id: 22, text: 'by the old form', ...long });
      assert.equal((await supervisor.next('replied')).ok, true);
      const sent = await ask(`/messages?session=${session}`);
      assert.deepEqual(
        sent.slice(1).map((/** @type {any} */ { to, text }) => [to, text]),
        [['553188880000@s.whatsapp.net', 'by the old form']],
      );
    },
  );

  await t.test('hands an inbound text up', async () => {
    const { id } = await admin('/send-text', { session, from: '5511999990000', text: 'good day' });
    const message = await supervisor.next('message');
    assert.deepEqual(
      [message.id, message.from, message.text, message.kind, message.from_me],
      [id, '5511999990000@s.whatsapp.net', 'good day', 'conversation', false],
    );
  });

  await t.test('hands half a surrogate pair up as a character', async () => {
    await admin('/send-text', { session, from: '5511999990000', text: 'cut \ud83d' });
    assert.equal((await supervisor.next('message')).text, 'cut \ufffd');
  });

  await t.test('answers a probe', async () => {
    supervisor.send({ type: 'probe', session, id: 3 });
    const { ok, silent } = await supervisor.next('probed');
    assert.deepEqual([ok, silent], [true, false]);
  });

  await t.test('lives through a frame that does not decrypt', async () => {
    await admin('/faults', { fault: 'bad-frame', session });
    const closed = await supervisor.next('closed');
    assert.deepEqual(
      [closed.attempt, closed.code, closed.reason],
      [2, null, 'undecryptable_frame'],
    );
    supervisor.send({ type: 'connect', session, attempt: 3 });
    await supervisor.next('state', ({ stage, attempt }) => stage === 'upgraded' && attempt === 3);
    await supervisor.next('state', ({ stage, attempt }) => stage === 'login' && attempt === 3);
    await supervisor.next('opened');
  });

  await t.test('tells a replaced socket from a requested end', async () => {
    supervisor.send({ type: 'connect', session, attempt: 4 });
    const former = await supervisor.next('closed');
    assert.deepEqual([former.attempt, former.reason], [3, 'requested']);
    await supervisor.next('opened');
    await admin('/faults', { fault: 'replace', session });
    const { code, reason, data } = await supervisor.next('closed');
    assert.deepEqual(
      [code, reason, data],
      [440, 'replaced', { tag: 'conflict', type: 'replaced' }],
    );
    supervisor.send({ type: 'connect', session, attempt: 5 });
    await supervisor.next('opened');
  });

  await t.test('unlinks the device', async () => {
    supervisor.send({ type: 'logout', session, id: 5 });
    const closed = await supervisor.next('closed');
    assert.deepEqual(
      [closed.attempt, closed.code, closed.message, closed.reason],
      [5, 401, 'Intentional Logout', 'own_logout'],
    );
    const { devices } = await ask('/state');
    assert.deepEqual(devices, []);
  });

  await t.test('says that it could not unlink without a socket', async () => {
    supervisor.send({ type: 'logout', session, id: 6 });
    const { code, message, reason } = await supervisor.next('closed');
    assert.deepEqual(
      [code, message, reason],
      [null, 'not open: the server was not told', 'connection_closed'],
    );
  });

  await t.test('shuts down in order', async () => {
    supervisor.send({ type: 'shutdown' });
    assert.equal(await supervisor.exitCode(), 0);
    assert.equal(
      supervisor.frames.filter(({ type }) => type === 'closed').length,
      6,
      'one for each connect and logout',
    );
    assert.equal(supervisor.stderr, '');
    assert.doesNotMatch(supervisor.stdout, /good day|privKey|linked_devices/);
  });
});

/**
 * Scans, and comes back when the pairing's creds are on the way to the store, where they are held.
 *
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 */
async function scanWithHeldWrites(supervisor, session) {
  supervisor.heldWrites = [];
  supervisor.send({ type: 'assign', session, epoch: 1, creds: null, proxy: null });
  supervisor.send({ type: 'connect', session, attempt: 1 });
  const { qr } = await supervisor.next('qr');
  const scan = admin('/scan', { qr, name: 'Shop' });
  scan.catch(() => {});
  await eventually(
    'the pairing is on its way to the store',
    () => (supervisor.heldWrites?.length ?? 0) > 0,
  );
  // in which nothing happens; what is too slow for it would be seen by the tests that go on from
  // here
  await pause(300);
  assert.equal((await entries(session, 'paired')).length, 0, 'the server is not told yet');
  assert.ok(!supervisor.frames.some(({ stage }) => stage === 'paired'), 'nor is the supervisor');
  return { scan };
}

/**
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 * @returns {any}
 */
function credsOf(supervisor, session) {
  return supervisor.store.get(`${session} creds creds`);
}

describe('a worker', { concurrency: 3 }, () => {
  test('a pairing is confirmed when it is durable', async (t) => {
    const supervisor = await startWorker(t);
    const { scan } = await scanWithHeldWrites(supervisor, 'durable');
    supervisor.letWritesGo();
    await scan;
    await supervisor.next('state', ({ stage }) => stage === 'paired');
    const { reason, registered } = await supervisor.next('closed');
    assert.deepEqual([reason, registered], ['restart_required', true]);
    supervisor.send({ type: 'connect', session: 'durable', attempt: 2 });
    await supervisor.next('opened');
  });

  test('a pairing that was stored and never confirmed is taken back by the next worker', async (t) => {
    const session = 'unsigned';
    const first = await startWorker(t);
    const { scan } = await scanWithHeldWrites(first, session);
    first.mayAcknowledge = () => false;
    first.letWritesGo();
    first.process?.kill('SIGKILL');
    await assert.rejects(scan, /client_gone/);
    const supervisor = await startWorker(t);
    supervisor.send({
      type: 'assign',
      session,
      epoch: 2,
      creds: credsOf(first, session),
      proxy: null,
    });
    supervisor.send({ type: 'connect', session, attempt: 2 });
    const { code, reason, registered } = await supervisor.next('closed');
    assert.deepEqual([code, reason, registered], [401, 'connection_closed', false]);
    const { me, account, pairingUnconfirmed } = credsOf(supervisor, session);
    assert.deepEqual([me, account, pairingUnconfirmed], [undefined, undefined, undefined]);
    supervisor.send({ type: 'connect', session, attempt: 3 });
    await admin('/scan', { qr: (await supervisor.next('qr')).qr });
    assert.equal((await supervisor.next('closed')).reason, 'restart_required');
    supervisor.send({ type: 'connect', session, attempt: 4 });
    await supervisor.next('opened');
  });

  test('a pairing whose confirmation the server has is kept, whether or not anybody heard so', async (t) => {
    const session = 'unheard';
    const first = await startWorker(t);
    const { scan } = await scanWithHeldWrites(first, session);
    first.letWritesGo();
    const stored = credsOf(first, session);
    assert.equal(stored.pairingUnconfirmed, true);
    await scan;
    await first.next('closed');
    assert.equal(credsOf(first, session).pairingUnconfirmed, undefined, 'the 515 has told');
    first.process?.kill('SIGKILL');
    const supervisor = await startWorker(t);
    supervisor.send({ type: 'assign', session, epoch: 2, creds: stored, proxy: null });
    supervisor.send({ type: 'connect', session, attempt: 2 });
    await supervisor.next('opened');
    await eventually('the login has told', () => !credsOf(supervisor, session).pairingUnconfirmed);
    await admin('/unlink', { session });
    const { code, reason, registered } = await supervisor.next('closed');
    assert.deepEqual([code, reason, registered], [401, 'logged_out', true]);
  });

  test('a device that is removed right after its 515 is logged out', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'removed';
    const { scan } = await scanWithHeldWrites(supervisor, session);
    supervisor.letWritesGo();
    await scan;
    await supervisor.next('closed');
    await admin('/unlink', { session });
    supervisor.send({ type: 'connect', session, attempt: 2 });
    const { code, reason, registered } = await supervisor.next('closed');
    assert.deepEqual([code, reason, registered], [401, 'logged_out', true]);
  });

  test('a pairing that the store does not take is never confirmed, and the next one is', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'refused';
    const { scan } = await scanWithHeldWrites(supervisor, session);
    supervisor.refusal = 'store_failed';
    supervisor.letWritesGo();
    await assert.rejects(scan, /client_gone/);
    const closed = await supervisor.next('closed');
    assert.deepEqual(
      [closed.code, closed.reason, closed.registered],
      [null, 'store_failed', false],
    );
    assert.equal((await entries(session, 'paired')).length, 0);
    supervisor.refusal = null;
    supervisor.send({ type: 'connect', session, attempt: 2 });
    await admin('/scan', { qr: (await supervisor.next('qr')).qr });
    assert.equal((await supervisor.next('closed')).reason, 'restart_required');
    supervisor.send({ type: 'connect', session, attempt: 3 });
    await supervisor.next('opened');
  });

  test('a pairing that the store does not take in time ends with the deadline', async (t) => {
    const supervisor = await startWorker(t, { WASUP_CONNECT_TIMEOUT_MS: '6000' });
    const session = 'slow';
    const { scan } = await scanWithHeldWrites(supervisor, session);
    await assert.rejects(scan, /client_gone/);
    supervisor.letWritesGo();
    const closed = await supervisor.next('closed');
    assert.deepEqual([closed.reason, closed.registered], ['attempt_timed_out', false]);
    assert.equal((await entries(session, 'paired')).length, 0);
    const { me, account } = /** @type {any} */ (supervisor.store.get(`${session} creds creds`));
    assert.deepEqual([me, account], [undefined, undefined], 'the next attempt registers afresh');
  });

  test('a pairing is confirmed when the next supervisor has made it durable', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'handed-over';
    const { scan } = await scanWithHeldWrites(supervisor, session);
    supervisor.hangUp();
    const [{ attempt, stage }] = (await supervisor.next('hello')).sessions;
    assert.deepEqual([attempt, stage], [1, 'qr'], 'nobody knows of it yet');
    supervisor.letWritesGo();
    await scan;
    await supervisor.next('state', ({ stage }) => stage === 'paired');
    assert.equal((await supervisor.next('closed')).reason, 'restart_required');
  });

  test('a pairing is not confirmed when nobody comes after the supervisor died over it', async (t) => {
    const supervisor = await startWorker(t, { WASUP_ADOPTION_WINDOW_MS: '400' });
    const { scan } = await scanWithHeldWrites(supervisor, 'orphan');
    supervisor.goAway();
    assert.equal(await supervisor.exitCode(), 0);
    await assert.rejects(scan, /client_gone/);
    assert.equal((await entries('orphan', 'paired')).length, 0);
  });

  test('a pairing is not confirmed by a worker that no longer owns the session', async (t) => {
    const supervisor = await startWorker(t);
    const { scan } = await scanWithHeldWrites(supervisor, 'stale');
    supervisor.refusal = 'stale_epoch';
    supervisor.letWritesGo();
    assert.equal(await supervisor.exitCode(), 3);
    await assert.rejects(scan, /client_gone/);
    assert.equal((await entries('stale', 'paired')).length, 0);
  });

  test('a logout is only claimed when the server has answered', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'leaver';
    await pair(supervisor, session);
    const verdict = async () => {
      const { code, message, reason } = await supervisor.next('closed');
      return [code, message, reason];
    };
    const unanswered = [null, 'the server did not answer the logout', 'connection_lost'];
    const isRemoval = (/** @type {any} */ { query }) => query === 'md remove-companion-device';
    const asked = (/** @type {number} */ times) =>
      eventually(
        'the server was asked',
        async () => (await entries(session, 'unheard')).filter(isRemoval).length === times,
      );

    await admin('/faults', { fault: 'deaf', session });
    supervisor.send({ type: 'logout', session, id: 1 });
    assert.deepEqual(await verdict(), unanswered, 'silence');

    supervisor.send({ type: 'connect', session, attempt: 3 });
    await supervisor.next('opened');
    await admin('/faults', { fault: 'deaf', session });
    supervisor.send({ type: 'logout', session, id: 2 });
    await asked(2);
    await admin('/faults', { fault: 'drop', session });
    assert.deepEqual(await verdict(), unanswered, 'the line is lost');

    supervisor.send({ type: 'connect', session, attempt: 4 });
    await supervisor.next('opened');
    await admin('/faults', { fault: 'deaf', session });
    supervisor.send({ type: 'logout', session, id: 3 });
    await asked(3);
    await admin('/unlink', { session });
    assert.deepEqual(
      await verdict(),
      [401, 'Intentional Logout', 'own_logout'],
      'the removal itself is the answer',
    );
  });

  test('a root key is not taken for an address elsewhere', async (t) => {
    const supervisor = new FakeSupervisor();
    t.after(() => supervisor.stop());
    await supervisor.launch({
      WASUP_WEB_SOCKET_URL: 'ws://evil.example\\@127.0.0.1/',
      WASUP_NOISE_ROOT_KEY: ready.root_key,
    });
    assert.equal(await supervisor.exitCode(), 2);
  });

  test('a session paired by code', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'shop-2';
    supervisor.send({ type: 'assign', session, epoch: 1, creds: null, proxy: null });
    supervisor.send({ type: 'connect', session, attempt: 1 });
    supervisor.send({ type: 'pairing-code', session, id: 1, phone: '+55 11 88888-0000' });
    assert.match((await supervisor.next('replied')).result.code, /^[0-9A-Z]{8}$/);

    await t.test(
      'an attempt that ends before the pairing leaves no half-paired creds',
      async () => {
        assert.ok(
          /** @type {any} */ (supervisor.store.get(`${session} creds creds`)).me,
          'Baileys has set it',
        );
        supervisor.send({ type: 'close', session });
        const { registered, reason } = await supervisor.next('closed');
        assert.deepEqual([registered, reason], [false, 'requested']);
        assert.equal(
          /** @type {any} */ (supervisor.store.get(`${session} creds creds`)).me,
          undefined,
        );
      },
    );

    await t.test('the next attempt registers afresh and pairs', async () => {
      supervisor.send({ type: 'connect', session, attempt: 2 });
      supervisor.send({ type: 'pairing-code', session, id: 2, phone: '5511888880000' });
      const { result } = await supervisor.next('replied');
      await admin('/enter-code', { phone: '5511888880000', code: result.code });
      assert.equal((await supervisor.next('closed')).reason, 'restart_required');
      supervisor.send({ type: 'connect', session, attempt: 3 });
      assert.match((await supervisor.next('opened')).jid, /^5511888880000:/);
    });
  });

  test('gives a blackholed socket up after a probe to which not one byte comes', async (t) => {
    const supervisor = await startWorker(t, { WASUP_PROBE_TIMEOUT_MS: '1000' });
    const session = 'blackholed';
    await pair(supervisor, session);
    await admin('/faults', { fault: 'blackhole', session });
    let probed;
    do {
      // What the server said before may still be on its way to us, and is no silence.
      supervisor.send({ type: 'probe', session, id: 4 });
      probed = await supervisor.next('probed');
      assert.deepEqual([probed.ok, probed.round_trip_ms], [false, null]);
    } while (!probed.silent);
    const closed = await supervisor.next('closed');
    assert.deepEqual([closed.attempt, closed.reason], [2, 'connection_lost']);
    const probes = supervisor.frames.filter(({ type }) => type === 'probed');
    assert.ok(probes.every(({ silent }, n) => silent === (n === probes.length - 1)));
  });

  test('two sessions in one worker: a bad frame ends its own', async (t) => {
    const supervisor = await startWorker(t);
    await pair(supervisor, 'one');
    await pair(supervisor, 'two');
    await admin('/faults', { fault: 'bad-frame', session: 'two' });
    assert.equal((await supervisor.next('closed')).session, 'two');
    supervisor.send({ type: 'probe', session: 'one', id: 1 });
    assert.equal((await supervisor.next('probed')).ok, true);
  });

  test('codes that Baileys cannot speak of are reported all the same', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'shop-7';
    await pair(supervisor, session);
    await admin('/faults', { fault: 'failure', session, reason: '302' });
    const failure = await supervisor.next('closed');
    assert.deepEqual(
      [failure.code, failure.reason, failure.data.reason],
      [302, 'unknown_failure', '302'],
    );
    supervisor.send({ type: 'connect', session, attempt: 3 });
    await supervisor.next('opened');
    await admin('/faults', { fault: 'stream-error', session, code: '200' });
    const streamError = await supervisor.next('closed');
    assert.deepEqual([streamError.code, streamError.reason], [200, 'server_error']);
  });

  test('a login that is never answered is given up', async (t) => {
    const session = 'shop-3';
    // which has all the time that a pairing takes on a busy machine
    const former = await startWorker(t);
    await pair(former, session);
    former.send({ type: 'shutdown' });
    await former.exitCode();
    await admin('/faults', { fault: 'login-silence', session, count: 1 });
    const supervisor = await startWorker(t, { WASUP_CONNECT_TIMEOUT_MS: '1000' });
    const creds = former.store.get(`${session} creds creds`);
    supervisor.send({ type: 'assign', session, epoch: 2, creds, proxy: null });
    supervisor.send({ type: 'connect', session, attempt: 3 });
    const closed = await supervisor.next('closed', ({ attempt }) => attempt === 3);
    assert.deepEqual(
      [closed.code, closed.reason, closed.registered],
      [null, 'attempt_timed_out', true],
    );
  });

  test('a write that is refused ends the socket, and the creds are owed', async (t) => {
    const supervisor = await startWorker(t);
    const session = 'shop-4';
    await pair(supervisor, session);
    supervisor.refusal = 'store_failed';
    await admin('/send-text', { session, from: '5511999990000', text: 'lost?' });
    const closed = await supervisor.next('closed');
    assert.deepEqual(
      [closed.code, closed.message, closed.reason],
      [null, "the supervisor could not save this session's keys", 'store_failed'],
    );
    supervisor.refusal = null;
    supervisor.store.delete(`${session} creds creds`);
    supervisor.send({ type: 'connect', session, attempt: 3 });
    await supervisor.next('opened');
    assert.ok(supervisor.store.has(`${session} creds creds`));
  });

  test('a stale epoch ends the worker with status 3', async (t) => {
    const supervisor = await startWorker(t);
    await pair(supervisor, 'shop-5');
    supervisor.refusal = 'stale_epoch';
    await admin('/send-text', { session: 'shop-5', from: '5511999990000', text: 'whose?' });
    assert.equal(await supervisor.exitCode(), 3);
  });

  test('the heart beats until SIGTERM, which ends the worker with status 0', async (t) => {
    const supervisor = await startWorker(t, { WASUP_HEARTBEAT_INTERVAL_MS: '50' });
    const { rss_bytes, heap_bytes } = await supervisor.next('beat');
    assert.ok(rss_bytes > heap_bytes && heap_bytes > 0);
    supervisor.process?.kill('SIGTERM');
    assert.equal(await supervisor.exitCode(), 0);
  });

  test('a frame out of the protocol ends the worker with status 4', async (t) => {
    const supervisor = await startWorker(t);
    supervisor.raw('{"type":"dance"}\n');
    assert.equal(await supervisor.exitCode(), 4);
  });
});
