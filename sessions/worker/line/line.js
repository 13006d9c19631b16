/**
 * @file The line to the supervisor, whoever that is at the time: one link after another over the
 *   same path, until nobody has come for too long.
 */

import { Absence } from './absence.js';
import { Link } from './link.js';

/**
 * @typedef {object} LineOwner
 * @property {() => void} onUp a new link; the first frame on it is ours
 * @property {(frame: import('../wire.js').DownFrame, link: Link) => void} onFrame `link` takes the
 *   answer
 * @property {(cause: string) => void} onNeverUp the first link did not come up
 * @property {(cause: string) => void} onLost
 * @property {() => void} onOver nobody came within the window
 * @property {() => void} onDoubtOver after a freeze: somebody is still there
 * @property {(error: import('../wire.js').WireError) => void} onProtocolError
 */

const EAGER_MS = 5_000;
const EAGER_INTERVAL_MS = 250;
const PATIENT_INTERVAL_MS = 1_000;
const JITTER = 0.25;

export class Line {
  #path;
  #owner;
  #absence;
  /** @type {Link} */
  #link;
  #everUp = false;
  #up = false;
  /** @type {NodeJS.Timeout | undefined} */
  #retry;

  /**
   * @param {string} path
   * @param {number} windowMs how long to wait for a new link when one is lost
   * @param {LineOwner} owner
   */
  constructor(path, windowMs, owner) {
    this.#path = path;
    this.#owner = owner;
    this.#absence = new Absence(windowMs, {
      onOver: () => this.#onOver(),
      onDoubtOver: owner.onDoubtOver,
    });
    this.#link = this.#connect();
  }

  /** Whoever the worker works for may be gone for good: nothing may be said to WhatsApp. */
  get abandoned() {
    return this.#everUp && this.#absence.isOver;
  }

  /** @param {import('../wire.js').UpFrame} frame dropped while no link is up */
  send(frame) {
    this.#link.send(frame);
  }

  /** @param {string} text encoded frames; dropped while no link is up */
  write(text) {
    this.#link.write(text);
  }

  /** Resolves when all that was sent is out of our hands. */
  end() {
    return this.#link.end();
  }

  #connect() {
    /** @type {Link} */
    const link = new Link(this.#path, {
      onUp: () => this.#onUp(),
      onFrame: (frame) => {
        this.#absence.onHeard();
        this.#owner.onFrame(frame, link);
      },
      onLost: (cause) => this.#onLost(cause),
      onProtocolError: this.#owner.onProtocolError,
    });
    return link;
  }

  #onUp() {
    this.#everUp = true;
    this.#up = true;
    this.#absence.onLineUp();
    this.#owner.onUp();
  }

  /** @param {string} cause */
  #onLost(cause) {
    if (!this.#everUp) return this.#owner.onNeverUp(cause);
    const wasUp = this.#up;
    this.#up = false;
    if (wasUp) this.#absence.onLineLost();
    const intervalMs =
      this.#absence.durationMs < EAGER_MS ? EAGER_INTERVAL_MS : PATIENT_INTERVAL_MS;
    this.#retry = setTimeout(
      () => this.#reconnect(),
      intervalMs * (1 + JITTER * (2 * Math.random() - 1)),
    );
    if (wasUp) this.#owner.onLost(cause);
  }

  #reconnect() {
    this.#link = this.#connect();
  }

  #onOver() {
    clearTimeout(this.#retry);
    this.#link.drop();
    this.#owner.onOver();
  }
}
