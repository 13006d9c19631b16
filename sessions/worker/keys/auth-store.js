/**
 * @file Baileys' authentication state, kept by the supervisor at the other end of the line.
 *
 * What may be relied upon:
 * - A write is done when the supervisor says that it is durable, not before; Baileys waits for
 *   that.
 * - Writes reach the supervisor one frame at a time, in order. What comes while one is under way
 *   goes together into the next, so nothing is lost or overtaken, and a refused write cannot be
 *   followed by a later one that builds on it.
 * - A read never shows what is not durable: the cache learns of a write from its acknowledgement.
 * - What is forgotten is deleted with the next write, or a second later.
 * - After a refused write the state writes nothing more until the next `renew`, which writes the
 *   creds first: nothing may build on what the store does not have.
 */

import { randomBytes } from 'node:crypto';
import { BufferJSON, initAuthCreds, proto } from '@whiskeysockets/baileys';
import { mustNotReject } from '../async/must-not-reject.js';

/**
 * @typedef {import('@whiskeysockets/baileys').AuthenticationCreds & { pairingUnconfirmed?: true }}
 *   Creds Baileys' own, and our mark: the server has not shown yet that it knows of the pairing
 *   that they hold
 * @typedef {import('@whiskeysockets/baileys').AuthenticationState} AuthenticationState
 * @typedef {import('@whiskeysockets/baileys').SignalDataSet} SignalDataSet
 * @typedef {import('../wire.js').KeyEntry} KeyEntry
 *
 * @typedef {object} Keeper the supervisor, as the store sees it
 * @property {(kind: string, names: string[]) => Promise<Record<string, unknown>>} read
 * @property {(entries: KeyEntry[]) => Promise<void>} write rejects with a WriteRefused
 *
 * @typedef {{ promise: Promise<void>, resolve: () => void, reject: (error: Error) => void }}
 *   Deferred
 *
 * @typedef {object} Batch writes that go to the supervisor in one frame
 * @property {Map<string, { kind: string, name: string, text: string | null }>} entries by cache
 *   key; text is JSON, null deletes
 * @property {Deferred} done
 */

const CREDS = 'creds';
const SECRET_BYTES = 32;
/** What a pairing adds to the creds, besides `me`. */
const PAIRING = /** @type {const} */ ([
  'account',
  'signalIdentities',
  'platform',
  'pairingUnconfirmed',
]);
/** Enough for the sessions of a busy day; a value is some kilobytes. */
const CACHE_ENTRIES = 500;
/** Written by the hundred, read once in a life. */
const UNCACHED_KINDS = new Set(['pre-key', 'inbound']);
/** How long what was forgotten waits for a write that takes it along. */
const SWEEP_AFTER_MS = 1_000;

/** The supervisor did not take a write. `code` is `stale_epoch` or `store_failed`. */
export class WriteRefused extends Error {
  /** @param {string} code */
  constructor(code) {
    super(`the supervisor refused a write: ${code}`);
    this.code = code;
  }
}

export class AuthStore {
  /** @type {Creds} */
  creds;
  #keeper;
  #onRefused;
  /**
   * @type {Map<string, string | null>} JSON text, so that a reader's copy is its own; null = known
   *   to be absent
   */
  #cache = new Map();
  /** @type {Batch | null} */
  #underWay = null;
  /** @type {Batch | null} */
  #waiting = null;
  /** Entries to be deleted, by cache key. @type {Map<string, { kind: string, name: string }>} */
  #forgotten = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  #sweep;
  /**
   * Grows with each acknowledged write: a read that began before must not fill the cache with what
   * it saw.
   */
  #writes = 0;
  /** @type {Error | null} */
  #refused = null;
  /** Grows with each `renew`; the state handed out before is then dead. */
  #generation = 0;
  /** An earlier attempt to pair may have shown the secret in the creds. */
  #secretIsOld;
  #readable = true;

  /**
   * @param {unknown} creds as they came over the line; null = never paired
   * @param {Keeper} keeper
   * @param {(refusal: Error) => void} onRefused
   */
  constructor(creds, keeper, onRefused) {
    this.#secretIsOld = creds !== null;
    this.creds = creds === null ? initAuthCreds() : revive(JSON.stringify(creds));
    this.#keeper = keeper;
    this.#onRefused = onRefused;
  }

  /**
   * The creds hold a completed pairing. (`creds.registered` does not say that: pairing by QR never
   * sets it.)
   */
  get registered() {
    return Boolean(this.creds.me?.id && this.creds.account);
  }

  /**
   * The state for a new socket. The one handed out before is cut off: what an old socket still
   * finishes must not overwrite what the new one has moved on to. Rejects when the creds are owed
   * to the store and it does not take them.
   *
   * Each attempt to pair has a secret of its own: the server may have retired the one before when
   * we no longer heard it.
   *
   * @returns {Promise<AuthenticationState>}
   */
  async renew() {
    this.#generation += 1;
    this.#readable = true;
    const owed = this.#refused !== null;
    this.#refused = null;
    this.dropUnfinishedPairing();
    const secretIsOld = this.#secretIsOld && !this.registered;
    this.#secretIsOld = true;
    if (secretIsOld) await this.renewSecret();
    else if (owed) await this.saveCreds();
    const generation = this.#generation;
    const assertLive = () => {
      if (generation !== this.#generation) throw new Error('this socket no longer owns the keys');
    };
    return {
      creds: this.creds,
      keys: {
        get: async (kind, names) => {
          assertLive();
          if (!this.#readable) throw new Error('this socket has ended');
          return /** @type {any} */ (await this.#get(kind, names));
        },
        set: async (data) => {
          assertLive();
          await this.#write(signalEntries(data));
        },
      },
    };
  }

  /**
   * Deletes entries, in no hurry.
   *
   * @param {string} kind
   * @param {string[]} names
   */
  forget(kind, names) {
    for (const name of names) this.#forgotten.set(keyOf(kind, name), { kind, name });
    this.#sweepLater();
  }

  /** Writes the creds as they are now. */
  saveCreds() {
    return this.#write([{ kind: CREDS, name: CREDS, value: this.creds }]);
  }

  /**
   * A new secret for the pairing that is to come. It may be shown when this has resolved: then it
   * is durable.
   */
  renewSecret() {
    this.creds.advSecretKey = randomBytes(SECRET_BYTES).toString('base64');
    return this.saveCreds();
  }

  /**
   * Asking for a pairing code sets `creds.me`, and with that Baileys would log in as a device that
   * does not exist (refused with 401). Without it the next attempt is a fresh registration again.
   */
  dropUnfinishedPairing() {
    if (this.creds.account || !this.creds.me) return;
    delete this.creds.me;
    this.creds.registered = false;
    this.creds.pairingCode = undefined;
    this.saveCreds().catch(() => {}); // its refusal is reported once, through onRefused
  }

  /**
   * Marks the pairing that Baileys is about to write, in the same row: whoever dies from here on,
   * the next login knows that the server may never have heard that we accept it.
   */
  beginPairing() {
    this.creds.pairingUnconfirmed = true;
  }

  /**
   * The server knows of the pairing. Baileys sets `registered` for a pairing by code only; other
   * programs that are given these creds look at it, and pair anew, over the pairing that there is,
   * when it is not set.
   */
  confirmPairing() {
    if (!this.registered || (this.creds.registered && !this.unconfirmed)) return;
    delete this.creds.pairingUnconfirmed;
    this.creds.registered = true;
    this.saveCreds().catch(() => {}); // its refusal is reported once, through onRefused
  }

  /** Whether the server may not know of the pairing. */
  get unconfirmed() {
    return this.creds.pairingUnconfirmed === true;
  }

  /**
   * A pairing that the server was never told we accept is none: the next attempt is a fresh
   * registration again.
   */
  undoPairing() {
    for (const fact of PAIRING) delete this.creds[fact];
    this.dropUnfinishedPairing();
  }

  /** Resolves when all that was written so far is durable; rejects when it is refused. */
  async flushed() {
    if (this.#refused) throw this.#refused;
    await this.#pending()?.done.promise;
  }

  /**
   * Resolves when no write is under way any more, or after `timeoutMs`.
   *
   * @param {number} timeoutMs
   */
  async settled(timeoutMs) {
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const timeOut = new Promise((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.#idle(), timeOut]);
    clearTimeout(timer);
  }

  /**
   * The socket has ended. What it has in hand it may still write, since some of it may be said or
   * heard already; it may not begin anything new, and that begins with a read.
   */
  windUp() {
    this.#readable = false;
  }

  /** Cuts off whoever still holds a state, for good. */
  revoke() {
    this.#generation += 1;
    clearTimeout(this.#sweep);
  }

  async #idle() {
    do {
      // A transaction that was about to commit when the socket ended has its turn here.
      await new Promise((resolve) => setImmediate(resolve));
      this.#sweepNow();
      await this.#pending()?.done.promise.catch(() => {});
    } while (this.#pending());
  }

  #pending() {
    return this.#waiting ?? this.#underWay;
  }

  /**
   * @param {string} kind
   * @param {string[]} names
   * @returns {Promise<Record<string, unknown>>}
   */
  async #get(kind, names) {
    await this.#written(kind, names);
    const texts = new Map(names.map((name) => [name, this.#recall(keyOf(kind, name))]));
    const missing = names.filter((name) => texts.get(name) === undefined);
    if (missing.length > 0)
      for (const [name, text] of await this.#fetch(kind, missing)) texts.set(name, text);
    /** @type {Record<string, unknown>} */
    const values = {};
    for (const [name, text] of texts) if (text) values[name] = reviveKey(kind, text);
    return values;
  }

  /**
   * Waits until nothing is being written that the read is about.
   *
   * @param {string} kind
   * @param {string[]} names
   */
  async #written(kind, names) {
    for (const batch of [this.#underWay, this.#waiting]) {
      if (batch && names.some((name) => batch.entries.has(keyOf(kind, name))))
        await batch.done.promise;
    }
  }

  /**
   * @param {string} kind
   * @param {string[]} names
   * @returns {Promise<Map<string, string | null>>}
   */
  async #fetch(kind, names) {
    const writes = this.#writes;
    const values = await this.#keeper.read(kind, names);
    const textOf = (/** @type {unknown} */ value) => (value == null ? null : JSON.stringify(value));
    const texts = new Map(names.map((name) => [name, textOf(values[name])]));
    if (writes === this.#writes) for (const [name, text] of texts) this.#remember(kind, name, text);
    return texts;
  }

  #sweepLater() {
    clearTimeout(this.#sweep);
    this.#sweep = setTimeout(() => this.#sweepNow(), SWEEP_AFTER_MS).unref();
  }

  #sweepNow() {
    if (this.#refused || this.#forgotten.size === 0) return;
    if (this.#pending()) return this.#sweepLater();
    this.#waiting = emptyBatch();
    mustNotReject(this.#sendNext());
  }

  /** @param {KeyEntry[]} entries */
  async #write(entries) {
    if (this.#refused) throw this.#refused;
    if (entries.length === 0) return;
    this.#waiting ??= emptyBatch();
    for (const { kind, name, value } of entries) {
      // As text at once: Baileys goes on changing the creds and the records that it has handed
      // over.
      this.#waiting.entries.set(keyOf(kind, name), {
        kind,
        name,
        text: value == null ? null : freeze(value),
      });
    }
    const { done } = this.#waiting;
    mustNotReject(this.#sendNext());
    await done.promise;
  }

  /** One frame at a time; its acknowledgement sends the next. */
  async #sendNext() {
    if (this.#underWay || !this.#waiting) return;
    const batch = this.#waiting;
    this.#underWay = batch;
    this.#waiting = null;
    for (const [key, entry] of this.#forgotten) {
      if (!batch.entries.has(key)) batch.entries.set(key, { ...entry, text: null });
    }
    try {
      await this.#keeper.write([...batch.entries.values()].map(plainEntry));
      this.#learn(batch);
    } catch (error) {
      this.#refuse(/** @type {Error} */ (error), batch);
      return;
    }
    this.#underWay = null;
    batch.done.resolve();
    mustNotReject(this.#sendNext());
  }

  /** @param {Batch} batch */
  #learn(batch) {
    this.#writes += 1;
    for (const [key, { kind, name, text }] of batch.entries) {
      this.#forgotten.delete(key);
      if (kind !== CREDS) this.#remember(kind, name, text);
    }
  }

  /**
   * @param {Error} refusal
   * @param {Batch} batch
   */
  #refuse(refusal, batch) {
    const waiting = this.#waiting;
    this.#refused = refusal;
    this.#underWay = null;
    this.#waiting = null;
    batch.done.reject(refusal);
    waiting?.done.reject(refusal);
    this.#onRefused(refusal);
  }

  /** @param {string} key */
  #recall(key) {
    const text = this.#cache.get(key);
    if (text === undefined) return undefined;
    // and in again: a Map keeps the order of insertion, the least recently used comes first
    this.#cache.delete(key);
    this.#cache.set(key, text);
    return text;
  }

  /**
   * @param {string} kind
   * @param {string} name
   * @param {string | null} text
   */
  #remember(kind, name, text) {
    if (UNCACHED_KINDS.has(kind)) return;
    const key = keyOf(kind, name);
    this.#cache.delete(key);
    this.#cache.set(key, text);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= CACHE_ENTRIES) break;
      this.#cache.delete(oldest);
    }
  }
}

/**
 * @param {SignalDataSet} data
 * @returns {KeyEntry[]}
 */
function signalEntries(data) {
  return Object.entries(data).flatMap(([kind, values]) =>
    Object.entries(values ?? {}).map(([name, value]) => ({ kind, name, value: value || null })),
  );
}

/** @param {{ kind: string, name: string, text: string | null }} entry */
function plainEntry({ kind, name, text }) {
  return { kind, name, value: text === null ? null : JSON.parse(text) };
}

/**
 * @param {string} kind
 * @param {string} name
 */
function keyOf(kind, name) {
  return `${kind} ${name}`;
}

/** @param {unknown} value */
function freeze(value) {
  return JSON.stringify(value, BufferJSON.replacer);
}

/** @param {string} text */
function revive(text) {
  return JSON.parse(text, BufferJSON.reviver);
}

/**
 * @param {string} kind
 * @param {string} text
 */
function reviveKey(kind, text) {
  const value = revive(text);
  return kind === 'app-state-sync-key'
    ? proto.Message.AppStateSyncKeyData.fromObject(value)
    : value;
}

/** @returns {Batch} */
function emptyBatch() {
  return { entries: new Map(), done: deferred() };
}

/** @returns {Deferred} */
function deferred() {
  /** @type {() => void} */
  let resolve = () => {};
  /** @type {(error: Error) => void} */
  let reject = () => {};
  /** @type {Promise<void>} */
  const promise = new Promise((...both) => {
    [resolve, reject] = both;
  });
  promise.catch(() => {}); // whoever waits is told; when nobody does it is no unhandled rejection
  return { promise, resolve, reject };
}
