/**
 * @param {Options} options
 * @returns {Settings}
 * @throws {TypeError} that names the option, what was given, and what is taken
 */
export function settings(options: Options): Settings;
export type Options = {
    /**
     * where wasup's API is, with a proxy's path if there is one; in a browser
     * by default where the page came from
     */
    url?: string | undefined;
    /**
     * whose events; none: of all that the token may see
     */
    sessions?: string[] | undefined;
    /**
     * which events: names, or groups such as `message.*`; none: all
     */
    types?: string[] | undefined;
    /**
     * go on after this number, which an earlier run remembered; none: only
     * what happens from now on
     */
    after?: number | undefined;
    /**
     * tries in a row, until it falls back or gives up;
     * Infinity: it never does
     */
    maxReconnectAttempts?: number | undefined;
    /**
     * ms before the second try; doubled with each
     */
    reconnectDelay?: number | undefined;
    /**
     * ms, the longest wait
     */
    maxReconnectDelay?: number | undefined;
    /**
     * ms that an attempt may take; doubled, up to four times that, while
     * attempts time out
     */
    timeout?: number | undefined;
    /**
     * fall back to polling GET /events while the socket does not work
     */
    polling?: boolean | undefined;
    /**
     * seconds that the server may hold such a request back, 55 at most
     */
    pollWait?: number | undefined;
    /**
     * seconds before a JWT's expiry at which a fresh one is fetched
     */
    renewBefore?: number | undefined;
    /**
     * somebody has to log in
     * again: show `/login`, say
     */
    onLogin?: ((error: import("./feed-error.js").FeedError) => void) | undefined;
    /**
     * told of trouble in one line each; tokens never
     */
    logger?: Pick<Console, "warn"> | undefined;
};
export type Settings = Required<Omit<Options, "after" | "onLogin">> & Pick<Options, "after" | "onLogin">;
