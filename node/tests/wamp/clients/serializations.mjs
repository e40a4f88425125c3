// Events between sessions of every serialization: autobahn-js, and wampy. Arguments: WebSocket URL.
import { createRequire } from 'node:module';
import path from 'node:path';
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const home = path.join(process.env.WEIR_TOOLS, 'wamp');
const require = createRequire(path.join(home, 'package.json'));
const autobahn = require('autobahn');
const ws = require('ws');
const { Wampy } = await import(pathToFileURL(require.resolve('wampy')).href);
const [url] = process.argv.slice(2);

const serializers = ['JSON', 'Msgpack', 'CBOR'].map((name) => new autobahn.serializer[`${name}Serializer`]());
const open = (serializer) => new Promise((resolve, reject) => {
  const connection = new autobahn.Connection({ url, realm: 'default', serializers: [serializer], max_retries: 0 });
  connection.onopen = (session) => resolve({ connection, session });
  connection.onclose = (reason) => { reject(new Error(reason)); return true; };
  connection.open();
});

const all = await Promise.all(serializers.map(open));
const wampy = new Wampy(url, { realm: 'default', ws });
await wampy.connect();
const heard = [];
let look = () => {};
const note = (who, args) => { heard.push([who, args]); look(); };
for (const [who, { session }] of all.entries()) await session.subscribe('to.all', (args) => note(who, args));
await wampy.subscribe('to.all', ({ argsList }) => note('wampy', argsList));
const value = [1, 'ä', { list: [true, null, 1.5] }];
for (const { session } of all) await session.publish('to.all', value, {}, { acknowledge: true, exclude_me: false });
// wampy never asks for its own.
await wampy.publish('to.all', { argsList: value });
await new Promise((done) => { look = () => heard.length >= 15 && done(); look(); });
for (const [who, args] of heard) assert.deepEqual(args, value, `${who}`);
process.exit(0);
