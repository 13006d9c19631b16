/**
 * Checks the JSON that people send to the admin API. A shape is an object of checks; each check
 * says what it wants.
 */

import { AdminError } from './errors.js';

/**
 * @template T
 * @typedef {{ accepts: (value: unknown) => boolean, parse: (value: any) => T, wants: string,
 *   required: boolean }} Check
 */
/** @typedef {Record<string, Check<any>>} Shape */
/**
 * @template {Shape} S
 * @typedef {{ [K in keyof S]: S[K] extends Check<infer T> ? T : never }} Values
 */

/**
 * @template T
 * @param {string} wants
 * @param {(value: unknown) => boolean} accepts
 * @param {(value: any) => T} parse
 * @returns {Check<T>}
 */
const check = (wants, accepts, parse) => ({ wants, accepts, parse, required: true });

/** A text that is not empty. */
export const text = check('a text', (value) => typeof value === 'string' && value !== '', String);

/** A phone number, with or without a plus. */
export const phoneNumber = check(
  'a phone number of 6 to 15 digits',
  (value) => /^\+?[1-9]\d{5,14}$/.test(String(value)),
  (value) => String(value).replace('+', ''),
);

/**
 * A whole number, also when it is written as a text.
 * @param {number} min
 * @param {number} max
 */
export const integer = (min, max) =>
  check(
    `a whole number from ${min} to ${max}`,
    (value) => /^-?\d+$/.test(String(value)) && Number(value) >= min && Number(value) <= max,
    Number,
  );

/**
 * A list, perhaps empty, of what that check takes.
 * @template T
 * @param {Check<T>} one
 * @returns {Check<T[]>}
 */
export const listOf = (one) =>
  check(
    `a list, each ${one.wants}`,
    (value) => Array.isArray(value) && value.every(one.accepts),
    (value) => value.map(one.parse),
  );

/** Seconds, not necessarily whole. */
export const seconds = check(
  'a number of seconds above 0',
  (value) => typeof value === 'number' && value > 0 && value < 1e6,
  Number,
);

/**
 * @template {string} T
 * @param {...T} allowed
 * @returns {Check<T>}
 */
export const oneOf = (...allowed) =>
  check(
    `one of ${allowed.join(', ')}`,
    (value) => allowed.includes(/** @type {T} */ (value)),
    (value) => value,
  );

/**
 * Attributes of a node: the encoder takes nothing but texts. @type {Check<Record<string, string>>}
 */
export const attributes = check(
  'an object whose values are texts',
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((item) => typeof item === 'string'),
  (value) => value,
);

/**
 * @template A, B
 * @param {Check<A>} one
 * @param {Check<B>} other
 * @returns {Check<A | B>}
 */
export const either = (one, other) =>
  check(
    `${one.wants} or ${other.wants}`,
    (value) => one.accepts(value) || other.accepts(value),
    (value) => (one.accepts(value) ? one.parse(value) : other.parse(value)),
  );

/**
 * @template T
 * @param {Check<T>} inner
 * @returns {Check<T | undefined>}
 */
export const optional = (inner) => ({ ...inner, required: false });

/**
 * @template {Shape} S
 * @param {unknown} input
 * @param {S} shape
 * @returns {Values<S>}
 */
export function parse(input, shape) {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw bad('the body is not a JSON object', `send an object with ${describe(shape)}`);
  }
  const unknown = Object.keys(input).find((key) => !(key in shape));
  if (unknown !== undefined)
    throw bad(`there is no "${unknown}" here`, `known here: ${describe(shape)}`);
  const values = Object.entries(shape).map(([key, item]) => [
    key,
    value(item, key, /** @type {any} */ (input)[key]),
  ]);
  return Object.fromEntries(values);
}

/**
 * @param {Check<unknown>} item
 * @param {string} key
 * @param {unknown} given
 */
function value(item, key, given) {
  if (given === undefined && !item.required) return undefined;
  if (given === undefined) throw bad(`"${key}" is missing`, `"${key}" is ${item.wants}`);
  if (!item.accepts(given)) throw bad(`"${key}" is not right`, `"${key}" is ${item.wants}`);
  return item.parse(given);
}

/** @param {Shape} shape */
const describe = (shape) => Object.keys(shape).join(', ') || 'nothing';

/**
 * @param {string} message
 * @param {string} hint
 */
const bad = (message, hint) => new AdminError(400, 'bad_input', message, hint);
