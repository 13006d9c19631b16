export class Backoff {
    /**
     * @param {number} firstMs the first wait
     * @param {number} mostMs the longest one, jitter apart
     * @param {() => number} [random] from 0 to 1
     */
    constructor(firstMs: number, mostMs: number, random?: () => number);
    /** Tries that have failed in a row. */
    failures: number;
    /** It has failed once more: how long to wait, in ms. */
    next(): number;
    /** The longest wait, in ms. */
    longest(): number;
    /**
     * A wait that somebody has asked for: as long or a little longer, never shorter.
     *
     * @param {number} ms
     */
    later(ms: number): number;
    reset(): void;
    #private;
}
