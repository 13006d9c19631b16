/**
 * @file The way to WhatsApp through a session's proxy. All of Baileys goes this way, the websocket
 *   and its few downloads: whoever gives a number a proxy does not want it seen from this host, so
 *   nothing may fall back to a direct connection.
 *
 * Loaded only by sessions that have a proxy.
 */

import { EventEmitter } from 'node:events';
import { Agent } from 'agent-base';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { SocksProxyAgent } from 'socks-proxy-agent';

/**
 * @typedef {import('node:net').Socket} Socket
 * @typedef {import('agent-base').AgentConnectOpts} Target
 * @typedef {import('node:http').ClientRequest} ClientRequest
 *
 * @typedef {object} Way
 * @property {string} name the proxy's name for messages: without user and password
 * @property {Agent} agent for the websocket, and for what is asked with node:http
 * @property {() => void} end the attempt has ended: nobody waits for a connection any more
 * @property {{ dispatch: (options: any, handler: any) => boolean }} dispatcher for what is asked
 *   with fetch
 */

/**
 * How long a proxy may take until it has connected us. Half of Baileys' patience with a handshake,
 * so that a proxy which says nothing is named as the cause.
 */
const PROXY_TIMEOUT_MS = 10_000;
const TUNNEL_STANDS = 200;

/**
 * @param {string} url as the supervisor has checked it: scheme, perhaps user and password, host,
 *   port
 * @param {number} [timeoutMs]
 * @returns {Way}
 */
export function wayThrough(url, timeoutMs = PROXY_TIMEOUT_MS) {
  const agent = new ProxyAgent(url, timeoutMs);
  return { name: agent.proxyName, agent, dispatcher: dispatcherOf(agent), end: () => agent.end() };
}

/**
 * An agent whose errors say which proxy is to blame, and that leaves no half-open connection
 * behind.
 */
class ProxyAgent extends Agent {
  #url;
  #timeoutMs;
  #over = new AbortController();

  /**
   * @param {string} url
   * @param {number} timeoutMs
   */
  constructor(url, timeoutMs) {
    super();
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Ends what is under way. (A request that is destroyed before it has its socket tells its agent
   * nothing.)
   */
  end() {
    this.#over.abort(new Error('the attempt has ended'));
  }

  get proxyName() {
    return this.#url.replace(/\/\/.*@/, '//');
  }

  /**
   * @param {ClientRequest} request
   * @param {Target} target
   * @returns {Promise<Socket>}
   */
  async connect(request, target) {
    const tooLate = new AbortController();
    const late = () =>
      tooLate.abort(new Error(`it has not connected us within ${this.#timeoutMs} ms`));
    const timer = setTimeout(late, this.#timeoutMs);
    try {
      return await this.#reach(
        request,
        target,
        AbortSignal.any([tooLate.signal, this.#over.signal]),
      );
    } catch (error) {
      const { message, code, hostname } =
        /** @type {NodeJS.ErrnoException & { hostname?: string }} */ (error);
      // A new error: the packages' own hold the proxy's URL, password included.
      if (hostname !== undefined && hostname === hostOf(target))
        throw Object.assign(new Error(message), { code });
      const words = `the proxy ${this.proxyName} failed: ${message || code}`;
      throw Object.assign(new Error(words), { code, proxy: this.proxyName });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * @param {ClientRequest} request
   * @param {Target} target
   * @param {AbortSignal} signal
   * @returns {Promise<Socket>}
   */
  async #reach(request, target, signal) {
    const isSocks = this.#url.startsWith('socks');
    const arriving = isSocks
      ? this.#throughSocks(request, target)
      : this.#throughTunnel(request, target, signal);
    arriving.then(
      (socket) => signal.aborted && socket.destroy(), // nobody waits for it any more
      () => {},
    );
    return await Promise.race([arriving, rejectionOf(signal)]);
  }

  /**
   * @param {ClientRequest} request
   * @param {Target} target
   * @param {AbortSignal} signal
   * @returns {Promise<Socket>}
   */
  async #throughTunnel(request, target, signal) {
    const tunnel = new HttpsProxyAgent(this.#url, { signal });
    let status = TUNNEL_STANDS;
    tunnel.once('proxyConnect', ({ statusCode }) => {
      status = statusCode;
    });
    const socket = await tunnel.connect(request, target);
    if (status === TUNNEL_STANDS) return /** @type {Socket} */ (socket);
    // The package would hand the proxy's refusal on as if WhatsApp had said it.
    socket.destroy();
    throw new Error(
      status === 407
        ? 'it wants another user or password (407)'
        : `it answered ${status} to CONNECT`,
    );
  }

  /**
   * @param {ClientRequest} request
   * @param {Target} target
   * @returns {Promise<Socket>}
   */
  async #throughSocks(request, target) {
    // No time-out is given: the package would also end an open connection that is quiet for so
    // long.
    const socks = new SocksProxyAgent(this.#url);
    // the package takes an IPv6 address with its brackets
    socks.proxy.host = socks.proxy.host?.replace(/^\[|\]$/g, '');
    return /** @type {Socket} */ (await socks.connect(request, target));
  }
}

/**
 * Some schemes have the target's name looked up here: that it is not known is no fault of the
 * proxy's.
 *
 * @param {Target} target
 */
function hostOf(target) {
  return 'host' in target ? target.host : undefined;
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<never>}
 */
function rejectionOf(signal) {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}

/**
 * What Baileys downloads with fetch (large app states) is rare, so that undici, which takes 100 ms
 * to load, waits for it.
 *
 * @param {ProxyAgent} agent
 * @returns {Way['dispatcher']}
 */
function dispatcherOf(agent) {
  /** @type {Promise<import('undici').Agent> | undefined} */
  let loading;
  const load = async () => {
    const undici = await import('undici');
    return new undici.Agent({ connect: connector(agent) });
  };
  return {
    dispatch(options, handler) {
      loading ??= load();
      loading.then((dispatcher) => dispatcher.dispatch(options, handler));
      return true;
    },
  };
}

/**
 * @param {ProxyAgent} agent
 * @returns {import('undici').buildConnector.connector}
 */
function connector(agent) {
  return ({ hostname, port, protocol, servername }, done) => {
    const secureEndpoint = protocol === 'https:';
    const target = {
      host: hostname,
      port: Number(port) || (secureEndpoint ? 443 : 80),
      secureEndpoint,
      ...(servername && { servername }),
    };
    const request = /** @type {any} */ (Object.assign(new EventEmitter(), { destroy: () => {} }));
    agent.connect(request, /** @type {any} */ (target)).then(
      (socket) => {
        request.emit('socket', socket);
        done(null, socket);
      },
      (error) => done(error, null),
    );
  };
}
