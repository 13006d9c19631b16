/** @file How far a client has read: each event once, in the order of its numbers. */
/**
 * @typedef {object} FeedEvent something that has happened (docs/events.md)
 * @property {number} n its number; they grow and are never used again
 * @property {string} id its name for ever
 * @property {string} type `message.received` for instance
 * @property {string} time ISO 8601
 * @property {string | null} session null: the fleet's, or the host's
 * @property {Record<string, any>} data
 */
export class Position {
    /** @param {number | undefined} after */
    constructor(after: number | undefined);
    get after(): number | undefined;
    /**
     * Whether it has not been handed on before; from now on it has.
     *
     * @param {FeedEvent} event
     */
    passes(event: FeedEvent): boolean;
    /**
     * Whether what begins after this number would leave something out.
     *
     * @param {number} n
     */
    misses(n: number): boolean;
    /**
     * There is nothing for us up to this number.
     *
     * @param {unknown} n
     */
    moveTo(n: unknown): void;
    /**
     * The log has begun anew, and its numbers with it: all that it has is read, since nobody knows
     * what of it is new.
     *
     * @returns {import('./resilient-websocket-service.js').Gap}
     */
    restart(): import("./resilient-websocket-service.js").Gap;
    #private;
}
/**
 * something that has happened (docs/events.md)
 */
export type FeedEvent = {
    /**
     * its number; they grow and are never used again
     */
    n: number;
    /**
     * its name for ever
     */
    id: string;
    /**
     * `message.received` for instance
     */
    type: string;
    /**
     * ISO 8601
     */
    time: string;
    /**
     * null: the fleet's, or the host's
     */
    session: string | null;
    data: Record<string, any>;
};
