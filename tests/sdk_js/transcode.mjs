// What the stock SDK's Protobuf adapter makes of envelopes, without a server: argument: the adapter's file; on standard
// input a JSON list of [bytes as base64, envelope or null]; printed for each what was read from the bytes, and the bytes of
// the envelope as base64.

import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";

const { WebSocketAdapterPb } = await import(pathToFileURL(process.argv[2]));
const base64 = (bytes) => Buffer.from(bytes).toString("base64");

let socket;
globalThis.WebSocket = class {
  constructor() {
    socket = this;
  }

  send(bytes) {
    this.sent = bytes;
  }
};

const adapter = new WebSocketAdapterPb();
adapter.connect("ws://", "127.0.0.1", "1", false, "");
let read;
adapter.onMessage = (envelope) => (read = envelope);

// The SDK's own objects hold bytes and numbers where JSON has texts.
function asTold(envelope) {
  const data = envelope.match_data_send ?? envelope.party_data_send ?? envelope.match_data ?? envelope.party_data;
  if (data) Object.assign(data, { data: Buffer.from(data.data, "base64"), op_code: Number(data.op_code) });
  return envelope;
}

const answers = JSON.parse(readFileSync(0)).map(([bytes, envelope]) => {
  socket.onmessage({ data: new Uint8Array(Buffer.from(bytes, "base64")).buffer });
  if (envelope) adapter.send(asTold(envelope));
  return [read, envelope && base64(socket.sent)];
});
console.log(JSON.stringify(answers, (_, value) => (value instanceof Uint8Array ? base64(value) : value)));
