import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSettings, SettingsError } from '../settings.js';

const NEEDED = { WASUP_WORKER_ID: 'w', WASUP_WORKER_TOKEN: 't', WASUP_SOCKET: 's.sock' };
const LOCAL = { WASUP_WEB_SOCKET_URL: 'ws://127.0.0.1:1/{session}' };
const KEY = { WASUP_NOISE_ROOT_KEY: '2a'.repeat(32) };

test('what is not said has a default, or is left to Baileys', () => {
  const { webSocketUrl, noiseRootKey, connectTimeoutMs, logLevel } = readSettings(NEEDED);
  assert.deepEqual(
    [webSocketUrl, noiseRootKey, connectTimeoutMs, logLevel],
    [undefined, undefined, 30_000, 'info'],
  );
});

test('the worker knows the name of its code, and how long it lives on alone', () => {
  const { code, adoptionWindowMs } = readSettings(NEEDED);
  assert.deepEqual([code, adoptionWindowMs], ['unknown', 60_000]);
  const given = readSettings({
    ...NEEDED,
    WASUP_WORKER_CODE: 'abc',
    WASUP_ADOPTION_WINDOW_MS: '1500',
  });
  assert.deepEqual([given.code, given.adoptionWindowMs], ['abc', 1500]);
});

test('a root key is 32 bytes', () => {
  const key = '2a'.repeat(32);
  assert.equal(
    readSettings({ ...NEEDED, ...LOCAL, WASUP_NOISE_ROOT_KEY: key }).noiseRootKey?.toString('hex'),
    key,
  );
});

for (const url of [
  'ws://localhost/',
  'ws://127.9.8.7:1/{session}',
  'ws://[::1]:1/',
  'ws://127.1/',
  'ws://LOCALHOST/',
]) {
  test(`a root key is taken for ${url}`, () => {
    assert.equal(readSettings({ ...NEEDED, ...KEY, WASUP_WEB_SOCKET_URL: url }).webSocketUrl, url);
  });
}

for (const wrong of [
  { WASUP_SOCKET: undefined },
  { WASUP_WORKER_TOKEN: '' },
  { WASUP_CONNECT_TIMEOUT_MS: 'soon' },
  { WASUP_PROBE_TIMEOUT_MS: '0' },
  { WASUP_ADOPTION_WINDOW_MS: '-1' },
  { ...LOCAL, WASUP_NOISE_ROOT_KEY: '2a' },
  { ...LOCAL, WASUP_NOISE_ROOT_KEY: 'zz'.repeat(32) },
  KEY,
  { ...KEY, WASUP_WEB_SOCKET_URL: 'nowhere' },
  { ...KEY, WASUP_WEB_SOCKET_URL: 'wss://web.whatsapp.com/ws/chat' },
  { ...KEY, WASUP_WEB_SOCKET_URL: 'ws://127.0.0.1@evil.example/' },
  { ...KEY, WASUP_WEB_SOCKET_URL: 'ws://evil.example\\@127.0.0.1/' },
  { ...KEY, WASUP_WEB_SOCKET_URL: 'ws://127.0.0.1.evil.example/' },
  { ...KEY, WASUP_WEB_SOCKET_URL: 'ws://localhost{session}/' },
]) {
  test(`refuses ${JSON.stringify(wrong)}`, () => {
    assert.throws(() => readSettings({ ...NEEDED, ...wrong }), SettingsError);
  });
}
