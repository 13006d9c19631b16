/**
 * @file With Baileys' own decryption and real keys. The crash of a whole worker is in
 *   plaintexts.e2e.test.js.
 */

import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import {
  addTransactionCapability,
  BufferJSON,
  DEFAULT_CONNECTION_CONFIG,
  decryptMessageNode,
  generateSignalPubKey,
  initAuthCreds,
  proto,
} from '@whiskeysockets/baileys';
import '../../silence-console.js';
import { AuthStore } from '../../keys/auth-store.js';
import { findLeftovers } from '../../keys/leftovers.js';
import { KIND, Plaintexts } from '../../keys/plaintexts.js';
import { baileysLogger, createLog } from '../../log.js';
import { inbound } from '../../messages/messages.js';

const ME = '15550000001:2@s.whatsapp.net';
const FRIEND = '15550000009@s.whatsapp.net';
const GROUP = '120363000000000000@g.us';
const DUPLICATE = 'Key used already or never filled';
const PREKEY = 7;
const logger = baileysLogger(createLog('silent', 'w'));
const AT_ONCE = { maxCommitRetries: 1, delayBetweenTriesMs: 0 };

/** @typedef {import('@whiskeysockets/baileys').SignalRepositoryWithLIDStore} Repository */

/** The supervisor's store, and what is asked of it. */
class MemoryKeeper {
  /** @type {Map<string, unknown>} by `kind name` */
  values = new Map();
  /** @type {import('../../wire.js').KeyEntry[][]} */
  writes = [];
  /** @type {string[]} kinds */
  reads = [];

  /** @type {import('../../keys/auth-store.js').Keeper['read']} */
  read = async (kind, names) => {
    this.reads.push(kind);
    const found = names.filter((name) => this.values.has(`${kind} ${name}`));
    return Object.fromEntries(found.map((name) => [name, this.values.get(`${kind} ${name}`)]));
  };

  /** @type {import('../../keys/auth-store.js').Keeper['write']} */
  write = async (entries) => {
    this.writes.push(entries);
    for (const { kind, name, value } of entries) {
      if (value === null) this.values.delete(`${kind} ${name}`);
      else this.values.set(`${kind} ${name}`, value);
    }
  };

  /** Names of what is kept. */
  get kept() {
    const prefix = `${KIND} `;
    return [...this.values.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length));
  }

  /** What the supervisor hands to the next worker. */
  get inbound() {
    return Object.fromEntries(this.kept.map((name) => [name, this.values.get(`${KIND} ${name}`)]));
  }

  /** The kinds in the last write. */
  get lastKinds() {
    return new Set(this.writes.at(-1)?.map(({ kind }) => kind));
  }
}

/** A worker with one socket, as far as messages are decrypted in it. */
class Worker {
  /** @type {{ id: string, text: string | null, kept: string[] }[]} */
  events = [];
  /** Names that wait in the outbox. @type {Set<string>} */
  onTheWay = new Set();
  /** Comes after the decryption of a stanza. */
  confirm = async () => {};
  /** How often what had to wait was said. */
  spoken = 0;
  #plaintexts = new Plaintexts({
    isOnItsWay: (name) => this.onTheWay.has(name),
    forget: (names) => this.store.forget(KIND, names),
  });
  #ws = new EventEmitter();
  #messageMutex = { mutex: (/** @type {() => any} */ work) => work() };

  /** @param {MemoryKeeper} keeper */
  constructor(keeper) {
    this.store = new AuthStore(keeper.values.get('creds creds') ?? null, keeper, () => {});
  }

  async open() {
    const { creds, keys } = await this.store.renew();
    const transactional = addTransactionCapability(keys, logger, AT_ONCE);
    this.repository = this.#plaintexts.makeRepository({ creds, keys: transactional }, logger);
    const sock = { ws: this.#ws, messageMutex: this.#messageMutex };
    this.desk = this.#plaintexts.attend(/** @type {any} */ (sock), () => {
      this.spoken += 1;
    });
    return this;
  }

  /**
   * As Baileys' handleMessage.
   *
   * @param {any} stanza
   * @returns {Promise<string | undefined>} why it did not decrypt
   */
  async receive(stanza) {
    this.#ws.emit('CB:message', stanza);
    const { fullMessage, decrypt } = decryptMessageNode(
      stanza,
      ME,
      '',
      /** @type {any} */ (this.repository),
      logger,
    );
    await this.#messageMutex.mutex(async () => {
      await decrypt();
      await this.confirm();
      const message = fullMessage.messageStubParameters ? null : inbound(fullMessage);
      if (message)
        this.events.push({ id: message.id, text: message.text, kept: this.#plaintexts.take() });
      this.#plaintexts.shown();
    });
    return fullMessage.messageStubParameters?.[0] ?? undefined;
  }
}

/** Somebody who writes to us. */
class Friend {
  #repository;

  constructor() {
    /** @type {Map<string, any>} */
    const values = new Map();
    const memory = {
      get: async (/** @type {string} */ kind, /** @type {string[]} */ names) =>
        Object.fromEntries(names.map((name) => [name, values.get(`${kind} ${name}`)])),
      set: async (/** @type {any} */ data) => {
        for (const [kind, of] of Object.entries(data))
          for (const [name, value] of Object.entries(of)) values.set(`${kind} ${name}`, value);
      },
    };
    const keys = addTransactionCapability(/** @type {any} */ (memory), logger, AT_ONCE);
    this.#repository = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(
      { creds: initAuthCreds(), keys },
      logger,
    );
  }

  /**
   * Starts a session with us.
   *
   * @param {import('@whiskeysockets/baileys').AuthenticationCreds} creds
   * @param {Uint8Array} preKey
   */
  meet({ signedIdentityKey, signedPreKey, registrationId }, preKey) {
    const session = {
      registrationId,
      identityKey: generateSignalPubKey(signedIdentityKey.public),
      signedPreKey: {
        keyId: signedPreKey.keyId,
        publicKey: generateSignalPubKey(signedPreKey.keyPair.public),
        signature: signedPreKey.signature,
      },
      preKey: { keyId: PREKEY, publicKey: generateSignalPubKey(preKey) },
    };
    return this.#repository.injectE2ESession({ jid: ME, session });
  }

  /**
   * @param {import('@whiskeysockets/baileys').proto.IMessage} message
   * @param {string} [id]
   */
  async write(message, id = 'A') {
    const { type, ciphertext } = await this.#repository.encryptMessage({
      jid: ME,
      data: padded(message),
    });
    return stanza({ id, from: FRIEND }, { type, ciphertext });
  }

  /**
   * Having heard from us he goes on without the start of a session in each message.
   *
   * @param {Worker} worker
   */
  async hearFrom(worker) {
    const repository = /** @type {Repository} */ (worker.repository);
    const sealed = await repository.encryptMessage({
      jid: FRIEND,
      data: padded({ conversation: 'hello' }),
    });
    await this.#repository.decryptMessage({ jid: ME, ...sealed });
  }

  /** @param {string} text */
  async writeToGroup(text) {
    const data = padded({ conversation: text });
    const sealed = await this.#repository.encryptGroupMessage({ group: GROUP, meId: FRIEND, data });
    const keys = {
      groupId: GROUP,
      axolotlSenderKeyDistributionMessage: sealed.senderKeyDistributionMessage,
    };
    const { content } = await this.write({ senderKeyDistributionMessage: keys });
    const enc = { type: 'skmsg', ciphertext: sealed.ciphertext };
    const both = stanza({ id: 'G', from: GROUP, participant: FRIEND }, enc);
    return { ...both, content: [...content, ...both.content] };
  }
}

/**
 * @param {Record<string, string>} attrs
 * @param {{ type: string, ciphertext: Uint8Array }} enc
 */
function stanza(attrs, { type, ciphertext }) {
  return {
    tag: 'message',
    attrs: { t: '7', ...attrs },
    content: [{ tag: 'enc', attrs: { type }, content: ciphertext }],
  };
}

/**
 * Another copy of it, as the network brings it.
 *
 * @param {any} original
 */
function copy(original) {
  return JSON.parse(JSON.stringify(original, BufferJSON.replacer), BufferJSON.reviver);
}

/** @param {import('@whiskeysockets/baileys').proto.IMessage} message */
function padded(message) {
  return Buffer.concat([proto.Message.encode(message).finish(), Buffer.from([1])]);
}

async function meet() {
  const keeper = new MemoryKeeper();
  const worker = await new Worker(keeper).open();
  await worker.store.saveCreds();
  const { signedPreKey } = initAuthCreds();
  keeper.values.set(
    `pre-key ${PREKEY}`,
    JSON.parse(JSON.stringify(signedPreKey.keyPair, BufferJSON.replacer)),
  );
  const friend = new Friend();
  await friend.meet(worker.store.creds, signedPreKey.keyPair.public);
  return { keeper, worker, friend };
}

/**
 * The supervisor has the events for good.
 *
 * @param {MemoryKeeper} keeper
 * @param {Worker} worker
 */
function makeDurable(keeper, worker) {
  for (const { kept } of worker.events)
    for (const name of kept) keeper.values.delete(`${KIND} ${name}`);
}

test('the keys that were used up and what they have opened are one write', async () => {
  const { keeper, worker, friend } = await meet();
  const before = keeper.writes.length;
  await worker.receive(await friend.write({ conversation: 'one' }));
  assert.deepEqual(keeper.lastKinds, new Set(['identity-key', 'session', 'pre-key', KIND]));
  assert.equal(keeper.writes.length, before + 1);
  await friend.hearFrom(worker);
  const { writes, reads } = keeper;
  const [writesBefore, readsBefore] = [writes.length, reads.length];
  const second = await friend.write({ conversation: 'two' });
  assert.equal(second.content[0].attrs.type, 'msg');
  await worker.receive(second);
  assert.deepEqual(keeper.lastKinds, new Set(['session', KIND]));
  assert.deepEqual([writes.length - writesBefore, reads.length - readsBefore], [1, 0]);
  assert.deepEqual(
    worker.events.map(({ text, kept }) => [text, kept.length]),
    [
      ['one', 1],
      ['two', 1],
    ],
  );
  assert.deepEqual(
    keeper.kept,
    worker.events.flatMap(({ kept }) => kept),
    'each event names what was kept of it',
  );
});

test('so in a group, where the keys come along', async () => {
  const { keeper, worker, friend } = await meet();
  await worker.receive(await friend.writeToGroup('hello all'));
  assert.deepEqual(keeper.lastKinds, new Set(['sender-key', KIND]));
  const [{ text, kept }] = worker.events;
  assert.deepEqual([text, kept.length], ['hello all', 2]);
  assert.deepEqual(keeper.kept, kept);
});

for (const [
  what,
  write,
] of /** @type {[string, (friend: Friend, worker: Worker) => Promise<any>][]} */ ([
  ['the first message of a session', (friend) => friend.write({ conversation: 'once' })],
  [
    'a message within a session',
    async (friend, worker) => {
      await worker.receive(await friend.write({ conversation: 'before' }, 'B'));
      await friend.hearFrom(worker);
      return friend.write({ conversation: 'once' });
    },
  ],
  ['a message to a group', (friend) => friend.writeToGroup('once')],
])) {
  test(`${what} is shown once`, async (t) => {
    const { keeper, worker, friend } = await meet();
    const message = await write(friend, worker);
    makeDurable(keeper, worker);
    await worker.receive(copy(message));
    const [shown] = worker.events.slice(-1);
    assert.equal(shown.text, 'once');

    await t.test('by the next worker, when the first one died too soon', async () => {
      const next = await new Worker(keeper).open();
      assert.equal(await next.receive(copy(message)), undefined);
      assert.deepEqual(next.events, [shown]);
    });

    await t.test(
      'by the next worker without WhatsApp, when that knows that it has arrived',
      async () => {
        const { id = '', lid } = worker.store.creds.me ?? { id: ME };
        const { shown: leftovers } = await findLeftovers(
          keeper.inbound,
          { id, lid },
          createLog('silent', 'w'),
        );
        const events = leftovers.map(({ message: { id, text }, kept }) => ({ id, text, kept }));
        assert.deepEqual(events, [shown]);
      },
    );

    await t.test('though an earlier version has kept it', async () => {
      const older = new MemoryKeeper();
      older.values = new Map(keeper.values);
      for (const name of keeper.kept)
        older.values.set(`${KIND} ${name}`, /** @type {any} */ (keeper.inbound[name]).plaintext);
      const next = await new Worker(older).open();
      assert.equal(await next.receive(copy(message)), undefined);
      assert.deepEqual(next.events, [shown]);
    });

    await t.test('not a second time while the first is on its way', async () => {
      worker.onTheWay = new Set(shown.kept);
      const reads = keeper.reads.length;
      assert.equal(await worker.receive(copy(message)), DUPLICATE);
      assert.equal(keeper.reads.length, reads, 'and nobody is asked');
      assert.equal(worker.events.at(-1), shown);
    });

    await t.test('nor when it is durable', async () => {
      makeDurable(keeper, worker);
      assert.deepEqual(keeper.kept, []);
      for (const any of [worker, await new Worker(keeper).open()]) {
        any.events = [];
        any.onTheWay.clear();
        assert.equal(await any.receive(copy(message)), DUPLICATE);
        assert.deepEqual(any.events, []);
      }
      assert.deepEqual(keeper.kept, []);
    });
  });
}

test('an event that is made, or made durable, while the store is asked is not made again', async () => {
  const { keeper, worker, friend } = await meet();
  const message = await friend.write({ conversation: 'once' });
  await worker.receive(message);
  const { read } = keeper;
  keeper.read = async (kind, names) => {
    const values = await read(kind, names);
    if (kind === KIND) worker.onTheWay.add(names[0]);
    return values;
  };
  assert.equal(await worker.receive(copy(message)), DUPLICATE);
  assert.equal(worker.events.length, 1);
});

test('what nobody can decrypt stays what it was, and leaves nothing', async () => {
  const { keeper, worker, friend } = await meet();
  await worker.receive(await friend.write({ conversation: 'hello' }));
  await friend.hearFrom(worker);
  const message = await friend.write({ conversation: 'garbled' }, 'X');
  const broken = copy(message);
  broken.content[0].content[60] ^= 1;
  const before = [...keeper.values.keys()];
  assert.equal(await worker.receive(broken), 'No matching sessions found for message');
  const stranger = {
    ...copy(message),
    attrs: { ...message.attrs, from: '15550000008@s.whatsapp.net' },
  };
  assert.equal(await worker.receive(stranger), 'No session record');
  assert.deepEqual([...keeper.values.keys()], before);
  assert.equal(await worker.receive(message), undefined);
  assert.deepEqual(
    worker.events.map(({ text }) => text),
    ['hello', 'garbled'],
  );
});

test('nobody is shown to have written what somebody else has', async () => {
  const { worker, friend } = await meet();
  const message = await friend.write({ conversation: 'from a friend' });
  await worker.receive(message);
  const forged = {
    ...copy(message),
    attrs: { ...message.attrs, from: '15550000008@s.whatsapp.net' },
  };
  assert.notEqual(await worker.receive(forged), undefined);
  assert.equal(worker.events.length, 1);
});

test('a message that is sent anew under its old name is taken for itself', async () => {
  const { keeper, worker, friend } = await meet();
  const first = await friend.write({ conversation: 'first' });
  await worker.receive(first);
  const next = await new Worker(keeper).open();
  const anew = await friend.write({ conversation: 'anew' });
  anew.content[0].content[anew.content[0].content.length - 10] ^= 1;
  assert.match(
    String(await next.receive(anew)),
    /MAC/,
    'one that does not decrypt is not shown as the one before',
  );
  await next.receive(await friend.write({ conversation: 'anew' }));
  assert.equal(next.events[0].text, 'anew');
  makeDurable(keeper, next);
  makeDurable(keeper, worker);
  assert.deepEqual(keeper.kept, []);
});

test('what leads to no event is forgotten with the next write, or by itself', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { keeper, worker, friend } = await meet();
  await worker.receive(await friend.write({ protocolMessage: {} }, 'P'));
  await worker.receive(await friend.write({ protocolMessage: {} }, 'Q'));
  assert.equal(keeper.kept.length, 1, 'the first went with the write of the second');
  const { length } = keeper.writes;
  t.mock.timers.tick(1000);
  assert.equal(keeper.writes.length, length + 1);
  assert.deepEqual(keeper.kept, []);
});

test('parts of a message that did not decrypt as a whole are forgotten', async () => {
  const { keeper, worker, friend } = await meet();
  const message = await friend.writeToGroup('cut');
  message.content[1].content[20] ^= 1;
  assert.notEqual(await worker.receive(message), undefined);
  assert.equal(keeper.kept.length, 1);
  await worker.store.settled(1000);
  assert.deepEqual(keeper.kept, []);
});

test('a message that could not be confirmed to WhatsApp is there when it comes again', async () => {
  const { keeper, worker, friend } = await meet();
  const message = await friend.write({ conversation: 'again' });
  worker.confirm = () => Promise.reject(new Error('Connection Closed'));
  await assert.rejects(worker.receive(message));
  await worker.store.settled(1000);
  worker.confirm = async () => {};
  await worker.receive(copy(message));
  assert.deepEqual(
    worker.events.map(({ text, kept }) => [text, kept]),
    [['again', keeper.kept]],
  );
});

test('nothing is said between the decryption of a message and its event', async () => {
  const { worker, friend } = await meet();
  /** @type {unknown[]} */
  const seen = [];
  worker.confirm = async () => {
    seen.push([worker.desk?.hasUnshown, worker.spoken, worker.events.length]);
  };
  await worker.receive(await friend.write({ conversation: 'one' }));
  await worker.receive(await friend.writeToGroup('two'));
  await worker.receive(await friend.write({ protocolMessage: {} }));
  assert.deepEqual(seen, [
    [true, 0, 0],
    [true, 1, 1],
    [true, 2, 2],
  ]);
  assert.deepEqual([worker.desk?.hasUnshown, worker.spoken], [false, 3]);
  worker.confirm = () => Promise.reject(new Error('Connection Closed'));
  await assert.rejects(worker.receive(await friend.write({ conversation: 'three' })));
  assert.deepEqual([worker.desk?.hasUnshown, worker.spoken], [false, 4]);
});

test('of a message that does not decrypt as a whole Baileys may speak with the server', async () => {
  const { worker, friend } = await meet();
  const message = await friend.writeToGroup('cut');
  message.content[1].content[20] ^= 1;
  worker.confirm = async () => assert.equal(worker.desk?.hasUnshown, false);
  assert.notEqual(await worker.receive(message), undefined);
});

test('parts that two workers have decrypted are one message', async () => {
  const { keeper, worker, friend } = await meet();
  const { write } = keeper;
  const message = await friend.writeToGroup('in two');
  keeper.write = async (entries) => {
    if (keeper.kept.length > 0) throw new Error('the worker died here');
    await write(entries);
  };
  await worker.receive(copy(message));
  assert.equal(keeper.kept.length, 1);
  keeper.write = write;
  const next = await new Worker(keeper).open();
  await next.receive(await friend.write({ conversation: 'in between' }, 'B'));
  makeDurable(keeper, next);
  await next.receive(copy(message));
  const { shown } = await findLeftovers(keeper.inbound, { id: ME }, createLog('silent', 'w'));
  assert.deepEqual(
    shown.map(({ message: { text }, kept }) => [text, kept.toSorted()]),
    [['in two', keeper.kept.toSorted()]],
  );
});

test('what devices of one account tell each other is not kept', async () => {
  const { keeper, worker, friend } = await meet();
  const message = await friend.write({ protocolMessage: {} });
  await worker.receive({ ...message, attrs: { ...message.attrs, category: 'peer' } });
  assert.deepEqual(keeper.kept, []);
});
