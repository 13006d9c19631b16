/** Each fault, and what the real Baileys makes of it: the table in docs/standin.md. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStandin } from './standin.js';
import { call, connect, eventually, logged, open, pair, textsOf } from './testing.js';

/** @type {import("./standin.js").Standin} */
let standin;
before(async () => {
  standin = await startStandin();
});
after(() => standin.close());

/** @param {Record<string, unknown>} fault */
const make = (fault) => call(standin, 'POST /faults', fault);

const PING = {
  tag: 'iq',
  attrs: { type: 'get', xmlns: 'w:p', to: 's.whatsapp.net' },
  content: [{ tag: 'ping', attrs: {} }],
};

/**
 * A login that was open until the fault. @type {[fault: Record<string, unknown>, code: number,
 * message: string][]}
 */
const AT_ONCE = [
  [{ fault: 'drop' }, 428, 'Connection Terminated'],
  [{ fault: 'drop', how: 'reset' }, 428, 'Connection Terminated'],
  [{ fault: 'close' }, 428, 'Connection Terminated'],
  [{ fault: 'close', code: 1011 }, 428, 'Connection Terminated'],
  [{ fault: 'stream-end' }, 428, 'Connection Terminated by Server'],
  [{ fault: 'stream-error', code: 515 }, 515, 'Stream Errored (restart required)'],
  [{ fault: 'stream-error', code: 503 }, 503, 'Stream Errored (unknown)'],
  [{ fault: 'stream-error', child: 'ack' }, 500, 'Stream Errored (ack)'],
  [{ fault: 'stream-error' }, 500, 'Stream Errored (unknown)'],
  [
    { fault: 'stream-error', code: 401, child: 'conflict', type: 'device_removed' },
    401,
    'Stream Errored (conflict)',
  ],
  [
    { fault: 'failure', reason: 402, attributes: { expire: '30', code: '101' } },
    402,
    'Connection Failure',
  ],
  [{ fault: 'downgrade' }, 411, 'Multi-device beta not joined'],
  [{ fault: 'truncated-frame' }, 428, 'Connection Terminated'],
  [{ fault: 'replace' }, 440, 'Stream Errored (conflict)'],
];

describe('on live sockets', { concurrency: 4 }, () => {
  for (const [number, [fault, code, message]] of AT_ONCE.entries()) {
    test(JSON.stringify(fault), async () => {
      const session = `live-${number}`;
      const { closed } = await open(standin, session, await pair(standin, session));
      assert.equal((await make({ ...fault, session })).connections, 1);
      const { code: seen, message: said, data } = await closed;
      assert.deepEqual({ code: seen, message: said }, { code, message });
      if (fault.attributes)
        assert.deepEqual(data, { reason: '402', .../** @type {object} */ (fault.attributes) });
      assert.equal((await logged(standin, session, 'logout')).by, 'fault');
    });
  }

  test('blackhole: the client gives up by itself, and its FIN is noticed', async () => {
    const { sock, closed } = await open(standin, 'hole', await pair(standin, 'hole'), {
      keepAliveIntervalMs: 500,
    });
    await make({ fault: 'blackhole', session: 'hole' });
    // Baileys closes politely, and would wait 30 s for an answer to that.
    await eventually('Baileys misses the server', () => sock.ws.isClosing);
    /** @type {any} */ (sock.ws).socket.terminate();
    const { code, message } = await closed;
    assert.deepEqual({ code, message }, { code: 408, message: 'Connection was lost' });
    assert.equal((await logged(standin, 'hole', 'logout')).by, 'client');
  });

  test('bad-frame: the process of the client dies of it', async () => {
    const { url, admin, rootKey } = standin;
    const script = `
      import { open, pair } from "./testing.js";
      const doors = ${JSON.stringify({ url, admin, rootKey })};
      await open(doors, "garbled", await pair(doors, "garbled"));
      process.stdout.write("open");`;
    const args = ['--input-type=module', '-e', script];
    const child = spawn(process.execPath, args, {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    await make({ fault: 'bad-frame', session: 'garbled' });
    assert.deepEqual(await once(child, 'exit'), [1, null]);
  });
});

/**
 * What a device sees that tries to log in. @type {[fault: {fault: string} & Record<string,
 * unknown>, code: number, message: RegExp][]}
 */
const STANDING = [
  [{ fault: 'refuse' }, 408, /^WebSocket Error \(.*(ECONNRESET|socket hang up)/],
  [{ fault: 'refuse', how: 'reset' }, 408, /^WebSocket Error \(.*(ECONNRESET|socket hang up)/],
  [{ fault: 'stall-upgrade' }, 408, /^WebSocket Error \(Opening handshake has timed out\)$/],
  [{ fault: 'stall-handshake' }, 408, /^Timed Out$/],
  [{ fault: 'login-failure', reason: 503 }, 503, /^Connection Failure$/],
  [{ fault: 'login-failure', reason: 405 }, 405, /^Connection Failure$/],
  [{ fault: 'login-stream-error', code: 500 }, 500, /^Stream Errored \(unknown\)$/],
  [
    { fault: 'login-stream-error', child: 'conflict', type: 'replaced' },
    440,
    /^Stream Errored \(conflict\)$/,
  ],
];

describe('on later attempts', { concurrency: 4 }, () => {
  for (const [number, [fault, code, message]] of STANDING.entries()) {
    test(`${JSON.stringify(fault)}, and the next attempt succeeds`, async () => {
      const session = `later-${number}`;
      const auth = await pair(standin, session);
      await make({ ...fault, session, count: 1 });
      // Who waits for an answer that never comes need not wait long; the others get theirs, on a
      // slow machine, too.
      const { code: seen, message: said } = await connect(standin, session, auth, {
        connectTimeoutMs: fault.fault.startsWith('stall') ? 1500 : 20_000,
      }).closed;
      assert.equal(seen, code);
      assert.match(said ?? '', message);
      await (await open(standin, session, auth)).sock.end(undefined);
    });
  }

  for (const how of [503, '429']) {
    test(`refuse with HTTP ${how}: Baileys never says a word`, async () => {
      const session = `http-${how}`;
      const auth = await pair(standin, session);
      await make({ fault: 'refuse', how, session, count: 1 });
      const { sock, closed } = connect(standin, session, auth);
      const status = new Promise((resolve) =>
        sock.ws.on('unexpected-response', (_request, response) => resolve(response.statusCode)),
      );
      assert.equal(await status, Number(how));
      assert.equal(await Promise.race([closed, sleep(500, 'silence')]), 'silence');
      assert.equal((await logged(standin, session, 'refused')).how, Number(how));
      sock.end(undefined);
    });
  }

  test('stall-upgrade: a client that gave up is not let in later', async () => {
    const auth = await pair(standin, 'gone');
    await make({ fault: 'stall-upgrade', session: 'gone', seconds: 2 });
    const before = (await logged(standin, 'gone', 'paired')).n;
    await connect(standin, 'gone', auth, { connectTimeoutMs: 500 }).closed;
    await logged(standin, 'gone', 'fault', (entry) => entry.action === 'end');
    await (await open(standin, 'gone', auth)).sock.end(undefined);
    const { entries } = await call(standin, `GET /log?after=${before}`);
    const mine = entries.filter(
      (/** @type {any} */ entry) => entry.session === 'gone' && entry.event === 'connected',
    );
    assert.equal(mine.length, 1);
  });

  test('login-silence: connecting for ever, with pings answered; let go, it opens', async () => {
    const auth = await pair(standin, 'mute');
    const { id } = await make({ fault: 'login-silence', session: 'mute', seconds: 15 });
    const { sock, opened, closed } = connect(standin, 'mute', auth, { keepAliveIntervalMs: 500 });
    assert.equal(await Promise.race([opened, closed, sleep(6500, 'connecting')]), 'connecting');
    const { faults, connections } = await call(standin, 'GET /state');
    assert.ok(faults.some((/** @type {any} */ fault) => fault.id === id));
    assert.equal(
      connections.find((/** @type {any} */ one) => one.session === 'mute').stage,
      'login',
    );
    await opened;
    await sock.end(undefined);
  });

  test('delay: every answer comes that much later, and in order', async () => {
    const auth = await pair(standin, 'slow');
    await make({ fault: 'delay', ms: 150, session: 'slow' });
    const begun = Date.now();
    const { sock } = await open(standin, 'slow', auth);
    assert.ok(Date.now() - begun > 5 * 150, 'ServerHello, success, count, upload, active, digest');
    await sock.end(undefined);
  });

  test('silence: open, and deaf', async () => {
    const auth = await pair(standin, 'deaf');
    await make({ fault: 'silence', session: 'deaf', count: 1 });
    const { sock, closed } = await open(standin, 'deaf', auth, { keepAliveIntervalMs: 500 });
    const texts = textsOf(sock);
    await call(standin, 'POST /send-text', {
      session: 'deaf',
      from: '5511999990000',
      text: 'unheard',
    });
    const { code, message } = await closed;
    assert.deepEqual({ code, message }, { code: 408, message: 'Connection was lost' });
    assert.deepEqual(texts, []);

    const again = connect(standin, 'deaf', auth);
    const heard = textsOf(again.sock);
    await eventually('the text after all', () => heard.includes('unheard'));
    await again.sock.end(undefined);
  });
});

describe('a socket that answers and is of no use', () => {
  test('stall-queue: announced, and then nothing of it', async () => {
    const auth = await pair(standin, 'stalled');
    await make({ fault: 'stall-queue', session: 'stalled', count: 1, messages: 3 });
    const attempt = connect(standin, 'stalled', auth);
    /** @type {any[]} */
    const news = [];
    attempt.sock.ws.on('CB:ib', ({ content }) =>
      news.push([content[0].tag, content[0].attrs.count]),
    );
    await attempt.opened;
    assert.equal((await attempt.sock.query(PING)).attrs.type, 'result');
    assert.deepEqual(news, [['offline_preview', '3']]);
    await attempt.sock.end(undefined);
  });

  test('unacked: messages are lost, pings are answered', async () => {
    const { sock } = await open(standin, 'unacked', await pair(standin, 'unacked'));
    await make({ fault: 'unacked', session: 'unacked' });
    const sent = await sock.sendMessage('5511999990000@s.whatsapp.net', { text: 'lost' });
    const ack = sock.waitForMessage(/** @type {string} */ (sent?.key.id), 300).catch(() => 'none');
    assert.equal((await sock.query(PING)).attrs.type, 'result');
    assert.ok([undefined, 'none'].includes(/** @type {any} */ (await ack)));
    assert.deepEqual(await call(standin, 'GET /messages?session=unacked'), []);
    await sock.end(undefined);
  });
});

describe('two logins of one device', () => {
  test('the older is kicked with 440, and the log has the overlap', async () => {
    const auth = await pair(standin, 'twice');
    const older = await open(standin, 'twice', auth);
    const newer = await open(standin, 'twice', auth);
    const { code, message } = await older.closed;
    assert.deepEqual({ code, message }, { code: 440, message: 'Stream Errored (conflict)' });
    const overlap = await logged(standin, 'twice', 'overlap');
    assert.ok(overlap.older < overlap.connection);
    await newer.sock.end(undefined);
  });

  test('a blackholed socket still counts, until the client lets go of it', async () => {
    const auth = await pair(standin, 'ghost');
    const ghost = await open(standin, 'ghost', auth);
    await make({ fault: 'blackhole', session: 'ghost' });
    const second = await open(standin, 'ghost', auth);
    await logged(standin, 'ghost', 'overlap');
    await second.sock.end(undefined);
    /** @type {any} */ (ghost.sock.ws).socket.terminate();
    await ghost.closed;
    const third = await open(standin, 'ghost', auth);
    const { entries } = await call(standin, 'GET /log');
    const overlaps = entries.filter(
      (/** @type {any} */ entry) => entry.session === 'ghost' && entry.event === 'overlap',
    );
    assert.equal(overlaps.length, 1);
    await third.sock.end(undefined);
  });

  test('one login after the other is no overlap', async () => {
    const auth = await pair(standin, 'tidy');
    for (let login = 0; login < 3; login++)
      await (await open(standin, 'tidy', auth)).sock.end(undefined);
    const { entries } = await call(standin, 'GET /log');
    const mine = entries.filter((/** @type {any} */ entry) => entry.session === 'tidy');
    assert.equal(mine.filter((/** @type {any} */ { event }) => event === 'login').length, 3);
    assert.ok(!mine.some((/** @type {any} */ { event }) => event === 'overlap'));
  });
});

test('it ends although clients are stalled or blackholed', async () => {
  const other = await startStandin();
  const auth = await pair(other, 'held');
  const { closed } = await open(other, 'held', auth);
  await call(other, 'POST /faults', { fault: 'blackhole' });
  await call(other, 'POST /faults', { fault: 'stall-upgrade' });
  const stalled = connect(other, 'held', auth);
  await logged(other, 'held', 'refused');
  await other.close();
  assert.equal((await closed).code, 428);
  assert.equal((await stalled.closed).code, 408);
});

test('away: the kernel refuses to connect, and the same address is there again afterwards', async () => {
  const other = await startStandin();
  const auth = await pair(other, 'outside');
  await call(other, 'POST /faults', { fault: 'away' });
  const { code, message } = await connect(other, 'outside', auth).closed;
  assert.deepEqual([code, /ECONNREFUSED/.test(message ?? '')], [408, true]);
  await call(other, 'DELETE /faults');
  await (await open(other, 'outside', auth)).sock.end(undefined);
  await call(other, 'POST /faults', { fault: 'away' });
  await other.close();
});

test('DELETE /faults lets go of what was stalled', async () => {
  const auth = await pair(standin, 'stalled');
  await make({ fault: 'stall-upgrade', session: 'stalled' });
  await make({ fault: 'stall-handshake', session: 'stalled' });
  const { sock, opened } = connect(standin, 'stalled', auth);
  await logged(standin, 'stalled', 'refused');
  assert.ok((await call(standin, 'DELETE /faults')).ended >= 2);
  await opened;
  assert.deepEqual((await call(standin, 'GET /state')).faults, []);
  await sock.end(undefined);
});
