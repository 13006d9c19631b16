/**
 * The linked devices: what the server knows of each, kept in the state file.
 * A device leaves when it is unlinked, by its phone or by itself; nothing else forgets one.
 */

import { jidOf, lidOf } from './jids.js';
import { countOf, pack, preKeyAt, without } from './prekey-pack.js';

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./prekey-pack.js").PreKey} PreKey
 * @typedef {{ id: number, key: string, signature: string }} SignedPreKey base64
 *
 * @typedef {object} DeviceRecord what is stored; keys are base64
 * @property {string} jid
 * @property {string} user the account's phone number
 * @property {number} device
 * @property {string} session the label under which it paired
 * @property {string} name
 * @property {number} paired_at_ms
 * @property {number} keyIndex
 * @property {number} registrationId
 * @property {string} noiseKey
 * @property {string} identity
 * @property {SignedPreKey} signedPreKey
 * @property {number} preKeysTaken of the stored pack
 * @property {boolean} historySynced
 * @property {boolean} confirmed the client has signed back: until then no login is let in
 *
 * @typedef {object} Letter a message on its way to a device; kept until the device confirms it
 * @property {string} id
 * @property {Record<string, string>} attrs of the `<message>`
 * @property {string} type `pkmsg` or `msg`
 * @property {string} body ciphertext, base64
 * @property {string} [text] for texts of the stand-in's own phones: to encrypt it anew if the
 *   device asks
 * @property {number} [retries]
 *
 * @typedef {object} Bundle what somebody needs to start a Signal session with a device; raw keys
 * @property {number} registrationId
 * @property {Buffer} identity
 * @property {{ id: number, key: Buffer, signature: Buffer }} signedPreKey
 * @property {PreKey} [preKey]
 */

/** One byte on the wire, and 99 means something else. */
const MAX_DEVICE = 98;

/** Made-up phone numbers: the range that is reserved for fiction, 1-555. */
const FIRST_MADE_UP_PHONE = 15550000001;

export class Device {
  /**
   * Connections that logged in as this device and whose TCP socket is still there. @type
   * {Set<Connection>}
   */
  connections = new Set();
  /** @type {Map<string, Letter>} */
  inbox = new Map();
  #state;
  #removed = false;

  /**
   * @param {import("./state-file.js").StateFile} state
   * @param {DeviceRecord} record
   */
  constructor(state, record) {
    this.#state = state;
    this.record = record;
    for (const [, letter] of state.list(`inbox/${this.jid}/`)) this.inbox.set(letter.id, letter);
  }

  get jid() {
    return this.record.jid;
  }

  get session() {
    return this.record.session;
  }

  get lid() {
    return lidOf(this.record.user, this.record.device);
  }

  get preKeyCount() {
    return countOf(this.#packed) - this.record.preKeysTaken;
  }

  /** The connection that a message for this device should take: the newest that can take one. */
  get line() {
    return [...this.connections].reverse().find((connection) => connection.takesMail);
  }

  /** @param {Partial<DeviceRecord>} changes */
  update(changes) {
    Object.assign(this.record, changes);
    this.#store(`device/${this.jid}`, this.record);
  }

  /** @param {PreKey[]} preKeys */
  addPreKeys(preKeys) {
    this.#store(
      `prekeys/${this.jid}`,
      without(this.#packed, this.record.preKeysTaken) + pack(preKeys),
    );
    this.update({ preKeysTaken: 0 });
  }

  /**
   * The keys for one new Signal session; uses up a one-time prekey while there are any. @returns
   * {Bundle}
   */
  takeBundle() {
    const { registrationId, identity, signedPreKey } = this.record;
    return {
      registrationId,
      identity: Buffer.from(identity, 'base64'),
      signedPreKey: {
        id: signedPreKey.id,
        key: Buffer.from(signedPreKey.key, 'base64'),
        signature: Buffer.from(signedPreKey.signature, 'base64'),
      },
      preKey: this.#takePreKey(),
    };
  }

  /** @param {Letter} letter */
  keep(letter) {
    this.inbox.set(letter.id, letter);
    this.#store(`inbox/${this.jid}/${letter.id}`, letter);
  }

  /** @param {string} id */
  confirm(id) {
    this.inbox.delete(id);
    this.#store(`inbox/${this.jid}/${id}`, undefined);
  }

  /** Forgets everything. Its connections may live on for a moment and must not bring it back. */
  remove() {
    for (const id of this.inbox.keys()) this.confirm(id);
    for (const kind of ['prekeys', 'device']) this.#store(`${kind}/${this.jid}`, undefined);
    this.#removed = true;
  }

  /**
   * @param {string} key
   * @param {unknown} value
   */
  #store(key, value) {
    if (!this.#removed) this.#state.set(key, value);
  }

  /** @returns {string} */
  get #packed() {
    return this.#state.get(`prekeys/${this.jid}`) ?? '';
  }

  #takePreKey() {
    if (this.preKeyCount === 0) return undefined;
    const preKey = preKeyAt(this.#packed, this.record.preKeysTaken);
    this.update({ preKeysTaken: this.record.preKeysTaken + 1 });
    return preKey;
  }
}

export class Devices {
  /** @type {Map<string, Device>} */
  #byJid = new Map();
  #state;

  /** @param {import("./state-file.js").StateFile} state */
  constructor(state) {
    this.#state = state;
    for (const [, record] of state.list('device/'))
      this.#byJid.set(record.jid, new Device(state, record));
  }

  get all() {
    return [...this.#byJid.values()];
  }

  /** @param {string} jid */
  get(jid) {
    return this.#byJid.get(jid);
  }

  /**
   * The device that paired last under this label.
   * @param {string} session
   */
  ofSession(session) {
    return this.all.findLast((device) => device.session === session);
  }

  /** @param {string} user */
  ofUser(user) {
    return this.all.filter((device) => device.record.user === user);
  }

  /** A phone number that nobody has. */
  makeUpPhone() {
    const users = new Set(this.all.map((device) => device.record.user));
    let phone = this.#state.get('last-phone') ?? FIRST_MADE_UP_PHONE - 1;
    do phone += 1;
    while (users.has(String(phone)));
    this.#state.set('last-phone', phone);
    return String(phone);
  }

  /**
   * @param {Omit<DeviceRecord, "jid" | "device" | "keyIndex" | "preKeysTaken" | "historySynced" |
   *   "confirmed">} facts
   * @returns {Device | undefined} undefined if the account has all the devices that it can have
   */
  add(facts) {
    const number = this.#nextDevice(facts.user);
    if (number === undefined) return undefined;
    const jid = jidOf(facts.user, number);
    const device = new Device(this.#state, {
      ...facts,
      jid,
      device: number,
      keyIndex: number,
      preKeysTaken: 0,
      historySynced: false,
      confirmed: false,
    });
    this.#byJid.set(jid, device);
    device.update({});
    return device;
  }

  /** @param {Device} device */
  remove(device) {
    this.#byJid.delete(device.jid);
    device.remove();
  }

  /**
   * Numbers go up, so that an unlinked device's name does not come back soon.
   * @param {string} user
   */
  #nextDevice(user) {
    const last = this.#state.get(`last-device/${user}`) ?? 0;
    for (let step = 0; step < MAX_DEVICE; step++) {
      const number = ((last + step) % MAX_DEVICE) + 1;
      if (this.#byJid.has(jidOf(user, number))) continue;
      this.#state.set(`last-device/${user}`, number);
      return number;
    }
    return undefined;
  }
}
