/** @file Something that happens once, and waiting for it without leaving anything behind. */

export class Signal {
  raised = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();

  raise() {
    this.raised = true;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }

  /**
   * Resolves when it is raised.
   *
   * @returns {Promise<void>}
   */
  wait() {
    return new Promise((resolve) => {
      if (this.raised) resolve();
      else this.#listeners.add(resolve);
    });
  }

  /**
   * The promise's outcome, or undefined if the signal is raised or the time is up before. (A
   * `Promise.race` against one long-lived promise would keep something of each call for as long as
   * that promise lives.)
   *
   * @template T
   * @param {Promise<T>} promise
   * @param {number} timeoutMs
   * @returns {Promise<T | undefined>}
   */
  async until(promise, timeoutMs) {
    promise.catch(() => {}); // it may lose, and reject when nobody listens any more
    if (this.raised) return undefined;
    /** @type {() => void} */
    let stop = () => {};
    /** @type {Promise<undefined>} */
    const stopped = new Promise((resolve) => {
      stop = () => resolve(undefined);
    });
    const timer = setTimeout(stop, timeoutMs);
    this.#listeners.add(stop);
    try {
      return await Promise.race([promise, stopped]);
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(stop);
    }
  }
}
