/** @param {ConnectionState} state whether events come in it */
export function delivers(state: ConnectionState): state is "connected" | "degraded";
/** @file Where a client of the feed stands: a closed set of states, and what each means. */
/**
 * @typedef {'disconnected' | 'connecting' | 'connected' | 'reconnecting' | 'degraded' | 'error'}
 *   ConnectionState
 */
/**
 * Every state, and what a reader of it may rely on.
 * @type {Readonly<Record<ConnectionState, string>>}
 */
export const CONNECTION_STATES: Readonly<Record<ConnectionState, string>>;
export type ConnectionState = "disconnected" | "connecting" | "connected" | "reconnecting" | "degraded" | "error";
