/**
 * @typedef {object} Reader what becomes of it
 * @property {import('./position.js').Position} position
 * @property {() => void} onWorking the first page is there
 * @property {(event: import('./position.js').FeedEvent) => void} onEvent
 * @property {(gap: import('./resilient-websocket-service.js').Gap) => void} onGap
 */
export class Fallback {
    /**
     * @param {import('./options.js').Settings} settings
     * @param {import('./tokens.js').TokenSource} tokens
     * @param {Reader} reader
     */
    constructor(settings: import("./options.js").Settings, tokens: import("./tokens.js").TokenSource, reader: Reader);
    /** Events come by it. */
    get working(): boolean;
    /** Done when it works no more; what has ended it, if it was not stopped, is in the log. */
    get ended(): Promise<void>;
    /**
     * Asks for the first page; whether that worked. From then on events come until it is stopped or
     * fails as often in a row as the socket may.
     */
    begin(): Promise<boolean>;
    /** No more of it; done when the last event has been handed on. */
    stop(): Promise<void>;
    #private;
}
/**
 * what becomes of it
 */
export type Reader = {
    position: import("./position.js").Position;
    /**
     * the first page is there
     */
    onWorking: () => void;
    onEvent: (event: import("./position.js").FeedEvent) => void;
    onGap: (gap: import("./resilient-websocket-service.js").Gap) => void;
};
