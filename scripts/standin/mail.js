/**
 * Messages and receipts, both ways. The server's part is to acknowledge, to hand on, and to keep
 * what is not confirmed; the phones' part is to encrypt and decrypt.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { proto } from '@whiskeysockets/baileys/WAProto/index.js';
import { jidOf, lidOf, parseJid } from './jids.js';
import { bigEndian, bytes, child, children, node, nowSeconds } from './nodes.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./devices.js").Device} Device
 * @typedef {import("./devices.js").Letter} Letter
 * @typedef {import("./nodes.js").Node} Node
 * @typedef {import("./phones.js").Phone} Phone
 *
 * @typedef {{ id: string, session: string, to: string, text: string, time_ms: number }} SentMessage
 * @typedef {{ id: string, session: string, type: string, time_ms: number }} ClientReceipt
 */

/**
 * How often a phone asks for a message that it cannot decrypt, and a device gets one anew.
 * WhatsApp's own limit.
 */
const MAX_RETRIES = 5;

/**
 * Types of receipts that are about what the account's own phone sent, and not about messages from
 * people.
 */
const PEER_RECEIPTS = new Set(['peer_msg', 'hist_sync']);

/** A client's refusal of a message, that follows a request to have it anew. */
const REFUSED_AND_ASKED_ANEW = '500';

export const newMessageId = () => `3EB0${randomBytes(9).toString('hex').toUpperCase()}`;

/**
 * WhatsApp pads what it encrypts with 1 to 16 bytes that each hold their number.
 * @param {Uint8Array} message
 */
export function padded(message) {
  const length = randomInt(1, 17);
  return Buffer.concat([message, Buffer.alloc(length, length)]);
}

/** @param {Buffer} message */
const unpadded = (message) => message.subarray(0, message.length - message[message.length - 1]);

/**
 * @param {Letter} letter
 * @param {Record<string, string>} [more] attributes
 */
export function messageNode({ id, attrs, type, body, retries }, more = {}) {
  const enc = { v: '2', type, ...(retries ? { count: String(retries) } : {}) };
  return node('message', { ...attrs, id, ...more }, [
    node('enc', enc, Buffer.from(body, 'base64')),
  ]);
}

/**
 * A text from a phone to a device.
 * @param {World} world
 * @param {Device} device
 * @param {{ from: string, text: string, name?: string }} message
 */
export async function sendText(world, device, { from, text, name = `Phone ${from}` }) {
  const id = newMessageId();
  const { type, body } = await encryptText(world.phones.get(from), device, text);
  const attrs = {
    from: jidOf(from),
    t: nowSeconds(),
    type: 'text',
    notify: name,
    sender_lid: lidOf(from),
  };
  world.log.add('message_in', device, { id, from });
  post(device, { id, attrs, type, body, text });
  askForPreKeys(device);
  return id;
}

/**
 * Keeps the letter until it is confirmed, and hands it out if the device is there.
 * @param {Device} device
 * @param {Letter} letter
 */
function post(device, letter) {
  device.keep(letter);
  device.line?.send(messageNode(letter));
}

/**
 * What came while the device was away, and what it has not confirmed.
 * @param {Connection} connection
 * @param {Device} device
 */
export function deliverOffline(connection, device) {
  const letters = connection.silence?.active ? [] : [...device.inbox.values()];
  letters.forEach((letter, index) => {
    connection.send(messageNode(letter, { offline: String(index) }));
  });
  connection.send(node('ib', {}, [node('offline', { count: String(letters.length) })]));
}

/**
 * What came while the device was away is announced, and then nothing of it comes.
 * @param {Connection} connection
 * @param {number} count
 */
export function announceOffline(connection, count) {
  connection.send(
    node('ib', {}, [node('offline_preview', { count: String(count), message: String(count) })]),
  );
}

/**
 * A message from a client: acknowledged, then each copy goes to its phone or device.
 * @param {World} world
 * @param {Connection} connection
 * @param {Device} device
 * @param {Node} message
 */
export function fromClient(world, connection, device, message) {
  if (connection.losesMail) return;
  const { id, to } = message.attrs;
  connection.send(node('ack', { class: 'message', id, from: to, t: nowSeconds() }));
  for (const { jid, enc } of copies(message)) {
    const address = parseJid(jid);
    if (!address) continue;
    const other = address.device
      ? world.devices.get(jidOf(address.user, address.device))
      : undefined;
    if (other) forward(device, other, message, enc);
    else if (!address.device) {
      connection.attend(
        receive(world, connection, device, world.phones.get(address.user), message, enc),
      );
    }
  }
}

/**
 * @param {Node} message
 * @returns {{ jid: string, enc: Node }[]}
 */
function copies(message) {
  const direct = child(message, 'enc');
  const shared = children(child(message, 'participants')).map((to) => ({
    jid: to.attrs.jid,
    enc: child(to, 'enc'),
  }));
  return [...shared, { jid: message.attrs.to, enc: direct }].flatMap(({ jid, enc }) =>
    enc ? [{ jid, enc }] : [],
  );
}

/**
 * A copy for another linked device of either side.
 * @param {Device} sender
 * @param {Device} recipient
 * @param {Node} message
 * @param {Node} enc
 */
function forward(sender, recipient, { attrs: { id, to, type } }, enc) {
  const { user, device } = sender.record;
  const own = recipient.record.user === user;
  const attrs = {
    from: jidOf(user, device),
    t: nowSeconds(),
    type: type ?? 'text',
    notify: sender.record.name,
    sender_lid: lidOf(user, device),
    ...(own ? { recipient: to } : {}),
  };
  post(recipient, { id, attrs, type: enc.attrs.type, body: bytes(enc).toString('base64') });
}

/**
 * A copy for a phone: it decrypts, and tells the sender that it did or that it could not.
 * @param {World} world
 * @param {Connection} connection
 * @param {Device} sender
 * @param {Phone} phone
 * @param {Node} message
 * @param {Node} enc
 */
async function receive(world, connection, sender, phone, { attrs: { id, to, category } }, enc) {
  try {
    const plaintext = unpadded(await phone.decryptFrom(sender.jid, enc.attrs.type, bytes(enc)));
    const message = proto.Message.decode(plaintext);
    // Not from person to person: data for the account's own phone, or its copy of a message to
    // somebody else.
    if (category === 'peer' || message.deviceSentMessage) return;
    const text = textOf(message);
    const entry = {
      id,
      session: sender.session,
      to: jidOf(phone.number),
      text,
      time_ms: Date.now(),
    };
    world.messages.push(entry);
    world.log.add('message_out', connection.subject, { id, to: entry.to, text });
    connection.send(node('receipt', { from: to, id, t: nowSeconds() }));
  } catch (error) {
    const reason = /** @type {Error} */ (error).message;
    world.log.add('message_out', connection.subject, {
      id,
      to: jidOf(phone.number),
      undecryptable: reason,
    });
    askAnew(connection, phone, id, to, Number(enc.attrs.count ?? 0));
  }
}

/**
 * @param {proto.IMessage} message
 * @returns {string}
 */
function textOf({
  conversation,
  extendedTextMessage,
  imageMessage,
  videoMessage,
  documentMessage,
}) {
  const captions = [imageMessage, videoMessage, documentMessage].map((media) => media?.caption);
  return [conversation, extendedTextMessage?.text, ...captions].find(Boolean) ?? '';
}

/**
 * What a phone sends that could not decrypt: the client is to start a new session and send the
 * message again.
 * @param {Connection} connection
 * @param {Phone} phone
 * @param {string} id
 * @param {string} from
 * @param {number} retries so far
 */
function askAnew(connection, phone, id, from, retries) {
  if (retries >= MAX_RETRIES) return;
  const t = nowSeconds();
  const content = [
    node('retry', { count: String(retries + 1), id, t, v: '1' }),
    node('registration', {}, bigEndian(phone.registrationId, 4)),
  ];
  connection.send(node('receipt', { from, id, type: 'retry', t }, content));
}

/**
 * A receipt from a client, for one message or for a list.
 * @param {World} world
 * @param {Connection} connection
 * @param {Device} device
 * @param {Node} receipt
 */
export function receiptFromClient(world, connection, device, receipt) {
  const { id, to, type } = receipt.attrs;
  connection.send(
    node('ack', { class: 'receipt', id, from: to, ...(type ? { type } : {}), t: nowSeconds() }),
  );
  if (type === 'hist_sync') device.update({ historySynced: true });
  if (PEER_RECEIPTS.has(type)) return;
  const ids = [id, ...children(child(receipt, 'list')).map((item) => item.attrs.id)];
  for (const one of ids) {
    if (type === 'retry') connection.attend(sendAnew(world, device, one));
    else device.confirm(one);
    const entry = {
      id: one,
      session: device.session,
      type: type ?? 'delivery',
      time_ms: Date.now(),
    };
    world.receipts.push(entry);
    world.log.add('receipt', connection.subject, { id: one, type: entry.type });
  }
  passOn(world, device, receipt);
}

/**
 * A receipt for a message of another linked device.
 * @param {World} world
 * @param {Device} device
 * @param {Node} receipt
 */
function passOn(world, device, { attrs: { to, ...attrs }, content }) {
  const address = parseJid(to);
  const sender = address?.device
    ? world.devices.get(jidOf(address.user, address.device))
    : undefined;
  const { user, device: number } = device.record;
  sender?.line?.send({
    tag: 'receipt',
    attrs: { t: nowSeconds(), ...attrs, from: jidOf(user, number) },
    content,
  });
}

/**
 * An acknowledgement from a client. For a message it confirms, also when it says that the message
 * cannot be read.
 * @param {Device} device
 * @param {Node} ack
 */
export function ackFromClient(device, { attrs }) {
  const comesAgain = attrs.error === REFUSED_AND_ASKED_ANEW && device.inbox.get(attrs.id)?.retries;
  if (attrs.class === 'message' && !comesAgain) device.confirm(attrs.id);
}

/**
 * The device could not decrypt: the phone starts a new session and sends the message again.
 * @param {World} world
 * @param {Device} device
 * @param {string} id
 */
async function sendAnew(world, device, id) {
  const letter = device.inbox.get(id);
  const from = parseJid(letter?.attrs.from);
  const retries = (letter?.retries ?? 0) + 1;
  if (!letter?.text || !from || retries > MAX_RETRIES) return;
  letter.retries = retries;
  const { type, body } = await encryptText(world.phones.get(from.user), device, letter.text, {
    fresh: true,
  });
  post(device, { ...letter, type, body, retries });
}

/**
 * @param {Phone} phone
 * @param {Device} device
 * @param {string} text
 * @param {{ fresh?: boolean }} [options]
 */
async function encryptText(phone, device, text, options) {
  const message = proto.Message.encode({ conversation: text }).finish();
  const { type, body } = await phone.encryptFor(device, padded(message), options);
  return { type, body: body.toString('base64') };
}

/** So few that the client is asked for more; Baileys uploads when it hears of fewer than 5. */
const FEW_PREKEYS = 5;

/** @param {Device} device */
function askForPreKeys(device) {
  if (device.preKeyCount >= FEW_PREKEYS || device.preKeyCount === 0) return;
  const attrs = { from: 's.whatsapp.net', id: newMessageId(), type: 'encrypt', t: nowSeconds() };
  device.line?.send(
    node('notification', attrs, [node('count', { value: String(device.preKeyCount) })]),
  );
}
