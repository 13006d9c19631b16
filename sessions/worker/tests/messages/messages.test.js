import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  inbound,
  receiptsOfReaders,
  receiptsOfUpdates,
  recipient,
} from '../../messages/messages.js';

for (const [to, jid] of [
  ['5511999990000', '5511999990000@s.whatsapp.net'],
  ['+55 (11) 99999-0000', '5511999990000@s.whatsapp.net'],
  ['5511999990000@s.whatsapp.net', '5511999990000@s.whatsapp.net'],
  ['5511999990000@c.us', '5511999990000@s.whatsapp.net'],
  ['123456789012345@lid', '123456789012345@lid'],
  ['120363000000000000@g.us', '120363000000000000@g.us'],
  ['5511999990000-1600000000@g.us', '5511999990000-1600000000@g.us'],
  ['', null],
  ['123', null],
  ['nobody', null],
  ['5511999990000:3@s.whatsapp.net', null],
  ['status@broadcast', null],
  ['5511999990000@example.com', null],
]) {
  test(`"${to}" is ${jid ?? 'no recipient'}`, () => {
    assert.equal(recipient(/** @type {string} */ (to)), jid);
  });
}

const key = { id: 'A', remoteJid: '15550000009@s.whatsapp.net', fromMe: false };

test('a text', () => {
  assert.deepEqual(inbound({ key, message: { conversation: 'hello' }, messageTimestamp: 7 }), {
    id: 'A',
    from: '15550000009@s.whatsapp.net',
    participant: null,
    text: 'hello',
    timestamp_seconds: 7,
    kind: 'conversation',
    from_me: false,
  });
});

test('a caption below a picture that vanishes, from a LID whose number is known, in a group', () => {
  const message = { ephemeralMessage: { message: { imageMessage: { caption: 'look' } } } };
  const participantAlt = '15550000009@s.whatsapp.net';
  const group = {
    ...key,
    remoteJid: '120363000000000000@g.us',
    participant: '900@lid',
    participantAlt,
  };
  const { from, participant, text, kind } = inbound({ key: group, message }) ?? {};
  assert.deepEqual(
    [from, participant, text, kind],
    [group.remoteJid, participantAlt, 'look', 'imageMessage'],
  );
});

/** @type {[string, import('@whiskeysockets/baileys').proto.IMessage, string | null][]} */
const CHOICES = [
  [
    'a button',
    { buttonsResponseMessage: { selectedButtonId: 'b1', selectedDisplayText: 'Yes, please' } },
    'Yes, please',
  ],
  ['a button without its words', { buttonsResponseMessage: { selectedButtonId: 'b1' } }, 'b1'],
  [
    'a button of a template',
    { templateButtonReplyMessage: { selectedId: 't1', selectedDisplayText: 'Call me' } },
    'Call me',
  ],
  [
    'a button of a template without its words',
    { templateButtonReplyMessage: { selectedId: 't1' } },
    't1',
  ],
  [
    'a row of a list',
    {
      listResponseMessage: {
        title: 'Large',
        description: '40 cm',
        singleSelectReply: { selectedRowId: 'r1' },
      },
    },
    'Large',
  ],
  [
    'a row of a list without its words',
    { listResponseMessage: { singleSelectReply: { selectedRowId: 'r1' } } },
    'r1',
  ],
  ['a flow', { interactiveResponseMessage: { body: { text: 'Tomorrow' } } }, 'Tomorrow'],
  ...[
    ['{"id":"f1","display_text":"At ten"}', 'At ten'],
    ['{"id":"f1"}', 'f1'],
    ['{"id":7}', null],
    ['[]', null],
    ['null', null],
    ['not JSON', null],
    ['', null],
  ].map(
    ([paramsJson, text]) =>
      /** @type {any} */ ([
        `a flow that says ${paramsJson}`,
        {
          interactiveResponseMessage: {
            nativeFlowResponseMessage: { name: 'quick_reply', paramsJson },
          },
        },
        text,
      ]),
  ),
];

for (const [what, message, text] of CHOICES) {
  test(`what was chosen is the text: ${what}`, () => {
    const wrapped = { ephemeralMessage: { message } };
    assert.equal(inbound({ key, message })?.text, text);
    assert.equal(inbound({ key, message: wrapped })?.text, text);
  });
}

test('housekeeping, placeholders and empty messages are nobody’s words', () => {
  for (const message of [
    undefined,
    {},
    { protocolMessage: {} },
    { senderKeyDistributionMessage: {} },
  ]) {
    assert.equal(inbound({ key, message }), null);
  }
});

test('receipts are about our own messages', () => {
  const mine = { ...key, fromMe: true };
  assert.deepEqual(
    receiptsOfUpdates([
      { key: mine, update: { status: 3 } },
      { key: mine, update: { status: 0 } },
      { key: mine, update: {} },
      { key, update: { status: 4 } },
    ]),
    [
      { id: 'A', from: key.remoteJid, status: 'delivered' },
      { id: 'A', from: key.remoteJid, status: 'error' },
    ],
  );
});

test('in a group each reader answers for himself', () => {
  const mine = { ...key, remoteJid: '120363000000000000@g.us', fromMe: true };
  const reader = '15550000008@s.whatsapp.net';
  assert.deepEqual(
    receiptsOfReaders([
      { key: mine, receipt: { userJid: reader, receiptTimestamp: 1 } },
      { key: mine, receipt: { userJid: reader, readTimestamp: 2 } },
    ]).map(({ from, status }) => [from, status]),
    [
      [reader, 'delivered'],
      [reader, 'read'],
    ],
  );
});
