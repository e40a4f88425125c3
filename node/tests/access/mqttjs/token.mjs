// Tokens as cashew-mqtt's users make them: HS256 over a shared secret.

import { createHmac } from 'node:crypto';

import { V311 } from '../../clients/mqttjs/client.mjs';

export const SECRET = 'secret_key';

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export function token(claims, { alg = 'HS256', secret = SECRET } = {}) {
  const signed = `${part({ alg, typ: 'JWT' })}.${part({ iat: Math.floor(Date.now() / 1000), ...claims })}`;
  if (alg === 'none') return `${signed}.`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** What a client of cashew-mqtt gives mqtt.js. */
export const shows = (password, more = {}) => ({ protocolVersion: V311, username: 'JWT', password, ...more });

/** A device of this user. */
export const device = (run, userId, more) =>
  run.client(`device-${userId}`, shows(token({ user_id: userId }), more));

/** A back-end handler of this name. */
export const handler = (run, name, more) =>
  run.client(`handler-${name}`, shows(token({ handler: { name } }), more));
