// Runs checks of streams with mqtt.js against a node: `run.mjs --url tcp=mqtt://HOST:PORT CHECK`.
//
// There is a stream `plant` of what is published below `plant/`.

import assert from 'node:assert/strict';

import { main } from '../../clients/mqttjs/runner.mjs';

const read = (client, offset, options = {}) =>
  client.subscribe('$stream/plant', {
    qos: 1,
    ...options,
    ...(offset && { properties: { userProperties: { 'stream-offset': offset } } }),
  });

async function publish(run, ...payloads) {
  const publisher = await run.client('publisher');
  for (const payload of payloads) await publisher.publish('plant/a', payload, { qos: 1 });
  await publisher.disconnect();
}

async function a_stream_is_read_from_its_beginning_and_on_from_a_position(run) {
  await publish(run, '1', '2', '3');
  const reader = await run.client('reader');
  assert.deepEqual(await read(reader, 'earliest'), [1]);
  const first = await reader.next();
  assert.equal(first.text, '1');
  assert.equal(first.topic, 'plant/a');
  const told = first.properties.userProperties;
  assert.equal(told['weir-stream'], 'plant');
  assert.deepEqual(await reader.texts(2), ['2', '3']);
  await reader.disconnect();
  const again = await run.client('again');
  await read(again, told['weir-position']);
  assert.deepEqual(await again.texts(2), ['2', '3']);
}

async function a_kept_session_goes_on_where_it_was(run) {
  const kept = { clean: false, properties: { sessionExpiryInterval: 600 } };
  const reader = await run.client('kept', kept);
  await read(reader);
  await publish(run, '1', '2');
  assert.deepEqual(await reader.texts(2), ['1', '2']);
  await reader.disconnect();
  await publish(run, '3', '4');
  await reader.connect();
  assert.ok(reader.sessionPresent);
  assert.deepEqual(await reader.texts(2), ['3', '4']);
}

async function what_is_no_stream_is_refused(run) {
  const reader = await run.client('reader');
  const error = await reader.subscribe('$stream/none', { qos: 1 }).catch((error) => error);
  assert.deepEqual([...error.packet.granted], [0x8f]);
  assert.equal(error.packet.properties.reasonString, 'there is no stream "none"');
}

await main({
  a_stream_is_read_from_its_beginning_and_on_from_a_position,
  a_kept_session_goes_on_where_it_was,
  what_is_no_stream_is_refused,
});
