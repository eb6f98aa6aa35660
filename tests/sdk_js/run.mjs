// A walk in Node.js. Arguments: the walk's file, the files of the SDK and of its Protobuf adapter, and options as JSON.

import { pathToFileURL } from "node:url";
import { assert } from "./assert.mjs";

const [file, client, adapter, options] = process.argv.slice(2);
const { walk } = await import(pathToFileURL(file));
const sdk = { ...(await import(pathToFileURL(client))), ...(await import(pathToFileURL(adapter))) };
console.log(JSON.stringify(await walk({ sdk, assert, ...JSON.parse(options) })));
process.exit(0); // the SDK's timers would keep it alive
