/**
 * What a failed attempt at the socket was about. The server says it in `data`; what is only thrown
 * on the way is told by its words. A token is refused by a server alone: also by one that says so in
 * words and sends no `data`, which the library then sets to undefined.
 *
 * @param {unknown} thrown
 * @returns {FeedError}
 */
export function explain(thrown: unknown): FeedError;
/**
 * What an answer of the API was about.
 *
 * @param {Response} response one that is not ok
 * @returns {Promise<FeedError>}
 */
export function explainAnswer(response: Response): Promise<FeedError>;
export class FeedError extends Error {
    /**
     * @param {FeedErrorCode} code
     * @param {string} message
     * @param {Details} [details]
     */
    constructor(code: FeedErrorCode, message: string, details?: Details);
    code: FeedErrorCode;
    hint: string;
    reason: string | undefined;
    retryAfterSeconds: number | undefined;
}
export type FeedErrorCode = "empty_token" | "refused_token" | "insufficient_resources" | "timeout" | "unreachable" | "refused" | "disconnected";
export type Details = {
    /**
     * what to do about it
     */
    hint?: string | undefined;
    /**
     * the server's word for it, `expired` for instance
     */
    reason?: string | undefined;
    /**
     * when the server wants to be asked again
     */
    retryAfterSeconds?: number | undefined;
    cause?: unknown;
};
