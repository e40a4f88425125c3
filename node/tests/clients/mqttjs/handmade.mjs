// The halves of a QoS 2 exchange, and limits that well-behaved clients do not overstep: packets by hand.

import assert from 'node:assert/strict';

import { Wire, publish } from './wire.mjs';

const KEPT = { clean: false, properties: { sessionExpiryInterval: 600 } };

export async function more_unreleased_messages_than_the_receive_maximum_end_with_0x93(run) {
  const wire = await Wire.open(run);
  const { properties } = await wire.connect(run.name('flood'));
  const window = properties.receiveMaximum;
  const all = Array.from({ length: window + 1 }, (_, n) => publish(run.topic('a'), n + 1, 2));
  wire.send(...all.slice(0, window));
  for (let n = 0; n < window; n += 1) await wire.next('pubrec');
  wire.send(all[window]);
  assert.equal(await wire.ended(), 0x93);
}

export async function unanswered_messages_stay_within_the_receive_maximum(run) {
  const wire = await Wire.open(run);
  await wire.connect(run.name('in'), { properties: { receiveMaximum: 2 } });
  wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: run.topic('a'), qos: 2 }] });
  await wire.next('suback');
  const publisher = await run.client();
  for (let n = 0; n < 10; n += 1) await publisher.publish(run.topic('a'), `${n}`, { qos: (n % 2) + 1 });
  const sent = [await wire.next('publish'), await wire.next('publish')];
  wire.send({ cmd: 'pingreq' });
  await wire.next('pingresp');
  for (let n = 0; n < 10; n += 1) {
    const { messageId, qos } = sent[n];
    wire.send({ cmd: qos === 1 ? 'puback' : 'pubrec', messageId });
    if (qos === 2) {
      // Half an answer makes no room.
      await wire.next('pubrel');
      wire.send({ cmd: 'pingreq' });
      await wire.next('pingresp');
      wire.send({ cmd: 'pubcomp', messageId });
    }
    if (n + 2 < 10) sent.push(await wire.next('publish'));
  }
  assert.deepEqual(sent.map(({ payload }) => Number(payload)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  wire.send({ cmd: 'pingreq' });
  await wire.next('pingresp');
  wire.drop();
}

export async function a_repeated_qos_2_publish_is_delivered_once(run) {
  const subscriber = await run.client();
  await subscriber.subscribe(run.topic('a'), { qos: 2 });
  let wire = await Wire.open(run);
  await wire.connect(run.name('repeats'), KEPT);
  const message = publish(run.topic('a'), 7, 2, { payload: 'once' });
  for (const dup of [false, true]) {
    wire.send({ ...message, dup });
    await wire.next('pubrec');
  }
  wire.drop();
  wire = await Wire.open(run);
  assert.equal((await wire.connect(run.name('repeats'), KEPT)).sessionPresent, true);
  wire.send({ ...message, dup: true });
  assert.equal((await wire.next('pubrec')).messageId, 7);
  wire.send({ cmd: 'pubrel', messageId: 7 });
  assert.equal((await wire.next('pubcomp')).reasonCode ?? 0, 0);
  // Released: the same packet id is a new message.
  wire.send(publish(run.topic('a'), 7, 2, { payload: 'again' }));
  await wire.next('pubrec');
  assert.deepEqual(await subscriber.texts(2), ['once', 'again']);
  wire.drop();
}

export async function a_qos_2_delivery_goes_on_where_it_stopped(run) {
  let wire = await Wire.open(run);
  await wire.connect(run.name('receives'), KEPT);
  wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: run.topic('a'), qos: 2 }] });
  await wire.next('suback');
  const publisher = await run.client();
  await publisher.publish(run.topic('a'), 'one', { qos: 2 });
  const { messageId } = await wire.next('publish');
  // Before PUBREC: the message comes again.
  wire.drop();
  wire = await Wire.open(run);
  await wire.connect(run.name('receives'), KEPT);
  const again = await wire.next('publish');
  assert.deepEqual([again.messageId, again.dup, `${again.payload}`], [messageId, true, 'one']);
  wire.send({ cmd: 'pubrec', messageId });
  assert.equal((await wire.next('pubrel')).messageId, messageId);
  // After PUBREC: only PUBREL does.
  wire.drop();
  wire = await Wire.open(run);
  await wire.connect(run.name('receives'), KEPT);
  assert.equal((await wire.next('pubrel')).messageId, messageId);
  wire.send({ cmd: 'pubcomp', messageId });
  await publisher.publish(run.topic('a'), 'two', { qos: 2 });
  assert.equal(`${(await wire.next('publish')).payload}`, 'two');
  wire.drop();
}

export async function a_pubrec_that_refuses_ends_the_delivery(run) {
  const wire = await Wire.open(run);
  await wire.connect(run.name('refuses'), { properties: { receiveMaximum: 1 } });
  wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: run.topic('a'), qos: 2 }] });
  await wire.next('suback');
  const publisher = await run.client();
  for (const text of ['refused', 'next']) await publisher.publish(run.topic('a'), text, { qos: 2 });
  const { messageId } = await wire.next('publish');
  wire.send({ cmd: 'pubrec', messageId, reasonCode: 0x80 });
  assert.equal(`${(await wire.next('publish')).payload}`, 'next');
  wire.drop();
}

export async function an_unknown_packet_id_is_answered_with_0x92(run) {
  const wire = await Wire.open(run);
  await wire.connect(run.name('guesses'));
  wire.send({ cmd: 'pubrel', messageId: 99 });
  assert.deepEqual(await wire.next('pubcomp').then((p) => [p.messageId, p.reasonCode]), [99, 0x92]);
  wire.send({ cmd: 'pubrec', messageId: 98 });
  assert.deepEqual(await wire.next('pubrel').then((p) => [p.messageId, p.reasonCode]), [98, 0x92]);
  wire.drop();
}

export async function an_expiry_of_zero_may_not_be_raised_at_disconnect(run) {
  const wire = await Wire.open(run);
  await wire.connect(run.name('raises'));
  wire.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } });
  assert.equal(await wire.ended(), 0x82);
}

export async function many_packets_in_one_write_are_answered_in_order(run) {
  const wire = await Wire.open(run);
  const connect = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, keepalive: 0 };
  const numbers = Array.from({ length: 50 }, (_, n) => n + 2);
  wire.send(
    { ...connect, clientId: run.name('hurried') },
    { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: run.topic('a'), qos: 0 }] },
    ...numbers.map((n) => publish(run.topic('a'), n, 1)),
    { cmd: 'pingreq' },
  );
  const got = { connack: 0, suback: 0, publish: [], puback: [] };
  for (let packet; (packet = await wire.packets.next()).cmd !== 'pingresp'; ) {
    if (packet.cmd === 'publish') got.publish.push(Number(packet.payload));
    else if (packet.cmd === 'puback') got.puback.push(packet.messageId);
    else got[packet.cmd] += 1;
  }
  while (got.publish.length < numbers.length) got.publish.push(Number((await wire.next('publish')).payload));
  assert.deepEqual(got, { connack: 1, suback: 1, publish: numbers, puback: numbers });
  wire.drop();
}

export async function a_client_that_said_goodbye_may_be_back_before_its_socket_is_closed(run) {
  const watcher = await run.client();
  await watcher.subscribe([run.topic('will'), run.topic('end')], { qos: 1 });
  const will = { topic: run.topic('will'), payload: Buffer.from('gone'), qos: 1, retain: false };
  const polite = await Wire.open(run);
  await polite.connect(run.name('polite'), { ...KEPT, will });
  polite.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
  assert.equal(await polite.packets.next(), null);
  const back = await Wire.open(run);
  assert.equal((await back.connect(run.name('polite'), KEPT)).sessionPresent, false);
  await watcher.publish(run.topic('end'), 'end', { qos: 1 });
  assert.deepEqual(await watcher.until('end'), []);
  polite.drop();
  back.drop();
}
