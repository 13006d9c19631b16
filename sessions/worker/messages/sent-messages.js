/**
 * @file The last messages that we sent, for recipients that could not decrypt theirs and ask again.
 *   Outlives a socket, not the worker.
 */

/** @typedef {import('@whiskeysockets/baileys').proto.IMessage} Content */

/**
 * A recipient asks again within seconds, or when its phone is back; older ones are asked from the
 * phone.
 */
const KEPT_MESSAGES = 200;

export class SentMessages {
  /** @type {Map<string, Content>} */
  #messages = new Map();

  /**
   * @param {string} id
   * @param {Content | null | undefined} content
   */
  remember(id, content) {
    if (!content) return;
    this.#messages.set(id, content);
    for (const oldest of this.#messages.keys()) {
      if (this.#messages.size <= KEPT_MESSAGES) break;
      this.#messages.delete(oldest);
    }
  }

  /** @param {string | null | undefined} id */
  find(id) {
    return id ? this.#messages.get(id) : undefined;
  }
}
