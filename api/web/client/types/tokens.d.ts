/**
 * How long a token is good for, in ms; undefined: it does not say.
 *
 * Only a JWT says it, and the server alone judges it: this is read, not verified.
 *
 * @param {string} token
 * @param {number} [nowMs]
 * @returns {number | undefined}
 */
export function goodForMs(token: string, nowMs?: number): number | undefined;
/** @typedef {string | (() => string | Promise<string>)} Token a token, or what fetches one */
export class TokenSource {
    /**
     * @param {Token} token
     * @param {number} timeoutMs how long fetching one may take
     * @throws {FeedError} if it is empty: nothing is asked of the server then
     */
    constructor(token: Token, timeoutMs: number);
    /** It can be fetched anew. */
    get renewable(): boolean;
    /**
     * A token for the next attempt, fetched anew where that is possible.
     *
     * Whatever the function throws, no token was refused: of a proxy's page in place of the answer,
     * JSON.parse says "Unexpected token '<'", and nobody has to log in for that.
     *
     * @throws {FeedError}
     */
    fresh(): Promise<string>;
    #private;
}
/**
 * a token, or what fetches one
 */
export type Token = string | (() => string | Promise<string>);
