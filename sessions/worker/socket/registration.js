/**
 * @file What a device that is not linked yet shows to a phone, the QR and the pairing code, and
 *   what makes that void.
 *
 * Since July 2026 the server may retire the secret inside the QR (`companion_reg_refresh`), before
 * the phone scans or after it. Baileys drops the notification, cannot acknowledge it, and goes on
 * with the secret that it read when the pairing began, so that the phone fails at every QR. Here
 * the device makes a new secret, and shows nothing of it before it is durable. The QRs stay
 * Baileys' own, with the secret of the moment in the place of the one it has read; what is checked
 * in the end is the secret in the creds, hence always the one that is shown.
 *
 * An account may also ask for a passkey (`passkey_prologue_request`), which only a browser on
 * web.whatsapp.com can give.
 *
 * Knows the inside of rc14: one listener for notifications, and a QR of five parts between commas,
 * the secret the fourth.
 */

import { buildAckStanza } from '@whiskeysockets/baileys';
import { mustNotReject } from '../async/must-not-reject.js';

/**
 * @typedef {import('@whiskeysockets/baileys').WASocket} WASocket
 * @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode
 *
 * @typedef {object} Shown
 * @property {string} qr
 * @property {number} qr_number grows with each QR of the attempt
 * @property {boolean} renewed in place of one that the server has retired
 * @property {string | null} pairing_code what may be typed instead; null: none was asked for
 *
 * @typedef {object} RegistrationOwner
 * @property {import('../keys/auth-store.js').AuthStore} auth
 * @property {import('../async/signal.js').Signal} over the socket has ended
 * @property {import('../log.js').Log} log
 * @property {number} timeoutMs of a request for a pairing code
 * @property {(shown: Shown) => void} onShown
 * @property {() => void} onRetired what was shown is void, and what takes its place is not durable
 *   yet
 * @property {(notification: string) => void} onPasskey
 */

const REFRESH = 'companion_reg_refresh';
/** The request itself, and the step after it, should the first have been missed. */
const PASSKEY = new Set(['passkey_prologue_request', 'crsc_continuation']);
const QR_PARTS = 5;
const SECRET_PART = 3;
/** Our last word on a socket that is about to end; it is only handed to the kernel. */
const ACK_MS = 1_000;

export class Registration {
  #owner;
  /** @type {WASocket | null} */
  #sock = null;
  /** The newest, as Baileys made it. @type {string | null} */
  #qr = null;
  #number = 0;
  /** For whom a pairing code was asked for, and the one that may be typed now. */
  #phone = '';
  /** @type {string | null} */
  #code = null;
  /** Grows with each refresh. */
  #refreshes = 0;
  /**
   * The refresh under way, settled when there is something to show again. @type {Promise<void> |
   * null}
   */
  #renewal = null;
  /** Baileys' work on the notification before. @type {Promise<unknown>} */
  #inHand = Promise.resolve();

  /** @param {RegistrationOwner} owner */
  constructor(owner) {
    this.#owner = owner;
  }

  /**
   * Takes the notifications to a device that is not linked before Baileys does.
   *
   * @param {WASocket} sock
   */
  attend(sock) {
    this.#sock = sock;
    const event = 'CB:notification';
    const listeners = /** @type {((node: BinaryNode) => unknown)[]} */ (sock.ws.listeners(event));
    for (const handle of listeners) {
      sock.ws.off(event, handle);
      sock.ws.on(event, (/** @type {BinaryNode} */ node) => this.#hear(node, handle));
    }
  }

  /** @param {string} qr that Baileys would show now */
  next(qr) {
    this.#qr = qr;
    if (this.#renewal) this.#owner.onRetired();
    else this.#show(false);
  }

  /**
   * Asks for a code that is typed on that phone; it is renewed with the QR.
   *
   * @param {string} phone digits
   * @returns {Promise<string | null>} null: it could not be sent
   */
  async pairingCode(phone) {
    const { over, timeoutMs } = this.#owner;
    if (this.#renewal) await over.until(this.#renewal, timeoutMs);
    this.#phone = phone;
    const refreshes = this.#refreshes;
    await this.#askForCode();
    if (refreshes === this.#refreshes) this.#show(false, this.#number);
    else if (this.#renewal) await over.until(this.#renewal, timeoutMs);
    // ours may be void; the renewal asks anew
    return this.#code;
  }

  /**
   * @param {BinaryNode} node
   * @param {(node: BinaryNode) => unknown} handle Baileys' own way
   */
  #hear(node, handle) {
    const { auth, over } = this.#owner;
    if (auth.registered) return handle(node);
    if (over.raised) return;
    const { type } = node.attrs;
    if (type === REFRESH) {
      this.#refresh(node);
    } else if (PASSKEY.has(type)) {
      mustNotReject(this.#meetPasskey(node));
    } else if (auth.creds.me) {
      // Baileys reports what goes wrong in it
      this.#inHand = Promise.resolve(handle(node)).catch(() => {});
    } else {
      // for an account, which we do not have; Baileys' own acknowledgement throws then
      this.#acknowledge(node);
    }
  }

  /** @param {BinaryNode} node */
  #refresh(node) {
    this.#refreshes += 1;
    this.#code = null;
    const renewal = mustNotReject(this.#renew(node, this.#refreshes)).finally(() => {
      if (this.#renewal === renewal) this.#renewal = null;
    });
    this.#renewal = renewal;
    if (this.#qr) this.#owner.onRetired();
  }

  /**
   * @param {BinaryNode} node
   * @param {number} turn
   */
  async #renew(node, turn) {
    const { auth, over, log } = this.#owner;
    // a code that was typed makes a secret, too: the one that was made later counts
    await this.#inHand;
    if (over.raised || auth.registered) return;
    try {
      await auth.renewSecret();
    } catch {
      return; // the refusal ends the socket
    }
    if (over.raised) return;
    this.#acknowledge(node);
    log.info({ refreshes: turn }, 'the server has retired the pairing secret: a new one is shown');
    if (turn !== this.#refreshes) return; // a later one shows
    if (this.#phone) await this.#askForCode();
    if (turn === this.#refreshes && !auth.registered) this.#show(true);
  }

  async #askForCode() {
    const { over, timeoutMs } = this.#owner;
    const refreshes = this.#refreshes;
    const asked = /** @type {WASocket} */ (this.#sock).requestPairingCode(this.#phone);
    const code = await over.until(
      asked.catch(() => undefined),
      timeoutMs,
    );
    if (refreshes === this.#refreshes) this.#code = code ?? null;
  }

  /**
   * @param {boolean} renewed
   * @param {number} [number] of the QR; without one it is the next
   */
  #show(renewed, number = this.#number + 1) {
    const { auth, over, onShown, log } = this.#owner;
    if (!this.#qr || over.raised) return;
    const qr =
      withSecret(this.#qr, auth.creds.advSecretKey) ?? (this.#refreshes === 0 ? this.#qr : null);
    // Better none, until the refs have run out, than one that is known to be void.
    if (qr === null)
      return log.error(
        "the QR has a form that we do not know, and Baileys' secret in it is retired",
      );
    this.#number = number;
    onShown({ qr, qr_number: number, renewed, pairing_code: this.#code });
  }

  /** @param {BinaryNode} node */
  async #meetPasskey(node) {
    const { over, onPasskey } = this.#owner;
    await over.until(this.#acknowledge(node), ACK_MS);
    onPasskey(node.attrs.type);
  }

  /**
   * As WhatsApp Web does it before its login: without `from`, which would be the account.
   *
   * @param {BinaryNode} node
   */
  async #acknowledge(node) {
    try {
      await this.#sock?.sendNode(buildAckStanza(node));
    } catch (error) {
      this.#owner.log.warn({ cause: String(error) }, 'a notification could not be acknowledged');
    }
  }
}

/**
 * @param {string} qr as Baileys makes it
 * @param {string} secret base64
 * @returns {string | null} null: it has another form than the one that we know
 */
export function withSecret(qr, secret) {
  const parts = qr.split(',');
  return parts.length === QR_PARTS ? parts.with(SECRET_PART, secret).join(',') : null;
}
