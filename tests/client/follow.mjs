// Follows a state with palestra-sync: a line of JSON in is a message, the line out is what became of it.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { StateSync } = await import(pathToFileURL(process.argv[2]));

let sync, told;
function begin() {
  told = { asked: [], errors: [], changes: 0 };
  sync = new StateSync({
    socket: { sendMatchState: async (...asked) => void told.asked.push(asked) },
    onChange: () => (told.changes += 1),
    onError: (error) => told.errors.push(error.message),
  });
}

begin();
for await (const line of createInterface({ input: process.stdin })) {
  const { op_code, data } = JSON.parse(line);
  if (op_code === 0) begin();
  const taken = op_code !== 0 && sync.receive({ op_code, match_id: "m.", data: Uint8Array.from(Buffer.from(data, "base64")) });
  await undefined;
  console.log(JSON.stringify({ taken, state: sync.state ?? null, ...told }));
}
