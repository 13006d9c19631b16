/**
 * @file The composition root: settings, log, line and sessions put together, and every way in which the process ends.
 */

import baileys from '@whiskeysockets/baileys/package.json' with { type: 'json' };
import { startHeartbeat } from './heartbeat.js';
import { Line } from './line.js';
import { createLog } from './log.js';
import { Session } from './session.js';
import { readSettings } from './settings.js';
import { trustNoiseRoot } from './socket-options.js';
import { PROTOCOL, WireError } from './wire.js';

/** @typedef {import('./wire.js').DownFrame} DownFrame */

const EXIT = { DONE: 0, CRASHED: 1, MISCONFIGURED: 2, STALE_EPOCH: 3, PROTOCOL_ERROR: 4 };
/** Longer than a socket's end may take with all its writes. */
const SHUTDOWN_TIMEOUT_MS = 12_000;

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
  #up = false;

  /** @param {import('./settings.js').Settings} settings */
  constructor(settings) {
    this.#settings = settings;
    this.#log = createLog(settings.logLevel, settings.worker);
    trustNoiseRoot(settings.noiseRootKey);
  }

  start() {
    this.#catchStrays();
    for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => this.#exit(EXIT.DONE, `ended by ${name}`));
    this.#line = new Line(this.#settings.socketPath, {
      onUp: () => this.#introduce(),
      onFrame: (frame) => this.#onFrame(frame),
      // Nothing may live on without a supervisor; but never having met one is a fault.
      onLost: (cause) => this.#exit(this.#up ? EXIT.DONE : EXIT.CRASHED, `no line to the supervisor: ${cause}`),
      onProtocolError: (error) => this.#exit(EXIT.PROTOCOL_ERROR, `not our protocol: ${error.message}`),
    });
  }

  #introduce() {
    const { worker, token, heartbeatIntervalMs } = this.#settings;
    this.#up = true;
    this.#send({
      type: 'hello',
      protocol: PROTOCOL,
      worker,
      token,
      pid: process.pid,
      node_version: process.version,
      baileys_version: baileys.version,
    });
    startHeartbeat(heartbeatIntervalMs, (beat) => this.#send(beat));
  }

  /** @param {DownFrame} frame */
  #onFrame(frame) {
    switch (frame.type) {
      case 'shutdown':
        return this.#shutDown();
      case 'assign':
        return this.#assign(frame);
      case 'release':
        return this.#release(frame.session);
      default:
        return this.#order(frame);
    }
  }

  /** @param {import('./wire.js').Assign} frame */
  #assign(frame) {
    const session = new Session(frame, {
      settings: this.#settings,
      log: this.#log,
      send: (up) => this.#send(up),
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

  /** @param {Exclude<import('./wire.js').Order, { type: 'release' }>} order */
  #order(order) {
    const session = this.#sessions.get(order.session);
    if (session) session.obey(order);
    // Answers about keys may cross with a release on the line; orders cannot.
    else if (!order.type.startsWith('keys.')) throw new WireError(`"${order.type}" for a session that is not assigned`);
  }

  async #shutDown() {
    setTimeout(() => this.#exit(EXIT.DONE, 'shut down, not all in order'), SHUTDOWN_TIMEOUT_MS).unref();
    await Promise.all([...this.#sessions.values()].map((session) => session.release()));
    await this.#line?.end();
    this.#exit(EXIT.DONE, 'shut down');
  }

  /**
   * Baileys leaves promises that reject unheard: queries of an ended socket, mostly. They are noise. An exception that
   * nobody caught is not: what it has left half done is unknown, and a fresh process costs less than a wrong one.
   */
  #catchStrays() {
    process.on('unhandledRejection', (error) =>
      this.#log.warn({ cause: messageOf(error) }, 'a rejection nobody handled'),
    );
    process.on('uncaughtException', (error) => {
      this.#log.fatal({ cause: messageOf(error), stack: error.stack }, 'an exception nobody caught');
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
