// Asks a balancer over HTTP/2: a call, and a socket inside a stream (RFC 8441) where it offers that. Prints both answers.
// node http2.mjs https://127.0.0.1:PORT TOKEN CERTIFICATE
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:http2";

const [url, token, certificate] = process.argv.slice(2);
const session = connect(url, { ca: readFileSync(certificate) });
const settings = await new Promise((found) => session.once("remoteSettings", found));

function exchange(headers, sent) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: !sent });
    const answer = { status: 0, text: "" };
    stream.on("response", (head) => {
      answer.status = head[":status"];
      if (sent) stream.write(sent);
    });
    stream.on("data", (data) => {
      answer.text += data.toString("latin1");
      if (sent && answer.text.endsWith("}")) stream.close();
    });
    stream.on("close", () => resolve(answer));
    stream.on("error", reject);
  });
}

function frame(text) {
  const mask = randomBytes(4);
  const body = Buffer.from(text).map((byte, index) => byte ^ mask[index % 4]);
  return Buffer.concat([Buffer.from([0x81, 0x80 | body.length]), mask, body]);
}

const call = await exchange({ ":path": "/healthcheck" });
let socket = null;
if (settings.enableConnectProtocol) {
  const path = `/ws?token=${token}&format=json`;
  const opening = { ":method": "CONNECT", ":protocol": "websocket", ":path": path, "sec-websocket-version": "13" };
  socket = await exchange(opening, frame('{"cid":"1","ping":{}}'));
}
console.log(JSON.stringify({ call, socket }));
session.close();
