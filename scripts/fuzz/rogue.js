// A worker that has been taken over: it says hello as it should, and then anything at all. SEED is
// filled in by worker.py.

import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';

const { up } = JSON.parse(readFileSync(new URL('./frames.fixtures.json', import.meta.url), 'utf8'));
const {
  WASUP_WORKER_ID: worker,
  WASUP_WORKER_TOKEN: token,
  WASUP_WORKER_CODE: code,
  WASUP_SOCKET: path,
} = process.env;
let state = [...`SEED${worker}`].reduce(
  (sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0,
  7,
);
const WRONG = [
  null,
  true,
  -1,
  0,
  1e20,
  2 ** 53,
  -0.5,
  '',
  '\0',
  'x'.repeat(300),
  'y'.repeat(200_000),
  '\u001b]0;owned\u0007',
  [],
  {},
  '../../../pwn',
  [null],
  { a: { a: { a: [] } } },
  Array.from({ length: 5000 }, (_, n) => String(n)),
];

/** A number from 0 to below `most`, the same for the same seed. */
function roll(most) {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) % most;
}

/** The same with one thing wrong somewhere in it. */
function changed(given) {
  if (given && typeof given === 'object' && !Array.isArray(given) && roll(10) > 0) {
    const names = Object.keys(given);
    if (names.length > 0) {
      const name = names[roll(names.length)];
      if (roll(10) === 0)
        return Object.fromEntries(Object.entries(given).filter(([other]) => other !== name));
      return { ...given, [name]: changed(given[name]) };
    }
  }
  // Of the right type more often than not: what is none ends the line, and nothing behind it is
  // heard.
  const alike = WRONG.filter(
    (one) => typeof one === typeof given && Array.isArray(one) === Array.isArray(given),
  );
  const from = roll(8) > 0 && alike.length > 0 ? alike : WRONG;
  return from[roll(from.length)];
}

const line = createConnection(path);
const say = (frame) => line.write(`${typeof frame === 'string' ? frame : JSON.stringify(frame)}\n`);
line.on('connect', () =>
  say({
    type: 'hello',
    protocol: 2,
    worker,
    token,
    pid: process.pid,
    node_version: process.version,
    baileys_version: '7',
    code,
    sessions: [],
  }),
);
line.on('error', () => process.exit(1));
line.on('close', () => process.exit(0));

let session = null;
let seq = 0;
let rest = '';
line.on('data', (bytes) => {
  const lines = (rest + bytes).split('\n');
  rest = lines.pop() ?? '';
  for (const one of lines) obey(JSON.parse(one));
});

/** Take a session and an attempt as a worker does; what is reported then is another matter. */
function obey(order) {
  if (order.type === 'assign') session = { session: order.session, epoch: order.epoch, attempt: 0 };
  if (order.type === 'connect') {
    session.attempt = order.attempt;
    for (let n = 0; n < 200; n += 1) setTimeout(speak, 2 * n);
  }
  if (order.type === 'shutdown' || order.type === 'refuse') process.exit(0);
}

/** One frame, whole or broken. */
function speak() {
  const frame = { ...up[2 + roll(up.length - 2)] };
  for (const name of ['session', 'epoch', 'attempt'])
    if (name in frame && roll(8) > 0) frame[name] = session[name];
  if ('seq' in frame) frame.seq = seq += 1;
  const given = roll(4) === 0 ? changed(frame) : frame;
  const text = JSON.stringify(given);
  say(roll(200) === 0 ? text.slice(0, roll(text.length)) : text);
}
