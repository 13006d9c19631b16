/**
 * The phones: every number that is not a linked device. The stand-in plays them all, and really
 * encrypts and decrypts.
 *
 * A phone's keys are derived from one seed and its number, so any number is a phone without
 * anything being stored. Only the Signal sessions (ratchets) with linked devices are kept.
 */

import { randomInt } from 'node:crypto';
import libsignal from 'libsignal';
import { parseJid } from './jids.js';
import { hkdf, keyPairFrom, sign, withType } from './keys.js';

/**
 * @typedef {import("./devices.js").Device} Device
 * @typedef {import("./devices.js").Bundle} Bundle
 * @typedef {import("./keys.js").KeyPair} KeyPair
 * @typedef {{ type: "pkmsg" | "msg", body: Buffer }} Ciphertext
 */

const SIGNED_PREKEY_ID = 1;
const MAX_PREKEY_ID = 0xffffff;

/** libsignal's number for a message that carries the start of a session. */
const PREKEY_MESSAGE = 3;

/** @param {KeyPair} pair in libsignal's form */
const signalPair = (pair) => ({ privKey: pair.private, pubKey: withType(pair.public) });

export class Phone {
  #seed;
  #state;
  /** @type {Buffer | undefined} */
  #signature;
  /**
   * Work on a session is done one after the other, or two first messages would start two sessions.
   */
  #turn = Promise.resolve();

  /**
   * @param {string} number
   * @param {Uint8Array} seed
   * @param {import("./state-file.js").StateFile} state
   */
  constructor(number, seed, state) {
    this.number = number;
    this.#seed = seed;
    this.#state = state;
    this.identity = this.#derive('identity');
    this.signedPreKey = this.#derive('signed prekey');
    this.registrationId =
      (hkdf(seed, 2, { info: `${number} registration` }).readUInt16BE() & 0x3fff) + 1;
  }

  /** What a client needs to start a session with this phone. @returns {Bundle} */
  bundle() {
    const preKeyId = randomInt(1, MAX_PREKEY_ID);
    this.#signature ??= sign(this.identity.private, withType(this.signedPreKey.public));
    return {
      registrationId: this.registrationId,
      identity: this.identity.public,
      signedPreKey: {
        id: SIGNED_PREKEY_ID,
        key: this.signedPreKey.public,
        signature: this.#signature,
      },
      preKey: { id: preKeyId, key: this.#preKey(preKeyId).public },
    };
  }

  /**
   * @param {Device} device
   * @param {Uint8Array} plaintext
   * @param {{ fresh?: boolean }} [options] `fresh`: start a new session, the device has lost the
   *   old one
   * @returns {Promise<Ciphertext>}
   */
  encryptFor(device, plaintext, { fresh = false } = {}) {
    return this.#inTurn(async () => {
      const address = addressOf(device.jid);
      const storage = this.#storage(device.jid);
      const cipher = new libsignal.SessionCipher(storage, address);
      const known = !fresh && (await storage.loadSession())?.haveOpenSession();
      if (!known)
        await new libsignal.SessionBuilder(storage, address).initOutgoing(
          signalBundle(device.takeBundle()),
        );
      const { type, body } = await cipher.encrypt(Buffer.from(plaintext));
      return { type: type === PREKEY_MESSAGE ? 'pkmsg' : 'msg', body: Buffer.from(body, 'binary') };
    });
  }

  /**
   * @param {string} jid of the device that sent it
   * @param {string} type
   * @param {Buffer} body
   * @returns {Promise<Buffer>}
   */
  decryptFrom(jid, type, body) {
    return this.#inTurn(() => {
      const cipher = new libsignal.SessionCipher(this.#storage(jid), addressOf(jid));
      return type === 'pkmsg'
        ? cipher.decryptPreKeyWhisperMessage(body)
        : cipher.decryptWhisperMessage(body);
    });
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  /** @param {string} purpose */
  #derive(purpose) {
    return keyPairFrom(hkdf(this.#seed, 32, { info: `${this.number} ${purpose}` }));
  }

  /**
   * One-time prekeys are derived too, so none has to be stored before it is used. @param {number}
   * id
   */
  #preKey(id) {
    return this.#derive(`prekey ${id}`);
  }

  /**
   * What libsignal wants to be able to ask.
   * @param {string} jid
   */
  #storage(jid) {
    const key = sessionKey(this.number, jid);
    return {
      loadSession: async () => {
        const stored = this.#state.get(key);
        return stored ? libsignal.SessionRecord.deserialize(stored) : undefined;
      },
      /**
       * @param {string} _address
       * @param {import("libsignal").SessionRecord} session
       */
      storeSession: async (_address, session) => this.#state.set(key, session.serialize()),
      isTrustedIdentity: () => true,
      /**
       * @param {number | string} id 0 or nothing if the session was started without a one-time
       *   prekey
       */
      loadPreKey: async (id) => (id ? signalPair(this.#preKey(Number(id))) : undefined),
      removePreKey: () => {},
      loadSignedPreKey: () => signalPair(this.signedPreKey),
      getOurRegistrationId: () => this.registrationId,
      getOurIdentity: () => signalPair(this.identity),
    };
  }
}

export class Phones {
  /** @type {Map<string, Phone>} */
  #phones = new Map();
  /** Numbers that have no WhatsApp. @type {Set<string>} */
  #absent = new Set();
  #seed;
  #state;

  /**
   * @param {Uint8Array} seed
   * @param {import("./state-file.js").StateFile} state
   */
  constructor(seed, state) {
    this.#seed = seed;
    this.#state = state;
  }

  /** @param {string} number */
  get(number) {
    const phone = this.#phones.get(number) ?? new Phone(number, this.#seed, this.#state);
    this.#phones.set(number, phone);
    return phone;
  }

  /** @param {string} number */
  isAbsent(number) {
    return this.#absent.has(number);
  }

  /**
   * These numbers have no WhatsApp from now on, and all others have.
   * @param {string[]} numbers
   */
  setAbsent(numbers) {
    this.#absent = new Set(numbers);
  }

  /**
   * Ends all sessions with a device that is no more.
   * @param {Device} device
   */
  forget({ jid }) {
    this.#state.deleteAll(sessionKey('', jid));
  }
}

/**
 * The device comes first, so that a device's sessions can be found.
 * @param {string} number
 * @param {string} jid
 */
const sessionKey = (number, jid) => `session/${jid}/${number}`;

/** @param {string} jid */
function addressOf(jid) {
  const { user = jid, device = 0 } = parseJid(jid) ?? {};
  return new libsignal.ProtocolAddress(user, device);
}

/** @param {Bundle} bundle in libsignal's form */
function signalBundle({ registrationId, identity, signedPreKey, preKey }) {
  return {
    registrationId,
    identityKey: withType(identity),
    signedPreKey: {
      keyId: signedPreKey.id,
      publicKey: withType(signedPreKey.key),
      signature: signedPreKey.signature,
    },
    // libsignal's types want it; its code takes a session without a one-time prekey, as the
    // protocol does.
    preKey: /** @type {{ keyId: number, publicKey: Buffer }} */ (
      preKey && { keyId: preKey.id, publicKey: withType(preKey.key) }
    ),
  };
}
