/** @file Baileys' messages and receipts in the line's words, and recipients in Baileys'. Pure. */

import {
  getContentType,
  jidNormalizedUser,
  normalizeMessageContent,
  proto,
} from '@whiskeysockets/baileys';

/**
 * @typedef {import('@whiskeysockets/baileys').WAMessage} WAMessage
 * @typedef {import('@whiskeysockets/baileys').WAMessageKey} WAMessageKey
 * @typedef {import('@whiskeysockets/baileys').BaileysEventMap} Events
 *
 * @typedef {object} Inbound
 * @property {string} id
 * @property {string} from the chat
 * @property {string | null} participant who wrote it, in a group
 * @property {string | null} text
 * @property {number} timestamp_seconds
 * @property {string} kind
 * @property {boolean} from_me
 *
 * @typedef {'server_ack' | 'delivered' | 'read' | 'played' | 'error'} ReceiptStatus
 * @typedef {{ id: string, from: string, status: ReceiptStatus }} Receipt
 */

const { Status } = proto.WebMessageInfo;

/** @type {Readonly<Record<number, ReceiptStatus>>} */
const STATUS_NAMES = {
  [Status.ERROR]: 'error',
  [Status.SERVER_ACK]: 'server_ack',
  [Status.DELIVERY_ACK]: 'delivered',
  [Status.READ]: 'read',
  [Status.PLAYED]: 'played',
};

/** Between devices of one account: keys, history, edits. Nobody wrote them to be read. */
const HOUSEKEEPING = new Set(['protocolMessage', 'senderKeyDistributionMessage']);

/**
 * Null for what carries no content: group events, housekeeping, and placeholders of what did not
 * decrypt (it comes again).
 *
 * @param {WAMessage} message
 * @returns {Inbound | null}
 */
export function inbound({ key, message, messageTimestamp }) {
  const content = normalizeMessageContent(message);
  const kind = getContentType(content);
  if (!content || !kind || HOUSEKEEPING.has(kind) || !key.id || !key.remoteJid) return null;
  return {
    id: key.id,
    from: phoneFirst(key.remoteJid, key.remoteJidAlt),
    participant: key.participant ? phoneFirst(key.participant, key.participantAlt) : null,
    text: textOf(content),
    timestamp_seconds: Number(messageTimestamp ?? 0),
    kind,
    from_me: Boolean(key.fromMe),
  };
}

/**
 * What became of messages that we sent; updates of others' messages are not receipts.
 *
 * @param {Events['messages.update']} updates
 * @returns {Receipt[]}
 */
export function receiptsOfUpdates(updates) {
  return updates.flatMap(({ key, update }) =>
    receipt(key, key.remoteJid, STATUS_NAMES[update.status ?? -1]),
  );
}

/**
 * In groups each reader answers for himself.
 *
 * @param {Events['message-receipt.update']} updates
 * @returns {Receipt[]}
 */
export function receiptsOfReaders(updates) {
  return updates.flatMap(({ key, receipt: { userJid, readTimestamp } }) =>
    receipt(key, userJid, readTimestamp ? 'read' : 'delivered'),
  );
}

/**
 * A phone number, or the full jid of a person or a group. Null for anything else.
 *
 * @param {string} to
 * @returns {string | null}
 */
export function recipient(to) {
  const compact = to.replace(/[\s()-]/g, '');
  if (/^\+?\d{5,15}$/.test(compact)) return `${compact.replace('+', '')}@s.whatsapp.net`;
  if (/^\d{5,20}@(s\.whatsapp\.net|c\.us|lid)$/.test(to)) return jidNormalizedUser(to);
  return /^\d{5,20}(-\d{5,15})?@g\.us$/.test(to) ? to : null;
}

/**
 * @param {WAMessageKey} key
 * @param {string | null | undefined} from
 * @param {ReceiptStatus | undefined} status
 * @returns {Receipt[]}
 */
function receipt(key, from, status) {
  if (!key.fromMe || !key.id || !from || !status) return [];
  return [{ id: key.id, from: phoneFirst(from, key.remoteJidAlt), status }];
}

/**
 * WhatsApp addresses people by LID more and more; the number is what people know each other by.
 *
 * @param {string} jid
 * @param {string | null | undefined} alternative
 */
function phoneFirst(jid, alternative) {
  return jidNormalizedUser(alternative?.endsWith('@s.whatsapp.net') ? alternative : jid);
}

/** @param {import('@whiskeysockets/baileys').proto.IMessage} content */
function textOf(content) {
  const caption =
    content.imageMessage?.caption ??
    content.videoMessage?.caption ??
    content.documentMessage?.caption;
  return (
    content.conversation ||
    content.extendedTextMessage?.text ||
    caption ||
    choiceOf(content) ||
    null
  );
}

/**
 * What was chosen of buttons or of a list, as the person saw it; else the id that whoever offered
 * it has given it.
 *
 * @param {import('@whiskeysockets/baileys').proto.IMessage} content
 */
function choiceOf(content) {
  const { buttonsResponseMessage: button, templateButtonReplyMessage: template } = content;
  const { listResponseMessage: row, interactiveResponseMessage: interactive } = content;
  return (
    button?.selectedDisplayText ||
    button?.selectedButtonId ||
    template?.selectedDisplayText ||
    template?.selectedId ||
    row?.title ||
    row?.description ||
    row?.singleSelectReply?.selectedRowId ||
    interactive?.body?.text ||
    choiceIn(interactive?.nativeFlowResponseMessage?.paramsJson)
  );
}

/**
 * @param {string | null | undefined} json made by the sender's client: anything
 * @returns {string | undefined}
 */
function choiceIn(json) {
  /** @type {any} */
  let chosen;
  try {
    chosen = JSON.parse(json || 'null');
  } catch {
    return undefined; // without a word of the person's, as any other message that has none
  }
  return [chosen?.display_text, chosen?.title, chosen?.id].find(
    (text) => typeof text === 'string' && text !== '',
  );
}
