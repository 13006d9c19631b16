/** @file The example for Node in docs/client.md does what the page says. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FeedServer } from './feed-server.js';
import { eventually } from './tools.js';

const PACKAGE = join(import.meta.dirname, '..');

test('the example for Node prints what happens, and goes on where it was', async (t) => {
  const page = await readFile(join(PACKAGE, '../../../docs/client.md'), 'utf8');
  const example = page.match(/```js\n(\/\/ follow\.mjs.*?)```/s)?.[1] ?? '';
  const server = await new FeedServer().listen();
  const folder = await mkdtemp(join(tmpdir(), 'wasup-client-'));
  t.after(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });

  const run = () => {
    const env = { ...process.env, WASUP_URL: server.url, WASUP_TOKEN: 'secret' };
    // The package's own name is known within it; where it runs is up to the folder.
    const from = JSON.stringify(folder);
    const code = `process.chdir(${from});\n${example}`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      cwd: PACKAGE,
      env,
    });
    const said = { text: '', child, ended: new Promise((resolve) => child.on('exit', resolve)) };
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (part) => {
        said.text += part;
      });
    t.after(() => child.kill('SIGKILL'));
    return said;
  };

  const first = run();
  await eventually(() => first.text.includes('feed: connected'));
  server.happen(2);
  await eventually(() => first.text.includes('2 message.received loja-1'));
  first.child.kill('SIGTERM');
  assert.equal(await first.ended, 0);
  server.happen();
  const second = run();
  await eventually(() => second.text.includes('3 message.received loja-1'));
  assert.doesNotMatch(second.text, /^2 message/m);
});
