/**
 * What the account's own phone sends to a device that has just been linked: the key for app state,
 * and an (empty) history. Baileys waits 20 s for it after the first login and holds back what is
 * marked `offline` so long.
 */

import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { proto } from '@whiskeysockets/baileys/WAProto/index.js';
import { jidOf } from './jids.js';
import { messageNode, newMessageId, padded } from './mail.js';
import { nowSeconds } from './nodes.js';

/**
 * @typedef {import("./standin.js").World} World
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./devices.js").Device} Device
 */

const { ProtocolMessage } = proto.Message;
const { HistorySyncType } = proto.HistorySync;

/**
 * @param {World} world
 * @param {Connection} connection
 * @param {Device} device
 */
export async function syncHistory(world, connection, device) {
  for (const protocolMessage of [keyShare(), emptyHistory()]) {
    const phone = world.phones.get(device.record.user);
    const { type, body } = await phone.encryptFor(
      device,
      padded(proto.Message.encode({ protocolMessage }).finish()),
    );
    const attrs = { from: jidOf(phone.number), category: 'peer', type: 'text', t: nowSeconds() };
    connection.send(
      messageNode({ id: newMessageId(), attrs, type, body: body.toString('base64') }),
    );
  }
}

/** @returns {proto.Message.IProtocolMessage} */
function keyShare() {
  const keyData = {
    keyData: randomBytes(32),
    fingerprint: { rawId: 1, currentIndex: 0, deviceIndexes: [0] },
    timestamp: Date.now(),
  };
  const keys = [{ keyId: { keyId: randomBytes(6) }, keyData }];
  return { type: ProtocolMessage.Type.APP_STATE_SYNC_KEY_SHARE, appStateSyncKeyShare: { keys } };
}

/** @returns {proto.Message.IProtocolMessage} */
function emptyHistory() {
  const syncType = HistorySyncType.INITIAL_BOOTSTRAP;
  const history = proto.HistorySync.encode({ syncType, progress: 100 }).finish();
  return {
    type: ProtocolMessage.Type.HISTORY_SYNC_NOTIFICATION,
    historySyncNotification: {
      syncType,
      progress: 100,
      chunkOrder: 0,
      initialHistBootstrapInlinePayload: deflateSync(history),
    },
  };
}
