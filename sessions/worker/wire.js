/// <reference lib="es2024.string" />
/**
 * @file The line's frames: NDJSON text to checked values and back. Pure; docs/wire.md is the
 *   contract, `sessions/workers/wire.py` the Python mirror, `frames.fixtures.json` is read by the tests of
 *   both.
 */

export const PROTOCOL = 2;
export const MAX_FRAME_BYTES = 32 * 1024 * 1024;
/**
 * JSON.stringify escapes surrogates only where they are alone. (A text may hold the escape itself;
 * no harm done.)
 */
const SURROGATE_ESCAPE = /\\ud[89a-f]/;

/**
 * @typedef {{ type: 'assign', session: string, epoch: number, creds: unknown, proxy: string | null,
 *   inbound?: Record<string, unknown> | null }} Assign
 * @typedef {{ type: 'connect', session: string, attempt: number }} Connect
 * @typedef {{ type: 'close', session: string }} Close
 * @typedef {{ type: 'logout', session: string, id: number }} Logout
 * @typedef {{ type: 'probe', session: string, id: number }} Probe
 * @typedef {{ type: 'pairing-code', session: string, id: number, phone: string }} PairingCode
 * @typedef {{ type: 'send', session: string, id: number, to: string, text: string, others?:
 *   string[] | null }} Send
 * @typedef {{ type: 'keys.values', session: string, id: number, values: Record<string, unknown> }}
 *   KeysValues
 * @typedef {{ type: 'keys.ack', session: string, seq: number, ok: boolean, error?: string | null }}
 *   KeysAck
 * @typedef {{ type: 'events.ack', session: string, epoch: number, seq: number }} EventsAck
 * @typedef {{ type: 'refuse', reason: string }} Refuse
 * @typedef {{ type: 'release', session: string }} Release
 * @typedef {{ type: 'shutdown' }} Shutdown
 * @typedef {Connect | Close | Logout | Probe | PairingCode | Send | KeysValues | KeysAck |
 *   EventsAck | Release} Order
 * @typedef {Assign | Order | Refuse | Shutdown} DownFrame
 */

/**
 * @typedef {{ kind: string, name: string, value: unknown }} KeyEntry
 * @typedef {import('./socket/close-reason.js').CloseReason} CloseReason
 * @typedef {import('./socket/close-reason.js').CloseFacts} CloseFacts
 * @typedef {{ registered: boolean, reason: CloseReason } & CloseFacts} HowClosed
 * @typedef {{ session: string, epoch: number, attempt: number, closed: HowClosed | null } &
 *   import('./socket/standing.js').Described} Held
 * @typedef {{ type: 'hello', protocol: number, worker: string, token: string, pid: number,
 *   node_version: string, baileys_version: string, code: string, sessions: Held[] }} Hello
 * @typedef {{ type: 'state', session: string, attempt: number, stage: 'upgraded' | 'login' |
 *   'paired' | 'qr_retired' }} State
 * @typedef {{ type: 'qr', session: string, attempt: number } &
 *   import('./socket/registration.js').Shown} Qr
 * @typedef {{ type: 'opened', session: string, attempt: number, jid: string, name: string | null }}
 *   Opened
 * @typedef {{ type: 'closed', session: string, attempt: number } & HowClosed} Closed
 * @typedef {{ type: 'keys.get', session: string, epoch: number, id: number, kind: string, names:
 *   string[] }} KeysGet
 * @typedef {{ type: 'keys.set', session: string, epoch: number, seq: number, entries: KeyEntry[] }}
 *   KeysSet
 * @typedef {{ type: 'message', session: string, epoch: number, seq: number, kept: string[] } &
 *   import('./messages/messages.js').Inbound} Message
 * @typedef {{ type: 'receipt', session: string, epoch: number, seq: number } &
 *   import('./messages/messages.js').Receipt} Receipt
 * @typedef {{ type: 'probed', session: string, id: number } &
 *   import('./socket/connection.js').ProbeResult} Probed
 * @typedef {{ type: 'phone', session: string, seen_at_seconds: number }} Phone
 * @typedef {{ type: 'replied', session: string, id: number, ok: boolean, result: Record<string,
 *   string> | null, error: { code: string, message: string } | null }} Replied
 * @typedef {{ type: 'beat', lag_ms: number, rss_bytes: number, heap_bytes: number }} Beat
 * @typedef {Hello | State | Qr | Opened | Closed | KeysGet | KeysSet | Message | Receipt | Probed |
 *   Phone | Replied | Beat} UpFrame
 */

/**
 * The other side does not speak the protocol. The message never quotes the line: it may hold keys.
 */
export class WireError extends Error {}

/** @typedef {(value: unknown) => boolean} Check */

/** @type {Check} */
const text = (value) => typeof value === 'string';
/** @type {Check} */
const integer = (value) => Number.isSafeInteger(value);
/** @type {Check} */
const number = (value) => typeof value === 'number';
/** @type {Check} */
const flag = (value) => typeof value === 'boolean';
/** @type {Check} */
const absent = (value) => value === null || value === undefined;
/** @type {Check} */
const object = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
/** @type {(check: Check) => Check} */
const nullable = (check) => (value) => absent(value) || check(value);
/** @type {(check: Check) => Check} */
const list = (check) => (value) => Array.isArray(value) && value.every(check);
/** @type {(...words: string[]) => Check} */
const oneOf =
  (...words) =>
  (value) =>
    words.includes(/** @type {string} */ (value));
/** @type {(fields: Record<string, Check>) => Check} */
const shape = (fields) => (value) =>
  object(value) && misfit(fields, /** @type {any} */ (value)) === undefined;
/** @type {Check} */
const strings = (value) =>
  object(value) && Object.values(/** @type {object} */ (value)).every(text);
/** @type {Check} */
const anything = () => true;

/**
 * @typedef {Record<string, Record<string, Check>>} Shapes what each type of frame has to hold; more
 *   is no error
 */

/** @type {Shapes} */
export const DOWN = {
  // Creds left out by mistake must not be taken for "never paired", which would cost a pairing; nor
  // a proxy for none, which would show the host's own address to WhatsApp.
  assign: {
    session: text,
    epoch: integer,
    creds: (value) => value === null || object(value),
    proxy: (value) => value === null || text(value),
    inbound: nullable(object),
  },
  connect: { session: text, attempt: integer },
  close: { session: text },
  logout: { session: text, id: integer },
  probe: { session: text, id: integer },
  'pairing-code': { session: text, id: integer, phone: text },
  send: { session: text, id: integer, to: text, text, others: nullable(list(text)) },
  'keys.values': { session: text, id: integer, values: object },
  'keys.ack': { session: text, seq: integer, ok: flag, error: nullable(text) },
  'events.ack': { session: text, epoch: integer, seq: integer },
  refuse: { reason: text },
  release: { session: text },
  shutdown: {},
};

/** @type {Record<string, Check>} */
const HOW_CLOSED = {
  code: nullable(integer),
  message: text,
  data: nullable(strings),
  registered: flag,
  reason: text,
};

/** @type {Record<string, Check>} */
const HELD = {
  session: text,
  epoch: integer,
  attempt: integer,
  stage: oneOf('idle', 'connecting', 'login', 'qr', 'paired', 'open'),
  qr: nullable(text),
  qr_number: nullable(integer),
  pairing_code: nullable(text),
  jid: nullable(text),
  name: nullable(text),
  open_for_ms: nullable(number),
  closed: nullable(shape(HOW_CLOSED)),
};

/** @type {Shapes} */
export const UP = {
  hello: {
    protocol: integer,
    worker: text,
    token: text,
    pid: integer,
    node_version: text,
    baileys_version: text,
    code: text,
    sessions: list(shape(HELD)),
  },
  state: {
    session: text,
    attempt: integer,
    stage: oneOf('upgraded', 'login', 'paired', 'qr_retired'),
  },
  qr: {
    session: text,
    attempt: integer,
    qr: text,
    qr_number: nullable(integer),
    renewed: nullable(flag),
    pairing_code: nullable(text),
  },
  opened: { session: text, attempt: integer, jid: text, name: nullable(text) },
  closed: { session: text, attempt: integer, ...HOW_CLOSED },
  'keys.get': { session: text, epoch: integer, id: integer, kind: text, names: list(text) },
  'keys.set': {
    session: text,
    epoch: integer,
    seq: integer,
    entries: list(shape({ kind: text, name: text, value: anything })),
  },
  message: {
    session: text,
    epoch: integer,
    seq: integer,
    id: text,
    from: text,
    participant: nullable(text),
    text: nullable(text),
    timestamp_seconds: integer,
    kind: text,
    from_me: flag,
    kept: list(text),
  },
  receipt: {
    session: text,
    epoch: integer,
    seq: integer,
    id: text,
    from: text,
    status: oneOf('server_ack', 'delivered', 'read', 'played', 'error'),
  },
  probed: {
    session: text,
    id: integer,
    ok: flag,
    round_trip_ms: nullable(number),
    silent: flag,
    stalled: nullable(oneOf('offline_queue', 'sends')),
  },
  phone: { session: text, seen_at_seconds: integer },
  replied: {
    session: text,
    id: integer,
    ok: flag,
    result: nullable(strings),
    error: nullable(shape({ code: text, message: text })),
  },
  beat: { lag_ms: number, rss_bytes: integer, heap_bytes: integer },
};

/**
 * The first field that is not what it should be.
 *
 * @param {Record<string, Check>} fields
 * @param {Record<string, unknown>} value
 */
function misfit(fields, value) {
  return Object.keys(fields).find((name) => !fields[name](value[name]));
}

/**
 * Throws a WireError unless `frame` is one of `shapes`.
 *
 * @param {Shapes} shapes
 * @param {any} frame
 */
export function check(shapes, frame) {
  if (!object(frame) || !text(frame.type)) throw new WireError('a frame without a type');
  const fields = Object.hasOwn(shapes, frame.type) ? shapes[frame.type] : undefined;
  if (fields === undefined)
    throw new WireError(`a frame of unknown type "${frame.type.slice(0, 40)}"`);
  const wrong = misfit(fields, frame);
  if (wrong !== undefined)
    throw new WireError(`a "${frame.type}" frame whose "${wrong}" is malformed`);
}

/**
 * @param {string} line
 * @returns {DownFrame}
 */
export function decode(line) {
  const frame = parse(line);
  check(DOWN, frame);
  return frame;
}

/**
 * Half a surrogate pair, which any stranger's client can send, is no character; the other side
 * would take the line for broken. Nearly no frame has one, so that the second pass costs nothing.
 *
 * @param {UpFrame} frame
 */
export function encode(frame) {
  const line = JSON.stringify(frame);
  return `${SURROGATE_ESCAPE.test(line) ? JSON.stringify(frame, wellFormed) : line}\n`;
}

/**
 * For JSON.stringify: each half of a surrogate pair becomes U+FFFD, in values and in names.
 *
 * @param {string} _name
 * @param {unknown} value
 */
function wellFormed(_name, value) {
  if (typeof value === 'string') return value.toWellFormed();
  if (!object(value)) return value;
  return Object.fromEntries(
    Object.entries(/** @type {object} */ (value)).map(([key, of]) => [key.toWellFormed(), of]),
  );
}

/** @param {string} line */
function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    throw new WireError(`a line of ${line.length} characters that is not JSON`);
  }
}

/** Bytes in, whole lines out. */
export class LineSplitter {
  /** @type {Buffer[]} */
  #pieces = [];
  #bytes = 0;

  /**
   * @param {Buffer} chunk
   * @returns {string[]}
   */
  push(chunk) {
    /** @type {string[]} */
    const lines = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#keep(chunk.subarray(start, end));
      lines.push(this.#take());
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
    return lines;
  }

  /** @param {Buffer} piece */
  #keep(piece) {
    this.#bytes += piece.length;
    if (this.#bytes > MAX_FRAME_BYTES)
      throw new WireError(`a line longer than ${MAX_FRAME_BYTES} bytes`);
    if (piece.length > 0) this.#pieces.push(piece);
  }

  #take() {
    const line = Buffer.concat(this.#pieces).toString('utf8');
    this.#pieces = [];
    this.#bytes = 0;
    return line;
  }
}
