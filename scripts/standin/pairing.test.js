/** Linking devices and losing them again, with the real Baileys. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startStandin } from './standin.js';
import { call, connect, eventually, logged, newAuth, open, pair, textsOf } from './testing.js';

/** @type {import("./standin.js").Standin} */
let standin;
before(async () => {
  standin = await startStandin();
});
after(() => standin.close());

describe('by QR', () => {
  test('scan, 515, login, open, and no query is left to time out', async () => {
    const auth = newAuth();
    const first = connect(standin, 'qr', auth);
    const { jid } = await call(standin, 'POST /scan', {
      qr: await first.qr,
      phone: '+15551234567',
      name: 'Shop',
    });
    assert.equal(jid, '15551234567:1@s.whatsapp.net');
    const { code, message } = await first.closed;
    assert.deepEqual(
      { code, message },
      { code: 515, message: 'Stream Errored (restart required)' },
    );
    assert.equal(auth.creds.me?.id, jid);
    assert.equal(auth.creds.me?.name, 'Shop');

    const second = await open(standin, 'qr', auth, { defaultQueryTimeoutMs: 2000 });
    await Promise.all([second.sock.fetchPrivacySettings(true), second.sock.fetchBlocklist()]);
    assert.deepEqual(await second.sock.groupFetchAllParticipating(), {});
    assert.deepEqual(await second.sock.onWhatsApp('5511999990000'), [
      { jid: '5511999990000@s.whatsapp.net', exists: true },
    ]);
    await eventually(
      "the history sync ends the first login's 20 s wait",
      () => auth.creds.accountSyncCounter === 1,
    );
    assert.ok(auth.creds.myAppStateKeyId);

    const { devices, connections } = await call(standin, 'GET /state');
    const device = devices.find((/** @type {any} */ one) => one.jid === jid);
    assert.equal(device.session, 'qr');
    assert.equal(device.online, true);
    assert.ok(device.prekeys > 800);
    assert.equal(connections.find((/** @type {any} */ one) => one.jid === jid).stage, 'open');
    await second.sock.end(undefined);
    assert.equal((await logged(standin, 'qr', 'logout')).by, 'client');
  });

  test('a client that never signed back is unknown: its login is refused', async () => {
    const auth = newAuth();
    const first = connect(standin, 'unconfirmed', auth);
    first.sock.ev.on('creds.update', ({ account }) => {
      if (account) /** @type {any} */ (first.sock.ws).socket.terminate();
    });
    await assert.rejects(call(standin, 'POST /scan', { qr: await first.qr }));
    await first.closed;
    assert.ok(auth.creds.me && auth.creds.account, 'it takes itself for paired');
    const { code, message } = await connect(standin, 'unconfirmed', auth).closed;
    assert.deepEqual({ code, message }, { code: 401, message: 'Connection Failure' });
    assert.equal((await logged(standin, 'unconfirmed', 'login_refused')).reason, 401);
    assert.deepEqual(
      (await call(standin, 'GET /log')).entries.filter(isPairingOf('unconfirmed')),
      [],
    );
  });

  test('a label alone cannot be scanned, and the error says why', async () => {
    await assert.rejects(call(standin, 'POST /scan', { session: 'qr' }), {
      status: 400,
      code: 'qr_needed',
    });
    await assert.rejects(call(standin, 'POST /scan', { qr: 'https://wa.me/x#nothing' }), {
      status: 404,
      code: 'qr_unknown',
    });
  });
});

describe('what is retired', () => {
  test('Baileys alone goes on with its old secret, its QR fails, and it is told nothing of it', async () => {
    const session = 'refreshed';
    const attempt = connect(standin, session, newAuth());
    const qr = await attempt.qr;
    const { connections } = await call(standin, 'POST /faults', {
      fault: 'refresh-registration',
      session,
    });
    assert.equal(connections, 1);
    await assert.rejects(call(standin, 'POST /scan', { qr }), { status: 409, code: 'retired' });
    assert.equal((await logged(standin, session, 'link_failed')).why, 'retired');
    const { entries } = await call(standin, 'GET /log');
    assert.ok(
      !entries.some(
        (/** @type {any} */ one) => one.session === session && one.event === 'acknowledged',
      ),
    );
    await attempt.sock.end(undefined);
  });

  test('the secret of a QR that was named stays retired, though the client acknowledges', async () => {
    const session = 'named';
    const attempt = connect(standin, session, newAuth());
    const qr = await attempt.qr;
    attempt.sock.ws.on('CB:notification', ({ attrs: { id, type } }) => {
      attempt.sock.sendNode({
        tag: 'ack',
        attrs: { id, to: '@s.whatsapp.net', class: 'notification', type },
      });
    });
    await call(standin, 'POST /faults', {
      fault: 'refresh-registration',
      session,
      qr,
      child: 'pair-device-rotate-qr',
    });
    const { attributes } = await logged(standin, session, 'acknowledged');
    assert.equal(attributes.type, 'companion_reg_refresh');
    await assert.rejects(call(standin, 'POST /scan', { qr }), { code: 'retired' });
    const parts = qr.split(',');
    const other = parts.with(3, Buffer.alloc(32, 7).toString('base64')).join(',');
    // The secret is the wrong one.
    await assert.rejects(call(standin, 'POST /scan', { qr: other }), { code: 'client_gone' });
    await attempt.closed;
  });

  test('a passkey that is asked for at the scan: the phone does not link, and the device is nobody', async () => {
    const session = 'passkey';
    await call(standin, 'POST /faults', { fault: 'passkey-at-scan', session, count: 1 });
    const attempt = connect(standin, session, newAuth());
    await assert.rejects(call(standin, 'POST /scan', { qr: await attempt.qr }), {
      code: 'passkey_wanted',
    });
    assert.deepEqual((await call(standin, 'GET /log')).entries.filter(isPairingOf(session)), []);
    await attempt.sock.end(undefined);
  });
});

describe('by code', () => {
  /** @param {string} session @param {string} phone */
  async function askForCode(session, phone) {
    const auth = newAuth();
    const attempt = connect(standin, session, auth);
    await attempt.qr;
    return { auth, attempt, code: await attempt.sock.requestPairingCode(phone) };
  }

  test('the right code links the device', async () => {
    const phone = '15552220001';
    const { auth, attempt, code } = await askForCode('code', phone);
    const { jid } = await call(standin, 'POST /enter-code', { phone, code });
    assert.equal((await attempt.closed).code, 515);
    assert.equal(auth.creds.me?.id, jid);
    assert.equal(auth.creds.registered, true);
    const { sock } = await open(standin, 'code', auth);
    await sock.end(undefined);
  });

  test('a wrong code does not, and the client may go on showing it', async () => {
    const phone = '15552220002';
    const { attempt, code } = await askForCode('wrong', phone);
    const wrong = code === 'AAAAAAAA' ? 'BBBBBBBB' : 'AAAAAAAA';
    await assert.rejects(call(standin, 'POST /enter-code', { phone, code: wrong }), {
      status: 409,
      code: 'wrong_code',
    });
    await assert.rejects(call(standin, 'POST /enter-code', { phone: '15559999999', code }), {
      status: 404,
    });
    await attempt.sock.end(undefined);
  });
});

describe('the end of a device', () => {
  test('unlinking tells the live socket, and refuses the next login', async () => {
    const auth = await pair(standin, 'unlinked');
    const live = await open(standin, 'unlinked', auth);
    const { jid } = await call(standin, 'POST /unlink', { session: 'unlinked' });
    const { code, message } = await live.closed;
    assert.deepEqual({ code, message }, { code: 401, message: 'Stream Errored (conflict)' });
    assert.equal((await logged(standin, 'unlinked', 'removed')).by, 'phone');

    const later = await connect(standin, 'unlinked', auth).closed;
    assert.deepEqual(
      { code: later.code, message: later.message },
      { code: 401, message: 'Connection Failure' },
    );
    assert.equal((await logged(standin, 'unlinked', 'login_refused')).jid, jid);
  });

  test("Baileys' own logout removes the device", async () => {
    const auth = await pair(standin, 'leaver');
    const live = await open(standin, 'leaver', auth);
    await live.sock.logout();
    assert.equal((await live.closed).message, 'Intentional Logout');
    assert.equal((await logged(standin, 'leaver', 'removed')).by, 'client');
    const { devices } = await call(standin, 'GET /state');
    assert.ok(!devices.some((/** @type {any} */ device) => device.session === 'leaver'));
  });

  test("a login with somebody else's noise key is refused", async () => {
    const auth = await pair(standin, 'victim');
    const thief = newAuth();
    thief.creds.me = auth.creds.me;
    const { code, message } = await connect(standin, 'thief', thief).closed;
    assert.deepEqual({ code, message }, { code: 401, message: 'Connection Failure' });
  });
});

test('killed right after a pairing and started again, it knows the device, its keys and its mail', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'standin-restart-'));
  const state = join(folder, 'state');
  const first = await spawnStandin('--state', state);
  const auth = await pair(first.doors, 'survivor');
  first.child.kill('SIGKILL');

  const second = await spawnStandin('--state', state);
  assert.equal(statSync(state).mode & 0o777, 0o600);
  assert.equal(second.doors.rootKey, first.doors.rootKey);
  const { sock } = await open(second.doors, 'survivor', auth);
  const texts = textsOf(sock);
  await call(second.doors, 'POST /send-text', {
    session: 'survivor',
    from: '5511999990000',
    text: 'before',
  });
  await eventually('the first text', () => texts.includes('before'));
  await logged(second.doors, 'survivor', 'receipt');
  await sock.end(undefined);
  await logged(second.doors, 'survivor', 'logout');
  await call(second.doors, 'POST /send-text', {
    session: 'survivor',
    from: '5511999990000',
    text: 'while away',
  });
  second.child.kill('SIGKILL');

  const third = await spawnStandin('--state', state);
  const again = connect(third.doors, 'survivor', auth);
  const later = textsOf(again.sock);
  await eventually('the text that came while it was away', () => later.includes('while away'));
  await call(third.doors, 'POST /send-text', {
    session: 'survivor',
    from: '5511999990000',
    text: 'after',
  });
  await eventually('a text in the old Signal session', () => later.includes('after'));
  await again.sock.end(undefined);
  third.child.kill('SIGTERM');
  assert.deepEqual(await once(third.child, 'exit'), [0, null]);
  rmSync(folder, { recursive: true });
});

test('it refuses any address but loopback', async () => {
  const child = spawn(process.execPath, [
    join(import.meta.dirname, 'main.js'),
    '--host',
    '0.0.0.0',
  ]);
  assert.deepEqual(await once(child, 'exit'), [2, null]);
});

/** @param {string} session */
const isPairingOf = (session) => (/** @type {any} */ entry) =>
  entry.session === session && entry.event === 'paired';

/** @param {...string} args */
async function spawnStandin(...args) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(child.stdout, 'data');
  const { url, admin, root_key: rootKey } = JSON.parse(line);
  return { child, doors: { url, admin, rootKey } };
}
