/** The admin API's HTTP: finds the route, reads the JSON, and puts every error into one shape. */

import { createServer } from 'node:http';
import { ROUTES } from './admin-routes.js';
import { AdminError, ConnectionEnded } from './errors.js';

/** @typedef {import("./standin.js").World} World */

const MAX_BODY_BYTES = 1024 * 1024;

/**
 * How long an idle connection is kept. Its callers (aiohttp) keep theirs for 15 s, and a POST is
 * not sent twice: were the end ours, a call now and then would meet a connection that closes.
 */
export const KEEP_ALIVE_MS = 75_000;

/** @param {World} world */
export function createAdmin(world) {
  const server = createServer(async (request, response) => {
    const { status, body } = await answer(world, request).catch(explain);
    const json = Buffer.from(`${JSON.stringify(body)}\n`);
    response
      .writeHead(status, { 'content-type': 'application/json', 'content-length': json.length })
      .end(json);
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server;
}

/**
 * @param {World} world
 * @param {import("node:http").IncomingMessage} request
 */
async function answer(world, request) {
  const { pathname, searchParams } =
    URL.parse(request.url ?? '/', 'http://standin') ?? new URL('http://standin');
  const route = ROUTES[`${request.method} ${pathname}`];
  if (!route) throw noRoute(request.method ?? '', pathname);
  const body = request.method === 'POST' ? await readJson(request) : undefined;
  return { status: 200, body: await route(world, body, searchParams) };
}

/** @param {import("node:http").IncomingMessage} request */
async function readJson(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BODY_BYTES)
      throw new AdminError(413, 'too_large', 'the body is too large', 'send less than 1 MiB');
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString() || '{}');
  } catch {
    throw new AdminError(400, 'bad_json', 'the body is not JSON', 'send a JSON object');
  }
}

/**
 * @param {string} method
 * @param {string} pathname
 */
function noRoute(method, pathname) {
  const known = Object.keys(ROUTES);
  const hint = `there is ${known.join(', ')}`;
  const elsewhere = known.some((route) => route.endsWith(` ${pathname}`));
  if (elsewhere)
    return new AdminError(405, 'wrong_method', `${pathname} does not take ${method}`, hint);
  return new AdminError(404, 'no_such_call', `there is no ${pathname}`, hint);
}

/** @param {unknown} error */
function explain(error) {
  if (error instanceof ConnectionEnded) {
    return explain(
      new AdminError(
        409,
        'client_gone',
        error.message,
        'look at what the client says, and try again',
      ),
    );
  }
  if (error instanceof AdminError) {
    const { status, code, message, hint } = error;
    return { status, body: { error: { code, message, hint } } };
  }
  process.stderr.write(`admin: ${/** @type {Error} */ (error).stack}\n`);
  const hint = 'this is a bug of the stand-in; its stderr has the details';
  return { status: 500, body: { error: { code: 'internal', message: String(error), hint } } };
}
