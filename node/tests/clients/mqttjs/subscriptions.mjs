// Subscriptions: what they ask for, what they share, and what was retained before them.

import assert from 'node:assert/strict';

import { V5 } from './client.mjs';

export async function overlapping_filters_deliver_once_with_all_ids(run) {
  const [subscriber, publisher] = [await run.client(), await run.client()];
  const subscribe = (filter, qos, subscriptionIdentifier) =>
    subscriber.subscribe(run.topic(filter), { qos, properties: { subscriptionIdentifier } });
  await subscribe('#', 0, 3);
  await subscribe('a/+', 2, 200);
  await subscribe('a/b', 1, 70_000);
  await publisher.publish(run.topic('a/b'), 'once', { qos: 2 });
  await publisher.publish(run.topic('a/c'), 'end', { qos: 2 });
  const found = await subscriber.until('end');
  assert.equal(found.length, 1);
  assert.equal(found[0].qos, 2);
  assert.deepEqual([found[0].properties.subscriptionIdentifier].flat().sort((a, b) => a - b), [3, 200, 70_000]);
}

export async function no_local_and_retain_as_published_are_kept(run) {
  const [client, other] = [await run.client(), await run.client()];
  await client.subscribe(run.topic('+'), { qos: 1, nl: true, rap: true });
  await client.publish(run.topic('a'), 'own', { qos: 1 });
  await other.publish(run.topic('a'), 'retained', { qos: 1, retain: true });
  await other.publish(run.topic('a'), 'plain', { qos: 1 });
  const [first, second] = await client.messages.take(2);
  assert.deepEqual([first.text, first.retain], ['retained', true]);
  assert.deepEqual([second.text, second.retain], ['plain', false]);
}

export async function retain_handling_is_kept(run) {
  const [client, publisher] = [await run.client(), await run.client()];
  await publisher.publish(run.topic('kept'), 'kept', { qos: 1, retain: true });
  await client.subscribe(run.topic('end'), { qos: 1 });
  const sent = async (rh) => {
    await client.subscribe(run.topic('kept'), { qos: 1, rh });
    await publisher.publish(run.topic('end'), 'end', { qos: 1 });
    return (await client.until('end')).length;
  };
  assert.equal(await sent(2), 0);
  assert.equal(await sent(1), 0, 'not new');
  assert.equal(await sent(0), 1);
  assert.equal(await sent(0), 1);
  await client.unsubscribe(run.topic('kept'));
  assert.equal(await sent(1), 1, 'new');
  assert.equal(await sent(1), 0, 'not new any more');
}

export async function two_thousand_retained_messages_arrive_by_one_filter(run) {
  const count = 2000;
  const publisher = await run.client();
  const name = (n) => run.topic(`${n % 40}/${n}`);
  const all = Array.from({ length: count }, (_, n) => n);
  await Promise.all(all.map((n) => publisher.publish(name(n), `${n}`, { qos: 1, retain: true })));
  for (const qos of [0, 1, 2]) {
    const subscriber = await run.client(`in-${qos}`);
    await subscriber.subscribe(run.topic('#'), { qos });
    const got = await subscriber.messages.take(count);
    assert.ok(got.every((message) => message.retain && message.qos === Math.min(qos, 1)));
    assert.deepEqual(got.map((message) => Number(message.text)).sort((a, b) => a - b), all);
    await subscriber.disconnect();
  }
}

export async function an_empty_payload_takes_a_retained_message_away(run) {
  const publisher = await run.client();
  await publisher.publish(run.topic('a'), 'first', { qos: 1, retain: true });
  await publisher.publish(run.topic('a'), 'second', { qos: 1, retain: true });
  const early = await run.client('early');
  await early.subscribe(run.topic('a'));
  assert.equal((await early.next()).text, 'second');
  await publisher.publish(run.topic('a'), '', { qos: 1, retain: true });
  const late = await run.client('late');
  await late.subscribe([run.topic('a'), run.topic('end')]);
  await publisher.publish(run.topic('end'), 'end', { qos: 1 });
  assert.deepEqual(await late.until('end'), []);
}

export async function members_of_a_group_share_the_work(run) {
  const filter = `$share/${run.prefix}/${run.topic('work')}`;
  const members = await Promise.all([0, 1, 2].map((n) => run.client(`member-${n}`)));
  for (const member of members) assert.deepEqual(await member.subscribe(filter, { qos: 1 }), [1]);
  const publisher = await run.client();
  const work = Array.from({ length: 90 }, (_, n) => `${n}`);
  await Promise.all(work.map((text) => publisher.publish(run.topic('work'), text, { qos: 1 })));
  // Each member takes its own end, which is published to nobody else.
  const done = [];
  for (const [n, member] of members.entries()) {
    await member.subscribe(run.topic(`end/${n}`), { qos: 1 });
    await publisher.publish(run.topic(`end/${n}`), 'end', { qos: 1 });
    const share = (await member.until('end')).map((message) => message.text);
    assert.ok(share.length >= 9, `member ${n} got ${share.length}`);
    done.push(...share);
  }
  assert.deepEqual(done.sort((a, b) => a - b), work);
}

export async function a_lost_member_s_work_is_done_by_others(run) {
  const filter = `$share/${run.prefix}/${run.topic('work')}`;
  // It takes messages and never acknowledges them.
  const lazy = await run.client('lazy', { customHandleAcks: () => {} });
  await lazy.subscribe(filter, { qos: 1 });
  const publisher = await run.client();
  for (let n = 0; n < 5; n += 1) await publisher.publish(run.topic('work'), `${n}`, { qos: 1 });
  const other = await run.client('other');
  await other.subscribe(filter, { qos: 1 });
  await lazy.drop();
  assert.deepEqual((await other.texts(5)).sort(), ['0', '1', '2', '3', '4']);
}

export async function unsubscribing_ends_delivery(run) {
  for (const protocolVersion of [4, V5]) {
    const client = await run.client(`client-${protocolVersion}`, { protocolVersion });
    await client.subscribe([run.topic('a'), run.topic('end')], { qos: 1 });
    await client.unsubscribe(run.topic('a'));
    const publisher = await run.client();
    await publisher.publish(run.topic('a'), 'a', { qos: 1 });
    await publisher.publish(run.topic('end'), 'end', { qos: 1 });
    assert.deepEqual(await client.until('end'), []);
    await client.disconnect();
  }
}

export async function everything_leaves_the_broker_s_own_topics_out(run) {
  const [everything, system] = [await run.client(), await run.client()];
  await everything.subscribe('#', { qos: 1 });
  await system.subscribe('$SYS/broker/version');
  const version = await system.next();
  assert.ok(version.retain && version.text.startsWith('weir '));
  await system.subscribe('$SYS/broker/uptime', { rh: 2 });
  await system.next();
  await system.publish(run.topic('end'), run.prefix, { qos: 1 });
  const found = await everything.until(run.prefix);
  assert.deepEqual(found.filter((message) => message.topic.startsWith('$')), []);
}
