/**
 * Arena's client: connection, match, game loop and page, in that order. Its neighbours hold the rest:
 * rules.js movement, field.js the drawing, steering.js keys and fingers.
 *
 * The server moves the discs and gives the sparks away; the page says where its player wants to go and draws what it is
 * told: others a moment late, so that they move smoothly, and its own disc a moment ahead, so that it answers at once.
 */

import { StateSync } from "/palestra/sync.js"; // follows the state of a match, from the platform itself
import { Field } from "./field.js";
import { RUN_SECONDS, WORLD, glide, positionAt } from "./rules.js";
import { Steering } from "./steering.js";

const SDK = "/vendor/nakama-js.esm.mjs"; // the stock client SDK, as its npm package ships it
const BOARD = "arena";
const SAVE = { collection: "arena", key: "save" };
const OP = { STEER: 1, LOOK: 2, BEGIN: 3, END: 4, FINISHED: 5 }; // what a match message means
const HUES = [190, 222, 268, 318, 350, 24, 52, 145];
const TICK_MS = 50; // the server's: what it is told more often, it does not use
const BEHIND_MS = 100; // others are drawn this late, so that there is a position on either side of "now"
const SNAP_UNITS = 200; // this far off, the own disc jumps to where the server has it
const RETRY_SECONDS_MAX = 15;

const room = new URLSearchParams(location.search).get("room") || "lobby";
const $ = (id) => document.getElementById(id);
const field = new Field($("field"));
const steering = new Steering($("field"));

const me = { seat: "", name: "Player", hue: HUES[0], x: 0, y: 0, vx: 0, vy: 0, score: 0, best: 0, left: 0, running: false };
const truth = { x: 0, y: 0, vx: 0, vy: 0, at: 0 }; // the own disc as the server had it last
const players = new Map(); // seat → another player
const sparks = []; // by slot
let daily = { worth: 5, hue: 45 };
let link = null; // { client, session, socket, match } while we are in the match
let session = null;
let loaded = false; // the save is here

// Connection: log in, join, and come back whenever the server was away ----------------------------------------------

/** This browser's identity. It is no secret to the player; without storage (private windows) it lasts one visit. */
function deviceId() {
  const fresh = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const known = localStorage.getItem("arena.device") || fresh;
    localStorage.setItem("arena.device", known);
    return known;
  } catch {
    return fresh;
  }
}
const device = deviceId();

async function freshSession(client) {
  const soon = Date.now() / 1000 + 60;
  if (session && !session.isexpired(soon)) return session;
  if (session && !session.isrefreshexpired(soon)) return client.sessionRefresh(session);
  return client.authenticateDevice(device, true);
}

/** One attempt to be in the match. Resolves to a promise holder, since what is worth waiting for next is the loss. */
async function enter(sdk) {
  const secure = location.protocol === "https:";
  const client = new sdk.Client("defaultkey", location.hostname, location.port || (secure ? "443" : "80"), secure);
  session = await freshSession(client);
  const socket = client.createSocket(secure);
  const lost = new Promise((resolve) => (socket.ondisconnect = socket.onheartbeattimeout = resolve));
  const sync = new StateSync({ socket, onChange: (state, before) => link && onState(state, before) });
  socket.onmatchdata = (message) => sync.receive(message) || onMessage(message);
  if (!loaded) await loadSave(client);
  loaded = true;
  await socket.connect(session, false);
  const { payload } = await client.rpc(session, "enter", { room });
  showDaily(payload);
  link = { client, session, socket, match: await socket.joinMatch(payload.match_id) };
  sendLook();
  if (sync.state) onState(sync.state);
  return { lost };
}

/** Leave what is left of a connection. The server ends the run of whoever is gone, and the score counts. */
function leave() {
  link?.socket.disconnect(false);
  link = null;
  players.clear();
  me.seat = "";
  if (me.running) showResult();
}

async function stayConnected() {
  let sdk;
  try {
    sdk = await import(SDK);
  } catch {
    return showTrouble(`The client SDK is missing at ${SDK}. Once the server offers it, reload this page.`);
  }
  for (let failures = 0; ; ) {
    showState("connecting", failures ? "Reconnecting" : "Connecting");
    try {
      const { lost } = await enter(sdk);
      failures = 0;
      showState("online", "Online");
      refreshBoard();
      await lost;
    } catch (error) {
      session = null; // whatever it was, a new login is the surest way back
      console.info("Arena could not join:", await explain(error));
    }
    leave();
    failures += 1;
    showState("offline", "Offline");
    await pause(Math.min(2 ** (failures - 1), RETRY_SECONDS_MAX) * (0.8 + Math.random() * 0.4));
  }
}

/** The SDK throws a Response, an event, a text or an Error: find the words in it. */
async function explain(error) {
  if (error instanceof Response) return (await error.json().catch(() => ({}))).message ?? `HTTP ${error.status}`;
  return error?.message ?? (typeof error === "string" ? error : "no answer");
}

/** Wait and say so; the button and a network that comes back cut it short. */
function pause(seconds) {
  return new Promise((resolve) => {
    let left = Math.ceil(seconds);
    const tell = () => showTrouble(`The server at ${location.host} does not answer. Next try in ${left} s.`);
    const end = () => {
      clearInterval(timer);
      removeEventListener("online", end);
      $("retry").onclick = null;
      resolve();
    };
    const timer = setInterval(() => (--left > 0 ? tell() : end()), 1000);
    $("retry").onclick = end;
    addEventListener("online", end);
    tell();
  });
}

// Save, leaderboard: plain requests --------------------------------------------------------------------

async function loadSave(client) {
  const found = await client.readStorageObjects(session, { object_ids: [{ ...SAVE, user_id: session.user_id }] });
  const save = found.objects[0]?.value;
  if (save) Object.assign(me, { name: nameOf(save.name), hue: hueOf(save.hue), best: Number(save.best) || 0 });
  $("name").value = save ? me.name : "";
  $("best").textContent = me.best;
  chooseHue(save ? me.hue : HUES[Math.floor(Math.random() * HUES.length)]);
}

async function store() {
  const value = { name: me.name, hue: me.hue, best: me.best };
  await link?.client.writeStorageObjects(link.session, [{ ...SAVE, value, permission_read: 1, permission_write: 1 }]);
}

function showDaily({ worth, hue }) {
  daily = { worth, hue };
  $("daily").style.setProperty("--gem", hue);
  $("daily-text").textContent = `Today a spark like this is worth ${worth}`;
}

async function refreshBoard() {
  if (!link) return;
  const { client } = link;
  try {
    const list = await client.listLeaderboardRecords(link.session, BOARD, [session.user_id], 8);
    const mine = list.owner_records.filter((own) => !list.records.some((record) => record.owner_id === own.owner_id));
    showRows($("board"), [...list.records, ...mine].map((record) => ({
      rank: record.rank,
      hue: hueOf(record.metadata?.hue),
      name: nameOf(record.metadata?.name ?? record.username),
      points: record.score,
      mine: record.owner_id === session.user_id,
    })));
    $("board-empty").hidden = list.records.length > 0;
  } catch (error) {
    console.info("Arena could not read the board:", await explain(error));
  }
}

// Match: what we say, and what we make of what others say -----------------------------------------------------------

/** Bytes and not text, because names may hold any letter. */
function send(op, body) {
  const data = Uint8Array.from(new TextEncoder().encode(JSON.stringify(body)));
  link?.socket.sendMatchState(link.match.match_id, op, data).catch(() => {}); // the loss is handled in stayConnected
}

function sendLook() {
  send(OP.LOOK, { name: me.name, hue: me.hue });
}

let steered = [0, 0];
let steeredAt = 0;

/** Tell the server where to, when that has changed. */
function sendSteering(direction, now) {
  const wish = direction.map((part) => Math.round(part * 50) / 50);
  if (!link || now - steeredAt < TICK_MS || wish.every((part, axis) => part === steered[axis])) return;
  [steered, steeredAt] = [wish, now];
  send(OP.STEER, { dx: wish[0], dy: wish[1] });
}

function onMessage({ op_code, data }) {
  if (op_code !== OP.FINISHED) return;
  const { name, score } = JSON.parse(new TextDecoder().decode(data));
  toast(`${nameOf(name)} finished with ${score}`);
  refreshBoard();
}

/** The state has changed. What did not change in it is the same object as `before`. */
function onState(state, before) {
  const now = performance.now();
  for (const [seat, disc] of Object.entries(state.discs)) {
    if (disc === before?.discs[seat]) continue;
    if (disc.session_id === link.match.self.session_id) onOwnDisc(seat, disc, now);
    else onDisc(seat, disc, now);
  }
  for (const seat of players.keys()) if (!(seat in state.discs)) players.delete(seat);
  for (const [slot, spark] of state.sparks.entries()) {
    if (spark !== before?.sparks[slot]) onSpark(slot, spark, before?.sparks[slot], state);
  }
}

function onOwnDisc(seat, { x, y, vx, vy, score, seconds_left }, now) {
  Object.assign(truth, { x, y, vx, vy, at: now });
  if (me.seat !== seat || Math.hypot(x - me.x, y - me.y) > SNAP_UNITS) Object.assign(me, { x, y, vx, vy });
  Object.assign(me, { seat, score, left: seconds_left });
  if (seconds_left && !me.running) showRun();
  else if (!seconds_left && me.running) showResult();
}

function onDisc(seat, { session_id: id, name, hue, score, seconds_left, x, y, vx, vy }, now) {
  const player = players.get(seat)?.id === id ? players.get(seat) : { id, samples: [] };
  let { samples } = player;
  const last = samples.at(-1);
  // A disc that lay still was where it was until a tick ago: it must not glide there all the while.
  if (last && now - last.time > 2 * TICK_MS) samples = [...samples, { ...last, vx: 0, vy: 0, time: now - TICK_MS }];
  samples = [...samples.slice(-19), { time: now, x, y, vx, vy }];
  players.set(seat, Object.assign(player, { name: nameOf(name), hue: hueOf(hue), score, running: seconds_left > 0, samples }));
}

function onSpark(slot, { x, y, lucky, taken, by }, before, state) {
  if (before && taken !== before.taken) {
    field.burst(before, hueOf(state.discs[by]?.hue));
    if (by === me.seat) field.say(`+${before.lucky ? state.worth : 1}`, before.x, before.y);
  }
  sparks[slot] = { slot, x, y, lucky, generation: taken, bornAt: performance.now() };
}

// Loop: steer, step, draw ------------------------------------------------------------------------------------------------

let previous = performance.now();

function frame(now) {
  const seconds = Math.min((now - previous) / 1000, 0.05);
  previous = now;
  const direction = steering.direction(field.toScreen(me));
  sendSteering(direction, now);
  glide(me, ...direction, seconds);
  if (me.seat) followTruth(now, seconds);
  for (const player of players.values()) Object.assign(player, positionAt(player.samples, now - BEHIND_MS));
  field.draw({ me, players, sparks, daily, stick: steering.stick }, now, seconds);
  requestAnimationFrame(frame);
}

/** The own disc runs ahead of the server and is drawn towards where the server's must be by now, a part of the way. */
function followTruth(now, seconds) {
  const ahead = Math.min(now - truth.at, 2 * TICK_MS) / 1000;
  const part = 1 - Math.exp(-5 * seconds);
  me.x += (truth.x + truth.vx * ahead - me.x) * part;
  me.y += (truth.y + truth.vy * ahead - me.y) * part;
  me.vx += (truth.vx - me.vx) * part;
  me.vy += (truth.vy - me.vy) * part;
}

function showRun() {
  me.running = true;
  steering.enable(true);
  showPage();
  $("field").focus();
}

function showResult() {
  Object.assign(me, { running: false, left: 0 });
  steering.enable(false);
  $("result-text").textContent = me.score > me.best ? "Your best run so far" : "Sparks in this run";
  $("result-score").textContent = me.score;
  me.best = Math.max(me.best, me.score);
  store().catch(async (error) => console.info("Arena could not save:", await explain(error)));
  $("result").hidden = false;
  $("intro").hidden = true;
  $("play").textContent = "Play again";
  showPage();
  $("play").focus({ preventScroll: true });
}

// Page: form, panels, messages --------------------------------------------------------------------------------------

// What comes from a save or from other players is bounded before it is used; pages get it as text, never as markup.
const nameOf = (text) => String(text ?? "").trim().slice(0, 16) || "Player";
const hueOf = (hue) => (HUES.includes(hue) ? hue : HUES[0]);

function showPage() {
  const left = me.running ? me.left : RUN_SECONDS;
  $("score").textContent = me.score;
  $("best").textContent = Math.max(me.best, me.score);
  $("time").textContent = left;
  $("time").parentElement.dataset.late = me.running && left <= 10;
  $("card").hidden = me.running;
  $("finish").hidden = !me.running;
  $("play").disabled = !me.seat;
  $("player-count").textContent = players.size + 1;
  const own = { hue: me.hue, name: me.name, points: me.score, mine: true };
  const others = [...players.values()].map(({ hue, name, score }) => ({ hue, name, points: score }));
  showRows($("players"), [own, ...others].sort((a, b) => b.points - a.points));
}

function showRows(list, rows) {
  list.replaceChildren(...rows.map(({ rank, hue, name, points, mine }) => {
    const row = document.createElement("li");
    const cell = (kind, text) => row.append(Object.assign(document.createElement("span"), { className: kind, textContent: text }));
    row.style.setProperty("--dot", hue);
    row.dataset.me = mine === true;
    cell(rank ? "rank" : "dot", rank ?? "");
    cell("who", mine ? `${name} (you)` : name);
    cell("points", points);
    return row;
  }));
}

function showState(state, text) {
  $("badge").dataset.state = state;
  $("badge").textContent = text;
  if (state === "online") $("banner").hidden = true;
}

function showTrouble(text) {
  $("banner-text").textContent = text;
  $("banner").hidden = false;
}

let toastTimer = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").dataset.shown = true;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").dataset.shown = false), 3000);
}

function chooseHue(hue) {
  me.hue = hue;
  document.documentElement.style.setProperty("--hue", hue);
  const choice = document.querySelector(`input[name="hue"][value="${hue}"]`);
  if (choice) choice.checked = true;
}

function listen() {
  for (const hue of HUES) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "hue", value: hue });
    input.setAttribute("aria-label", `Colour ${HUES.indexOf(hue) + 1} of ${HUES.length}`);
    label.style.setProperty("--dot", hue);
    label.append(input, document.createElement("span"));
    $("colours").append(label);
  }
  $("colours").addEventListener("change", (event) => {
    chooseHue(Number(event.target.value));
    sendLook();
  });
  $("card").addEventListener("submit", (event) => {
    event.preventDefault();
    me.name = nameOf($("name").value);
    sendLook();
    send(OP.BEGIN, {});
    link?.client.updateAccount(link.session, { display_name: me.name }).then(store).catch(() => toast("Your name is not saved yet"));
  });
  $("finish").addEventListener("click", () => send(OP.END, {}));
  addEventListener("keydown", (event) => event.code === "Escape" && send(OP.END, {}));
  // Nothing steers a page that is put away, so its disc shall not fly on.
  addEventListener("visibilitychange", () => document.hidden && sendSteering([0, 0], steeredAt + TICK_MS));
  const [wide, roomy] = [matchMedia("(min-width: 701px)"), matchMedia("(min-width: 701px) and (min-height: 521px)")];
  const arrange = () => {
    for (const panel of document.querySelectorAll(".panel")) panel.open = roomy.matches;
    const top = wide.matches ? 80 : document.querySelector(".panel summary").getBoundingClientRect().bottom;
    field.covered = { top, right: roomy.matches ? 250 : 0 };
  };
  for (const query of [wide, roomy]) query.addEventListener("change", arrange);
  wide.addEventListener("change", arrange);
  arrange();
  setInterval(showPage, 200);
  setInterval(refreshBoard, 15_000);
}

/** What tests may read. */
window.arena = Object.freeze({
  get me() { return { ...me }; },
  get players() { return [...players.values()].map(({ id, name, hue, score, x, y }) => ({ id, name, hue, score, x, y })); },
  get sparks() { return sparks.map(({ x, y, generation }) => ({ x, y, generation })); },
  get score() { return me.score; },
  get connected() { return me.seat !== ""; },
});

Object.assign(me, { x: WORLD.width / 2, y: WORLD.height / 2 });
chooseHue(me.hue);
listen();
stayConnected();
requestAnimationFrame(frame);
