/**
 * libsignal prints sessions, private keys among them, on the console. Import this before anything
 * else.
 */

const silent = () => {};

for (const method of /** @type {const} */ (['debug', 'error', 'info', 'log', 'trace', 'warn']))
  console[method] = silent;
