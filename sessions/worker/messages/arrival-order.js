/**
 * @file Messages of one chat in the order in which they came.
 *
 * Baileys looks up who a sender is, and may have to store it, before a message takes its place
 * among those that are worked on one after the other (`messageMutex`). With the first message of
 * somebody new that takes longer than with the second, which overtakes it. What the server has kept
 * for us (`offline`) lies in a queue of Baileys' own meanwhile, and what is live overtakes that. So
 * here each message waits, before it takes its place, for those of its chat that came before it.
 * Look-ups go on side by side, and nobody waits for another chat.
 *
 * Knows the inside of rc14: a live message is worked on within the call of its listener, and enters
 * `messageMutex` once at the most; what is `offline` is worked on in order, later, by whoever was
 * the first to put something into the queue.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { Signal } from '../async/signal.js';

/**
 * @typedef {import('@whiskeysockets/baileys').WASocket} WASocket
 * @typedef {import('@whiskeysockets/baileys').BinaryNode} BinaryNode
 *
 * @typedef {object} Turn of a message
 * @property {Signal | undefined} before raised when all before it have had theirs
 * @property {() => void} take it has taken its place, or needs none
 */

/**
 * Patience is counted in such steps, and one in which we are held up does not count: a store that
 * stands still, or a supervisor that is away, says nothing about a message. A process that was
 * frozen finds one step over when it goes on, and not all of them.
 */
const STEP_MS = 1_000;
/**
 * How many steps a message may wait for one before it. A look-up is a few reads and a write of our
 * own store. This is for what nobody has thought of, which shall cost the order and not the
 * message.
 */
const PATIENCE_STEPS = 30;
/** So many without one out of the queue: what is left in it leads to nothing that is shown. */
const OFFLINE_PATIENCE_STEPS = 10;

export class ArrivalOrder {
  #isHeldUp;
  /**
   * Of the message that is at work; of those in the queue it says nothing. @type
   * {AsyncLocalStorage<Turn | undefined>}
   */
  #turn = new AsyncLocalStorage();
  /** Of each chat, the newest that has not had its turn. @type {Map<string, Signal>} */
  #newest = new Map();
  /** What lies in Baileys' queue, in order. @type {{ id: string, take: () => void }[]} */
  #offline = [];
  /** How many of those have had their turn. */
  #drained = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;

  /**
   * @param {() => boolean} isHeldUp messages cannot get on for now, through no fault of theirs: our
   *   store owes an answer, or nothing may be said to the server
   */
  constructor(isHeldUp) {
    this.#isHeldUp = isHeldUp;
  }

  /** @param {WASocket} sock which has no listeners for messages but Baileys' own */
  attend({ ws, messageMutex }) {
    const event = 'CB:message';
    const listeners = /** @type {((node: BinaryNode) => Promise<void>)[]} */ (ws.listeners(event));
    for (const handle of listeners) {
      ws.off(event, handle);
      ws.on(event, (/** @type {BinaryNode} */ node) => this.#receive(node, handle));
    }
    const { mutex } = messageMutex;
    messageMutex.mutex = (work) => this.#enter(() => mutex(work));
  }

  /**
   * Baileys hands a message on: if it was in the queue, it and all before it have had their turn.
   *
   * @param {string | null | undefined} id
   */
  shown(id) {
    const index = this.#offline.findIndex((message) => message.id === id);
    if (index >= 0) this.#drain(index + 1);
  }

  /**
   * @param {BinaryNode} node
   * @param {(node: BinaryNode) => Promise<void>} handle
   */
  #receive(node, handle) {
    const { id, offline } = node.attrs;
    const turn = this.#line(chatOf(node.attrs));
    if (!offline) return this.#turn.run(turn, () => handle(node)).finally(turn.take);
    this.#offline.push({ id, take: turn.take });
    this.#drain(0);
    return this.#turn.run(undefined, () => handle(node));
  }

  /**
   * @param {string} chat
   * @returns {Turn}
   */
  #line(chat) {
    const before = this.#newest.get(chat);
    const mine = new Signal();
    this.#newest.set(chat, mine);
    const end = () => {
      mine.raise();
      if (this.#newest.get(chat) === mine) this.#newest.delete(chat);
    };
    const take = () => (before && !before.raised ? void before.wait().then(end) : end());
    return { before, take };
  }

  /**
   * @template T
   * @param {() => Promise<T>} join puts it into Baileys' line, at once
   */
  async #enter(join) {
    const turn = this.#turn.getStore();
    if (!turn) return this.#workOff(join);
    const { before, take } = turn;
    if (before && !before.raised) {
      await this.#waitFor(before);
      before.raise(); // if it is stuck, nobody waits for it a second time
    }
    const worked = join();
    take();
    return worked;
  }

  /** @param {Signal} before */
  async #waitFor(before) {
    for (let left = PATIENCE_STEPS; left > 0 && !before.raised; ) {
      await before.until(new Promise(() => {}), STEP_MS);
      if (!this.#isHeldUp()) left -= 1;
    }
  }

  /**
   * One out of the queue, nobody knows which. It is the first one, or, if some before it led to
   * nothing, a later one, which `shown` tells; a duplicate is shown to nobody.
   *
   * @template T
   * @param {() => Promise<T>} join
   */
  async #workOff(join) {
    const drained = this.#drained;
    try {
      return await join();
    } finally {
      if (this.#drained === drained) this.#drain(1);
    }
  }

  /** @param {number} count of messages out of the queue that have had their turn */
  #drain(count) {
    const done = this.#offline.splice(0, count);
    this.#drained += done.length;
    for (const { take } of done) take();
    this.#waitForNext(OFFLINE_PATIENCE_STEPS);
  }

  /** @param {number} left steps until what is in the queue is given up */
  #waitForNext(left) {
    clearTimeout(this.#timer);
    if (this.#offline.length === 0) return;
    if (left === 0) return this.#drain(this.#offline.length);
    const step = () => this.#waitForNext(this.#isHeldUp() ? left : left - 1);
    this.#timer = setTimeout(step, STEP_MS).unref();
  }
}

/**
 * A person has a number and a LID, and may write from several devices.
 *
 * @param {Record<string, string>} attrs of a message's stanza
 */
function chatOf({ from = '', recipient, sender_lid, peer_recipient_lid }) {
  const chat = recipient
    ? (peer_recipient_lid ?? recipient)
    : from.endsWith('@g.us')
      ? from
      : (sender_lid ?? from);
  return chat.replace(/(:\d+)?@/, '@');
}
