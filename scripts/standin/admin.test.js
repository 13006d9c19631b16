/** The admin API says what it does not understand, and what to do instead. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startStandin } from './standin.js';
import { callRaw } from './testing.js';

/** @type {import("./standin.js").Standin} */
let standin;
before(async () => {
  standin = await startStandin();
});
after(() => standin.close());

/** @type {[route: string, body: string | undefined, status: number, code: string][]} */
const REFUSED = [
  ['GET /nowhere', undefined, 404, 'no_such_call'],
  ['GET /scan', undefined, 405, 'wrong_method'],
  ['POST /scan', '{', 400, 'bad_json'],
  ['POST /scan', '[]', 400, 'bad_input'],
  ['POST /scan', '{}', 400, 'bad_input'],
  ['POST /scan', '{"qr": "x", "phone": "123"}', 400, 'bad_input'],
  ['POST /enter-code', '{"phone": "15550000001"}', 400, 'bad_input'],
  ['POST /unlink', '{}', 400, 'bad_input'],
  ['POST /unlink', '{"session": "nobody"}', 404, 'no_such_device'],
  ['POST /send-text', '{"session": "nobody", "from": "x", "text": "y"}', 400, 'bad_input'],
  ['POST /faults', '{}', 400, 'unknown_fault'],
  ['POST /faults', '{"fault": "constructor"}', 400, 'unknown_fault'],
  ['POST /faults', '{"fault": "drop", "how": "gently"}', 400, 'bad_input'],
  ['POST /faults', '{"fault": "drop", "count": 1}', 400, 'bad_input'],
  ['POST /faults', '{"fault": "close", "code": 1006}', 400, 'bad_input'],
  ['POST /faults', '{"fault": "close", "code": 999}', 400, 'bad_input'],
  [
    'POST /faults',
    '{"fault": "failure", "reason": 402, "attributes": {"expire": 30}}',
    400,
    'bad_input',
  ],
  ['POST /faults', '{"fault": "refuse", "how": "101"}', 400, 'bad_input'],
  ['POST /faults', '{"fault": "delay"}', 400, 'bad_input'],
  ['GET /log?after=x', undefined, 400, 'bad_input'],
];

for (const [route, body, status, code] of REFUSED) {
  test(`${route} ${body ?? ''} is answered ${status} ${code}`, async () => {
    const { status: seen, answer } = await callRaw(standin, route, body);
    assert.equal(seen, status);
    assert.equal(answer.error.code, code);
    assert.deepEqual(Object.keys(answer.error), ['code', 'message', 'hint']);
    assert.ok(answer.error.hint);
  });
}

test('an idle connection is kept for longer than any caller keeps it', async () => {
  const { headers } = await fetch(`${standin.admin}/state`);
  const seconds = Number(/timeout=(\d+)/.exec(headers.get('keep-alive') ?? '')?.[1]);
  assert.ok(seconds > 15, `aiohttp keeps its own for 15 s, and we for ${seconds}`);
});

test('the state of an empty world is empty', async () => {
  const { answer } = await callRaw(standin, 'GET /state');
  assert.deepEqual(answer, { devices: [], connections: [], faults: [] });
});
