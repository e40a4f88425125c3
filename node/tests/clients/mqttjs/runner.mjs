// What every script of checks needs to be run: `--url tcp=mqtt://HOST:PORT .. CHECK ..`, or `all`.
//
// A check is a function that is given a `Run`: one transport, and names of its own. All transports of a check
// run at once. The exit code is the number of failures.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { Client } from './client.mjs';
import { DEADLINE_MS } from './mailbox.mjs';

class Run {
  constructor(transport, url, options, meeting) {
    this.meeting = meeting;
    this.transport = transport;
    this.url = url;
    this.ca = options.ca && readFileSync(options.ca);
    this.pid = Number(options.pid);
    this.prefix = `${transport}-${randomUUID().slice(0, 8)}`;
    this.clients = [];
  }

  /** A client id nobody else has. */
  name(text) {
    return `${this.prefix}-${text}`;
  }

  /** A topic or filter below this run's own level. */
  topic(text) {
    return `${this.prefix}/${text}`;
  }

  /** A connected client. */
  client(name, options) {
    return new Client(this, name, options).connect();
  }

  /** A client that has not connected yet. */
  offline(name, options) {
    return new Client(this, name, options);
  }

  /** Lets so much of a lifetime pass: what the broker's clock does is what is checked. */
  letPass(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
  }

  /** Looks until `look` finds something. */
  async until(what, look) {
    const end = Date.now() + DEADLINE_MS;
    for (;;) {
      const found = look();
      if (found) return found;
      if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
      await this.letPass(5);
    }
  }

  /** Waits until the other transports of this check are as far. */
  async together() {
    this.meeting.missing -= 1;
    await this.until('the other transports', () => this.meeting.missing === 0);
  }

  close() {
    this.clients.forEach((client) => client.mqtt.end(true));
  }
}

async function failure(check, run) {
  try {
    await check(run);
  } catch (error) {
    return error;
  } finally {
    run.close();
  }
}

async function run(checks) {
  const options = {
    url: { type: 'string', multiple: true, default: [] },
    ca: { type: 'string' },
    pid: { type: 'string' },
    list: { type: 'boolean' },
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (values.list) {
    console.log(Object.keys(checks).join('\n'));
    return 0;
  }
  let failed = 0;
  for (const check of positionals[0] === 'all' ? Object.keys(checks) : positionals) {
    const meeting = { missing: values.url.length };
    const runs = values.url.map((url) => new Run(...url.split(/=(.*)/, 2), values, meeting));
    const failures = await Promise.all(runs.map((run) => failure(checks[check], run)));
    failures.forEach((error, n) => {
      if (!error) return;
      failed += 1;
      console.log(`${check} over ${runs[n].transport} failed:\n${error.stack ?? error}`);
    });
    if (!failures.some(Boolean)) console.log(`${check}: ok over ${runs.map((run) => run.transport).join(', ')}`);
  }
  return Math.min(failed, 100);
}

/** Runs what the command line asks for of these checks, by name, and ends the process. */
export async function main(checks) {
  process.on('unhandledRejection', (error) => {
    console.log(`nobody waited for this failure:\n${error?.stack ?? error}`);
    process.exit(101);
  });
  process.exit(await run(checks));
}
