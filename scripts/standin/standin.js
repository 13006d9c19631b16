/**
 * The composition root: makes the world, opens both doors, and routes what clients send to what
 * answers it.
 */

import { once } from 'node:events';
import { createAdmin } from './admin.js';
import { issueChain } from './certificates.js';
import { Connection } from './connection.js';
import { Devices } from './devices.js';
import { Faults } from './faults.js';
import { createFrontDoor } from './front-door.js';
import { generateKeyPair, hkdf, keyPairFrom } from './keys.js';
import { Log } from './log.js';
import { introduced } from './login.js';
import { ackFromClient, fromClient, receiptFromClient } from './mail.js';
import { node, nowSeconds } from './nodes.js';
import { Phones } from './phones.js';
import { answerQuery } from './queries.js';
import { acknowledged } from './registration-news.js';
import { StateFile } from './state-file.js';

/**
 * @typedef {import("./nodes.js").Node} Node
 * @typedef {import("./devices.js").Device} Device
 *
 * @typedef {object} World everything that the parts share
 * @property {Log} log
 * @property {Devices} devices
 * @property {Phones} phones
 * @property {Faults} faults
 * @property {Set<Connection>} connections
 * @property {import("./mail.js").SentMessage[]} messages
 * @property {import("./mail.js").ClientReceipt[]} receipts
 *
 * @typedef {object} Options
 * @property {string} [host]
 * @property {number} [port] 0: any
 * @property {number} [adminPort] 0: any
 * @property {string} [state] path of the file that outlives the process
 * @property {string} [log] path of the ground-truth log
 *
 * @typedef {object} Standin
 * @property {string} url for clients; `{session}` in it is to be replaced by a label
 * @property {string} admin
 * @property {string} rootKey hex
 * @property {() => Promise<void>} close
 */

/**
 * @type {Record<string, (world: World, connection: Connection, device: Device, received: Node) =>
 *   void>}
 */
const FROM_DEVICES = {
  message: fromClient,
  receipt: receiptFromClient,
  ack: (_world, _connection, device, ack) => ackFromClient(device, ack),
  // Baileys asks with a `call`, too, and waits for the acknowledgement.
  call: (_world, connection, _device, { attrs: { id } }) =>
    connection.send(node('ack', { class: 'call', id, t: nowSeconds() })),
};

/**
 * @param {Options} [options]
 * @returns {Promise<Standin>}
 */
export async function startStandin({
  host = '127.0.0.1',
  port = 0,
  adminPort = 0,
  state: statePath,
  log: logPath,
} = {}) {
  const state = new StateFile(statePath);
  const seed = seedOf(state);
  const root = keyPairFrom(hkdf(seed, 32, { info: 'root' }));
  const world = createWorld(seed, state, new Log(logPath));
  const doors = [createFrontDoor(world, welcomeTo(world, identityOf(root))), createAdmin(world)];
  const sockets = doors.map(socketsOf);
  const [url, admin] = await Promise.all([
    listen(doors[0], host, port),
    listen(doors[1], host, adminPort),
  ]);
  world.faults.onDoor = shutter(doors[0]);
  return {
    url: `ws://${url}/ws/chat?session={session}`,
    admin: `http://${admin}`,
    rootKey: root.public.toString('hex'),
    close: async () => {
      const closed = doors
        .filter((door) => door.listening)
        .map((door) => once(door.close(), 'close'));
      for (const connection of world.connections) connection.drop('fin', 'server');
      for (const socket of sockets.flatMap((some) => [...some])) socket.destroy();
      await Promise.all(closed);
      world.log.close();
      state.close();
    },
  };
}

/** All keys of the server and of the phones come from this one secret. @param {StateFile} state */
function seedOf(state) {
  if (!state.get('seed')) state.set('seed', generateKeyPair().private.toString('base64'));
  return Buffer.from(state.get('seed'), 'base64');
}

/** @param {import("./keys.js").KeyPair} root */
function identityOf(root) {
  const staticKey = generateKeyPair();
  return { staticKey, chain: issueChain(root, staticKey.public) };
}

/**
 * @param {Buffer} seed
 * @param {StateFile} state
 * @param {Log} log
 * @returns {World}
 */
function createWorld(seed, state, log) {
  /** @type {Set<Connection>} */
  const connections = new Set();
  const faults = new Faults(log, connections);
  return {
    log,
    faults,
    connections,
    devices: new Devices(state),
    phones: new Phones(seed, state),
    messages: [],
    receipts: [],
  };
}

/**
 * @param {World} world
 * @param {import("./noise.js").ServerIdentity} server
 * @returns {import("./front-door.js").Welcome}
 */
function welcomeTo(world, server) {
  const answers = answersOf(world);
  let lastId = 0;
  return ({ ws, socket, session }) => {
    const connection = new Connection(++lastId, session, { ws, socket }, server, answers);
    world.connections.add(connection);
    world.log.add('connected', connection.subject);
    connection.delay = world.faults.take('delay', connection.subject);
  };
}

/**
 * @param {World} world
 * @returns {import("./connection.js").Answers}
 */
const answersOf = (world) => ({
  beforeHello: (connection) => world.faults.take('stall-handshake', connection.subject)?.over,
  introduced: (connection, payload) => introduced(world, connection, payload),
  received: (connection, received) => {
    if (received.tag === 'iq') answerQuery(world, connection, received);
    else if (connection.pairing && received.tag === 'ack')
      acknowledged(world, connection, received);
    else if (connection.device)
      FROM_DEVICES[received.tag]?.(world, connection, connection.device, received);
  },
  ended: (connection) => {
    world.connections.delete(connection);
    if (!connection.device) return;
    connection.device.connections.delete(connection);
    world.log.add('logout', connection.subject, { by: connection.endedBy });
  },
});

/**
 * All sockets of a server, those too that a fault holds up before they are anything.
 * @param {import("node:http").Server} server
 */
function socketsOf(server) {
  /** @type {Set<import("node:net").Socket>} */
  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

/**
 * Nobody listens at the door while it is shut; who is in stays in.
 * @param {import("node:http").Server} door that listens
 * @returns {(open: boolean) => void}
 */
function shutter(door) {
  const { port, address } = /** @type {import("node:net").AddressInfo} */ (door.address());
  return (open) => {
    if (!open && door.listening) door.close();
    else if (open && !door.listening) door.listen(port, address);
  };
}

/**
 * @param {import("node:http").Server} server
 * @param {string} host
 * @param {number} port
 */
async function listen(server, host, port) {
  server.listen(port, host);
  await once(server, 'listening');
  const {
    port: chosen,
    family,
    address,
  } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return `${family === 'IPv6' ? `[${address}]` : address}:${chosen}`;
}
