/** @file Waits that somebody can end. */
/**
 * Waits for so long, or until the signal is aborted; never throws.
 *
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms: number, signal: AbortSignal): Promise<void>;
/**
 * A promise's outcome, or an error if it takes longer.
 *
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @param {() => Error} tooLate
 * @returns {Promise<T>}
 */
export function within<T>(promise: Promise<T>, ms: number, tooLate: () => Error): Promise<T>;
