// What several checks of a cluster need: sessions of autobahn-js, bare ones, and events that are waited for.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.WEIR_TOOLS, 'wamp', 'package.json'));
export const autobahn = require('autobahn');
export const mqtt = require('mqtt');
const WebSocket = require('ws');

export const open = (url, options = {}) => new Promise((resolve, reject) => {
  const connection = new autobahn.Connection({ url, realm: 'default', max_retries: 0, ...options });
  let closed;
  const ended = new Promise((done) => { closed = done; });
  connection.onopen = (session, details) => resolve({ connection, session, details, ended, id: session.id });
  connection.onclose = (reason, details) => { reject(new Error(reason)); closed(details); return true; };
  connection.open();
});

export const failure = (promise) => promise.then(() => { throw new Error('it has a result'); }, (error) => error);

// Things that come, and a promise of the first so many that fit.
export const heap = () => {
  const all = [];
  const waiting = [];
  const look = () => {
    for (const wait of waiting.splice(0)) {
      const found = all.filter(wait.fits);
      if (found.length >= wait.count) wait.done(found); else waiting.push(wait);
    }
  };
  const add = (one) => { all.push(one); look(); };
  const until = (count, fits = () => true) => new Promise((done) => { waiting.push({ count, fits, done }); look(); });
  return { all, add, until };
};

export const listen = async (session, topic, options) => {
  const events = heap();
  const add = (args, kwargs, details) => events.add({ args: args ?? [], kwargs: kwargs ?? {}, details });
  const subscription = await session.subscribe(topic, add, options);
  return { ...events, subscription };
};

// Asks again until it holds; what becomes so takes its time on another node.
export const until = async (holds) => {
  for (;;) {
    const found = await holds();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 20));
  }
};

// A session that says whatever it is told to, in JSON.
export const bare = (url, features = {}) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, 'wamp.2.json');
  const came = heap();
  let last = 0;
  const say = (...message) => socket.send(JSON.stringify(message));
  const role = { features: { call_canceling: true, progressive_call_results: true, ...features } };
  socket.on('open', () => say(1, 'default', { roles: { caller: role, callee: role, publisher: {}, subscriber: {} } }));
  socket.on('error', reject);
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message[0] === 2) resolve({ id: message[1], say, next: () => { last += 1; return last; }, socket, ...came });
    else came.add(message);
  });
});
