/** @extends {Emitter<{}, {}, Listeners>} */
export class ResilientWebSocketService extends Emitter<{}, {}, Listeners> {
    /**
     * @param {Options} [options]
     * @throws {TypeError} if one of them makes no sense
     */
    constructor(options?: Options);
    /** @type {import('socket.io-client').Socket | null} the connection, while there is one */
    socket: import("socket.io-client").Socket | null;
    /** The number of the last event that was handed on: where a later run goes on. */
    get after(): number | undefined;
    /** Where it stands. @returns {ConnectionState} one of CONNECTION_STATES, which says what it means */
    getConnectionState(): ConnectionState;
    /**
     * Begins to follow the feed. Done when events come, by whichever way.
     *
     * @param {Token} token or a function that fetches one: it is asked before each attempt
     * @throws {FeedError} at once if the token is empty; later if it has given up
     */
    connect(token: Token): Promise<void>;
    /** Ends it. What was read so far is remembered in `after`. */
    disconnect(): Promise<void>;
    /**
     * Done as soon as events come, by whichever way.
     *
     * @returns {Promise<void>}
     * @throws {FeedError} if nothing more is tried
     */
    waitForConnection(): Promise<void>;
    /** What the server may say on the connection. */
    setupEventHandlers(): void;
    /**
     * What a failed attempt calls for.
     *
     * @param {unknown} thrown
     * @returns {Reaction}
     */
    handleConnectionError(thrown: unknown): Reaction;
    /**
     * Waits until the next attempt, with events from polling if that is called for and works; or
     * gives up.
     *
     * @param {Reaction} reaction
     */
    attemptReconnection({ waitMs, poll }: Reaction): Promise<void>;
    #private;
}
export type ConnectionState = import("./connection-state.js").ConnectionState;
export type Options = import("./options.js").Options;
export type FeedEvent = import("./position.js").FeedEvent;
export type Token = import("./tokens.js").Token;
/**
 * of events
 */
export type Frame = {
    after: number;
    /**
     * after the one, up to the other, there is nothing else for us
     */
    to: number;
    events: FeedEvent[];
};
/**
 * events that nobody can give any more: read the present state instead
 */
export type Gap = {
    /**
     * the first of their numbers; null: nobody knows
     */
    first: number | null;
    last: number | null;
    /**
     * the log does not reach so far back; or its numbers
     * have begun anew (a restore?), and all that it has is read
     */
    reason: "dropped" | "log_restarted";
};
/**
 * what `on` can be called with
 */
export type Listeners = {
    /**
     * each once, in the order of their numbers
     */
    event: (event: FeedEvent) => void;
    state: (state: ConnectionState, before: ConnectionState) => void;
    gap: (gap: Gap) => void;
    /**
     * we were too slow: what was dropped is read again from the log
     */
    resync: () => void;
    /**
     * the server goes, to come
     * back; so do we
     */
    going_away: (notice: {
        retryAfterSeconds?: number;
    }) => void;
    /**
     * an attempt has failed
     */
    connect_error: (error: FeedError) => void;
    /**
     * the token is refused, and no fresh one helps
     */
    auth_error: (error: FeedError) => void;
};
/**
 * to a failed attempt
 */
export type Reaction = {
    /**
     * until the next; undefined: there is none
     */
    waitMs: number | undefined;
    /**
     * meanwhile
     */
    poll: boolean;
};
import { CONNECTION_STATES } from './connection-state.js';
import { FeedError } from './feed-error.js';
import { Emitter } from '@socket.io/component-emitter';
export { CONNECTION_STATES, FeedError };
