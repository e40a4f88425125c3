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

await main({ a_ping_gets_its_pong_and_a_request_its_answer });
