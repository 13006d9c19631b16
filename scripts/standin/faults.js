/**
 * Faults on demand. Two tables: what strikes live connections at once, and what stands and waits
 * for later attempts. A standing fault is caught by whoever it hits with `take`; what it then does
 * is written where it happens.
 */

import { AdminError } from './errors.js';
import { failure, node, REPLACED, streamError } from './nodes.js';
import { askForPasskey, REFRESHES, refresh, secretIn } from './registration-news.js';
import { attributes, either, integer, oneOf, optional, parse, seconds, text } from './schema.js';

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./schema.js").Shape} Shape
 * @typedef {Record<string, any>} Params checked against the fault's shape
 */

/** HTTP statuses that end an upgrade. 1xx would be no end. */
const HTTP_STATUS = integer(200, 599);

const STREAM_ERROR = {
  code: optional(integer(1, 999)),
  child: optional(text),
  type: optional(text),
};
const FAILURE = { reason: integer(1, 999), attributes: optional(attributes) };

const REFRESH = { child: optional(oneOf(...REFRESHES)) };

/** Websocket close codes that may be sent: RFC 6455 section 7.4, without the reserved ones. */
const CLOSE_CODE = either(either(integer(1000, 1003), integer(1007, 1014)), integer(3000, 4999));

/**
 * @type {Record<string, { shape: Shape, strike: (connection: Connection, params: Params) => void
 *   }>}
 */
const AT_ONCE = {
  drop: {
    shape: { how: optional(oneOf('fin', 'reset')) },
    strike: (connection, { how = 'fin' }) => connection.drop(how, 'fault'),
  },
  close: {
    shape: { code: optional(CLOSE_CODE) },
    strike: (connection, { code = 1000 }) => connection.close('fault', code),
  },
  'stream-end': {
    shape: {},
    strike: (connection) => connection.finish(node('xmlstreamend'), 'fault'),
  },
  'stream-error': {
    shape: STREAM_ERROR,
    strike: (connection, what) => connection.finish(streamError(what), 'fault'),
  },
  failure: {
    shape: FAILURE,
    strike: (connection, { reason, attributes: more }) =>
      connection.finish(failure(reason, more), 'fault'),
  },
  downgrade: {
    shape: {},
    strike: (connection) =>
      connection.finish(node('ib', {}, [node('downgrade_webclient')]), 'fault'),
  },
  replace: {
    shape: {},
    strike: (connection) => connection.finish(REPLACED, 'fault'),
  },
  blackhole: {
    shape: {},
    strike: (connection) => connection.blackhole(),
  },
  deaf: {
    shape: {},
    strike: (connection) => {
      connection.deaf = true;
    },
  },
  unacked: {
    shape: {},
    strike: (connection) => {
      connection.losesMail = true;
    },
  },
  'bad-frame': {
    shape: {},
    strike: (connection) => connection.sendGarbage(),
  },
  'truncated-frame': {
    shape: {},
    strike: (connection) => connection.sendTruncated('fault'),
  },
  'refresh-registration': {
    shape: { ...REFRESH, qr: optional(text) },
    strike: (connection, { child, qr }) =>
      refresh(connection, { child, secret: qr && secretIn(qr) }),
  },
  'passkey-request': {
    shape: {},
    strike: (connection) => askForPasskey(connection),
  },
};

/** @type {Record<string, Shape>} */
const STANDING = {
  refuse: { how: optional(either(oneOf('reset'), HTTP_STATUS)) },
  away: {},
  'stall-upgrade': {},
  'stall-handshake': {},
  'login-failure': FAILURE,
  'login-stream-error': STREAM_ERROR,
  'login-silence': {},
  delay: { ms: integer(1, 600_000) },
  silence: {},
  'refresh-at-registration': REFRESH,
  'refresh-at-scan': REFRESH,
  'refresh-at-success': REFRESH,
  'passkey-at-registration': {},
  'passkey-at-scan': {},
  'stall-queue': { messages: optional(integer(1, 100_000)) },
};

const TARGET = { fault: text, session: optional(text) };
const LIFE = { seconds: optional(seconds), count: optional(integer(1, 1_000_000)) };

/** A fault that waits. `over` is settled when it has ended, so that what it holds up can go on. */
export class StandingFault {
  /** @type {() => void} */
  #settle = () => {};
  /** @type {Promise<void>} */
  over = new Promise((resolve) => {
    this.#settle = resolve;
  });
  active = true;

  /**
   * @param {number} id
   * @param {string} name
   * @param {string | undefined} session
   * @param {Params} params
   */
  constructor(id, name, session, params) {
    this.id = id;
    this.name = name;
    this.session = session;
    this.params = params;
    this.left = params.count ?? Number.POSITIVE_INFINITY;
    this.until = params.seconds === undefined ? undefined : Date.now() + params.seconds * 1000;
  }

  /** @param {string | undefined} session */
  hits(session) {
    return this.left > 0 && (this.session === undefined || this.session === session);
  }

  end() {
    this.active = false;
    this.#settle();
  }

  toJSON() {
    const { count: _count, seconds: _seconds, ...params } = this.params;
    const left = Number.isFinite(this.left) ? this.left : null;
    return {
      id: this.id,
      fault: this.name,
      session: this.session ?? null,
      ...params,
      left,
      until_ms: this.until ?? null,
    };
  }
}

export class Faults {
  /** @type {StandingFault[]} */
  #standing = [];
  #lastId = 0;
  /**
   * What opens and shuts the front door, which the composition root makes. @type {(open: boolean)
   * => void}
   */
  onDoor = () => {};
  #log;
  #connections;

  /**
   * @param {import("./log.js").Log} log
   * @param {Set<Connection>} connections
   */
  constructor(log, connections) {
    this.#log = log;
    this.#connections = connections;
  }

  get standing() {
    return this.#standing;
  }

  /**
   * @param {unknown} input what was posted
   * @returns {{ id: number, connections?: number }} `connections`: how many it struck, if it
   *   strikes at once
   */
  create(input) {
    const name = String(/** @type {any} */ (input)?.fault);
    const atOnce = Object.hasOwn(AT_ONCE, name) ? AT_ONCE[name] : undefined;
    if (atOnce) return this.#strike(atOnce.strike, parse(input, { ...TARGET, ...atOnce.shape }));
    if (Object.hasOwn(STANDING, name))
      return this.#stand(parse(input, { ...TARGET, ...STANDING[name], ...LIFE }));
    const known = [...Object.keys(AT_ONCE), ...Object.keys(STANDING)].join(', ');
    throw new AdminError(
      400,
      'unknown_fault',
      `there is no fault "${name}"`,
      `"fault" is one of ${known}`,
    );
  }

  /**
   * The standing fault of that name that hits this attempt, if there is one; uses up one of its
   * `count`.
   * @param {string} name
   * @param {import("./log.js").Subject} subject
   */
  take(name, subject) {
    const fault = this.#standing.find(
      (candidate) => candidate.name === name && candidate.hits(subject.session),
    );
    if (!fault) return undefined;
    fault.left -= 1;
    this.#log.add('fault', subject, { fault: name, id: fault.id, action: 'hit' });
    return fault;
  }

  /** Ends all standing faults and says how many there were. */
  endAll() {
    const ended = [...this.#standing];
    for (const fault of ended) this.#end(fault);
    return ended.length;
  }

  /**
   * @param {(connection: Connection, params: Params) => void} strike
   * @param {Params} params
   */
  #strike(strike, { fault, session, ...params }) {
    const id = ++this.#lastId;
    const struck = [...this.#connections].filter(
      (connection) => session === undefined || connection.session === session,
    );
    this.#log.add(
      'fault',
      { session },
      { fault, id, action: 'strike', connections: struck.length, ...params },
    );
    for (const connection of struck) strike(connection, params);
    return { id, connections: struck.length };
  }

  /** @param {Params} params */
  #stand({ fault: name, session, ...params }) {
    const fault = new StandingFault(++this.#lastId, name, session, params);
    this.#standing.push(fault);
    if (name === 'away') this.onDoor(false);
    this.#log.add('fault', { session }, { fault: name, id: fault.id, action: 'set', ...params });
    if (params.seconds !== undefined)
      setTimeout(() => this.#end(fault), params.seconds * 1000).unref();
    return { id: fault.id };
  }

  /** @param {StandingFault} fault */
  #end(fault) {
    if (!fault.active) return;
    fault.end();
    this.#standing = this.#standing.filter((other) => other !== fault);
    if (fault.name === 'away' && !this.#standing.some(({ name }) => name === 'away'))
      this.onDoor(true);
    this.#log.add(
      'fault',
      { session: fault.session },
      { fault: fault.name, id: fault.id, action: 'end' },
    );
  }
}
