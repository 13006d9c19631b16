/**
 * What can go wrong, in two families: the operator of the admin API asked for something impossible
 * (`AdminError`, has a status and a hint), or a client broke the protocol (`ProtocolError`, ends
 * its connection and nothing else).
 */

/** An answer of the admin API that is not a success. */
export class AdminError extends Error {
  /**
   * @param {number} status HTTP status
   * @param {string} code for programs
   * @param {string} message for people
   * @param {string} hint what to do about it
   */
  constructor(status, code, message, hint) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/** The client sent something that a WhatsApp client does not send. */
export class ProtocolError extends Error {}

/** The connection ended before the client answered. */
export class ConnectionEnded extends Error {
  constructor() {
    super('the connection ended before the client answered');
  }
}
