/**
 * Names of users and devices. A user has a phone number and a LID (the number's public alias); a
 * device is a user and a number from 1 to 98, the phone itself is device 0.
 */

/**
 * @typedef {object} Address
 * @property {string} user phone number, digits
 * @property {number} device 0 is the phone
 */

const USER_SERVER = 's.whatsapp.net';
const LID_SERVER = 'lid';

/**
 * Real LIDs tell nothing about the number. Ours can be turned back, so that nothing has to be
 * remembered for strangers.
 */
const LID_PREFIX = '1';
const LID_DIGITS = 15;

/** @param {string} user */
const lidUser = (user) => LID_PREFIX + user.padStart(LID_DIGITS, '0');

/** @param {string} lid */
const userOfLid = (lid) => lid.slice(LID_PREFIX.length).replace(/^0+/, '');

/**
 * @param {string} user
 * @param {number} [device]
 */
export const jidOf = (user, device = 0) => `${user}${device ? `:${device}` : ''}@${USER_SERVER}`;

/**
 * @param {string} user
 * @param {number} [device]
 */
export const lidOf = (user, device = 0) =>
  `${lidUser(user)}${device ? `:${device}` : ''}@${LID_SERVER}`;

/**
 * @param {string | undefined} jid by number or by LID
 * @returns {Address | undefined} undefined for groups, broadcasts, the server and nonsense
 */
export function parseJid(jid) {
  const match = /^(\d+)(?::(\d+))?@(s\.whatsapp\.net|lid)$/.exec(jid ?? '');
  if (!match) return undefined;
  const [, name, device = '0', server] = match;
  return { user: server === LID_SERVER ? userOfLid(name) : name, device: Number(device) };
}

/** @param {string | undefined} jid */
export const isLid = (jid) => jid?.endsWith(`@${LID_SERVER}`) ?? false;
