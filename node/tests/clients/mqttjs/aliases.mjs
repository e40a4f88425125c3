// Topic aliases, in both directions.

import assert from 'node:assert/strict';

export async function a_client_s_aliases_stand_for_their_topics(run) {
  const subscriber = await run.client();
  await subscriber.subscribe(run.topic('#'), { qos: 1 });
  const publisher = await run.client('out', { autoAssignTopicAlias: true });
  const { topicAliasMaximum } = publisher.connack.properties;
  assert.ok(topicAliasMaximum > 0);
  // More topics than aliases, so that aliases are given anew.
  const topics = Array.from({ length: topicAliasMaximum + 8 }, (_, n) => run.topic(`${n}`));
  for (let round = 0; round < 3; round += 1) {
    for (const topic of topics) await publisher.publish(topic, topic, { qos: 1 });
  }
  for (let round = 0; round < 3; round += 1) {
    for (const topic of topics) {
      const message = await subscriber.next();
      assert.deepEqual([message.topic, message.text], [topic, topic]);
    }
  }
}

export async function the_broker_s_aliases_stand_for_their_topics(run) {
  const subscriber = await run.client('in', { properties: { topicAliasMaximum: 3 } });
  await subscriber.subscribe(run.topic('#'));
  const publisher = await run.client();
  const topics = ['a', 'b', 'c', 'd', 'e'].map((name) => run.topic(name));
  for (let round = 0; round < 3; round += 1) {
    for (const topic of topics) await publisher.publish(topic, topic, { qos: 1 });
  }
  for (const { topic, text } of await subscriber.messages.take(15)) assert.equal(topic, text);
  const seen = subscriber.received.map(({ topic, properties }) => [topic, properties.topicAlias]);
  assert.ok(seen.every(([, alias]) => alias === undefined || (alias >= 1 && alias <= 3)), `${seen}`);
  assert.ok(seen.filter(([topic]) => topic === '').length >= 6, `aliases save topics: ${seen}`);
}

export async function a_client_that_wants_no_aliases_is_given_none(run) {
  const subscriber = await run.client();
  await subscriber.subscribe(run.topic('#'));
  const publisher = await run.client();
  for (let n = 0; n < 5; n += 1) await publisher.publish(run.topic('a'), `${n}`, { qos: 1 });
  await subscriber.messages.take(5);
  assert.ok(subscriber.received.every(({ topic, properties }) => topic && !properties.topicAlias));
}
