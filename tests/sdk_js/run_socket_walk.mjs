// The walk over the socket in Node.js. Arguments: the SDK's file, its Protobuf adapter's, and the walk's options as JSON.

import { pathToFileURL } from "node:url";
import { walk } from "./socket_walk.mjs";

const [file, adapter, options] = process.argv.slice(2);
const sdk = { ...(await import(pathToFileURL(file))), ...(await import(pathToFileURL(adapter))) };
console.log(JSON.stringify(await walk({ sdk, ...JSON.parse(options) })));
process.exit(0); // the SDK's timers would keep it alive
