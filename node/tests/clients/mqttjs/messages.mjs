// Messages and what travels with them.

import assert from 'node:assert/strict';

import { V311, V5 } from './client.mjs';

async function eachQos(run, protocolVersion) {
  const subscriber = await run.client('in', { protocolVersion });
  const publisher = await run.client('out', { protocolVersion });
  for (const granted of [0, 1, 2]) {
    const topic = run.topic(`granted/${granted}`);
    assert.deepEqual(await subscriber.subscribe(topic, { qos: granted }), [granted]);
    for (const sent of [0, 1, 2]) {
      await publisher.publish(topic, `${sent}`, { qos: sent });
      const message = await subscriber.next();
      assert.equal(message.topic, topic);
      assert.equal(message.text, `${sent}`);
      assert.equal(message.qos, Math.min(sent, granted));
      assert.ok(!message.dup && !message.retain);
    }
  }
  assert.equal(subscriber.messages.size, 0);
}

export const mqtt_5_delivers_every_qos_once = (run) => eachQos(run, V5);
export const mqtt_311_delivers_every_qos_once = (run) => eachQos(run, V311);

export async function properties_arrive_as_they_were_sent(run) {
  const [subscriber, publisher] = [await run.client(), await run.client()];
  await subscriber.subscribe(run.topic('a'), { qos: 2 });
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'application/json',
    responseTopic: run.topic('answers'),
    correlationData: Buffer.from([0, 255, 1]),
    userProperties: { one: ['b', 'a', 'b'], two: 'ключ' },
  };
  for (const qos of [0, 1, 2]) {
    await publisher.publish(run.topic('a'), '{}', { qos, properties });
    const got = (await subscriber.next()).properties;
    assert.equal(got.payloadFormatIndicator, true);
    assert.equal(got.contentType, 'application/json');
    assert.equal(got.responseTopic, run.topic('answers'));
    assert.deepEqual([...got.correlationData], [0, 255, 1]);
    assert.deepEqual({ ...got.userProperties }, properties.userProperties);
  }
}

export async function a_pubrec_says_whether_anybody_heard(run) {
  const [subscriber, publisher] = [await run.client(), await run.client()];
  const code = async () => {
    await publisher.publish(run.topic('a'), '', { qos: 2 });
    const [code] = publisher.pubrecs.values();
    publisher.pubrecs.clear();
    return code ?? 0;
  };
  assert.equal(await code(), 0x10);
  await subscriber.subscribe(run.topic('a'));
  assert.equal(await code(), 0);
  assert.deepEqual(await subscriber.unsubscribe([run.topic('a'), run.topic('never')]), [0, 0x11]);
  assert.equal(await code(), 0x10);
}

export async function large_and_binary_payloads_arrive_whole(run) {
  const [subscriber, publisher] = [await run.client(), await run.client()];
  await subscriber.subscribe(run.topic('a'), { qos: 2 });
  const large = Buffer.alloc(900 * 1024).map((_, n) => (n * 7) % 251);
  for (const payload of [large, Buffer.alloc(0), Buffer.from([0xff, 0xc0, 0x00])]) {
    for (const qos of [0, 1, 2]) {
      await publisher.publish(run.topic('a'), payload, { qos });
      assert.ok((await subscriber.next()).payload.equals(payload), `${payload.length} bytes, QoS ${qos}`);
    }
  }
}

export async function a_message_s_life_is_told_and_ends(run) {
  const kept = { clean: false, properties: { sessionExpiryInterval: 600 } };
  const sleeper = await run.client('sleeper', kept);
  await sleeper.subscribe(run.topic('a'), { qos: 1 });
  await sleeper.disconnect();
  const publisher = await run.client();
  const life = (messageExpiryInterval) => ({ qos: 1, properties: { messageExpiryInterval } });
  await publisher.publish(run.topic('a'), 'short', life(1));
  await publisher.publish(run.topic('a'), 'long', life(1000));
  await run.letPass(2100);
  await sleeper.connect();
  const message = await sleeper.next();
  assert.equal(message.text, 'long');
  const left = message.properties.messageExpiryInterval;
  assert.ok(left < 1000 && left > 800, `${left}`);
}

export async function a_request_finds_its_answer(run) {
  const [server, client] = [await run.client(), await run.client()];
  await server.subscribe(run.topic('ask'), { qos: 1 });
  await client.subscribe(run.topic('answers'), { qos: 1 });
  const properties = { responseTopic: run.topic('answers'), correlationData: Buffer.from('7') };
  await client.publish(run.topic('ask'), 'question', { qos: 1, properties });
  const asked = (await server.next()).properties;
  const { correlationData } = asked;
  await server.publish(asked.responseTopic, 'answer', { qos: 1, properties: { correlationData } });
  const answer = await client.next();
  assert.deepEqual([answer.text, `${answer.properties.correlationData}`], ['answer', '7']);
}

export async function a_will_is_published_with_its_properties(run) {
  const watcher = await run.client();
  await watcher.subscribe(run.topic('will'), { qos: 2 });
  for (const protocolVersion of [V311, V5]) {
    const will = { topic: run.topic('will'), payload: Buffer.from('gone'), qos: 1, retain: false };
    if (protocolVersion === V5) will.properties = { contentType: 'text/plain', userProperties: { a: ['1', '2'] } };
    const client = await run.client(`client-${protocolVersion}`, { protocolVersion, will });
    await client.drop();
    const message = await watcher.next();
    assert.deepEqual([message.text, message.qos], ['gone', 1]);
    if (protocolVersion === V5) {
      assert.equal(message.properties.contentType, 'text/plain');
      assert.deepEqual({ ...message.properties.userProperties }, { a: ['1', '2'] });
    }
  }
}

export async function delayed_messages_come_later_than_those_sent_after_them(run) {
  const [subscriber, publisher] = [await run.client(), await run.client()];
  await subscriber.subscribe(run.topic('a'), { qos: 1 });
  await publisher.publish(`$delayed/2/${run.topic('a')}`, 'later', { qos: 1 });
  await publisher.publish(run.topic('a'), 'now', { qos: 1 });
  assert.deepEqual(await subscriber.texts(2), ['now', 'later']);
}
