// What one client may cost: beyond it, it is told, and nobody else notices. The node is set up with small limits.
import net from 'node:net';
import { once } from 'node:events';
import assert from 'node:assert/strict';
import { foxClient, hyper, require, run } from './setup.mjs';

const msgpack = require('msgpack-lite');
const refused = (promise) => promise.then(() => assert.fail('it was not refused'), (why) => why);

async function bare() {
  const [host, port] = hyper.split(':');
  const socket = net.connect(Number(port), host);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

run({
  async who_never_logs_in_is_sent_away() {
    const [silent, slow] = [await bare(), await bare()];
    slow.write(msgpack.encode({ ft: 'LOGIN', id: 1, data: { realm: 'realm1' } }).subarray(0, 9));
    const ends = [silent, slow].map((socket) => { socket.resume(); return once(socket, 'end'); });
    await Promise.all(ends);
  },

  async a_message_beyond_the_limit_ends_its_connection() {
    const other = await foxClient();
    const socket = await bare();
    const decoder = new msgpack.Decoder();
    const said = [];
    decoder.on('data', (message) => said.push(message));
    socket.on('data', (bytes) => decoder.decode(bytes));
    socket.write(msgpack.encode({ ft: 'LOGIN', id: 1, data: { realm: 'realm1' } }));
    socket.write(msgpack.encode({ ft: 'ECHO', id: 2, data: 'x'.repeat(20_000) }));
    await once(socket, 'end');
    assert.deepEqual(said.map(({ rsp }) => rsp), ['OK', 'ERR']);
    assert.match(said[1].data.message, /longer than the maximum of 10000 bytes/);
    assert.equal(await other.echo('alive'), 'alive');
  },

  async subscriptions_registrations_and_calls_are_counted() {
    const client = await foxClient();
    const subscriptions = [];
    for (let n = 0; n < 10; n += 1) subscriptions.push(await client.subscribe('bound.same', () => {}));
    assert.match((await refused(client.subscribe('bound.more', () => {}))).message, /too many subscriptions/);
    await client.unsubscribe(subscriptions[0]);
    await client.subscribe('bound.more', () => {});
    for (let n = 0; n < 10; n += 1) await client.register(`bound.p${n}`, () => new Promise(() => {}));
    await refused(client.register('bound.more', () => 1));
    const caller = await foxClient();
    const waiting = [...Array(10).keys()].map((n) => caller.callrpc(`bound.p${n}`, 1));
    const why = await refused(caller.callrpc('bound.p0', 1));
    assert.equal(why.code, 'wamp.error.unavailable');
    // The callee goes: everybody is answered.
    client.close();
    const ends = await Promise.all(waiting.map(refused));
    assert.deepEqual(new Set(ends.map(({ code }) => code)), new Set(['wamp.error.canceled']));
  },

  async a_flood_of_bad_messages_before_login_ends() {
    const socket = await bare();
    for (let n = 1; n < 200; n += 1) socket.write(msgpack.encode({ ft: 'ECHO', id: n, data: 1 }));
    socket.resume();
    await once(socket, 'close');
  },
});
