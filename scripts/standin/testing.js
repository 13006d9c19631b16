/**
 * For the tests: the real Baileys as a client, with its keys in memory, and calls of the admin API.
 */

import './silence-console.js';
import { initAuthCreds, makeWASocket, WA_CERT_DETAILS } from '@whiskeysockets/baileys';

/**
 * @typedef {import("@whiskeysockets/baileys").AuthenticationState} Auth
 * @typedef {import("@whiskeysockets/baileys").WASocket} WASocket
 * @typedef {Partial<import("@whiskeysockets/baileys").UserFacingSocketConfig>} Config
 * @typedef {Pick<import("./standin.js").Standin, "url" | "admin" | "rootKey">} Doors
 * @typedef {{ code: number | undefined, message: string | undefined, data: any }} Ending what
 *   Baileys says of a close
 *
 * @typedef {object} Attempt one socket, from its start to its close
 * @property {WASocket} sock
 * @property {Promise<string>} qr the first one
 * @property {Promise<void>} opened
 * @property {Promise<Ending>} closed
 */

/** @type {any} */
const logger = { level: 'silent', child: () => logger };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) logger[level] = () => {};

/**
 * Keys in memory. Copies on the way in and out, as a real store does: Baileys goes on changing what
 * it has stored.
 * @returns {Auth}
 */
export function newAuth() {
  /** @type {Map<string, any>} */
  const store = new Map();
  return {
    creds: initAuthCreds(),
    keys: {
      get: async (type, ids) => {
        const found = ids.map((id) => [id, structuredClone(store.get(`${type} ${id}`))]);
        return Object.fromEntries(
          found
            .filter(([, value]) => value !== undefined)
            .map(([id, value]) => [id, buffers(value)]),
        );
      },
      set: async (data) => {
        for (const [type, entries] of Object.entries(data)) {
          for (const [id, value] of Object.entries(entries))
            store.set(`${type} ${id}`, structuredClone(value) ?? undefined);
        }
      },
    },
  };
}

/** A clone has Uint8Arrays where Baileys wants Buffers. @param {any} value @returns {any} */
function buffers(value) {
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, buffers(item)]));
}

/**
 * @param {Doors} standin
 * @param {string} session
 * @param {Auth} auth
 * @param {Config} [config]
 * @returns {Attempt}
 */
export function connect(standin, session, auth, config = {}) {
  WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(standin.rootKey, 'hex');
  const sock = makeWASocket({
    waWebSocketUrl: standin.url.replace('{session}', session),
    auth,
    logger,
    ...config,
  });
  sock.ev.on('creds.update', (update) => Object.assign(auth.creds, update));
  const [qr, opened, closed] = [deferred(), deferred(), deferred()];
  sock.ev.on('connection.update', (update) => {
    if (update.qr) qr.resolve(update.qr);
    if (update.connection === 'open') opened.resolve(undefined);
    if (update.connection === 'close') closed.resolve(ending(update.lastDisconnect?.error));
  });
  return { sock, qr: qr.promise, opened: opened.promise, closed: closed.promise };
}

/** @param {any} error */
const ending = (error) => ({
  code: error?.output?.statusCode,
  message: error?.message,
  data: error?.data,
});

/** @returns {{ promise: Promise<any>, resolve: (value: any) => void }} */
function deferred() {
  /** @type {(value: any) => void} */
  let resolve = () => {};
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/**
 * Pairs by QR.
 * @param {Doors} standin
 * @param {string} session
 * @param {{ phone?: string, name?: string }} [account]
 * @returns {Promise<Auth>}
 */
export async function pair(standin, session, account = {}) {
  const auth = newAuth();
  const attempt = connect(standin, session, auth);
  await call(standin, 'POST /scan', { qr: await attempt.qr, ...account });
  await attempt.closed;
  return auth;
}

/**
 * @param {Doors} standin
 * @param {string} session
 * @param {Auth} auth
 * @param {Config} [config]
 * @returns {Promise<Attempt>}
 */
export async function open(standin, session, auth, config) {
  const attempt = connect(standin, session, auth, config);
  const refused = attempt.closed.then(({ code, message }) => {
    throw new Error(`closed instead of open: ${code} ${message}`);
  });
  await Promise.race([attempt.opened, refused]);
  refused.catch(() => {});
  return attempt;
}

/**
 * A call of the admin API; throws what it refuses.
 * @param {Doors} standin
 * @param {string} route e.g. `GET /state`
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function call(standin, route, body) {
  const { status, answer } = await callRaw(
    standin,
    route,
    body === undefined ? undefined : JSON.stringify(body),
  );
  if (status !== 200)
    throw Object.assign(new Error(answer.error.message), { status, ...answer.error });
  return answer;
}

/**
 * @param {Doors} standin
 * @param {string} route
 * @param {string} [body]
 */
export async function callRaw({ admin }, route, body) {
  const [method, path] = route.split(' ');
  const response = await fetch(admin + path, { method, body });
  return { status: response.status, answer: /** @type {any} */ (await response.json()) };
}

/**
 * Waits until the ground truth has what is looked for.
 * @param {Doors} standin
 * @param {string} session
 * @param {string} event
 * @param {(entry: any) => boolean} [isIt]
 * @returns {Promise<any>}
 */
export async function logged(standin, session, event, isIt = () => true) {
  return eventually(`${event} of ${session}`, async () => {
    const { entries } = await call(standin, 'GET /log');
    return entries.find(
      (/** @type {any} */ entry) =>
        entry.session === session && entry.event === event && isIt(entry),
    );
  });
}

/**
 * @template T
 * @param {string} what
 * @param {() => Promise<T | undefined> | T | undefined} look
 * @returns {Promise<T>}
 */
export async function eventually(what, look) {
  const deadline = Date.now() + 15_000;
  while (Date.now() < deadline) {
    const seen = await look();
    if (seen) return seen;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`it did not come to: ${what}`);
}

/**
 * Collects the texts that a client receives.
 * @param {WASocket} sock
 */
export function textsOf(sock) {
  /** @type {(string | null | undefined)[]} */
  const texts = [];
  sock.ev.on('messages.upsert', ({ messages }) => {
    for (const { key, message } of messages) if (!key.fromMe) texts.push(message?.conversation);
  });
  return texts;
}
