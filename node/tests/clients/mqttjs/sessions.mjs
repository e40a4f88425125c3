// Sessions and connections, their limits and their ends.

import assert from 'node:assert/strict';

import { V311, V5 } from './client.mjs';

const kept = (protocolVersion = V5) =>
  protocolVersion === V5
    ? { protocolVersion, clean: false, properties: { sessionExpiryInterval: 600 } }
    : { protocolVersion, clean: false };

export async function a_kept_session_gets_what_came_while_it_was_away(run) {
  for (const version of [V311, V5]) {
    const sleeper = await run.client(`sleeper-${version}`, kept(version));
    assert.equal(sleeper.sessionPresent, false);
    await sleeper.subscribe(run.topic(`${version}/+`), { qos: 2 });
    await sleeper.disconnect();
    const publisher = await run.client();
    const sent = Array.from({ length: 300 }, (_, n) => `${n}`);
    for (const text of sent) await publisher.publish(run.topic(`${version}/a`), text, { qos: 1 });
    await sleeper.connect();
    assert.equal(sleeper.sessionPresent, true);
    assert.deepEqual(await sleeper.texts(300), sent);
  }
}

export async function a_clean_start_finds_nothing(run) {
  const client = await run.client('client', kept());
  await client.subscribe(run.topic('a'), { qos: 1 });
  await client.disconnect();
  await client.connect({ clean: true });
  assert.equal(client.sessionPresent, false);
  await client.subscribe(run.topic('end'), { qos: 1 });
  await client.publish(run.topic('a'), 'a', { qos: 1 });
  await client.publish(run.topic('end'), 'end', { qos: 1 });
  assert.deepEqual(await client.until('end'), []);
}

export async function an_expiry_given_at_disconnect_counts(run) {
  const client = await run.client('client', kept());
  await client.disconnect({ properties: { sessionExpiryInterval: 0 } });
  await client.connect();
  assert.equal(client.sessionPresent, false);
}

export async function an_expired_session_is_gone(run) {
  const client = await run.client('client', { clean: false, properties: { sessionExpiryInterval: 1 } });
  await client.subscribe(run.topic('a'), { qos: 1 });
  await client.drop();
  await run.letPass(3000);
  await client.connect();
  assert.equal(client.sessionPresent, false);
}

export async function a_second_connection_takes_the_first_one_s_place(run) {
  for (const [version, reason] of [[V5, 0x8e], [V311, null]]) {
    const first = await run.client(`twice-${version}`, { protocolVersion: version });
    const second = await run.client(`twice-${version}`, { protocolVersion: version });
    assert.equal(await first.ended(), reason);
    await second.subscribe(run.topic('a'));
    await second.publish(run.topic('a'), 'here');
    assert.deepEqual(await second.texts(1), ['here']);
    await second.disconnect();
  }
}

export async function a_nameless_client_is_told_its_name(run) {
  const [first, second] = [await run.client(''), await run.client('')];
  const names = [first, second].map((client) => client.connack.properties.assignedClientIdentifier);
  assert.ok(names[0] && names[1] && names[0] !== names[1], `${names}`);
}

export async function what_is_too_large_for_a_client_is_left_out(run) {
  const subscriber = await run.client('in', { properties: { maximumPacketSize: 200 } });
  await subscriber.subscribe(run.topic('a'), { qos: 1 });
  const publisher = await run.client();
  for (const payload of ['x'.repeat(300), 'fits', 'y'.repeat(300), 'end']) {
    await publisher.publish(run.topic('a'), payload, { qos: 1 });
  }
  assert.deepEqual((await subscriber.until('end')).map((message) => message.text), ['fits']);
}

export async function a_packet_too_large_for_the_broker_ends_with_0x95(run) {
  const client = await run.client();
  const { maximumPacketSize } = client.connack.properties;
  // Told not to, mqtt.js would not send it.
  client.mqtt.options.properties = {};
  client.mqtt.publish(run.topic('a'), Buffer.alloc(maximumPacketSize + 1), { qos: 0 });
  assert.equal(await client.ended(), 0x95);
}

export async function a_delayed_will_waits_for_the_session(run) {
  const watcher = await run.client();
  await watcher.subscribe(run.topic('will'), { qos: 1 });
  const will = (willDelayInterval) => ({
    topic: run.topic('will'),
    payload: Buffer.from(`after ${willDelayInterval}`),
    qos: 1,
    properties: { willDelayInterval },
  });
  const resumes = await run.client('resumes', { ...kept(), will: will(4) });
  await resumes.drop();
  await resumes.connect({ will: undefined });
  assert.equal(resumes.sessionPresent, true);
  const stays = await run.client('stays-away', { ...kept(), will: will(5) });
  await stays.drop();
  // The later one comes; the one whose session was resumed would have come before it.
  assert.deepEqual(await watcher.texts(1), ['after 5']);
}

export async function a_stopping_broker_says_0x8b(run) {
  const [young, old] = [await run.client(), await run.client('old', { protocolVersion: V311 })];
  await run.together();
  process.kill(run.pid, 'SIGTERM');
  assert.equal(await young.ended(), 0x8b);
  assert.equal(await old.ended(), null);
}
