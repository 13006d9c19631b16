import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Line } from '../../line/line.js';

const WINDOW_MS = 20_000;

/**
 * A listener, and a line to it that notes what happens.
 *
 * @param {import('node:test').TestContext} t
 */
async function open(t) {
  const directory = await mkdtemp(join(tmpdir(), 'wasup-line-'));
  const path = join(directory, 's.sock');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  /** @type {any[]} */
  const notes = [];
  /** @type {import('../../line/link.js').Link[]} */
  const links = [];
  /** @type {(() => void)[]} */
  const wakers = [];
  const note = (/** @type {any} */ what) => {
    notes.push(what);
    for (const wake of wakers.splice(0)) wake();
  };
  const line = new Line(path, WINDOW_MS, {
    onUp: () => note('up'),
    onFrame: (frame, link) => {
      links.push(link);
      note(frame.type);
    },
    onNeverUp: () => note('never up'),
    onLost: (cause) => note(cause),
    onOver: () => note('over'),
    onDoubtOver: () => {},
    onProtocolError: (error) => note(error),
  });
  /** @type {import('node:net').Socket[]} */
  const sockets = [];
  server.on('connection', (socket) => sockets.push(socket.on('error', () => {})));
  t.after(async () => {
    await line.end().catch(() => {});
    for (const socket of sockets) socket.destroy();
    server.close();
    await rm(directory, { recursive: true, force: true });
  });
  const noted = async (/** @type {number} */ count) => {
    while (notes.length < count)
      await new Promise((resolve) => wakers.push(() => resolve(undefined)));
    return notes;
  };
  await noted(1);
  while (sockets.length < 1) await once(server, 'connection');
  return { line, links, noted, sockets };
}

test('what is left of an old link is neither read nor answered', async (t) => {
  const { line, links, noted, sockets } = await open(t);
  sockets[0].write('{"type":"close","session":"s"}\n{"type":"clo');
  await noted(2);
  sockets[0].end();
  assert.deepEqual((await noted(4)).slice(2), ['closed by the supervisor', 'up']);
  const [old] = links;
  assert.equal(old.lost, true);
  old.send({ type: 'beat', lag_ms: 1, rss_bytes: 1, heap_bytes: 1 });
  line.send({ type: 'beat', lag_ms: 2, rss_bytes: 2, heap_bytes: 2 });
  const [data] = await once(sockets[1], 'data');
  assert.equal(JSON.parse(String(data)).lag_ms, 2);
  sockets[1].write('{"type":"shutdown"}\n');
  assert.equal((await noted(5))[4], 'shutdown', 'the half frame is forgotten');
});

test('a supervisor that reads nothing is lost like any other, and the next is found', async (t) => {
  const { line, noted, sockets } = await open(t);
  sockets[0].pause();
  const chunk = 'x'.repeat(8 * 1024 * 1024);
  for (let count = 0; count < 10; count += 1) line.write(chunk);
  assert.deepEqual((await noted(3)).slice(1), ['the supervisor does not read', 'up']);
});

test('without a listener the first link fails at once', async () => {
  const cause = await new Promise((resolve) => {
    const fail = () => assert.fail();
    const owner = {
      onUp: fail,
      onFrame: fail,
      onLost: fail,
      onOver: fail,
      onDoubtOver: fail,
      onProtocolError: fail,
    };
    new Line(join(tmpdir(), 'no-such-wasup.sock'), WINDOW_MS, { ...owner, onNeverUp: resolve });
  });
  assert.match(cause, /ENOENT/);
});
