/**
 * Bytes and keys, without a socket: frames, the certificate chain, the Noise handshake's refusals.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proto } from '@whiskeysockets/baileys/WAProto/index.js';
import { issueChain } from './certificates.js';
import { ProtocolError } from './errors.js';
import { FrameReader, frame, PROLOGUE } from './frames.js';
import { generateKeyPair, keyPairFrom, sign, verify } from './keys.js';
import { Handshake } from './noise.js';

test("the certificate chain is signed from the root to the server's static key", () => {
  const [root, server] = [generateKeyPair(), generateKeyPair()];
  const { leaf, intermediate } = proto.CertChain.decode(issueChain(root, server.public));
  assert.ok(leaf?.details && leaf.signature && intermediate?.details && intermediate.signature);
  const middle = proto.CertChain.NoiseCertificate.Details.decode(intermediate.details);
  const end = proto.CertChain.NoiseCertificate.Details.decode(leaf.details);
  assert.ok(middle.key && end.key);
  assert.equal(middle.issuerSerial, 0);
  assert.ok(verify(root.public, intermediate.details, intermediate.signature));
  assert.ok(verify(middle.key, leaf.details, leaf.signature));
  assert.deepEqual(Buffer.from(end.key), server.public);
  assert.ok(
    !verify(generateKeyPair().public, intermediate.details, intermediate.signature),
    'another root does not fit',
  );
});

test('a key pair can be made again from its secret, and signs', () => {
  const pair = generateKeyPair();
  assert.deepEqual(keyPairFrom(pair.private).public, pair.public);
  const message = Buffer.from('signed');
  assert.ok(verify(pair.public, message, sign(pair.private, message)));
  assert.ok(!verify(pair.public, Buffer.from('forged'), sign(pair.private, message)));
});

test('frames are read whatever the pieces they come in', () => {
  const routing = Buffer.from([0x45, 0x44, 0, 1, 0, 0, 2, 9, 9]);
  for (const intro of [PROLOGUE, Buffer.concat([routing, PROLOGUE])]) {
    const stream = Buffer.concat([intro, frame(Buffer.from('one')), frame(Buffer.alloc(300, 7))]);
    for (const size of [1, 5, stream.length]) {
      const reader = new FrameReader();
      const bodies = [];
      for (let at = 0; at < stream.length; at += size)
        bodies.push(...reader.push(stream.subarray(at, at + size)));
      assert.deepEqual(bodies, [Buffer.from('one'), Buffer.alloc(300, 7)]);
    }
  }
});

test('somebody who is not a WhatsApp client is told apart at once', () => {
  assert.throws(() => new FrameReader().push(Buffer.from('GET / HTTP/1.1')), ProtocolError);
  const staticKey = generateKeyPair();
  const handshake = new Handshake({ staticKey, chain: Buffer.alloc(0) }, PROLOGUE);
  assert.throws(
    () => handshake.answerHello(proto.HandshakeMessage.encode({}).finish()),
    ProtocolError,
  );
});
