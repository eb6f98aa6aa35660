/**
 * Tic-tac-toe's client. The server holds the board and the rules; the page shows the board whenever it changes, and says
 * which cell was clicked.
 */

import { StateSync } from "/palestra/sync.js"; // follows the state of a match, from the platform itself
import { Client } from "/vendor/nakama-js.esm.mjs"; // the stock client SDK, as its npm package ships it

const OP = { PLACE: 1, AGAIN: 2 };
const LINES = ["012", "345", "678", "036", "147", "258", "048", "246"];
const RETRY_MS = 2000;
const $ = (id) => document.getElementById(id);

let link = null; // { socket, match } while we are at a table

const cells = Array.from({ length: 9 }, (_, cell) => {
  const button = Object.assign(document.createElement("button"), { type: "button", disabled: true });
  button.onclick = () => send(OP.PLACE, { cell });
  $("board").append(button);
  return button;
});
$("again").onclick = () => send(OP.AGAIN, {});

function send(op, body) {
  link?.socket.sendMatchState(link.match.match_id, op, JSON.stringify(body));
}

function show(board) {
  const own = Object.keys(board.seats).find((seat) => board.seats[seat] === link?.match.self.session_id);
  const full = Object.keys(board.seats).length === 2;
  const mine = full && !board.over && board.turn === own;
  const line = LINES.find((one) => board.over && [...one].every((cell) => board.cells[cell] === board.over)) ?? "";
  cells.forEach((button, cell) => {
    const side = board.cells[cell];
    button.textContent = button.dataset.side = side;
    button.dataset.won = line.includes(cell);
    button.disabled = !mine || side !== "";
    button.ariaLabel = `Row ${Math.floor(cell / 3) + 1}, column ${(cell % 3) + 1}: ${side || "empty"}`;
  });
  $("again").hidden = !board.over;
  $("told").dataset.mine = mine;
  $("told").textContent = !full ? "Waiting for somebody to play with: open this page in a second window"
    : board.over === "draw" ? "A draw"
    : board.over ? (board.over === own ? "You won" : "You lost")
    : mine ? `Your turn: you are ${own.toUpperCase()}` : "The other one thinks";
}

/** Sit down at a table with a free seat. Resolves to a promise holder: what to wait for next is the loss. */
async function enter() {
  const secure = location.protocol === "https:";
  const client = new Client("defaultkey", location.hostname, location.port || (secure ? "443" : "80"), secure);
  // Each window is another player, so that two of them can play.
  const session = await client.authenticateDevice(crypto.getRandomValues(new Uint32Array(4)).join("-"), true);
  const socket = client.createSocket(secure);
  const lost = new Promise((resolve) => (socket.ondisconnect = socket.onheartbeattimeout = resolve));
  const sync = new StateSync({ socket, onChange: (board) => link && show(board) });
  socket.onmatchdata = (message) => sync.receive(message);
  await socket.connect(session, false);
  const { payload } = await client.rpc(session, "find_game", {});
  link = { socket, match: await socket.joinMatch(payload.match_id) };
  if (sync.state) show(sync.state);
  return { lost };
}

for (;;) {
  try {
    const { lost } = await enter();
    await lost;
  } catch (error) {
    console.info("No table yet:", error);
  }
  link = null;
  cells.forEach((button) => (button.disabled = true));
  $("told").textContent = "The server does not answer; trying again";
  await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
}
