import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSettings, SettingsError } from './settings.js';

const NEEDED = { WASUP_WORKER_ID: 'w', WASUP_WORKER_TOKEN: 't', WASUP_SOCKET: 's.sock' };

test('what is not said has a default, or is left to Baileys', () => {
  const { webSocketUrl, noiseRootKey, connectTimeoutMs, logLevel } = readSettings(NEEDED);
  assert.deepEqual([webSocketUrl, noiseRootKey, connectTimeoutMs, logLevel], [undefined, undefined, 30_000, 'info']);
});

test('a root key is 32 bytes', () => {
  const key = '2a'.repeat(32);
  assert.equal(readSettings({ ...NEEDED, WASUP_NOISE_ROOT_KEY: key }).noiseRootKey?.toString('hex'), key);
});

for (const wrong of [
  { WASUP_SOCKET: undefined },
  { WASUP_WORKER_TOKEN: '' },
  { WASUP_CONNECT_TIMEOUT_MS: 'soon' },
  { WASUP_PROBE_TIMEOUT_MS: '0' },
  { WASUP_NOISE_ROOT_KEY: '2a' },
  { WASUP_NOISE_ROOT_KEY: 'zz'.repeat(32) },
]) {
  test(`refuses ${JSON.stringify(wrong)}`, () => {
    assert.throws(() => readSettings({ ...NEEDED, ...wrong }), SettingsError);
  });
}
