/**
 * @file The composition root: settings, log, line and sessions put together, and every way in which
 *   the process ends.
 */

import { flushCompileCache } from 'node:module';
import baileys from '@whiskeysockets/baileys/package.json' with { type: 'json' };
import { mustNotReject } from './async/must-not-reject.js';
import { startHeartbeat } from './line/heartbeat.js';
import { Line } from './line/line.js';
import { createLog } from './log.js';
import { Session } from './session.js';
import { readSettings } from './settings.js';
import { rehearse } from './socket/rehearsal.js';
import { trustNoiseRoot } from './socket/socket-options.js';
import { PROTOCOL, WireError } from './wire.js';

/** @typedef {import('./wire.js').DownFrame} DownFrame */

/** A worker that was started for a session has it by then. */
const WARM_UP_AFTER_MS = 300;
const EXIT = {
  DONE: 0,
  CRASHED: 1,
  MISCONFIGURED: 2,
  STALE_EPOCH: 3,
  PROTOCOL_ERROR: 4,
  REFUSED: 5,
};
/** Longer than a socket's end may take with all its writes. */
const SHUTDOWN_TIMEOUT_MS = 12_000;
/** Without a supervisor no write can be waited for. */
const DEPARTURE_TIMEOUT_MS = 1_000;

/** Reads the environment and serves until told otherwise, or until nobody is left to serve. */
export function run() {
  try {
    new Worker(readSettings(process.env)).start();
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n`);
    process.exit(EXIT.MISCONFIGURED);
  }
}

class Worker {
  #settings;
  #log;
  /** @type {Map<string, Session>} */
  #sessions = new Map();
  /** @type {Line | undefined} */
  #line;
  #lastNumber = 0;
  #shuttingDown = false;

  /** @param {import('./settings.js').Settings} settings */
  constructor(settings) {
    this.#settings = settings;
    this.#log = createLog(settings.logLevel, settings.worker);
    trustNoiseRoot(settings.noiseRootKey);
  }

  start() {
    this.#catchStrays();
    for (const name of ['SIGTERM', 'SIGINT'])
      process.on(name, () => this.#exit(EXIT.DONE, `ended by ${name}`));
    const { socketPath, adoptionWindowMs, heartbeatIntervalMs } = this.#settings;
    this.#line = new Line(socketPath, adoptionWindowMs, {
      onUp: () => this.#introduce(),
      onFrame: (frame, link) => this.#onFrame(frame, link),
      onNeverUp: (cause) => this.#exit(EXIT.CRASHED, `no line to the supervisor: ${cause}`),
      onLost: (cause) => this.#onLost(cause),
      onOver: () => mustNotReject(this.#depart()),
      onDoubtOver: () => this.#forEachSession((session) => session.speak()),
      onProtocolError: (error) =>
        this.#exit(EXIT.PROTOCOL_ERROR, `not our protocol: ${error.message}`),
    });
    startHeartbeat(heartbeatIntervalMs, (beat) => this.#send(beat));
    setTimeout(() => mustNotReject(this.#warmUp()), WARM_UP_AFTER_MS).unref();
  }

  /**
   * What has been compiled so far is kept for other workers. And a spare, as this one then seems to
   * be, rehearses.
   */
  async #warmUp() {
    flushCompileCache();
    if (this.#sessions.size > 0) return;
    await rehearse().catch((error) =>
      this.#log.warn({ cause: messageOf(error) }, 'the rehearsal failed'),
    );
    flushCompileCache();
  }

  /** All of it in one go: what is reported afterwards comes afterwards on the line. */
  #introduce() {
    const { worker, token, code } = this.#settings;
    this.#send({
      type: 'hello',
      protocol: PROTOCOL,
      worker,
      token,
      pid: process.pid,
      node_version: process.version,
      baileys_version: baileys.version,
      code,
      sessions: [...this.#sessions.values()].map((session) => session.held()),
    });
    this.#forEachSession((session) => session.resendQuestions());
    this.#forEachSession((session) => session.resendEvents());
  }

  /** @param {string} cause */
  #onLost(cause) {
    const nothingToKeep = this.#shuttingDown || this.#sessions.size === 0;
    if (nothingToKeep)
      this.#exit(EXIT.DONE, `no line to the supervisor, and nothing to keep: ${cause}`);
    this.#log.warn({ sessions: this.#sessions.size }, `no line to the supervisor: ${cause}`);
  }

  /**
   * @param {DownFrame} frame
   * @param {import('./line/link.js').Link} link
   */
  #onFrame(frame, link) {
    switch (frame.type) {
      case 'refuse':
        return this.#exit(EXIT.REFUSED, `refused by the supervisor: ${frame.reason}`);
      case 'shutdown':
        return mustNotReject(this.#shutDown());
      case 'assign':
        return this.#assign(frame);
      case 'release':
        return mustNotReject(this.#release(frame.session));
      default:
        return this.#order(frame, link);
    }
  }

  /** @param {import('./wire.js').Assign} frame */
  #assign(frame) {
    const session = new Session(frame, {
      settings: this.#settings,
      log: this.#log,
      send: (up) => this.#send(up),
      write: (text) => this.#line?.write(text),
      mustBeSilent: () => Boolean(this.#line?.abandoned),
      nextNumber: () => this.#nextNumber(),
      onStaleEpoch: () => this.#exit(EXIT.STALE_EPOCH, `somebody else owns ${frame.session}`),
      after: this.#sessions.get(frame.session)?.release(),
    });
    this.#sessions.set(frame.session, session);
  }

  /** @param {string} id */
  async #release(id) {
    const session = this.#sessions.get(id);
    this.#sessions.delete(id);
    await session?.release();
  }

  /**
   * @param {Exclude<import('./wire.js').Order, { type: 'release' }>} order
   * @param {import('./line/link.js').Link} link
   */
  #order(order, link) {
    const session = this.#sessions.get(order.session);
    if (session) session.obey(order, link);
    // Answers to what we sent may cross with a release on the line; orders cannot.
    else if (!/^(keys|events)\./.test(order.type))
      throw new WireError(`"${order.type}" for a session that is not assigned`);
  }

  async #shutDown() {
    this.#shuttingDown = true;
    await this.#releaseAll(SHUTDOWN_TIMEOUT_MS);
    await this.#line?.end();
    this.#exit(EXIT.DONE, 'shut down');
  }

  /** Nobody came in time: whoever comes later starts a worker of its own. */
  async #depart() {
    this.#forEachSession((session) => session.stopAsking());
    await this.#releaseAll(DEPARTURE_TIMEOUT_MS);
    this.#exit(EXIT.DONE, 'nobody came for what we hold');
  }

  /** @param {number} timeoutMs */
  async #releaseAll(timeoutMs) {
    setTimeout(() => this.#exit(EXIT.DONE, 'ended, not all in order'), timeoutMs).unref();
    await Promise.all([...this.#sessions.values()].map((session) => session.release()));
  }

  /** @param {(session: Session) => void} step */
  #forEachSession(step) {
    for (const session of this.#sessions.values()) step(session);
  }

  /**
   * Baileys leaves promises that reject unheard: queries of an ended socket, mostly. They are
   * noise. An exception that nobody caught is not: what it has left half done is unknown, and a
   * fresh process costs less than a wrong one.
   */
  #catchStrays() {
    process.on('unhandledRejection', (error) =>
      this.#log.warn({ cause: messageOf(error) }, 'a rejection nobody handled'),
    );
    process.on('uncaughtException', (error) => {
      this.#log.fatal(
        { cause: messageOf(error), stack: error.stack },
        'an exception nobody caught',
      );
      this.#exit(EXIT.CRASHED, 'crashed');
    });
  }

  /** @param {import('./wire.js').UpFrame} frame */
  #send(frame) {
    this.#line?.send(frame);
  }

  #nextNumber() {
    this.#lastNumber += 1;
    return this.#lastNumber;
  }

  /**
   * @param {number} status
   * @param {string} cause
   */
  #exit(status, cause) {
    for (const session of this.#sessions.values()) session.abort();
    this.#log.info({ status }, cause);
    process.exit(status);
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : 'not an error';
}
