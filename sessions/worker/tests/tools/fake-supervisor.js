/**
 * @file For tests: the supervisor's side of the line, with a store in memory, and the worker
 *   process that it starts. It can go away and come back, as another one with the same store would.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, LineSplitter, UP } from '../../wire.js';

/** @typedef {any} Frame a checked frame; tests look into all kinds */

const MAIN = join(import.meta.dirname, '../../main.js');
const PATIENCE_MS = 15_000;

export class FakeSupervisor {
  /** @type {Frame[]} all that came up, keys left out */
  frames = [];
  /** @type {Map<string, unknown>} by `session kind name` */
  store = new Map();
  /** Answers to writes; a test may change it. */
  refusal = /** @type {string | null} */ (null);
  /** @type {Frame[] | null} while it is a list, writes wait in it */
  heldWrites = null;
  /** @type {Frame[]} all writes that came up, again or for the first time */
  writes = [];
  /** Sees each write that was stored, before its acknowledgement; false withholds that. */
  mayAcknowledge = (/** @type {Frame} */ _write) => true;
  /** Whether events are acknowledged as they come. */
  acksEvents = true;
  /** A listener that takes lines and drops them after the first frame. */
  dropsLines = false;
  stderr = '';
  stdout = '';
  #directory = '';
  #server = createServer((socket) => this.#serve(socket));
  /** @type {import('node:net').Socket | undefined} */
  #socket;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  process;
  /** @type {(() => void)[]} */
  #wakers = [];
  #seen = 0;

  /** @param {Record<string, string>} environment */
  async start(environment) {
    await this.launch(environment);
    return this.next('hello');
  }

  /**
   * Without waiting for a word from it.
   *
   * @param {Record<string, string>} environment
   */
  async launch(environment) {
    this.#directory = await mkdtemp(join(tmpdir(), 'wasup-'));
    await this.comeBack();
    const compiled = process.env.NODE_COMPILE_CACHE; // a real supervisor's workers share one, too
    const env = {
      ...(compiled && { NODE_COMPILE_CACHE: compiled }),
      WASUP_WORKER_ID: 'w1',
      WASUP_WORKER_TOKEN: 't',
      WASUP_SOCKET: 's.sock',
      ...environment,
    };
    this.process = spawn(process.execPath, [MAIN], {
      cwd: this.#directory,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process.stdout?.on('data', (chunk) => {
      this.stdout += chunk;
    });
    this.process.stderr?.on('data', (chunk) => {
      this.stderr += chunk;
    });
  }

  async stop() {
    if (this.alive) {
      this.process?.kill('SIGKILL');
      await once(/** @type {any} */ (this.process), 'exit');
    }
    this.#socket?.destroy();
    this.#server.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  get alive() {
    return this.process?.exitCode === null && this.process.signalCode === null;
  }

  /** Closes the line, as a dying supervisor does; the next one is there already. */
  hangUp() {
    this.#socket?.destroy();
  }

  /** Closes the line, and nobody is there any more. */
  goAway() {
    this.hangUp();
    this.#server.close();
  }

  async comeBack() {
    this.#server.listen(join(this.#directory, 's.sock'));
    await once(this.#server, 'listening');
  }

  async exitCode() {
    if (this.process?.exitCode == null) await once(/** @type {any} */ (this.process), 'exit');
    return this.process?.exitCode;
  }

  /** @param {Frame} frame */
  send(frame) {
    this.raw(`${JSON.stringify(frame)}\n`);
  }

  /** @param {string} text */
  raw(text) {
    this.#socket?.write(text);
  }

  /**
   * The next frame of that type that has not been looked at; those before it are skipped.
   *
   * @param {string} type
   * @param {(frame: Frame) => boolean} [suits]
   * @returns {Promise<Frame>}
   */
  async next(type, suits = () => true) {
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      while (this.#seen < this.frames.length) {
        const frame = this.frames[this.#seen++];
        if (frame.type === type && suits(frame)) return frame;
      }
      await this.#more(type, until);
    }
  }

  /**
   * @param {string} type
   * @param {number} until
   */
  async #more(type, until) {
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    await new Promise((resolve, reject) => {
      const seen = this.frames.map((frame) => frame.type).join(' ');
      const late = () =>
        reject(new Error(`no "${type}" came; seen: ${seen}; log: ${this.stdout}${this.stderr}`));
      timer = setTimeout(late, until - performance.now());
      this.#wakers.push(() => resolve(undefined));
    });
    clearTimeout(timer);
  }

  /** @param {import('node:net').Socket} socket */
  #serve(socket) {
    this.#socket = socket;
    const splitter = new LineSplitter();
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (const line of splitter.push(chunk)) this.#receive(JSON.parse(line));
    });
  }

  /** @param {Frame} frame */
  #receive(frame) {
    check(UP, frame);
    if (frame.type === 'keys.get') return this.#read(frame);
    if (frame.type === 'keys.set') {
      this.writes.push(frame);
      return this.#write(frame);
    }
    this.frames.push(frame);
    if (this.dropsLines) this.hangUp();
    if (this.acksEvents && ['message', 'receipt'].includes(frame.type)) this.acknowledge(frame);
    for (const wake of this.#wakers.splice(0)) wake();
  }

  /** @param {Frame} frame */
  #read({ session, id, kind, names }) {
    const found = names.filter((/** @type {string} */ name) =>
      this.store.has(`${session} ${kind} ${name}`),
    );
    const entries = found.map((/** @type {string} */ name) => [
      name,
      this.store.get(`${session} ${kind} ${name}`),
    ]);
    this.send({ type: 'keys.values', session, id, values: Object.fromEntries(entries) });
  }

  /**
   * Makes it durable, and all before it: what they were made of goes.
   *
   * @param {Frame} event
   */
  acknowledge({ session, epoch, seq }) {
    for (const frame of this.frames) {
      if (
        frame.type !== 'message' ||
        frame.session !== session ||
        frame.epoch !== epoch ||
        frame.seq > seq
      )
        continue;
      for (const name of frame.kept) this.store.delete(`${session} inbound ${name}`);
    }
    this.send({ type: 'events.ack', session, epoch, seq });
  }

  letWritesGo() {
    const held = this.heldWrites ?? [];
    this.heldWrites = null;
    for (const frame of held) this.#write(frame);
  }

  /** @param {Frame} frame */
  #write(frame) {
    if (this.heldWrites) {
      this.heldWrites.push(frame);
      return;
    }
    const { session, seq, entries } = frame;
    if (!this.refusal) {
      for (const { kind, name, value } of entries) {
        if (value === null) this.store.delete(`${session} ${kind} ${name}`);
        else this.store.set(`${session} ${kind} ${name}`, value);
      }
    }
    if (this.mayAcknowledge(frame))
      this.send({ type: 'keys.ack', session, seq, ok: !this.refusal, error: this.refusal });
  }
}
