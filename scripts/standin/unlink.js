/**
 * The end of a device. Its live sockets hear of it now; its later logins are refused, because
 * nobody knows it.
 */

import { DEVICE_REMOVED } from './nodes.js';

/**
 * @param {import("./standin.js").World} world
 * @param {import("./devices.js").Device} device
 * @param {"phone" | "client"} by
 * @param {import("./connection.js").Connection} [asker] needs no telling
 */
export function unlink(world, device, by, asker) {
  world.devices.remove(device);
  world.phones.forget(device);
  world.log.add('removed', { session: device.session, jid: device.jid }, { by });
  for (const connection of device.connections) {
    if (connection !== asker) connection.finish(DEVICE_REMOVED, 'server');
  }
}
