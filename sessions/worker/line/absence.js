/**
 * @file How long the worker has been without a supervisor, on the monotonic clock.
 *
 * A process that was frozen (SIGSTOP, a paused container) learns only after it has woken that its
 * line is gone, and until then nothing tells it that nobody waits for it any more. So it looks at
 * the clock before it speaks: after a gap as long as the window it is in doubt, until the line had
 * its chance to tell.
 */

/**
 * @typedef {object} AbsenceOwner
 * @property {() => void} onOver nobody came in time
 * @property {() => void} onDoubtOver it was only us who slept
 */

const LONGEST_TICK_MS = 1_000;
const TICKS_IN_WINDOW = 4;
/** Ticks that are missing in a row: not a busy loop any more. */
const FROZEN_TICKS = 2;
/** An end of the line that has come while we slept is read within some turns of the loop. */
const DOUBT_MS = 100;
/**
 * A line that was taken and dropped again was nobody's. Otherwise a broken listener would keep us
 * alive for ever.
 */
const LEAST_PRESENCE_MS = 1_000;

export class Absence {
  #windowMs;
  #owner;
  #tickMs;
  #lastTurnAt = performance.now();
  #lineUp = true;
  /** When it began; null: the supervisor is there. @type {number | null} */
  #since = null;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {NodeJS.Timeout | undefined} */
  #presence;
  #doubting = false;

  /**
   * @param {number} windowMs
   * @param {AbsenceOwner} owner
   */
  constructor(windowMs, owner) {
    this.#windowMs = windowMs;
    this.#owner = owner;
    this.#tickMs = Math.min(LONGEST_TICK_MS, windowMs / TICKS_IN_WINDOW);
    setInterval(() => this.#tick(), this.#tickMs).unref();
  }

  /**
   * Nobody was there for longer than the window, or that may be so: nothing may be said for them.
   */
  get isOver() {
    const aloneSince = this.#lineUp ? this.#lastTurnAt : (this.#since ?? 0);
    return performance.now() - aloneSince > this.#windowMs;
  }

  get durationMs() {
    return this.#since === null ? 0 : performance.now() - this.#since;
  }

  onLineUp() {
    this.#lineUp = true;
    clearTimeout(this.#timer);
    this.#presence = setTimeout(() => this.onHeard(), LEAST_PRESENCE_MS).unref();
  }

  /** The supervisor has said something. */
  onHeard() {
    this.#since = null;
  }

  onLineLost() {
    clearTimeout(this.#presence);
    this.#lineUp = false;
    this.#since ??= this.#frozen ? this.#lastTurnAt : performance.now();
    this.#timer = setTimeout(this.#owner.onOver, Math.max(0, this.#windowMs - this.durationMs));
  }

  get #frozen() {
    return performance.now() - this.#lastTurnAt > FROZEN_TICKS * this.#tickMs;
  }

  #tick() {
    if (this.#doubting) return;
    if (!this.#frozen) this.#lastTurnAt = performance.now();
    else {
      this.#doubting = true;
      setTimeout(() => this.#endDoubt(), DOUBT_MS);
    }
  }

  #endDoubt() {
    this.#doubting = false;
    this.#lastTurnAt = performance.now();
    if (!this.isOver) this.#owner.onDoubtOver();
  }
}
