/**
 * @typedef {import('./position.js').FeedEvent} FeedEvent
 *
 * @typedef {object} Page
 * @property {FeedEvent[]} events
 * @property {number | null} next the `after` of the next page, if there is more already
 * @property {number} last the newest
 * @property {{ first: number, last: number } | null} gap what was dropped before it was read
 */
export class EventPages {
    /**
     * @param {import('./options.js').Settings} settings
     * @param {AbortSignal} signal ends the request under way
     */
    constructor(settings: import("./options.js").Settings, signal: AbortSignal);
    /**
     * The number of the newest event.
     *
     * @param {string} token
     */
    last(token: string): Promise<number>;
    /**
     * The events after a number, as soon as there are some, or none after a while.
     *
     * @param {string} token
     * @param {number} after
     * @param {number} waitSeconds
     * @returns {Promise<Page>}
     */
    after(token: string, after: number, waitSeconds: number): Promise<Page>;
    #private;
}
export type FeedEvent = import("./position.js").FeedEvent;
export type Page = {
    events: FeedEvent[];
    /**
     * the `after` of the next page, if there is more already
     */
    next: number | null;
    /**
     * the newest
     */
    last: number;
    /**
     * what was dropped before it was read
     */
    gap: {
        first: number;
        last: number;
    } | null;
};
