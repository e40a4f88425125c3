// Whom the cashew rules turn away, and how.

import assert from 'node:assert/strict';

import { V311, V5 } from '../../clients/mqttjs/client.mjs';
import { device, shows, token } from './token.mjs';

/** The code with which CONNECT is refused. */
async function refused(run, options) {
  const client = run.offline('refused', options);
  const error = await client.connect().then(
    () => assert.fail(`let in with ${JSON.stringify(options)}`),
    (error) => error,
  );
  await client.ends.next();
  return error.code;
}

const now = () => Math.floor(Date.now() / 1000);

export async function whoever_shows_no_good_token_is_refused(run) {
  const claims = { user_id: 68946 };
  const tricks = {
    'another user name': { username: 'jwt', password: token(claims) },
    'no user name': { username: undefined, password: undefined },
    'another key': shows(token(claims, { secret: 'another' })),
    'no key': shows(token(claims, { alg: 'none' })),
    expired: shows(token({ ...claims, exp: now() - 3600 })),
    'not yet': shows(token({ ...claims, nbf: now() + 3600 })),
    'not a token': shows('secret_key'),
    'an empty token': shows(''),
    'a token cut short': shows(token(claims).slice(0, -2)),
  };
  for (const [trick, options] of Object.entries(tricks)) {
    assert.equal(await refused(run, { ...options, protocolVersion: V311 }), 4, trick);
    assert.equal(await refused(run, { ...options, protocolVersion: V5 }), 0x86, trick);
  }
  const living = await run.client('living', shows(token({ ...claims, exp: now() + 3600, nbf: now() - 1 })));
  assert.deepEqual(await living.subscribe('68946/contact_list'), [0]);
}

const FOREIGN = [
  '#', '+', '+/x', '+/contact_list', '/68946', '68946x/a', '12345/contact_list', '12345/#', 'add_contact',
  '$share/g/#', '$share/g/+/contact_list', '$share/g/12345/x', '$SYS/#', '$SYS/broker/version',
];

/** The code a subscription is refused with, by itself. */
async function refusal(client, filter) {
  const error = await client.subscribe(filter).then(
    (codes) => assert.fail(`${filter} was granted with ${codes}`),
    (error) => error,
  );
  return error.packet?.granted?.[0] ?? error.code;
}

export async function a_device_may_not_listen_to_others(run) {
  for (const [version, code] of [[V311, 0x80], [V5, 0x87]]) {
    const client = await device(run, 68946, { protocolVersion: version });
    for (const filter of FOREIGN) assert.equal(await refusal(client, filter), code, filter);
    // It stays, and has what is its own.
    const own = ['68946/#', '68946', '68946/+/x', '$share/g/68946/x'];
    assert.deepEqual(await client.subscribe(own), [0, 0, 0, 0]);
    const other = await device(run, 12345);
    await other.publish('12345/contact_list', 'not for you', { qos: 1 });
    await other.publish('68946/contact_list', 'for you', { qos: 1 });
    assert.equal((await client.next()).text, 'for you');
    await client.disconnect();
    await other.disconnect();
  }
}

/** With `refused_subscribe = "close"`. */
export async function a_device_that_listens_to_others_is_closed(run) {
  for (const [version, code] of [[V311, null], [V5, 0x87]]) {
    const client = await device(run, 68946, { protocolVersion: version });
    assert.deepEqual(await client.subscribe('68946/contact_list'), [0]);
    client.mqtt.subscribe('12345/contact_list', () => {});
    assert.equal(await client.ended(), code);
  }
}
