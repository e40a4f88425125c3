// Several messages in one frame of a WebSocket, by the ws package. Arguments: WebSocket URL, with TLS too.
import { createRequire } from 'node:module';
import path from 'node:path';
import assert from 'node:assert/strict';

const require = createRequire(path.join(process.env.WEIR_TOOLS, 'wamp', 'package.json'));
const WebSocket = require('ws');
const msgpack = require('msgpackr');
const cbor = require('cbor-x');

// Each message of JSON ends with 0x1e; the others have their length, 32 bits with the highest first, before them.
const text = {
  join: (messages) => messages.map((message) => `${JSON.stringify(message)}\x1e`).join(''),
  split: (frame) => {
    const whole = frame.toString();
    assert.ok(whole.endsWith('\x1e'), whole);
    return whole.split('\x1e').slice(0, -1).map((message) => JSON.parse(message));
  },
};
const binary = (codec) => ({
  join: (messages) => Buffer.concat(messages.flatMap((message) => {
    const bytes = codec.encode(message);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  })),
  split: (frame) => {
    const messages = [];
    for (let at = 0; at < frame.length;) {
      const length = frame.readUInt32BE(at);
      messages.push(codec.decode(frame.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    return messages;
  },
});
// Maps as other implementations write them.
const plain = { useRecords: false, mapsAsObjects: true, variableMapSize: true };
const codecs = {
  'wamp.2.json.batched': text,
  'wamp.2.msgpack.batched': binary(new msgpack.Packr(plain)),
  'wamp.2.cbor.batched': binary(new cbor.Encoder({ ...plain, tagUint8Array: false })),
};

const open = (url, offered) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, offered);
  const heard = [];
  let look = () => {};
  socket.on('error', reject);
  socket.on('message', (frame, isBinary) => {
    assert.equal(isBinary, !socket.protocol.includes('json'));
    heard.push(...codecs[socket.protocol].split(frame));
    look();
  });
  const until = (n) => new Promise((done) => { look = () => heard.length >= n && done(heard); look(); });
  socket.on('open', () => resolve({ socket, until, say: (...messages) => socket.send(codecs[socket.protocol].join(messages)) }));
});

const hello = [1, 'default', { roles: { publisher: {}, subscriber: {} } }];
for (const url of process.argv.slice(2)) {
  for (const protocol of Object.keys(codecs)) {
    const { socket, until, say } = await open(url, [protocol]);
    assert.equal(socket.protocol, protocol);
    // What comes with HELLO is taken behind WELCOME.
    say(hello, [32, 1, {}, 'batched']);
    assert.deepEqual((await until(2)).map(([type]) => type), [2, 33]);
    const events = Array.from({ length: 50 }, (_, n) => [16, 2 + n, { acknowledge: true, exclude_me: false }, 'batched', [n, 'x'.repeat(n)]]);
    say(...events);
    const heard = (await until(102)).slice(2);
    assert.deepEqual(heard.filter(([type]) => type === 17).map(([, request]) => request), events.map(([, request]) => request));
    assert.deepEqual(heard.filter(([type]) => type === 36).map((event) => event[4]), events.map((event) => event[4]));
    say([34, 60, heard.find(([type]) => type === 36)[1]], [6, {}, 'wamp.close.normal']);
    assert.deepEqual((await until(104)).slice(102).map(([type]) => type), [35, 6]);
    socket.terminate();
  }
  // The first that the client offers and the router speaks.
  const { socket } = await open(url, ['wamp.3.json', 'wamp.2.cbor.batched', 'wamp.2.json']);
  assert.equal(socket.protocol, 'wamp.2.cbor.batched');
  socket.terminate();
  await assert.rejects(open(url, ['wamp.3.json']), /400/);
}
process.exit(0);
