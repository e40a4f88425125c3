// Uses the example handlers with mqtt.js: `examples.mjs --url tcp=mqtt://HOST:PORT CHECK`.

import assert from 'node:assert/strict';

import { main } from '../../clients/mqttjs/runner.mjs';

async function a_ping_gets_its_pong_and_a_request_its_answer(run) {
  const device = await run.client('device');
  await device.subscribe(['68946/pong', 'answers/68946'], { qos: 1 });
  await device.publish('68946/ping', '{"seq": 1}', { qos: 1 });
  const pong = await device.next();
  assert.deepEqual([pong.topic, pong.text], ['68946/pong', '{"seq":1}']);
  assert.equal(pong.properties.contentType, 'application/json');
  const properties = { responseTopic: 'answers/68946', correlationData: Buffer.from('call 9') };
  await device.publish('68946/ping', '{"seq": 2}', { qos: 1, properties });
  const answer = await device.next();
  assert.deepEqual([answer.topic, answer.text], ['answers/68946', '{"seq":2}']);
  assert.equal(`${answer.properties.correlationData}`, 'call 9');
}

/** Reads rows of a view until they are these. */
async function shows(client, rows, expected) {
  while (JSON.stringify([...rows].sort()) !== JSON.stringify(expected)) {
    const { topic, text } = await client.next();
    if (text === '') rows.delete(topic);
    else rows.set(topic, text);
  }
}

async function a_view_is_seen_as_it_is_and_as_it_changes(run) {
  const [viewer, speaker] = [await run.client('viewer'), await run.client('speaker')];
  await viewer.subscribe(['$view/words/#'], { qos: 1 });
  const rows = new Map();
  await speaker.publish('talk/1', 'red red blue', { qos: 1 });
  await shows(viewer, rows, [['$view/words/blue', '1'], ['$view/words/red', '2']]);
  await speaker.publish('talk/1', 'red', { qos: 1 });
  await shows(viewer, rows, [['$view/words/red', '1']]);
  const late = await run.client('late');
  await late.subscribe(['$view/words/#'], { qos: 1 });
  await shows(late, new Map(), [['$view/words/red', '1']]);
}

await main({ a_view_is_seen_as_it_is_and_as_it_changes, a_ping_gets_its_pong_and_a_request_its_answer });
