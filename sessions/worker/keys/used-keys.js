/**
 * @file Whether a ciphertext was decrypted before. libsignal knows, but for a message within a
 *   session it says the same as of one that nobody can decrypt. Pure; knows how libsignal 6
 *   serializes a session.
 */

/**
 * @typedef {{ chainKey: { counter: number }, messageKeys: Record<string, unknown> }} Chain
 * @typedef {{ _sessions?: Record<string, { _chains: Record<string, Chain> }> }} Sessions
 */

/** Before and after the protobuf of a message. */
const VERSION_BYTES = 1;
const MAC_BYTES = 8;
/**
 * Its first two fields: the sender's ratchet key, 33 bytes, and the number of the message in that
 * chain.
 */
const RATCHET_KEY = 0x0a;
const RATCHET_KEY_BYTES = 33;
const COUNTER = 0x10;

/**
 * @param {unknown} sessions with the sender, as libsignal serializes them
 * @param {Uint8Array} ciphertext of type `msg`
 */
export function isUsedUp(sessions, ciphertext) {
  const position = positionOf(ciphertext);
  const { _sessions = {} } = /** @type {Sessions} */ (sessions ?? {});
  return (
    position !== null &&
    Object.values(_sessions).some((session) => hasPassed(session._chains, position))
  );
}

/**
 * @param {Record<string, Chain>} chains
 * @param {{ chain: string, counter: number }} position
 */
function hasPassed(chains, { chain, counter }) {
  if (!Object.hasOwn(chains, chain)) return false;
  const { chainKey, messageKeys } = chains[chain];
  return counter <= chainKey.counter && !Object.hasOwn(messageKeys, String(counter));
}

/** @param {Uint8Array} ciphertext */
function positionOf(ciphertext) {
  const message = Buffer.from(ciphertext).subarray(VERSION_BYTES, -MAC_BYTES);
  const counterAt = 2 + RATCHET_KEY_BYTES;
  if (
    message[0] !== RATCHET_KEY ||
    message[1] !== RATCHET_KEY_BYTES ||
    message[counterAt] !== COUNTER
  )
    return null;
  const chain = message.subarray(2, counterAt).toString('base64');
  return { chain, counter: varint(message.subarray(counterAt + 1)) };
}

/** @param {Uint8Array} bytes */
function varint(bytes) {
  const last = bytes.findIndex((byte) => byte < 0x80);
  return bytes.subarray(0, last + 1).reduceRight((value, byte) => value * 0x80 + (byte & 0x7f), 0);
}
