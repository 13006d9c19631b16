/** @file For the tests: what a client does, noted; and waits for conditions, bounded. */

import { ResilientWebSocketService } from '../resilient-websocket-service.js';

/** Quick, and silent. @type {import('../resilient-websocket-service.js').Options} */
const QUICK = {
  reconnectDelay: 5,
  maxReconnectDelay: 40,
  timeout: 10_000,
  pollWait: 1,
  logger: { warn: () => {} },
};
const PATIENCE_MS = 30_000;

/**
 * A client, and all that it told.
 *
 * @param {import('node:test').TestContext} t
 * @param {import('../resilient-websocket-service.js').Options} options
 */
export function follow(t, options) {
  const client = new ResilientWebSocketService({ ...QUICK, ...options });
  /** @type {number[]} */
  const read = [];
  /** @type {string[]} */
  const states = [];
  /** @type {import('../resilient-websocket-service.js').FeedError[]} */
  const errors = [];
  client.on('event', ({ n }) => read.push(n));
  client.on('state', (state) => states.push(state));
  client.on('connect_error', (error) => errors.push(error));
  t.after(() => client.disconnect());
  return { client, read, states, errors };
}

/** @param {() => unknown} condition */
export async function eventually(condition) {
  const until = Date.now() + PATIENCE_MS;
  while (!condition()) {
    if (Date.now() > until) throw new Error(`not within ${PATIENCE_MS} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** @param {number} n the numbers from 1 to it */
export function upTo(n) {
  return Array.from({ length: n }, (_, index) => index + 1);
}

/** A JWT that nobody has signed. @param {number} goodForSeconds */
export function jwt(goodForSeconds) {
  const exp = Date.now() / 1000 + goodForSeconds;
  const part = (/** @type {object} */ value) =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part({ exp })}.${Math.random()}`;
}
