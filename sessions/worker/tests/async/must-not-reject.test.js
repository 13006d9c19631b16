import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

/**
 * What becomes of a process that runs this.
 *
 * @param {string} script
 */
function run(script) {
  const given = { cwd: import.meta.dirname, encoding: /** @type {const} */ ('utf8') };
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script],
    given,
  );
  return { status, stderr };
}

test('a step that rejects ends the process, and says why', () => {
  const { status, stderr } = run(`
    import { mustNotReject } from '../../async/must-not-reject.js';
    process.on('unhandledRejection', () => {});
    mustNotReject(Promise.reject(new Error('half done'))).catch(() => {});
    setInterval(() => {}, 1000);
  `);
  assert.equal(status, 1);
  assert.match(stderr, /half done/);
});

test('a session whose turn is poisoned does not skip its orders in silence: the process ends', () => {
  const { status, stderr } = run(`
    import { Session } from '../../session.js';
    // as the worker has it: Baileys leaves such promises behind
    process.on('unhandledRejection', () => {});
    const nobody = new Proxy({}, { get: () => () => undefined });
    const after = Promise.reject(new Error('the session before did not end'));
    new Session({ type: 'assign', session: 's', epoch: 1, creds: null, proxy: null }, { ...nobody, log: nobody, after });
    setTimeout(() => process.exit(0), 10_000);
  `);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /the session before did not end/);
});
