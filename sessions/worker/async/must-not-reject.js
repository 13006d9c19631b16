/** @file The one rule for promises of ours that nobody awaits. */

/**
 * A step of ours that rejects has left half done what nobody knows, and what waits for its turn
 * behind it would wait, or be skipped, for ever. So it ends the process, as an exception that
 * nobody caught does (worker.js): the supervisor hears of that at once, and a fresh worker costs
 * less than a wrong one.
 *
 * @template T
 * @param {Promise<T>} step
 * @returns {Promise<T>} the same
 */
export function mustNotReject(step) {
  step.catch((error) => {
    process.nextTick(() => {
      throw error instanceof Error
        ? error
        : new Error(`a step of ours rejected with ${typeof error}`);
    });
  });
  return step;
}
