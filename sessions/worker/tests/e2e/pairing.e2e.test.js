/**
 * @file What WhatsApp does to a pairing since July 2026, at every moment of it: the real worker and
 *   Baileys against the stand-in.
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  admin,
  entries,
  eventually,
  ready,
  startStandin,
  startWorker,
  stopStandin,
} from '../tools/testing.js';

before(startStandin);
after(stopStandin);

const CHILDREN = ['companion_reg_refresh', 'pair-device-rotate-qr'];
const PHONE = '5511988880009';

/** @param {string} qr */
const partsOf = (qr) => {
  const [ref, noise, identity, secret, platform] = qr.split(',');
  return { ref, noise, identity, secret, platform };
};

/**
 * @param {import('../tools/fake-supervisor.js').FakeSupervisor} supervisor
 * @param {string} session
 */
async function showQr(supervisor, session) {
  supervisor.send({ type: 'assign', session, epoch: 1, creds: null, proxy: null });
  supervisor.send({ type: 'connect', session, attempt: 1 });
  return supervisor.next('qr');
}

/**
 * What a call of the stand-in's admin API is refused with.
 *
 * @param {string} path
 * @param {Record<string, unknown>} body
 */
async function refusal(path, body) {
  const response = await fetch(`${ready.admin}${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  return (await response.json()).error?.code;
}

/**
 * @param {import('../tools/fake-supervisor.js').FakeSupervisor} supervisor
 * @param {string} session
 */
const storedSecret = (supervisor, session) =>
  /** @type {any} */ (supervisor.store.get(`${session} creds creds`))?.advSecretKey;

/**
 * @param {import('../tools/fake-supervisor.js').FakeSupervisor} supervisor
 * @param {string} session
 * @param {string} qr
 */
async function finish(supervisor, session, qr) {
  await admin('/scan', { qr, name: 'Shop' });
  await supervisor.next('state', ({ stage }) => stage === 'paired');
  assert.equal((await supervisor.next('closed')).reason, 'restart_required');
  supervisor.send({ type: 'connect', session, attempt: 2 });
  await supervisor.next('opened');
  await eventually('it is marked as registered', () => {
    return /** @type {any} */ (supervisor.store.get(`${session} creds creds`)).registered === true;
  });
  assert.equal((await entries(session, 'registered')).length, 1);
}

for (const child of CHILDREN) {
  test(`a QR that is retired (${child}) before the scan is renewed, for the same reference, and acknowledged`, async (t) => {
    const supervisor = await startWorker(t);
    const session = `before-${child}`;
    const old = await showQr(supervisor, session);
    assert.deepEqual([old.qr_number, old.renewed, old.pairing_code], [1, false, null]);
    await admin('/faults', { fault: 'refresh-registration', session, child, qr: old.qr });
    await supervisor.next('state', ({ stage }) => stage === 'qr_retired');
    const renewed = await supervisor.next('qr');
    const { secret, ...same } = partsOf(renewed.qr);
    const { secret: oldSecret, ...before } = partsOf(old.qr);
    assert.deepEqual(same, before);
    assert.notEqual(secret, oldSecret);
    assert.equal(Buffer.from(secret, 'base64').length, 32);
    assert.deepEqual([renewed.qr_number, renewed.renewed], [2, true]);
    assert.equal(storedSecret(supervisor, session), secret);

    const [{ attributes }] = await entries(session, 'acknowledged');
    const { id, ...rest } = attributes;
    assert.match(id, /^[0-9a-f]{16}$/);
    assert.deepEqual(rest, {
      to: '@s.whatsapp.net',
      class: 'notification',
      type: 'companion_reg_refresh',
    });

    assert.equal(await refusal('/scan', { qr: old.qr }), 'retired');
    assert.ok(supervisor.alive);
    await finish(supervisor, session, renewed.qr);
  });
}

test('the new secret is durable before the new QR is shown, and nothing is shown until then', async (t) => {
  const supervisor = await startWorker(t, { WASUP_QR_TIMEOUT_MS: '200' });
  const session = 'durable';
  const old = await showQr(supervisor, session);
  supervisor.heldWrites = [];
  await admin('/faults', { fault: 'refresh-registration', session, qr: old.qr });
  await supervisor.next('state', ({ stage }) => stage === 'qr_retired');
  await eventually('the new secret is on its way', () => (supervisor.heldWrites?.length ?? 0) > 0);
  // Baileys' next QR is due meanwhile, and is not shown; that we live is told.
  await supervisor.next('state', ({ stage }) => stage === 'qr_retired');
  assert.deepEqual(await entries(session, 'acknowledged'), []);

  supervisor.hangUp();
  const { sessions } = await supervisor.next('hello');
  assert.deepEqual(
    [sessions[0].stage, sessions[0].qr],
    ['qr', null],
    'nor does a later supervisor see the old one',
  );
  assert.ok(
    !supervisor.frames.some(
      ({ type, qr }) => type === 'qr' && partsOf(qr).secret !== partsOf(old.qr).secret,
    ),
  );

  supervisor.letWritesGo();
  const renewed = await supervisor.next('qr', ({ renewed: anew }) => anew);
  assert.equal(partsOf(renewed.qr).secret, storedSecret(supervisor, session));
  assert.notEqual(partsOf(renewed.qr).ref, partsOf(old.qr).ref, 'the reference of the moment');
  const later = await supervisor.next('qr');
  assert.deepEqual([later.renewed, later.qr_number], [false, renewed.qr_number + 1]);
  assert.notEqual(partsOf(later.qr).ref, partsOf(renewed.qr).ref);
  assert.equal(partsOf(later.qr).secret, partsOf(renewed.qr).secret, 'and every later one has it');
});

/**
 * The new secret is stored, and its acknowledgement is on no line: the worker has shown nothing of
 * it.
 *
 * @param {import('../tools/fake-supervisor.js').FakeSupervisor} supervisor
 * @param {string} session
 */
async function storeUnheard(supervisor, session) {
  const old = await showQr(supervisor, session);
  supervisor.mayAcknowledge = () => false;
  await admin('/faults', { fault: 'refresh-registration', session, qr: old.qr });
  await eventually('the new secret is durable', () =>
    supervisor.store.has(`${session} creds creds`),
  );
  assert.notEqual(storedSecret(supervisor, session), partsOf(old.qr).secret);
  return old;
}

test('killed when the new secret is durable and nothing of it is shown, the next worker never shows the old one', async (t) => {
  const session = 'killed';
  const supervisor = await startWorker(t);
  const old = await storeUnheard(supervisor, session);
  const creds = supervisor.store.get(`${session} creds creds`);
  supervisor.process?.kill('SIGKILL');

  const heir = await startWorker(t);
  heir.send({ type: 'assign', session, epoch: 2, creds, proxy: null });
  heir.send({ type: 'connect', session, attempt: 1 });
  const { qr } = await heir.next('qr');
  assert.notEqual(partsOf(qr).secret, partsOf(old.qr).secret);
  assert.equal(partsOf(qr).secret, storedSecret(heir, session), 'durable before it is shown');
  await admin('/scan', { qr });
  await heir.next('state', ({ stage }) => stage === 'paired');
});

test('a supervisor that comes when the new secret is durable and not acknowledged is shown the new QR', async (t) => {
  const session = 'orphaned';
  const supervisor = await startWorker(t);
  await storeUnheard(supervisor, session);
  const secret = storedSecret(supervisor, session);
  supervisor.mayAcknowledge = () => true;
  supervisor.hangUp();
  const { sessions } = await supervisor.next('hello');
  assert.deepEqual([sessions[0].stage, sessions[0].qr], ['qr', null]);
  const renewed = await supervisor.next('qr');
  assert.deepEqual([renewed.renewed, partsOf(renewed.qr).secret], [true, secret]);
  await finish(supervisor, session, renewed.qr);
});

test('a secret that the store refuses is never shown', async (t) => {
  const supervisor = await startWorker(t);
  const old = await showQr(supervisor, 'refused');
  supervisor.refusal = 'store_failed';
  await admin('/faults', { fault: 'refresh-registration', session: 'refused', qr: old.qr });
  const { reason, registered } = await supervisor.next('closed');
  assert.deepEqual([reason, registered], ['store_failed', false]);
  assert.deepEqual(await entries('refused', 'acknowledged'), []);
  supervisor.refusal = null;
  supervisor.send({ type: 'connect', session: 'refused', attempt: 2 });
  const { qr } = await supervisor.next('qr');
  assert.equal(partsOf(qr).secret, storedSecret(supervisor, 'refused'));
  assert.notEqual(partsOf(qr).secret, partsOf(old.qr).secret);
});

test('retired right at the registration, several times, the last one counts', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'at-once';
  await admin('/faults', { fault: 'refresh-at-registration', session, count: 1 });
  const first = await showQr(supervisor, session);
  for (const _ of [1, 2, 3]) await admin('/faults', { fault: 'refresh-registration', session });
  await eventually(
    'all are acknowledged',
    async () => (await entries(session, 'acknowledged')).length === 4,
  );
  const secret = storedSecret(supervisor, session);
  const last = await supervisor.next('qr', ({ qr }) => partsOf(qr).secret === secret);
  assert.notEqual(partsOf(last.qr).secret, partsOf(first.qr).secret);
  await finish(supervisor, session, last.qr);
});

test('retired at the scan, which fails, and scanned again', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'at-scan';
  await admin('/faults', { fault: 'refresh-at-scan', session, count: 1 });
  const old = await showQr(supervisor, session);
  assert.equal(await refusal('/scan', { qr: old.qr }), 'retired');
  const renewed = await supervisor.next('qr', (frame) => frame.renewed);
  assert.equal(await refusal('/scan', { qr: old.qr }), 'retired');
  await finish(supervisor, session, renewed.qr);
});

test('a pairing that is sealed with the secret before the refresh is none', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'after-scan';
  await admin('/faults', { fault: 'refresh-at-success', session, count: 1 });
  const old = await showQr(supervisor, session);
  assert.equal(await refusal('/scan', { qr: old.qr }), 'client_gone');
  const closed = await supervisor.next('closed');
  assert.deepEqual([closed.registered, closed.message], [false, 'Invalid account signature']);
  assert.ok(!supervisor.frames.some(({ stage }) => stage === 'paired'));
  supervisor.send({ type: 'connect', session, attempt: 2 });
  const { qr } = await supervisor.next('qr');
  assert.notEqual(partsOf(qr).secret, partsOf(old.qr).secret);
});

test('a pairing code is void with the QR, and a new one for the same number takes its place', async (t) => {
  const supervisor = await startWorker(t);
  const session = 'code';
  await showQr(supervisor, session);
  supervisor.send({ type: 'pairing-code', session, id: 1, phone: PHONE });
  const { code } = (await supervisor.next('replied')).result;
  await eventually('it is shown beside the QR', () =>
    supervisor.frames.some((one) => one.pairing_code === code),
  );

  await admin('/faults', { fault: 'refresh-registration', session });
  const renewed = await supervisor.next('qr', (frame) => frame.renewed);
  assert.match(renewed.pairing_code, /^[0-9A-Z]{8}$/);
  assert.notEqual(renewed.pairing_code, code);
  assert.equal(await refusal('/enter-code', { phone: PHONE, code }), 'wrong_code');
  const types = (await entries(session, 'acknowledged')).map(({ attributes }) => attributes.type);
  const once = types.filter((type) => type === 'companion_reg_refresh');
  assert.equal(once.length, 1, 'though Baileys, which has a number now, could do it too');

  // Typed, and retired just then: the next one is asked for, and does it.
  await admin('/faults', { fault: 'refresh-at-scan', session, count: 1 });
  assert.equal(
    await refusal('/enter-code', { phone: PHONE, code: renewed.pairing_code }),
    'retired',
  );
  const again = await supervisor.next('qr', (frame) => frame.renewed);
  assert.notEqual(again.pairing_code, renewed.pairing_code);
  assert.equal(
    partsOf(again.qr).secret,
    storedSecret(supervisor, session),
    'the QR is as good as the code',
  );
  await admin('/enter-code', { phone: PHONE, code: again.pairing_code });
  await supervisor.next('state', ({ stage }) => stage === 'paired');
});

for (const [
  moment,
  strike,
] of /** @type {[string, (session: string, qr: string) => Promise<unknown>][]} */ ([
  ['before the scan', (session) => admin('/faults', { fault: 'passkey-request', session })],
  [
    'at the scan',
    async (session, qr) => {
      await admin('/faults', { fault: 'passkey-at-scan', session, count: 1 });
      assert.equal(await refusal('/scan', { qr }), 'passkey_wanted');
    },
  ],
])) {
  test(`a passkey that is asked for ${moment} ends the attempt, acknowledged and with a reason of its own`, async (t) => {
    const supervisor = await startWorker(t, { WASUP_QR_TIMEOUT_MS: '60000' });
    const session = `passkey-${moment.length}`;
    const { qr } = await showQr(supervisor, session);
    await strike(session, qr);
    const closed = await supervisor.next('closed');
    assert.deepEqual(
      [closed.code, closed.reason, closed.registered],
      [null, 'passkey_required', false],
    );
    assert.deepEqual(closed.data, { notification: 'passkey_prologue_request' });
    const [{ attributes }] = await entries(session, 'acknowledged');
    assert.deepEqual(
      [attributes.class, attributes.type, attributes.from],
      ['notification', 'passkey_prologue_request', undefined],
    );
    assert.equal(supervisor.frames.filter(({ type }) => type === 'qr').length, 1);
  });
}

test('a passkey that is asked for right at the registration ends the attempt', async (t) => {
  const supervisor = await startWorker(t);
  await admin('/faults', { fault: 'passkey-at-registration', session: 'early', count: 1 });
  supervisor.send({ type: 'assign', session: 'early', epoch: 1, creds: null, proxy: null });
  supervisor.send({ type: 'connect', session: 'early', attempt: 1 });
  assert.equal((await supervisor.next('closed')).reason, 'passkey_required');
});
