/**
 * @file What was decrypted, kept until it has been shown.
 *
 * To decrypt a message uses its keys up: a copy that WhatsApp delivers again, because we died
 * before we had shown the first one, does not decrypt any more. So each plaintext is written
 * together with the keys that were used up for it, and a copy that does not decrypt is read from
 * there. With it the stanza's envelope is kept: when nobody is left to show the message and no copy
 * comes, the next worker makes the event of that (leftovers.js).
 *
 * What WhatsApp was told to have arrived never comes again, and Baileys tells it before it hands
 * the message on. So while a message is decrypted and not shown nothing is said.
 *
 * Knows the inside of rc14: stanzas are worked on one after the other in `messageMutex`, decryption
 * and `messages.upsert` both within, and the repository is given the stanza's own buffers.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import { DEFAULT_CONNECTION_CONFIG } from '@whiskeysockets/baileys';
import { envelopes, plaintextOf } from './leftovers.js';
import { isUsedUp } from './used-keys.js';

/**
 * @typedef {import('@whiskeysockets/baileys').WASocket} WASocket
 * @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode
 * @typedef {import('@whiskeysockets/baileys').SignalAuthState} SignalAuthState
 * @typedef {import('@whiskeysockets/baileys').SocketConfig['makeSignalRepository']} MakeRepository
 * @typedef {import('@whiskeysockets/baileys').SignalKeyStoreWithTransaction} Keys
 *
 * @typedef {object} PlaintextsOwner
 * @property {(name: string) => boolean} isOnItsWay an event that was made of it waits for the
 *   supervisor
 * @property {(names: string[]) => void} forget they lead to nothing that could be shown
 *
 * @typedef {object} Desk where the stanzas of one socket are worked on
 * @property {boolean} hasUnshown a message lies there that is decrypted as a whole, and not shown
 * @property {() => void} onShown it does not any more
 *
 * @typedef {{ desk: Desk, unshown: string[] }} Stanza `unshown`: names of what was decrypted of it
 * @typedef {{ from: string, envelope: Omit<import('./leftovers.js').Entry, 'plaintext'> }} Origin
 *   of a ciphertext: id and sender, and where in its stanza it was
 *
 * @typedef {object} Encrypted
 * @property {Uint8Array} ciphertext
 * @property {string} lock what Baileys itself locks to decrypt it
 * @property {(error: unknown) => Promise<boolean>} usedUp whether it does not decrypt because it
 *   did before
 */

export const KIND = 'inbound';
/**
 * On this, and on nothing else, Baileys drops a message as a duplicate. It asks for any other to be
 * sent again.
 */
const DUPLICATE = 'Key used already or never filled';
/** What the group's cipher says of a message that it has decrypted before. */
const OLD_COUNTER = /Received message with old counter/;

/** Ids are made by senders, and a column has its width; the digest tells apart what is cut off. */
const LONGEST_ORIGIN = 150;

export class Plaintexts {
  #owner;
  /** The stanza that a ciphertext came with. @type {WeakMap<Uint8Array, Origin>} */
  #origins = new WeakMap();
  #stanzas = 0;
  /** The one that is being worked on. @type {AsyncLocalStorage<Stanza>} */
  #stanza = new AsyncLocalStorage();

  /** @param {PlaintextsOwner} owner */
  constructor(owner) {
    this.#owner = owner;
  }

  /**
   * Baileys' own, but for the two ways to decrypt.
   *
   * @type {MakeRepository}
   */
  makeRepository = (auth, logger, pnToLid) => {
    const keys = /** @type {Keys} */ (auth.keys);
    const repository = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(auth, logger, pnToLid);
    return {
      ...repository,
      decryptMessage: (message) => {
        const { jid, ciphertext } = message;
        const address = repository.jidToSignalProtocolAddress(jid);
        const usedUp = async () =>
          isUsedUp((await keys.get('session', [address]))[address], ciphertext);
        return this.#decrypt(keys, { ciphertext, lock: jid, usedUp }, () =>
          repository.decryptMessage(message),
        );
      },
      decryptGroupMessage: (message) => {
        const { group: lock, msg: ciphertext } = message;
        const usedUp = async (/** @type {unknown} */ error) => OLD_COUNTER.test(String(error));
        return this.#decrypt(keys, { ciphertext, lock, usedUp }, () =>
          repository.decryptGroupMessage(message),
        );
      },
    };
  };

  /**
   * @param {WASocket} sock
   * @param {() => void} onShown what had to wait may be said
   * @returns {Readonly<Desk>}
   */
  attend({ ws, messageMutex }, onShown) {
    const desk = { hasUnshown: false, onShown };
    ws.prependListener('CB:message', (/** @type {BinaryNode} */ stanza) => this.#note(stanza));
    const { mutex } = messageMutex;
    messageMutex.mutex = (work) => mutex(() => this.#workOn(desk, work));
    return desk;
  }

  /**
   * The names of what the stanza at hand was made of, for the event that shows it.
   *
   * @returns {string[]}
   */
  take() {
    return this.#stanza.getStore()?.unshown.splice(0) ?? [];
  }

  /** The stanza at hand was shown, if there was anything to show. */
  shown() {
    const stanza = this.#stanza.getStore();
    if (stanza) clear(stanza.desk);
  }

  /**
   * What devices of one account tell each other is nothing to show: it is not kept.
   *
   * @param {BinaryNode} stanza
   */
  #note({ attrs, content }) {
    const { id, from, participant, category } = attrs;
    if (!Array.isArray(content) || category === 'peer') return;
    const ciphertexts = content.flatMap((part) =>
      part.tag === 'enc' && part.content instanceof Uint8Array ? [part.content] : [],
    );
    this.#stanzas += 1;
    for (const envelope of envelopes(attrs, ciphertexts, this.#stanzas)) {
      this.#origins.set(ciphertexts[envelope.part], {
        from: `${id} ${participant ?? from}`,
        envelope,
      });
    }
  }

  /**
   * What fails half-way was not confirmed to WhatsApp: it comes again, and has to be there.
   *
   * @template T
   * @param {Desk} desk
   * @param {() => Promise<T> | T} work
   */
  async #workOn(desk, work) {
    /** @type {Stanza} */
    const stanza = { desk, unshown: [] };
    try {
      const result = await this.#stanza.run(stanza, work);
      if (stanza.unshown.length > 0) this.#owner.forget(stanza.unshown);
      return result;
    } finally {
      clear(desk);
    }
  }

  /**
   * @param {Keys} keys
   * @param {Encrypted} encrypted
   * @param {() => Promise<Uint8Array>} decrypt
   * @returns {Promise<Uint8Array>}
   */
  async #decrypt(keys, encrypted, decrypt) {
    const stanza = this.#stanza.getStore();
    const origin = this.#origins.get(encrypted.ciphertext);
    if (!stanza || !origin) return decrypt();
    const name = nameOf(origin, encrypted.ciphertext);
    let plaintext;
    try {
      // Baileys' own transaction joins this one.
      plaintext = await keys.transaction(async () => {
        const decrypted = await decrypt();
        const entry = { plaintext: Buffer.from(decrypted).toString('base64'), ...origin.envelope };
        await keys.set(/** @type {any} */ ({ [KIND]: { [name]: entry } }));
        return decrypted;
      }, encrypted.lock);
    } catch (error) {
      plaintext = await this.#kept(keys, name);
      if (!plaintext)
        throw (await this.#isDuplicate(name, encrypted, error)) ? new Error(DUPLICATE) : error;
    }
    stanza.unshown.push(name);
    // Not before the last part, and not when one did not decrypt: then Baileys may have questions
    // to the server.
    stanza.desk.hasUnshown = stanza.unshown.length === origin.envelope.parts;
    return plaintext;
  }

  /**
   * Asked before and after: while the question is on its way, the event may be made, or become
   * durable.
   *
   * @param {Keys} keys
   * @param {string} name
   * @returns {Promise<Buffer | undefined>}
   */
  async #kept(keys, name) {
    if (this.#owner.isOnItsWay(name)) return undefined;
    try {
      const { [name]: entry } = /** @type {any} */ (
        await keys.get(/** @type {any} */ (KIND), [name])
      );
      return this.#owner.isOnItsWay(name) ? undefined : plaintextOf(entry);
    } catch {
      return undefined; // the socket has ended; what does not decrypt comes again
    }
  }

  /**
   * @param {string} name
   * @param {Encrypted} encrypted
   * @param {unknown} error
   */
  async #isDuplicate(name, encrypted, error) {
    return this.#owner.isOnItsWay(name) || (await encrypted.usedUp(error).catch(() => false));
  }
}

/**
 * The ciphertext is in the name, so that a message that was sent anew is not taken for the one
 * before it; the sender is, so that nobody can have shown under his name what somebody else has
 * written.
 *
 * @param {Origin} origin
 * @param {Uint8Array} ciphertext
 */
function nameOf({ from }, ciphertext) {
  const digest = createHash('sha256').update(`${from} `).update(ciphertext).digest('base64url');
  return `${from.replace(/[^\x20-\x7e]/g, '?').slice(0, LONGEST_ORIGIN)} ${digest.slice(0, 22)}`;
}

/** @param {Desk} desk */
function clear(desk) {
  if (!desk.hasUnshown) return;
  desk.hasUnshown = false;
  desk.onShown();
}
