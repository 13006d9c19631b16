import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BufferJSON, initAuthCreds, proto } from '@whiskeysockets/baileys';
import { AuthStore, WriteRefused } from '../../keys/auth-store.js';
import { eventually } from '../tools/testing.js';

/** A supervisor that answers when it is told to. */
class SlowKeeper {
  /**
   * @type {{ entries: import('../../wire.js').KeyEntry[], acknowledge: () => void, refuse: (error:
   *   Error) => void }[]}
   */
  writes = [];
  /**
   * @type {{ kind: string, names: string[], answer: (values: Record<string, unknown>) => void }[]}
   */
  reads = [];

  /** @type {import('../../keys/auth-store.js').Keeper['read']} */
  read = (kind, names) => new Promise((answer) => this.reads.push({ kind, names, answer }));

  /** @type {import('../../keys/auth-store.js').Keeper['write']} */
  write = (entries) =>
    new Promise((resolve, refuse) =>
      this.writes.push({ entries, acknowledge: () => resolve(), refuse }),
    );
}

/** @param {unknown} [creds] */
async function open(creds = null) {
  const keeper = new SlowKeeper();
  /** @type {Error[]} */
  const refusals = [];
  const store = new AuthStore(creds, keeper, (refusal) => refusals.push(refusal));
  const { keys } = await store.renew();
  return { keeper, store, keys, refusals };
}

/** As they come over the line. */
const pairedCreds = () =>
  JSON.parse(
    JSON.stringify(
      { ...initAuthCreds(), me: { id: '15550000001:1@s.whatsapp.net' }, account: {} },
      BufferJSON.replacer,
    ),
  );

/** @param {number} byte */
const bytes = (byte) => Buffer.from([byte]);

test('fresh creds write nothing by themselves', async () => {
  const { keeper, store } = await open();
  assert.equal(store.registered, false);
  assert.equal(keeper.writes.length, 0);
});

test('creds from the line get their buffers back', async () => {
  const creds = pairedCreds();
  const { store } = await open(creds);
  assert.deepEqual(store.creds.noiseKey.public, Buffer.from(creds.noiseKey.public.data, 'base64'));
});

test('each attempt to pair has a secret of its own, and one that may be old is replaced before anything is shown', async () => {
  const { keeper, store } = await open();
  const first = store.creds.advSecretKey;
  let renewed = false;
  const renewing = store.renew().then(() => {
    renewed = true;
  });
  await nextTurn();
  assert.notEqual(store.creds.advSecretKey, first);
  assert.equal(Buffer.from(store.creds.advSecretKey, 'base64').length, 32);
  assert.deepEqual([keeper.writes.length, renewed], [1, false], 'not before it is durable');
  const { advSecretKey } = /** @type {any} */ (keeper.writes[0].entries[0].value);
  assert.equal(advSecretKey, store.creds.advSecretKey);
  keeper.writes[0].acknowledge();
  await renewing;
});

test('a pairing that the server knows of is marked as registered, for those who are given its creds', async () => {
  const { keeper, store } = await open();
  Object.assign(store.creds, { me: { id: '15550000001:1@s.whatsapp.net' }, account: {} });
  store.beginPairing();
  store.confirmPairing();
  const { value } = /** @type {any} */ (keeper.writes[0].entries[0]);
  assert.deepEqual([value.registered, value.pairingUnconfirmed], [true, undefined]);
  store.confirmPairing();
  assert.equal(keeper.writes.length, 1, 'once');
});

test('a write is done when it is acknowledged, not before', async () => {
  const { keeper, keys } = await open();
  let done = false;
  const writing = Promise.resolve(keys.set({ session: { a: bytes(1) } })).then(() => {
    done = true;
  });
  await nextTurn();
  assert.equal(done, false);
  assert.deepEqual(keeper.writes[0].entries, [
    { kind: 'session', name: 'a', value: { type: 'Buffer', data: bytes(1).toString('base64') } },
  ]);
  keeper.writes[0].acknowledge();
  await writing;
});

test('what comes while a write is under way goes together into the next, the last value of each key', async () => {
  const { keeper, store, keys } = await open();
  const all = [
    keys.set({ session: { a: bytes(1) } }),
    store.saveCreds(),
    keys.set({ session: { b: bytes(1) } }),
  ];
  all.push(keys.set({ session: { b: null } }));
  assert.equal(keeper.writes.length, 1);
  keeper.writes[0].acknowledge();
  await nextTurn();
  assert.equal(keeper.writes.length, 2);
  assert.deepEqual(
    keeper.writes[1].entries.map(({ kind, name, value }) => [kind, name, value === null]),
    [
      ['creds', 'creds', false],
      ['session', 'b', true],
    ],
  );
  keeper.writes[1].acknowledge();
  await Promise.all(all);
});

test('creds are written as they were when they were handed over', async () => {
  const { keeper, store } = await open();
  store.creds.nextPreKeyId = 5;
  store.saveCreds();
  store.creds.nextPreKeyId = 9;
  const { value } = keeper.writes[0].entries[0];
  assert.equal(/** @type {any} */ (value).nextPreKeyId, 5);
});

test('a read is asked once and then known, also what is absent', async () => {
  const { keeper, keys } = await open();
  const reading = keys.get('session', ['a', 'b']);
  await nextTurn();
  keeper.reads[0].answer({ a: { type: 'Buffer', data: 'AQ==' } });
  assert.deepEqual(await reading, { a: bytes(1) });
  assert.deepEqual(await keys.get('session', ['b', 'a']), { a: bytes(1) });
  assert.equal(keeper.reads.length, 1);
});

test('what a reader does to its copy is its own affair', async () => {
  const { keeper, keys } = await open();
  const writing = keys.set({ 'device-list': { me: ['0'] } });
  keeper.writes[0].acknowledge();
  await writing;
  const { me } = await keys.get('device-list', ['me']);
  me.push('1');
  assert.deepEqual(await keys.get('device-list', ['me']), { me: ['0'] });
});

test('a read waits for a write of the same key, and only for that', async () => {
  const { keeper, keys } = await open();
  const writing = keys.set({ session: { a: bytes(2) } });
  const reading = keys.get('session', ['a']);
  const other = keys.get('session', ['b']);
  await nextTurn();
  assert.deepEqual(
    keeper.reads.map(({ names }) => names),
    [['b']],
  );
  keeper.reads[0].answer({});
  assert.deepEqual(await other, {});
  keeper.writes[0].acknowledge();
  assert.deepEqual(await reading, { a: bytes(2) });
  await writing;
});

test('a read that began before a write does not put the old value back', async () => {
  const { keeper, keys } = await open();
  const reading = keys.get('session', ['a']);
  await nextTurn();
  const writing = keys.set({ session: { a: bytes(2) } });
  keeper.writes[0].acknowledge();
  await writing;
  keeper.reads[0].answer({ a: { type: 'Buffer', data: 'AQ==' } });
  await reading;
  assert.deepEqual(await keys.get('session', ['a']), { a: bytes(2) });
});

test('the cache is bounded', async () => {
  const { keeper, keys } = await open();
  const many = Object.fromEntries(
    Array.from({ length: 501 }, (_, index) => [`n${index}`, bytes(1)]),
  );
  const writing = keys.set({ session: many });
  keeper.writes[0].acknowledge();
  await writing;
  keys.get('session', ['n0', 'n500']);
  await nextTurn();
  assert.deepEqual(keeper.reads[0].names, ['n0']);
});

test('app state keys come back as the messages that Baileys expects', async () => {
  const { keeper, keys } = await open();
  const reading = keys.get('app-state-sync-key', ['k']);
  await nextTurn();
  keeper.reads[0].answer({ k: { keyData: { type: 'Buffer', data: 'AQ==' }, timestamp: '7' } });
  const { k } = await reading;
  assert.ok(k instanceof proto.Message.AppStateSyncKeyData);
});

test('a refused write is not in the cache, takes the waiting ones with it, and is told once', async () => {
  const { keeper, keys, refusals } = await open();
  const first = keys.set({ session: { a: bytes(2) } });
  const second = keys.set({ session: { b: bytes(2) } });
  keeper.writes[0].refuse(new WriteRefused('store_failed'));
  await assert.rejects(Promise.resolve(first), WriteRefused);
  await assert.rejects(Promise.resolve(second), WriteRefused);
  await assert.rejects(Promise.resolve(keys.set({ session: { c: bytes(2) } })), WriteRefused);
  assert.equal(refusals.length, 1);
  assert.equal(keeper.writes.length, 1);
  const reading = keys.get('session', ['a']);
  await nextTurn();
  keeper.reads[0].answer({ a: { type: 'Buffer', data: 'AQ==' } });
  assert.deepEqual(await reading, { a: bytes(1) });
});

test('after a refused write the next socket has the creds written first', async () => {
  const { keeper, store } = await open();
  store.saveCreds().catch(() => {});
  keeper.writes[0].refuse(new WriteRefused('store_failed'));
  await nextTurn();
  const renewing = store.renew();
  assert.deepEqual(
    keeper.writes[1].entries.map(({ kind }) => kind),
    ['creds'],
  );
  keeper.writes[1].refuse(new WriteRefused('store_failed'));
  await assert.rejects(renewing, WriteRefused);
  const again = store.renew();
  keeper.writes[2].acknowledge();
  await again;
});

test('what an old socket still writes does not get through', async () => {
  const { keeper, store, keys } = await open(pairedCreds());
  await store.renew();
  await assert.rejects(Promise.resolve(keys.set({ session: { a: bytes(1) } })));
  assert.equal(keeper.writes.length, 0);
});

test('a socket that has ended writes what it has in hand, and reads nothing more', async () => {
  const { keeper, store, keys } = await open(pairedCreds());
  store.windUp();
  await assert.rejects(Promise.resolve(keys.get('session', ['a'])));
  const writing = keys.set({ session: { a: bytes(1) } });
  keeper.writes[0].acknowledge();
  await writing;
  const { keys: next } = await store.renew();
  assert.deepEqual(await next.get('session', ['a']), { a: bytes(1) });
});

test('an unfinished pairing is dropped, a finished one never', async () => {
  const { keeper, store } = await open();
  store.creds.me = { id: '15550000001@s.whatsapp.net', name: '~' };
  store.dropUnfinishedPairing();
  assert.equal(store.creds.me, undefined);
  assert.equal(keeper.writes.length, 1);
  store.creds.me = { id: '15550000001:1@s.whatsapp.net' };
  store.creds.account = {};
  store.dropUnfinishedPairing();
  assert.equal(store.registered, true);
});

test('a pairing is marked in the write that holds it, until the server knows of it', async () => {
  const { keeper, store } = await open();
  store.beginPairing();
  assert.equal(keeper.writes.length, 0, 'Baileys writes it');
  Object.assign(store.creds, { me: { id: '15550000001:1@s.whatsapp.net' }, account: {} });
  store.saveCreds();
  keeper.writes[0].acknowledge();
  await nextTurn();
  const { store: heir } = await open(keeper.writes[0].entries[0].value);
  assert.deepEqual(
    [heir.registered, heir.unconfirmed],
    [true, true],
    'whoever has it next is told',
  );
  store.confirmPairing();
  assert.deepEqual([store.registered, store.unconfirmed], [true, false]);
  assert.equal(
    'pairingUnconfirmed' in /** @type {any} */ (keeper.writes[1].entries[0].value),
    false,
  );
  keeper.writes[1].acknowledge();
  await nextTurn();
  store.confirmPairing();
  assert.equal(keeper.writes.length, 2, 'once');
});

test('a pairing that was never confirmed is taken back, after the write that holds it', async () => {
  const { keeper, store } = await open();
  const me = { id: '15550000001:1@s.whatsapp.net' };
  store.beginPairing();
  Object.assign(store.creds, { me, account: {}, signalIdentities: [], platform: 'smba' });
  store.saveCreds();
  store.undoPairing();
  assert.equal(store.registered, false);
  keeper.writes[0].acknowledge();
  await nextTurn();
  const [paired, undone] = keeper.writes.map(
    ({ entries }) => /** @type {any} */ (entries[0].value),
  );
  assert.deepEqual(paired.me, me);
  for (const fact of ['me', 'account', 'signalIdentities', 'platform', 'pairingUnconfirmed'])
    assert.equal(fact in undone, false, fact);
});

test('flushed says whether all that was written is durable', async () => {
  const { keeper, store, keys } = await open();
  await store.flushed();
  store.saveCreds();
  Promise.resolve(keys.set({ session: { a: bytes(1) } })).catch(() => {});
  const flushing = store.flushed();
  keeper.writes[0].acknowledge();
  await nextTurn();
  keeper.writes[1].refuse(new WriteRefused('store_failed'));
  await assert.rejects(flushing, WriteRefused);
  await assert.rejects(store.flushed(), WriteRefused);
});

test('settled waits for the last acknowledgement, and not for ever', async () => {
  const { keeper, store, keys } = await open();
  await store.settled(1000);
  const writing = keys.set({ session: { a: bytes(1) } });
  await store.settled(20);
  const settling = store.settled(1000);
  keeper.writes[0].acknowledge();
  await settling;
  await writing;
});

const forgotten = { kind: 'inbound', name: 'a', value: null };

test('what is forgotten goes with the next write', async () => {
  const { keeper, store, keys } = await open();
  store.forget('inbound', ['a']);
  assert.equal(keeper.writes.length, 0);
  keys.set({ session: { b: bytes(1) } });
  await nextTurn();
  assert.deepEqual(keeper.writes[0].entries.slice(1), [forgotten]);
  keeper.writes[0].acknowledge();
  await nextTurn();
  keys.set({ session: { b: bytes(2) } });
  await nextTurn();
  assert.equal(keeper.writes[1].entries.length, 1, 'once');
});

test('what is forgotten is deleted by itself after a second, when nothing is being written', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { keeper, store } = await open();
  store.saveCreds();
  store.forget('inbound', ['a']);
  t.mock.timers.tick(1000);
  assert.equal(keeper.writes.length, 1);
  keeper.writes[0].acknowledge();
  await nextTurn();
  t.mock.timers.tick(1000);
  assert.deepEqual(keeper.writes[1].entries, [forgotten]);
});

test('what is forgotten is deleted before all is settled, and not lost with a refused write', async () => {
  const { keeper, store } = await open();
  store.saveCreds();
  store.forget('inbound', ['a']);
  keeper.writes[0].acknowledge();
  const settling = store.settled(60_000);
  await eventually('what is forgotten is written', () => keeper.writes.length > 1);
  assert.deepEqual(keeper.writes[1].entries, [forgotten]);
  keeper.writes[1].refuse(new WriteRefused('store_failed'));
  await settling;
  const renewing = store.renew();
  assert.deepEqual(keeper.writes[2].entries.slice(1), [forgotten]);
  keeper.writes[2].acknowledge();
  await renewing;
});

test('what is written anew is not forgotten', async () => {
  const { keeper, store, keys } = await open();
  store.forget('inbound', ['a']);
  keys.set(/** @type {any} */ ({ inbound: { a: 'text' } }));
  await nextTurn();
  assert.deepEqual(keeper.writes[0].entries, [{ kind: 'inbound', name: 'a', value: 'text' }]);
  keeper.writes[0].acknowledge();
  await store.settled(1000);
  assert.equal(keeper.writes.length, 1);
});

test('plaintexts are not cached: the supervisor deletes them', async () => {
  const { keeper, keys } = await open();
  const writing = keys.set(/** @type {any} */ ({ inbound: { a: 'text' } }));
  await nextTurn();
  keeper.writes[0].acknowledge();
  await writing;
  const reading = keys.get(/** @type {any} */ ('inbound'), ['a']);
  await nextTurn();
  keeper.reads[0].answer({});
  assert.deepEqual(await reading, {});
});
