// pm2: `pm2 start ecosystem.config.js`, then `pm2 save`. It starts one thing, the supervisor; the
// workers are the supervisor's.
//
// pm2 hands the caller's environment on, WHATSAPP_* included, and keeps that copy for every later
// restart (the monitor's too). So settings are better kept in .env beside this file: the supervisor
// reads it at each start. Secrets have to be there: `pm2 save` writes the whole environment into
// ~/.pm2/dump.pm2, which everybody can read, and `pm2 env 0` shows it.

// pm2 runs with whatever Node the machine has (Debian 12: 18), so this file asks for nothing newer.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const SECRETS = ['WHATSAPP_API_TOKEN', 'JWT_SECRET', 'WHATSAPP_STORE_KEY', 'WHATSAPP_DATABASE_URL'];

const file = path.join(__dirname, '.env');
const lost = SECRETS.filter((name) => process.env[name] && process.env[name] !== fromFile(name));
if (lost.length > 0) {
  throw new Error(
    `wasup is not started: ${lost.join(' and ')} would be written into pm2's dump, for everybody to read. ` +
      `Put the value into ${file} (chmod 600), and take it out of the environment.`,
  );
}

const logs = path.resolve(__dirname, dataDirectory(), 'logs');
// else pm2 makes it, and the data directory, readable for everybody
fs.mkdirSync(logs, { recursive: true, mode: 0o700 });

module.exports = {
  apps: [
    {
      name: 'wasup',
      cwd: __dirname,
      // Relative, because pm2 gives a script with a space in its path to a shell.
      script: '.venv/bin/python',
      args: ['-m', 'supervisor'],
      interpreter: 'none',
      instances: 1, // a second one would find the data directory locked
      exec_mode: 'fork',
      filter_env: SECRETS, // what is in .env as well is read there

      // Stopping. pm2 signals the supervisor alone (SIGINT). Under pm2 the supervisor then lets the
      // workers live, with their sockets open, for the next one to adopt: a restart is not noticed
      // by WhatsApp, and after a stop they close by themselves when WHATSAPP_ADOPTION_WINDOW is
      // over. With WHATSAPP_SHUTDOWN=stop it walks each worker down its ladder instead: 5 s to
      // close after being asked, 3 s after SIGTERM, 5 s after SIGKILL. All together is 13 s; pm2's
      // own SIGKILL must never come before that.
      treekill: false,
      kill_timeout: 20_000,

      // Restarting. A supervisor that stays down leaves every number down, so pm2 never gives up:
      // it waits 0.2 s after the first crash and up to 15 s after many. (Its give-up would also be
      // invisible: with a backoff pm2 7 shows `waiting restart` for ever.)
      autorestart: true,
      exp_backoff_restart_delay: 200,
      min_uptime: 10_000,
      max_restarts: Number.MAX_SAFE_INTEGER,

      // Where one Node process holds every session's heap, 32G are usual. Here the
      // sessions' memory is the workers' (each bounded by WHATSAPP_WORKER_MAX_HEAP) and pm2
      // measures the supervisor alone, which needs tens of megabytes: 2G is a leak.
      max_memory_restart: '2G',

      // The supervisor's lines are JSON and carry their own time; a prefix by pm2 would make them
      // unreadable for machines. Both streams go to one file, so that a traceback stands where it
      // happened. Rotation: `pm2 install pm2-logrotate`.
      time: false,
      merge_logs: true,
      out_file: path.join(logs, 'supervisor.log'),
      error_file: path.join(logs, 'supervisor.log'),
    },
  ],
};

/** Where the supervisor will keep its data: it reads the environment first, then .env. */
function dataDirectory() {
  const told = process.env.WHATSAPP_DATA_DIR || fromFile('WHATSAPP_DATA_DIR') || 'data';
  return told.replace(/^~(?=$|\/)/, os.homedir());
}

/**
 * What .env says of a setting; the last line of a name counts.
 *
 * @param {string} name
 */
function fromFile(name) {
  const lines = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  const value = new RegExp(
    `^[ \\t]*(?:export[ \\t]+)?${name}[ \\t]*=[ \\t]*(?:'([^']*)'|"([^"]*)"|([^\\r\\n]*?))[ \\t]*(?:[ \\t]#.*)?\\r?$`,
    'gm',
  );
  const [, single, double, bare] = [...lines.matchAll(value)].pop() ?? [];
  return single || double || bare;
}
