/**
 * The calls of the admin API, on one screen. Each checks its input and asks the part that knows.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { AdminError } from './errors.js';
import { sendText } from './mail.js';
import { enterCode } from './pairing-code.js';
import { scan } from './pairing-qr.js';
import { integer, listOf, optional, parse, phoneNumber, text } from './schema.js';
import { unlink } from './unlink.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {(world: World, body: unknown, query: URLSearchParams) => unknown} Route gives the
 *   answer, or a promise of it
 */

/** A client that is there answers a pairing within milliseconds. */
const PAIRING_TIMEOUT_MS = 10_000;

const SCAN = {
  qr: text,
  session: optional(text),
  phone: optional(phoneNumber),
  name: optional(text),
};
const ENTER_CODE = { phone: phoneNumber, code: text, name: optional(text) };
const UNLINK = { session: optional(text), jid: optional(text) };
const SEND_TEXT = { ...UNLINK, from: phoneNumber, text, name: optional(text) };
const WITHOUT_WHATSAPP = { phones: listOf(phoneNumber) };
const LOG_QUERY = { after: optional(integer(0, Number.MAX_SAFE_INTEGER)) };
const BY_SESSION = { session: optional(text) };

/** @type {Record<string, Route>} */
export const ROUTES = {
  'GET /state': (world) => ({
    devices: world.devices.all.map(describeDevice),
    connections: [...world.connections].map(describeConnection),
    faults: world.faults.standing,
  }),
  'POST /scan': (world, body) => inTime(scan(world, parse(withQr(body), SCAN))),
  'POST /enter-code': (world, body) => inTime(enterCode(world, parse(body, ENTER_CODE))),
  'POST /unlink': (world, body) => {
    const device = find(world, parse(body, UNLINK));
    unlink(world, device, 'phone');
    return { jid: device.jid };
  },
  'POST /send-text': async (world, body) => {
    const { session, jid, ...message } = parse(body, SEND_TEXT);
    const device = find(world, { session, jid });
    if (message.from === device.record.user) {
      throw new AdminError(
        400,
        'bad_input',
        '"from" is the device\'s own number',
        "texts come from other people's phones",
      );
    }
    return { id: await sendText(world, device, message) };
  },
  'GET /messages': (world, _body, query) => ofSession(world.messages, query),
  'GET /receipts': (world, _body, query) => ofSession(world.receipts, query),
  'POST /without-whatsapp': (world, body) => {
    const { phones } = parse(body, WITHOUT_WHATSAPP);
    world.phones.setAbsent(phones);
    return { phones };
  },
  'POST /faults': (world, body) => world.faults.create(body),
  'DELETE /faults': (world) => ({ ended: world.faults.endAll() }),
  'GET /log': (world, _body, query) => {
    const { after = 0 } = parse(Object.fromEntries(query), LOG_QUERY);
    return { entries: world.log.after(after) };
  },
};

/** @param {import("./devices.js").Device} device */
function describeDevice({
  jid,
  lid,
  session,
  connections,
  preKeyCount,
  record: { user, name, paired_at_ms },
}) {
  return {
    jid,
    lid,
    session,
    phone: user,
    name,
    online: connections.size > 0,
    paired_at_ms,
    prekeys: preKeyCount,
  };
}

/** @param {import("./connection.js").Connection} connection */
function describeConnection({ id, session, device, stage, sinceMs }) {
  return { id, session: session ?? null, jid: device?.jid ?? null, stage, since_ms: sinceMs };
}

/**
 * A client that paired without a label in its URL is under the empty one, hence no truthiness here.
 * @param {World} world
 * @param {{ session: string | undefined, jid: string | undefined }} wanted
 */
function find(world, { session, jid }) {
  if (session === undefined && jid === undefined) {
    throw new AdminError(400, 'bad_input', 'no device is named', 'give "session" or "jid"');
  }
  const device =
    jid === undefined ? world.devices.ofSession(session ?? '') : world.devices.get(jid);
  if (device) return device;
  throw new AdminError(
    404,
    'no_such_device',
    `no device ${jid ?? `paired as ${session}`}`,
    'GET /state lists the devices',
  );
}

/**
 * The usual mistake deserves its own explanation.
 * @param {any} body
 */
function withQr(body) {
  if (body?.session === undefined || body.qr !== undefined) return body;
  const hint =
    'only the QR carries the secret that seals a pairing; give "qr" as the client shows it';
  throw new AdminError(400, 'qr_needed', 'a label alone cannot be scanned', hint);
}

/**
 * @template {{ session: string }} T
 * @param {T[]} entries
 * @param {URLSearchParams} query
 */
function ofSession(entries, query) {
  const { session } = parse(Object.fromEntries(query), BY_SESSION);
  return session === undefined ? entries : entries.filter((entry) => entry.session === session);
}

/**
 * @template T
 * @param {Promise<T>} pairing
 * @returns {Promise<T>}
 */
function inTime(pairing) {
  const late = sleep(PAIRING_TIMEOUT_MS, undefined, { ref: false }).then(() => {
    throw new AdminError(
      504,
      'client_silent',
      'the client does not answer',
      'is it stalled, or blackholed by a fault?',
    );
  });
  return Promise.race([pairing, late]);
}
