/**
 * What outlives the process: a map of JSON values, written through to a journal.
 *
 * Every change is one appended line, so 500 pairings cost 500 short writes instead of 500 rewrites
 * of everything, and a kill -9 right after a change loses nothing. (A power cut may: there is no
 * fsync, this is a test tool.) The journal is compacted into a new file, renamed over the old one,
 * at the start and when it has grown.
 */

import { closeSync, existsSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';

const COMPACT_AFTER_BYTES = 64 * 1024 * 1024;
const OWNER_ONLY = 0o600;

export class StateFile {
  /** @type {Map<string, any>} */
  #values = new Map();
  #path;
  /** @type {number | undefined} */
  #file;
  #appended = 0;

  /** @param {string} [path] without one, everything is in memory only */
  constructor(path) {
    this.#path = path;
    if (path === undefined) return;
    if (existsSync(path)) this.#replay(readFileSync(path, 'utf8'));
    this.#compact(path);
  }

  /** @param {string} key */
  get(key) {
    return this.#values.get(key);
  }

  /**
   * @param {string} key
   * @param {unknown} value anything that JSON can hold; undefined deletes
   */
  set(key, value) {
    if (value === undefined && !this.#values.has(key)) return;
    this.#apply(key, value);
    this.#append(key, value);
  }

  /**
   * @param {string} prefix
   * @returns {[key: string, value: any][]} in the order in which the keys were first set
   */
  list(prefix) {
    return [...this.#values].filter(([key]) => key.startsWith(prefix));
  }

  /** @param {string} prefix */
  deleteAll(prefix) {
    for (const [key] of this.list(prefix)) this.set(key, undefined);
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /**
   * @param {string} key
   * @param {unknown} value
   */
  #apply(key, value) {
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
  }

  /** @param {string} journal */
  #replay(journal) {
    for (const line of journal.split('\n').filter(Boolean)) {
      const entry = parse(line);
      if (entry) this.#apply(entry.key, entry.value);
    }
  }

  /**
   * @param {string} key
   * @param {unknown} value
   */
  #append(key, value) {
    if (this.#path === undefined || this.#file === undefined) return;
    const line = `${JSON.stringify({ key, value })}\n`;
    this.#appended += line.length;
    if (this.#appended > COMPACT_AFTER_BYTES) this.#compact(this.#path);
    else writeSync(this.#file, line);
  }

  /** @param {string} path */
  #compact(path) {
    const next = `${path}.next`;
    const file = openSync(next, 'w', OWNER_ONLY);
    for (const [key, value] of this.#values) writeSync(file, `${JSON.stringify({ key, value })}\n`);
    this.close();
    renameSync(next, path);
    this.#file = file;
    this.#appended = 0;
  }
}

/**
 * @param {string} line
 * @returns {{ key: string, value?: unknown } | undefined} undefined for the half line of a process
 *   that was killed
 */
function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
