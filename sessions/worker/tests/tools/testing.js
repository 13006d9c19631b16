/**
 * @file For tests: the stand-in for WhatsApp as a process of its own, and a worker that is to speak
 *   with it.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { FakeSupervisor } from './fake-supervisor.js';

const STANDIN = join(import.meta.dirname, '../../../../scripts/standin/main.js');
const PATIENCE_MS = 15_000;

/** @type {import('node:child_process').ChildProcess} */
let standin;
/** @type {{ url: string, admin: string, root_key: string }} */
export let ready;

export async function startStandin() {
  standin = spawn(process.execPath, [STANDIN], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(/** @type {any} */ (standin.stdout), 'data');
  ready = JSON.parse(String(line));
}

export function stopStandin() {
  standin.kill('SIGKILL'); // in order it would take its time, and nothing of it is needed any more
}

/**
 * @param {string} path
 * @param {Record<string, unknown>} body
 * @returns {Promise<any>}
 */
export async function admin(path, body) {
  const response = await fetch(`${ready.admin}${path}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return answer;
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function ask(path) {
  return (await fetch(`${ready.admin}${path}`)).json();
}

/**
 * What the stand-in has seen of a session.
 *
 * @param {string} session
 * @param {string} [event]
 * @returns {Promise<any[]>}
 */
export async function entries(session, event) {
  const { entries: all } = await ask('/log');
  return all.filter(
    (/** @type {any} */ entry) => entry.session === session && (!event || entry.event === event),
  );
}

/**
 * Waits until the stand-in has no connection of that session any more.
 *
 * @param {string} session
 */
export async function disconnected(session) {
  await eventually(`${session} has no connection`, async () => {
    const { connections } = await ask('/state');
    return connections.every((/** @type {any} */ connection) => connection.session !== session);
  });
}

/**
 * @param {string} what
 * @param {() => boolean | Promise<boolean>} look
 */
export async function eventually(what, look) {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await look())) {
    assert.ok(performance.now() < deadline, `it did not come to: ${what}`);
    await pause(20);
  }
}

/**
 * A round trip takes its time on a busy machine, and a probe without an answer would end the
 * socket: a test that wants that makes the time-out short.
 *
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string>} [environment]
 */
export async function startWorker(t, environment = {}) {
  const supervisor = new FakeSupervisor();
  t.after(() => supervisor.stop());
  const hello = await supervisor.start({
    WASUP_WEB_SOCKET_URL: ready.url,
    WASUP_NOISE_ROOT_KEY: ready.root_key,
    WASUP_CONNECT_TIMEOUT_MS: '10000',
    WASUP_PROBE_TIMEOUT_MS: '10000',
    ...environment,
  });
  assert.equal(hello.pid, supervisor.process?.pid);
  assert.deepEqual(hello.sessions, []);
  return supervisor;
}

/**
 * @param {FakeSupervisor} supervisor
 * @param {string} session
 */
export async function pair(supervisor, session) {
  supervisor.send({ type: 'assign', session, epoch: 1, creds: null, proxy: null });
  supervisor.send({ type: 'connect', session, attempt: 1 });
  const { qr } = await supervisor.next('qr');
  await admin('/scan', { qr, name: 'Shop' });
  await supervisor.next('state', ({ stage }) => stage === 'paired');
  const closed = await supervisor.next('closed');
  assert.deepEqual(
    [closed.attempt, closed.code, closed.reason, closed.registered],
    [1, 515, 'restart_required', true],
  );
  assert.ok(
    supervisor.store.has(`${session} creds creds`),
    'the pairing is durable before it is reported',
  );
  supervisor.send({ type: 'connect', session, attempt: 2 });
  return supervisor.next('opened');
}
