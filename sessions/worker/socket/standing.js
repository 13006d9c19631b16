/**
 * @file Where an attempt stands, in the words of `hello`: a supervisor that comes later has heard
 *   nothing of it.
 */

/**
 * @typedef {'idle' | 'connecting' | 'login' | 'qr' | 'paired' | 'open'} Stage
 * @typedef {{ stage: Stage, qr: string | null, qr_number: number | null, pairing_code: string |
 *   null, jid: string | null, name: string | null, open_for_ms: number | null }} Described
 */

const NOTHING = {
  qr: null,
  qr_number: null,
  pairing_code: null,
  jid: null,
  name: null,
  open_for_ms: null,
};

/** @type {Described} */
export const IDLE = { stage: 'idle', ...NOTHING };

export class Standing {
  /** @type {Described} */
  #facts = { stage: 'connecting', ...NOTHING };
  #openedAt = 0;

  /** @param {'login' | 'paired'} stage */
  reached(stage) {
    this.#facts = { stage, ...NOTHING };
  }

  /** @param {import('./registration.js').Shown} shown */
  shows({ qr, qr_number, pairing_code }) {
    this.#facts = { stage: 'qr', ...NOTHING, qr, qr_number, pairing_code };
  }

  /** What was shown is void, and nothing takes its place yet. */
  showsNothing() {
    this.#facts = { ...this.#facts, qr: null, pairing_code: null };
  }

  /**
   * @param {string} jid
   * @param {string | null} name
   */
  opened(jid, name) {
    this.#openedAt = performance.now();
    this.#facts = { stage: 'open', ...NOTHING, jid, name };
  }

  /** @returns {Described} */
  describe() {
    if (this.#facts.stage !== 'open') return this.#facts;
    return { ...this.#facts, open_for_ms: Math.round(performance.now() - this.#openedAt) };
  }
}
