/**
 * @file Whether WhatsApp's socket is read. When it is not, the server keeps what it has for us.
 *
 * A socket that is not read looks dead to Baileys, which gives a server up that it has not heard
 * for 35 s. So now and then it takes a sip: whatever the next chunk of bytes brings. That is some
 * frames more than the bound allows, and much better than a login each minute; and a line that
 * brings nothing at all is still found out.
 */

const SIP_INTERVAL_MS = 20_000;

export class Intake {
  #socket;
  #tcp;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  #stopped = false;
  #sipping = false;

  /**
   * @param {{ pause: () => void, resume: () => void }} socket the websocket
   * @param {() => import('node:net').Socket | null} tcp what is below it
   */
  constructor(socket, tcp) {
    this.#socket = socket;
    this.#tcp = tcp;
  }

  get stopped() {
    return this.#stopped;
  }

  stop() {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#socket.pause();
    this.#timer = setInterval(() => this.sip(), SIP_INTERVAL_MS).unref();
  }

  resume() {
    if (!this.#stopped) return;
    this.end();
    this.#socket.resume();
  }

  /** Reads the next chunk, when it comes. No-op unless stopped. */
  sip() {
    if (!this.#stopped || this.#sipping) return;
    this.#sipping = true;
    this.#tcp()?.once('data', () => {
      this.#sipping = false;
      if (this.#stopped) this.#socket.pause();
    });
    this.#socket.resume();
  }

  /** The socket has ended. */
  end() {
    this.#stopped = false;
    clearInterval(this.#timer);
  }
}
