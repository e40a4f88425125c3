// `node build.mjs APP WIT OUT`, beside its node_modules: makes a component of the world `command`.

import { writeFile } from 'node:fs/promises';

import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, out] = process.argv.slice(2);
// A handler has no WASI: what it may touch, the contract says.
const disableFeatures = ['stdio', 'random', 'clocks', 'http', 'fetch-event'];
const { component } = await componentize({ sourcePath, witPath, worldName: 'command', disableFeatures });
await writeFile(out, component);
