/**
 * The server's side of Noise_XX_25519_AESGCM_SHA256 as WhatsApp speaks it, and the transport
 * ciphers that follow. Knows keys and bytes; knows nothing of sockets, frames or nodes.
 */

import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { proto } from '@whiskeysockets/baileys/WAProto/index.js';
import { ProtocolError } from './errors.js';
import { agree, generateKeyPair, hkdf } from './keys.js';

/** @typedef {import("./keys.js").KeyPair} KeyPair */
/** @typedef {{ staticKey: KeyPair, chain: Uint8Array }} ServerIdentity */

/** 32 bytes long, so Noise takes the name itself as the first hash. */
const PROTOCOL_NAME = Buffer.from('Noise_XX_25519_AESGCM_SHA256\0\0\0\0');
const TAG_LENGTH = 16;
const NOTHING = Buffer.alloc(0);

/**
 * AES-256-GCM whose nonce counts the messages. A message that fails has used up its number, as in
 * the client.
 */
class CountingCipher {
  #key;
  #counter = 0;

  /** @param {Uint8Array} key */
  constructor(key) {
    this.#key = key;
  }

  #nextNonce() {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(this.#counter++, 8);
    return nonce;
  }

  /**
   * @param {Uint8Array} plaintext
   * @param {Uint8Array} [authenticated]
   */
  encrypt(plaintext, authenticated = NOTHING) {
    const cipher = createCipheriv('aes-256-gcm', this.#key, this.#nextNonce());
    cipher.setAAD(authenticated);
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  /**
   * @param {Uint8Array} ciphertext
   * @param {Uint8Array} [authenticated]
   */
  decrypt(ciphertext, authenticated = NOTHING) {
    const nonce = this.#nextNonce();
    if (ciphertext.length < TAG_LENGTH) throw new ProtocolError('a frame shorter than its tag');
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonce);
    decipher.setAAD(authenticated);
    decipher.setAuthTag(ciphertext.subarray(-TAG_LENGTH));
    try {
      return Buffer.concat([
        decipher.update(ciphertext.subarray(0, -TAG_LENGTH)),
        decipher.final(),
      ]);
    } catch {
      throw new ProtocolError('a frame that does not decrypt');
    }
  }
}

/** The two ciphers after the handshake, seen from the server. */
export class Transport {
  #fromClient;
  #toClient;

  /**
   * @param {Uint8Array} fromClient key
   * @param {Uint8Array} toClient key
   */
  constructor(fromClient, toClient) {
    this.#fromClient = new CountingCipher(fromClient);
    this.#toClient = new CountingCipher(toClient);
  }

  /** @param {Uint8Array} plaintext */
  encrypt(plaintext) {
    return this.#toClient.encrypt(plaintext);
  }

  /** @param {Uint8Array} ciphertext */
  decrypt(ciphertext) {
    return this.#fromClient.decrypt(ciphertext);
  }
}

/** One handshake. Call `answerHello`, then `finish`; each once. */
export class Handshake {
  #server;
  #ephemeral = generateKeyPair();
  #hash = PROTOCOL_NAME;
  #salt = PROTOCOL_NAME;
  #cipher = new CountingCipher(PROTOCOL_NAME);

  /**
   * @param {ServerIdentity} server
   * @param {Uint8Array} prologue
   */
  constructor(server, prologue) {
    this.#server = server;
    this.#authenticate(prologue);
  }

  /**
   * @param {Uint8Array} message an encoded `HandshakeMessage` with a ClientHello
   * @returns {Uint8Array} the encoded ServerHello
   */
  answerHello(message) {
    const clientEphemeral = proto.HandshakeMessage.decode(message).clientHello?.ephemeral;
    if (clientEphemeral?.length !== 32) throw new ProtocolError('no ClientHello');
    this.#authenticate(clientEphemeral);
    this.#authenticate(this.#ephemeral.public);
    this.#mix(agree(this.#ephemeral.private, clientEphemeral));
    const encryptedStatic = this.#encrypt(this.#server.staticKey.public);
    this.#mix(agree(this.#server.staticKey.private, clientEphemeral));
    const payload = this.#encrypt(this.#server.chain);
    const serverHello = { ephemeral: this.#ephemeral.public, static: encryptedStatic, payload };
    return proto.HandshakeMessage.encode({ serverHello }).finish();
  }

  /**
   * @param {Uint8Array} message an encoded `HandshakeMessage` with a ClientFinish
   * @returns {{ clientStatic: Buffer, payload: proto.ClientPayload, transport: Transport }}
   */
  finish(message) {
    const { clientFinish } = proto.HandshakeMessage.decode(message);
    if (!clientFinish?.static || !clientFinish.payload) throw new ProtocolError('no ClientFinish');
    const clientStatic = this.#decrypt(clientFinish.static);
    this.#mix(agree(this.#ephemeral.private, clientStatic));
    const payload = proto.ClientPayload.decode(this.#decrypt(clientFinish.payload));
    const [fromClient, toClient] = this.#derive(NOTHING);
    return { clientStatic, payload, transport: new Transport(fromClient, toClient) };
  }

  /** @param {Uint8Array} data */
  #authenticate(data) {
    this.#hash = createHash('sha256').update(this.#hash).update(data).digest();
  }

  /** @param {Uint8Array} secret */
  #derive(secret) {
    const keys = hkdf(secret, 64, { salt: this.#salt });
    return [keys.subarray(0, 32), keys.subarray(32)];
  }

  /** @param {Uint8Array} secret */
  #mix(secret) {
    const [salt, key] = this.#derive(secret);
    this.#salt = salt;
    this.#cipher = new CountingCipher(key);
  }

  /** @param {Uint8Array} plaintext */
  #encrypt(plaintext) {
    const ciphertext = this.#cipher.encrypt(plaintext, this.#hash);
    this.#authenticate(ciphertext);
    return ciphertext;
  }

  /** @param {Uint8Array} ciphertext */
  #decrypt(ciphertext) {
    const plaintext = this.#cipher.decrypt(ciphertext, this.#hash);
    this.#authenticate(ciphertext);
    return plaintext;
  }
}
