import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeFacts, closeReason, plainStrings } from '../../socket/close-reason.js';

const PAIRED = { registered: true, qrShown: false, upgraded: true };
const FRESH = { registered: false, qrShown: false, upgraded: true };
const SHOWN = { registered: false, qrShown: true, upgraded: true };
const UNREACHED = { registered: true, qrShown: false, upgraded: false };

/** @type {[code: number | null, message: string, pairing: typeof PAIRED, reason: string][]} */
const TABLE = [
  [515, 'Stream Errored (restart required)', PAIRED, 'restart_required'],
  [515, 'Stream Errored (restart required)', SHOWN, 'restart_required'],
  [428, 'Connection Terminated', PAIRED, 'connection_closed'],
  [428, 'Connection Terminated by Server', PAIRED, 'connection_closed'],
  [null, 'closed without an error', PAIRED, 'connection_closed'],
  // 408 is three things.
  [408, 'Connection was lost', PAIRED, 'connection_lost'],
  [408, 'Timed Out', PAIRED, 'connection_lost'],
  [408, 'WebSocket Error (Opening handshake has timed out)', UNREACHED, 'network_unreachable'],
  [408, 'WebSocket Error (read ECONNRESET)', UNREACHED, 'network_unreachable'],
  [408, 'WebSocket Error (read ECONNRESET)', SHOWN, 'connection_lost'],
  [408, 'QR refs attempts ended', SHOWN, 'qr_expired'],
  [408, 'QR refs attempts ended', FRESH, 'qr_expired'],
  [408, 'QR refs attempts ended', PAIRED, 'connection_lost'],
  [408, 'Connection was lost', SHOWN, 'qr_expired'],
  [408, 'Timed Out', FRESH, 'connection_lost'],
  // Baileys' fallback for transport errors it has no code for; the server has no part in it.
  [500, 'WebSocket Error (Invalid WebSocket frame)', PAIRED, 'connection_lost'],
  [403, 'WebSocket Error (Unexpected server response: 403)', PAIRED, 'connection_lost'],
  [500, 'Stream Errored (unknown)', PAIRED, 'server_error'],
  [500, 'Connection Failure', PAIRED, 'server_error'],
  [516, 'Stream Errored (unknown)', PAIRED, 'server_error'],
  [200, 'Stream Errored (unknown)', PAIRED, 'server_error'],
  [501, 'Connection Failure', PAIRED, 'unavailable'],
  [503, 'Stream Errored (unknown)', PAIRED, 'unavailable'],
  [503, 'Connection Failure', PAIRED, 'unavailable'],
  [429, 'Connection Failure', PAIRED, 'rate_limited'],
  [440, 'Stream Errored (conflict)', PAIRED, 'replaced'],
  [401, 'Stream Errored (conflict)', PAIRED, 'logged_out'],
  [401, 'Connection Failure', PAIRED, 'logged_out'],
  [401, 'Connection Failure', FRESH, 'logged_out'],
  [401, 'Intentional Logout', PAIRED, 'own_logout'],
  [402, 'Connection Failure', PAIRED, 'temporarily_banned'],
  [403, 'Connection Failure', PAIRED, 'locked'],
  [405, 'Connection Failure', PAIRED, 'client_outdated'],
  [406, 'Connection Failure', PAIRED, 'banned'],
  [409, 'Connection Failure', PAIRED, 'repair_needed'],
  [411, 'Multi-device beta not joined', PAIRED, 'repair_needed'],
  [415, 'Connection Failure', PAIRED, 'repair_needed'],
  [418, 'Connection Failure', PAIRED, 'repair_needed'],
  [400, 'Connection Failure', PAIRED, 'unknown_failure'],
  [408, 'Connection Failure', PAIRED, 'unknown_failure'],
  [463, 'Connection Failure', PAIRED, 'unknown_failure'],
  [302, 'Connection Failure', PAIRED, 'unknown_failure'],
  [null, 'Connection Failure', PAIRED, 'unknown_failure'],
  // The server's certificate was not signed as it should be: not a failure that it told us of.
  [400, 'noise certificate signature invalid', PAIRED, 'server_error'],
];

for (const [code, message, pairing, reason] of TABLE) {
  const state = pairing.registered ? 'paired' : pairing.qrShown ? 'QR shown' : 'never paired';
  test(`${code} "${message}", ${state}: ${reason}`, () => {
    assert.equal(closeReason({ code, message, data: null }, pairing), reason);
  });
}

for (const [status, reason] of Object.entries({
  200: 'upgrade_refused',
  302: 'upgrade_refused',
  401: 'upgrade_refused',
  403: 'upgrade_refused',
  429: 'rate_limited',
  500: 'unavailable',
  503: 'unavailable',
})) {
  test(`HTTP ${status} at the upgrade: ${reason}, and never a verdict of WhatsApp`, () => {
    const facts = {
      code: Number(status),
      message: `Unexpected server response: ${status}`,
      data: { http_status: status },
    };
    assert.equal(closeReason(facts, PAIRED), reason);
  });
}

test('no error at all has no code', () => {
  assert.deepEqual(closeFacts(undefined), {
    code: null,
    message: 'closed without an error',
    data: null,
  });
});

test('an error that is no Boom has no code', () => {
  assert.deepEqual(closeFacts(new Error('broken')), { code: null, message: 'broken', data: null });
});

test('a Boom gives its code and what is plain in its data', () => {
  const error = Object.assign(new Error('Connection Failure'), {
    output: { statusCode: 402 },
    data: { reason: '402', expire: '30', stack: 'at ...' },
  });
  assert.deepEqual(closeFacts(error), {
    code: 402,
    message: 'Connection Failure',
    data: { reason: '402', expire: '30' },
  });
});

test('of a node the tag and the attributes are kept, the content is not', () => {
  const node = { tag: 'conflict', attrs: { type: 'replaced' }, content: [{ tag: 'secret' }] };
  assert.deepEqual(plainStrings(node), { tag: 'conflict', type: 'replaced' });
});

/** @type {[data: Record<string, string> | null, reason: string][]} */
const NEVER_REACHED = [
  [null, 'network_unreachable'],
  [{ code: 'ECONNREFUSED', address: '127.0.0.1' }, 'network_unreachable'],
  [{ code: 'ENETUNREACH' }, 'network_unreachable'],
  [{ code: 'ETIMEDOUT' }, 'network_unreachable'],
  [{ code: 'ECONNRESET' }, 'network_unreachable'],
  [{ code: 'EPROTO' }, 'network_unreachable'],
  [{ code: 'ENOTFOUND', hostname: 'web.whatsapp.com' }, 'dns'],
  [{ code: 'EAI_AGAIN', hostname: 'web.whatsapp.com' }, 'dns'],
  [{ code: 'SELF_SIGNED_CERT_IN_CHAIN' }, 'tls_untrusted'],
  [{ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, 'tls_untrusted'],
  [{ code: 'CERT_HAS_EXPIRED' }, 'tls_untrusted'],
  [{ code: 'ERR_TLS_CERT_ALTNAME_INVALID', host: 'web.whatsapp.com' }, 'tls_untrusted'],
  [{ proxy: 'http://proxy:3128' }, 'proxy'],
  [{ proxy: 'http://proxy:3128', code: 'ENOTFOUND' }, 'proxy'],
  [{ proxy: 'http://proxy:3128', code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, 'proxy'],
];

for (const [data, reason] of NEVER_REACHED) {
  const facts = { code: 408, message: 'WebSocket Error (it failed)', data };
  test(`before the websocket stands, ${JSON.stringify(data)} is ${reason}`, () => {
    assert.equal(closeReason(facts, UNREACHED), reason);
  });
  test(`once it stands, ${JSON.stringify(data)} is a connection lost`, () => {
    assert.equal(closeReason(facts, PAIRED), 'connection_lost');
  });
}

test('of a transport error the code and the address are kept', () => {
  const error = Object.assign(new Error('no'), { code: 'ECONNREFUSED', port: 80, request: {} });
  assert.deepEqual(plainStrings(error), { code: 'ECONNREFUSED', port: '80' });
});

test('data without anything plain is none', () => {
  for (const data of [undefined, null, 'text', {}, { deep: {} }])
    assert.equal(plainStrings(data), null);
});
