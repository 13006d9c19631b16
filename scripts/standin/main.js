/** The command line. See docs/standin.md. */

import './silence-console.js';
import { isIP } from 'node:net';
import { parseArgs } from 'node:util';
import { startStandin } from './standin.js';

const USAGE =
  'usage: node scripts/standin/main.js [--host 127.0.0.1] [--port 0] [--admin-port 0] [--state FILE] [--log FILE]';

/**
 * Its phones have made-up keys and its admin API no password: nobody else is to reach it.
 * @param {string} host
 */
const isLoopback = (host) => host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** @param {string} value */
function port(value) {
  if (/^\d{1,5}$/.test(value) && Number(value) <= 65535) return Number(value);
  throw new Error(`"${value}" is not a port`);
}

/** @param {string[]} args */
function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '0' },
      'admin-port': { type: 'string', default: '0' },
      state: { type: 'string' },
      log: { type: 'string' },
    },
  });
  if (!isLoopback(values.host)) throw new Error(`"${values.host}" is not a loopback address`);
  return { ...values, port: port(values.port), adminPort: port(values['admin-port']) };
}

/** @param {string[]} args */
function readOptionsOrExit(args) {
  try {
    return readOptions(args);
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n${USAGE}\n`);
    process.exit(2);
  }
}

/** @param {Error} error a port that is taken, a file that cannot be written */
function giveUp(error) {
  process.stderr.write(`${error.message}\n`);
  return process.exit(1);
}

const standin = await startStandin(readOptionsOrExit(process.argv.slice(2))).catch(giveUp);
process.stdout.write(
  `${JSON.stringify({ ready: true, url: standin.url, admin: standin.admin, root_key: standin.rootKey })}\n`,
);
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await standin.close();
    process.exit(0);
  });
}
