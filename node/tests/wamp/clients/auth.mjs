// How autobahn-js and wampy say who they are. Arguments: WebSocket URL, the check, the accounts file if it changes.
import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import path from 'node:path';
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const home = path.join(process.env.WEIR_TOOLS, 'wamp');
const require = createRequire(path.join(home, 'package.json'));
const autobahn = require('autobahn');
const nacl = require('tweetnacl');
const ws = require('ws');
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Wampy } = await load('wampy');
const [url, check, accounts] = process.argv.slice(2);

const SECRET = 'secret_key';
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const token = (claims) => {
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
};
// The first test of RFC 8032 section 7.1, and another.
const key = nacl.sign.keyPair.fromSeed(Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex'));
const otherKey = nacl.sign.keyPair.fromSeed(Buffer.from('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb', 'hex'));

// A session, how it was welcomed and, later, why it ended; or why it was not welcomed.
const settled = (connection) => new Promise((resolve, reject) => {
  let over;
  const ended = new Promise((done) => { over = done; });
  connection.onopen = (session, details) => resolve({ connection, session, details, ended });
  connection.onclose = (reason, details) => {
    over(details.reason);
    reject(Object.assign(new Error(details.reason), { details }));
    return true;
  };
  connection.open();
});
const open = (options) => settled(new autobahn.Connection({ url, realm: 'default', max_retries: 0, ...options }));
const refusal = (attempt) => attempt.then(() => assert.fail('it was let in'), (error) => error.message);
const FAILED = 'wamp.error.authentication_failed';

const ticket = (authid, password, more) => open({ authmethods: ['ticket'], authid, onchallenge: () => password, ...more });
const asked = [];
const cra = (authid, password, more) => open({
  authmethods: ['wampcra'],
  authid,
  onchallenge: (session, method, extra) => {
    asked.push(extra);
    const derived = autobahn.auth_cra.derive_key(password, extra.salt, extra.iterations, extra.keylen);
    return autobahn.auth_cra.sign(derived, extra.challenge);
  },
  ...more,
});
const signs = (authid, pkey) =>
  settled(autobahn.auth_cryptosign.create_connection({ url, realm: 'default', authid, pkey }));
const account = (...words) => execFileSync(process.env.WEIR, ['account', ...words, '--file', accounts]);

const checks = {
  async tickets() {
    const { details } = await ticket('ann', 'apple');
    assert.deepEqual(
      [details.authid, details.authmethod, details.authrole, details.authprovider, details.realm],
      ['ann', 'ticket', 'device', 'static', 'default'],
    );
    const cy = await ticket('JWT', token({ user_id: 'cy', roles: ['operator'] }));
    assert.deepEqual([cy.details.authid, cy.details.authrole], ['cy', 'operator']);
    assert.equal(await refusal(ticket('ann', 'pear')), FAILED);
    assert.equal(await refusal(ticket('nobody', 'apple')), FAILED);
    assert.equal(await refusal(ticket('JWT', token({ user_id: 'cy', exp: 1 }))), FAILED);
    assert.equal(await refusal(open({})), 'wamp.error.no_auth_method');
    assert.equal(await refusal(open({ authmethods: ['anonymous'] })), 'wamp.error.no_auth_method');
    const wampy = new Wampy(url, { realm: 'default', ws, authid: 'ann', authmethods: ['ticket'], onChallenge: () => 'apple' });
    assert.equal((await wampy.connect()).authid, 'ann');
  },

  async wampcra() {
    const { details } = await cra('bob', 'banana');
    assert.deepEqual([details.authid, details.authmethod], ['bob', 'wampcra']);
    const challenge = JSON.parse(asked.pop().challenge);
    assert.deepEqual([challenge.authid, challenge.authmethod], ['bob', 'wampcra']);
    assert.ok(Number.isInteger(challenge.session) && challenge.nonce && challenge.timestamp);
    const { sign } = await load('wampy/wampcra.js');
    const wampy = new Wampy(url, { realm: 'default', ws, authid: 'bob', authmethods: ['wampcra'], onChallenge: sign('banana') });
    assert.equal((await wampy.connect()).authmethod, 'wampcra');
    // A wrong password, an account that has no such key, and a name that is nobody's: nothing tells them apart.
    for (const [name, password] of [['bob', 'pear'], ['ann', 'apple'], ['nobody', 'banana'], ['nobody', 'banana']]) {
      assert.equal(await refusal(cra(name, password)), FAILED);
    }
    const [bob, ann, nobody, again] = asked;
    for (const one of asked) assert.deepEqual([one.iterations, one.keylen, one.salt.length], [bob.iterations, 32, bob.salt.length]);
    assert.deepEqual([nobody.salt, new Set([bob.salt, ann.salt, nobody.salt]).size], [again.salt, 3]);
  },

  async cryptosign() {
    const { details } = await signs('dee', key);
    assert.deepEqual([details.authid, details.authmethod], ['dee', 'cryptosign']);
    assert.equal((await signs(undefined, key)).details.authid, 'dee');
    const { sign } = await load('wampy/cryptosign.js');
    const wampy = new Wampy(url, {
      realm: 'default', ws, authid: 'dee', authmethods: ['cryptosign'],
      authextra: { pubkey: Buffer.from(key.publicKey).toString('hex') },
      onChallenge: sign(Buffer.from(key.secretKey).toString('hex')),
    });
    assert.equal((await wampy.connect()).authid, 'dee');
    for (const [name, pair] of [['dee', otherKey], ['ann', key], ['nobody', key], [undefined, otherKey]]) {
      assert.equal(await refusal(signs(name, pair)), FAILED, `${name}`);
    }
    const bound = { authmethods: ['cryptosign'], authid: 'dee', authextra: { pubkey: 'ab', channel_binding: 'tls-unique' } };
    assert.equal(await refusal(open(bound)), 'wamp.error.no_auth_method');
    assert.equal(await refusal(open({ authmethods: ['cryptosign'], authid: 'dee' })), FAILED);
  },

  async realms() {
    assert.equal(await refusal(ticket('eve', 'elder')), 'wamp.error.not_authorized');
    assert.equal((await ticket('eve', 'elder', { realm: 'plant' })).details.realm, 'plant');
    assert.equal((await ticket('eve', 'elder', { realm: 'lab' })).details.realm, 'lab');
    const bound = token({ user_id: 'cy', realm: 'plant' });
    assert.equal(await refusal(ticket('JWT', bound)), 'wamp.error.not_authorized');
    assert.equal((await ticket('JWT', bound, { realm: 'plant' })).details.realm, 'plant');
    // Who is bound to none may be in any.
    assert.equal((await ticket('ann', 'apple', { realm: 'plant' })).details.realm, 'plant');
  },

  // The next method of the client's is taken where the first has nobody's keys.
  async order() {
    const { details } = await open({ authmethods: ['cryptosign', 'wampcra', 'ticket'], authid: 'ann', onchallenge: () => 'apple' });
    assert.equal(details.authmethod, 'ticket');
    assert.equal(await refusal(open({ authmethods: ['wampcra', 'magic'], authid: 'ann' })), 'wamp.error.no_auth_method');
    assert.equal((await open({ authmethods: ['wampcra', 'anonymous'], authid: 'ann' })).details.authmethod, 'anonymous');
  },

  async endings() {
    const [bob, dee, ann] = await Promise.all([cra('bob', 'banana'), signs('dee', key), ticket('ann', 'apple')]);
    const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;
    const cy = await ticket('JWT', token({ user_id: 'cy', exp: inSeconds(5) }));
    account('remove', 'dee');
    execFileSync(process.env.WEIR, ['account', 'passwd', 'bob', '--file', accounts], { input: 'pear' });
    assert.deepEqual(await Promise.all([bob, dee, cy].map(({ ended }) => ended)), ['wamp.close.killed', 'wamp.close.killed', 'wamp.close.killed']);
    assert.equal((await cra('bob', 'pear')).details.authid, 'bob');
    assert.equal(await refusal(cra('bob', 'banana')), FAILED);
    // Nobody touched this one.
    assert.ok(await ann.session.call('wamp.session.count') >= 2);
  },
};

await checks[check]();
process.exit(0);
