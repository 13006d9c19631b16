import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressee } from '../../messages/addressee.js';

const LONG = '5511999990000@s.whatsapp.net';
const SHORT = '551199990000@s.whatsapp.net';

/**
 * @param {string[]} known jids that WhatsApp knows
 * @param {{ devices?: boolean, contacts?: boolean }} [fails]
 */
function whatsapp(known, fails = {}) {
  /** @type {string[][]} */
  const asked = [];
  const sock = {
    async getUSyncDevices(/** @type {string[]} */ [jid]) {
      if (fails.devices) throw new Error('404');
      return known.includes(jid) ? [{ user: jid, device: 0, jid }] : [];
    },
    async onWhatsApp(/** @type {string[]} */ ...jids) {
      asked.push(jids);
      return fails.contacts ? undefined : jids.map((jid) => ({ jid, exists: known.includes(jid) }));
    },
  };
  return { asked, sock: /** @type {any} */ (sock) };
}

test('a recipient with devices is asked for once', async () => {
  const { sock, asked } = whatsapp([LONG]);
  assert.equal(await addressee(sock, [LONG, SHORT]), LONG);
  assert.deepEqual(asked, []);
});

test('the other form of the number is tried', async () => {
  const { sock, asked } = whatsapp([SHORT]);
  assert.equal(await addressee(sock, [LONG, SHORT]), SHORT);
  assert.deepEqual(asked, [[LONG, SHORT]]);
});

test('nobody is there by any form', async () => {
  assert.equal(await addressee(whatsapp([]).sock, [LONG, SHORT]), null);
  assert.equal(await addressee(whatsapp([]).sock, ['123456789012345@lid']), null);
});

test('a group is not looked up', async () => {
  assert.equal(
    await addressee(whatsapp([]).sock, ['120363000000000000@g.us']),
    '120363000000000000@g.us',
  );
});

test('devices that cannot be told are no reason to call a number unknown', async () => {
  assert.equal(await addressee(whatsapp([LONG], { devices: true }).sock, [LONG]), LONG);
  await assert.rejects(
    addressee(whatsapp([LONG], { devices: true, contacts: true }).sock, [LONG]),
    /look-up/,
  );
});
