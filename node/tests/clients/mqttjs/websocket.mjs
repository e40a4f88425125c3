// What is particular to MQTT over WebSocket (MQTT-6): framing by hand with ws.

import assert from 'node:assert/strict';

import { Mailbox, within } from './mailbox.mjs';
import { WebSocket, packets } from './tools.mjs';

const connect = (run, name, protocolVersion = 5) =>
  packets.generate({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion, clean: true, keepalive: 60, clientId: run.name(name),
  });
const make = (packet) => packets.generate(packet, { protocolVersion: 5 });

/** A WebSocket and the MQTT packets that come by it. */
async function open(run, protocols = ['mqtt'], url = run.url) {
  const socket = new WebSocket(url, protocols, { ca: run.ca });
  const [received, closes, pongs] = [new Mailbox('packet'), new Mailbox('close'), new Mailbox('pong')];
  const parser = packets.parser({ protocolVersion: 5 });
  parser.on('packet', (packet) => received.put({ ...packet }));
  socket.on('message', (bytes, isBinary) => {
    assert.ok(isBinary, 'frames are binary (MQTT-6.0.0-1)');
    parser.parse(bytes);
  });
  socket.on('close', (code) => closes.put(code));
  socket.on('pong', (bytes) => pongs.put(`${bytes}`));
  await within('no WebSocket', (resolve, reject) => socket.once('open', resolve).once('error', reject));
  return { socket, received, closes, pongs };
}

export async function the_subprotocol_mqtt_is_chosen(run) {
  for (const [offered, chosen] of [[['mqtt'], 'mqtt'], [['other', 'mqtt'], 'mqtt'], [['mqttv3.1'], 'mqttv3.1']]) {
    const { socket } = await open(run, offered);
    assert.equal(socket.protocol, chosen);
    socket.terminate();
  }
}

export async function several_packets_in_one_frame_are_all_taken(run) {
  const { socket, received } = await open(run);
  const subscribe = make({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: run.topic('a'), qos: 0 }] });
  const publish = make({ cmd: 'publish', topic: run.topic('a'), messageId: 2, qos: 1, payload: 'x' });
  socket.send(Buffer.concat([connect(run, 'one-frame'), subscribe, publish, make({ cmd: 'pingreq' })]));
  const kinds = (await received.take(5)).map((packet) => packet.cmd);
  assert.deepEqual(kinds.slice(0, 2), ['connack', 'suback']);
  assert.deepEqual(kinds.slice(2).sort(), ['pingresp', 'puback', 'publish']);
  socket.terminate();
}

export async function a_packet_may_be_split_over_frames(run) {
  const { socket, received } = await open(run);
  for (const byte of connect(run, 'split')) socket.send(Buffer.from([byte]));
  assert.equal((await received.next()).cmd, 'connack');
  const publish = make({ cmd: 'publish', topic: run.topic('a'), messageId: 2, qos: 1, payload: 'x'.repeat(1000) });
  const both = Buffer.concat([publish, make({ cmd: 'pingreq' })]);
  for (let at = 0; at < both.length; at += 300) socket.send(both.subarray(at, at + 300));
  assert.deepEqual((await received.take(2)).map((packet) => packet.cmd), ['puback', 'pingresp']);
  socket.terminate();
}

export async function a_fragmented_frame_is_taken_with_a_ping_between(run) {
  const { socket, received, pongs } = await open(run);
  const bytes = Buffer.concat([connect(run, 'fragments'), make({ cmd: 'pingreq' })]);
  socket.send(bytes.subarray(0, 5), { fin: false });
  socket.ping('between');
  socket.send(bytes.subarray(5, 9), { fin: false });
  socket.send(bytes.subarray(9), { fin: true });
  assert.deepEqual((await received.take(2)).map((packet) => packet.cmd), ['connack', 'pingresp']);
  assert.equal(await pongs.next(), 'between');
  socket.terminate();
}

export async function a_text_frame_is_refused_with_1003(run) {
  const { socket, closes } = await open(run);
  socket.send(connect(run, 'talks').toString('latin1'));
  assert.equal(await closes.next(), 1003);
  const late = await open(run);
  late.socket.send(connect(run, 'talks-later'));
  assert.equal((await late.received.next()).cmd, 'connack');
  late.socket.send('text');
  assert.equal(await late.closes.next(), 1003);
}

export async function a_goodbye_closes_the_websocket_with_1000(run) {
  const { socket, received, closes } = await open(run);
  socket.send(connect(run, 'polite'));
  await received.next();
  socket.send(make({ cmd: 'disconnect', reasonCode: 0 }));
  assert.equal(await closes.next(), 1000);
}

async function refusal(run, protocols, url) {
  return within('no answer', (resolve) => {
    const socket = new WebSocket(url, protocols, { ca: run.ca });
    socket.on('unexpected-response', (_, response) => resolve(response.statusCode));
    socket.on('open', () => resolve('let in'));
    socket.on('error', () => {});
  });
}

export async function a_wrong_path_is_404_and_a_wrong_subprotocol_400(run) {
  assert.equal(await refusal(run, ['mqtt'], run.url.replace('/mqtt', '/elsewhere')), 404);
  assert.equal(await refusal(run, ['chat'], run.url), 400);
  assert.equal(await refusal(run, [], run.url), 400);
}

/** Needs a node with `net.ws_frame_bytes_max = 65536`. */
export async function a_huge_frame_is_refused_with_1009(run) {
  const { socket, received, closes } = await open(run);
  socket.send(connect(run, 'huge'));
  await received.next();
  socket.send(Buffer.alloc(65_537));
  assert.equal(await closes.next(), 1009);
}
