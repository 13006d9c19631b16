/** Texts out of and into the real Baileys, really encrypted, also when something was lost. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startStandin } from './standin.js';
import { call, connect, eventually, logged, open, pair, textsOf } from './testing.js';

const FRIEND = '5511999990000';
const FRIEND_JID = `${FRIEND}@s.whatsapp.net`;

/** @type {import("./standin.js").Standin} */
let standin;
before(async () => {
  standin = await startStandin();
});
after(() => standin.close());

/** @param {string} session */
const messagesOf = (session) => call(standin, `GET /messages?session=${session}`);

test("a text out is acknowledged, decrypted by the recipient's phone, and receipted", async () => {
  const { sock } = await open(standin, 'out', await pair(standin, 'out'));
  /** @type {any[]} */
  const updates = [];
  sock.ev.on('messages.update', (some) => updates.push(...some));
  const messageId = '3EB0AAAAAAAAAAAAAAAAAA';
  const ack = sock.waitForMessage(messageId);
  await sock.sendMessage(FRIEND_JID, { text: 'hello' }, { messageId });
  const { tag, attrs } = /** @type {any} */ (await ack);
  assert.deepEqual(
    [tag, attrs.class, attrs.from, attrs.error],
    ['ack', 'message', FRIEND_JID, undefined],
  );
  await eventually('the delivery receipt', () =>
    updates.some(({ key, update }) => key.id === messageId && update.status === 3),
  );
  const [{ time_ms, ...message }] = await messagesOf('out');
  assert.deepEqual(message, { id: messageId, session: 'out', to: FRIEND_JID, text: 'hello' });
  assert.ok(Math.abs(Date.now() - time_ms) < 5000);
  await sock.end(undefined);
});

test('texts in are decrypted by the client and confirmed, first as pkmsg and as msg once it has answered', async () => {
  const { sock } = await open(standin, 'in', await pair(standin, 'in'));
  /** @type {string[]} */
  const kinds = [];
  sock.ws.on('CB:message', (stanza) => kinds.push(stanza.content[0].attrs.type));
  const texts = textsOf(sock);
  const { id } = await call(standin, 'POST /send-text', {
    session: 'in',
    from: FRIEND,
    text: 'first',
    name: 'Ana',
  });
  await eventually('the first text', () => texts.includes('first'));
  assert.equal(
    (await logged(standin, 'in', 'receipt', (entry) => entry.id === id)).type,
    'delivery',
  );
  await sock.sendMessage(FRIEND_JID, { text: 'answer' });
  await eventually('the answer', async () => (await messagesOf('in')).length === 1);
  await call(standin, 'POST /send-text', { session: 'in', from: FRIEND, text: 'second' });
  await eventually('the second text', () => texts.includes('second'));
  assert.equal(kinds.at(-1), 'msg');
  assert.ok(kinds.slice(0, -1).every((kind) => kind === 'pkmsg'));
  assert.equal((await call(standin, 'GET /receipts?session=in')).length, 2);
  await sock.end(undefined);
});

test('what was not confirmed comes again at the next login, in order', async () => {
  const auth = await pair(standin, 'away');
  for (const text of ['one', 'two', 'three']) {
    await call(standin, 'POST /send-text', { session: 'away', from: FRIEND, text });
  }
  const { sock } = connect(standin, 'away', auth);
  /** @type {string[]} */
  const offline = [];
  sock.ws.on('CB:message', (stanza) => offline.push(stanza.attrs.offline ?? 'live'));
  const texts = textsOf(sock);
  await eventually('all three', () => texts.length === 3);
  assert.deepEqual(texts, ['one', 'two', 'three']);
  assert.deepEqual(offline.slice(0, 3), ['0', '1', '2']);
  await eventually(
    'three receipts',
    async () => (await call(standin, 'GET /receipts?session=away')).length === 3,
  );
  await sock.end(undefined);

  const again = await open(standin, 'away', auth);
  const repeated = textsOf(again.sock);
  await call(standin, 'POST /send-text', { session: 'away', from: FRIEND, text: 'four' });
  await eventually('the next text', () => repeated.includes('four'));
  assert.deepEqual(repeated, ['four'], 'confirmed texts do not come again');
  await again.sock.end(undefined);
});

test('a client that lost its Signal session asks again, and gets the text in a new session', async () => {
  const auth = await pair(standin, 'amnesia');
  const { sock } = await open(standin, 'amnesia', auth, { retryRequestDelayMs: 10 });
  const texts = textsOf(sock);
  await call(standin, 'POST /send-text', { session: 'amnesia', from: FRIEND, text: 'before' });
  await eventually('the first text', () => texts.includes('before'));
  await sock.sendMessage(FRIEND_JID, { text: 'so that the phone goes on with msg' });
  await eventually('the answer', async () => (await messagesOf('amnesia')).length === 1);

  const lidAddress = sock.signalRepository.jidToSignalProtocolAddress(
    String(await sock.signalRepository.lidMapping.getLIDForPN(FRIEND_JID)),
  );
  await sock.authState.keys.set({ session: { [lidAddress]: null } });
  await call(standin, 'POST /send-text', { session: 'amnesia', from: FRIEND, text: 'after' });
  await logged(standin, 'amnesia', 'receipt', (entry) => entry.type === 'retry');
  await eventually('the text that was asked for again', () => texts.includes('after'));
  await sock.end(undefined);
});

test('a phone that cannot decrypt asks again, and Baileys sends in a new session', async () => {
  const auth = await pair(standin, 'rollback');
  const { sock } = await open(standin, 'rollback', auth);
  await sock.sendMessage(FRIEND_JID, { text: 'one' });
  await eventually('the first', async () => (await messagesOf('rollback')).length === 1);
  const lidAddress = sock.signalRepository.jidToSignalProtocolAddress(
    String(await sock.signalRepository.lidMapping.getLIDForPN(FRIEND_JID)),
  );
  // A store that lost its last writes: the ratchet goes back, and the phone has seen this message
  // key before.
  const { [lidAddress]: old } = await auth.keys.get('session', [lidAddress]);
  await sock.sendMessage(FRIEND_JID, { text: 'two' });
  await eventually('the second', async () => (await messagesOf('rollback')).length === 2);
  await sock.authState.keys.set({ session: { [lidAddress]: old } });
  await sock.sendMessage(FRIEND_JID, { text: 'three' });
  await logged(standin, 'rollback', 'message_out', (entry) => entry.undecryptable);
  await eventually('the third, sent again', async () =>
    (await messagesOf('rollback')).some((/** @type {any} */ { text }) => text === 'three'),
  );
  await sock.end(undefined);
});

test('one linked device writes to another', async () => {
  const [here, there] = await Promise.all(
    ['here', 'there'].map((session) => pair(standin, session)),
  );
  const [sender, recipient] = [
    await open(standin, 'here', here),
    await open(standin, 'there', there),
  ];
  /** @type {(string | null | undefined)[]} */
  const texts = [];
  recipient.sock.ev.on('messages.upsert', ({ messages }) =>
    texts.push(...messages.map(({ message }) => message?.extendedTextMessage?.text)),
  );
  const phone = there.creds.me?.id.replace(/:.*@/, '@') ?? '';
  const sent = await sender.sock.sendMessage(phone, { text: 'from device to device' });
  await eventually('the text', () => texts.includes('from device to device'));
  await logged(standin, 'there', 'receipt', ({ id }) => id === sent?.key.id);
  await Promise.all([sender, recipient].map(({ sock }) => sock.end(undefined)));
});
