/**
 * Arena's client: connection, match, game loop and page, in that order. Its neighbours hold the rest:
 * rules.js what all clients agree on, field.js the drawing, steering.js keys and fingers.
 *
 * Every player steers an own disc and tells the others where it is; the node only relays. What all must agree on, the
 * places of the sparks, is computed by everybody from the match id, so that it never has to be sent.
 */

import { Field } from "./field.js";
import { RADIUS, RUN_SECONDS, SPARKS, WORLD, glide, placeOf, positionAt } from "./rules.js";
import { Steering } from "./steering.js";

const SDK = "/vendor/nakama-js.esm.mjs"; // the stock client SDK, as its npm package ships it
const BOARD = "arena";
const SAVE = { collection: "arena", key: "save" };
const OP = { MOVE: 1, HELLO: 2, TAKE: 3, SPARKS: 4, FINISH: 5 }; // what a match message means
const HUES = [190, 222, 268, 318, 350, 24, 52, 145];
const SEND_MS = 50; // 20 positions a second
const BEHIND_MS = 100; // others are drawn this late, so that there is a position on either side of "now"
const RETRY_SECONDS_MAX = 15;

const room = new URLSearchParams(location.search).get("room") || "lobby";
const $ = (id) => document.getElementById(id);
const field = new Field($("field"));
const steering = new Steering($("field"));

const me = { id: "", name: "Player", hue: HUES[0], x: 0, y: 0, vx: 0, vy: 0, score: 0, best: 0, running: false };
const players = new Map(); // session id → another player
const sparks = Array.from({ length: SPARKS }, (_, slot) => ({ slot, generation: -1, takenBy: "", x: 0, y: 0 }));
let daily = { worth: 5, hue: 45 };
let link = null; // { client, session, socket, match } while we are in the match
let session = null;
let loaded = false; // the save and today's spark are here
let unsent = 0; // a score that the leaderboard has not heard of yet
let endsAt = 0;

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
  socket.onmatchpresence = onPresence;
  socket.onmatchdata = onMessage;
  if (!loaded) await Promise.all([loadSave(client), loadDaily(client)]);
  loaded = true;
  await socket.connect(session, false);
  // Equal names lead to the same match, whoever comes first: no lobby is needed.
  const match = await socket.createMatch(`arena.${room}`);
  link = { client, session, socket, match };
  me.id = match.self.session_id;
  for (const spark of sparks) place(spark, Math.max(spark.generation, 0));
  for (const presence of match.presences ?? []) meet(presence);
  sendHello();
  sendPosition();
  return { lost };
}

/** Leave what is left of a connection; scores and the run go on. */
function leave() {
  link?.socket.disconnect(false);
  link = null;
  players.clear();
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
      submit();
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

// Save, daily spark, leaderboard: plain requests --------------------------------------------------------------------

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

async function loadDaily(client) {
  const answer = await client.rpc(session, "daily_spark", { room });
  daily = answer.payload;
  $("daily").style.setProperty("--gem", daily.hue);
  $("daily-text").textContent = `Today a spark like this is worth ${daily.worth}`;
}

/** Hand in the best score that the board has not heard of; what fails is kept for the next time. */
async function submit() {
  if (!unsent || !link) return;
  const score = unsent;
  try {
    const metadata = { name: me.name, hue: me.hue };
    await link.client.writeLeaderboardRecord(link.session, BOARD, { score: String(score), metadata });
    await store();
    if (unsent === score) unsent = 0;
    send(OP.FINISH, { score });
    await refreshBoard();
  } catch (error) {
    console.info("Arena kept a score for later:", await explain(error));
  }
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

/** Tell everybody, or only `whom`. Bytes and not text, because names may hold any letter. */
function send(op, body, whom) {
  const data = Uint8Array.from(new TextEncoder().encode(JSON.stringify(body)));
  link?.socket.sendMatchState(link.match.match_id, op, data, whom).catch(() => {}); // the loss is handled in stayConnected
}

function sendPosition() {
  const [time, x, y, vx, vy] = [performance.now(), me.x, me.y, me.vx, me.vy].map(Math.round);
  send(OP.MOVE, { time, x, y, vx, vy, score: me.score, running: me.running });
}

function sendHello(whom) {
  send(OP.HELLO, { name: me.name, hue: me.hue, score: me.score }, whom);
}

function meet(presence) {
  const id = presence.session_id;
  if (id !== me.id && !players.has(id)) {
    players.set(id, { id, name: nameOf(presence.username), hue: HUES[0], score: 0, running: false, samples: [], offset: null });
  }
  return players.get(id);
}

function onPresence({ joins = [], leaves = [] }) {
  for (const presence of leaves) players.delete(presence.session_id);
  for (const presence of joins) {
    if (presence.session_id === me.id || players.has(presence.session_id)) continue;
    const others = [...players.keys()];
    meet(presence);
    sendHello([presence]);
    sendPosition();
    // Of those who were here before, the one with the lowest id tells the newcomer how far the sparks are.
    if (others.every((id) => me.id < id)) send(OP.SPARKS, sparks.map((spark) => spark.generation), [presence]);
  }
}

function onMessage(message) {
  const from = meet(message.presence);
  if (!from || !message.data) return;
  try {
    const body = JSON.parse(new TextDecoder().decode(message.data));
    handlers[message.op_code]?.(from, body);
  } catch {
    // Relayed words come from other players, who may say anything: nonsense is dropped.
  }
}

const handlers = {
  [OP.MOVE](from, body) {
    const { time, x, y, vx, vy } = body;
    if (![time, x, y, vx, vy].every(Number.isFinite)) return;
    // The clocks of two machines differ by a constant; the fastest message seen so far shows it best.
    const offset = performance.now() - time;
    from.offset = from.offset === null ? offset : Math.min(from.offset + 0.2, offset);
    if (from.samples.length && time <= from.samples.at(-1).time) return;
    from.samples = [...from.samples.slice(-19), { time, x, y, vx, vy }];
    from.score = Number(body.score) || 0;
    from.running = body.running === true;
  },
  [OP.HELLO](from, body) {
    from.name = nameOf(body.name);
    from.hue = hueOf(body.hue);
    from.score = Number(body.score) || 0;
  },
  [OP.TAKE](from, { slot, generation }) {
    const spark = sparks[slot];
    if (spark && Number.isInteger(generation)) taken(spark, generation, from.id);
  },
  [OP.SPARKS](_from, generations) {
    for (const [slot, generation] of generations.entries()) {
      if (Number.isInteger(generation) && generation > sparks[slot].generation) place(sparks[slot], generation);
    }
  },
  [OP.FINISH](from, { score }) {
    toast(`${from.name} finished with ${Number(score) || 0}`);
    refreshBoard();
  },
};

function place(spark, generation) {
  Object.assign(spark, placeOf(link.match.match_id, spark.slot, generation), { generation, bornAt: performance.now() });
}

/** Somebody touched a spark. If two did, the lower session id wins, and the other gives the points back. */
function taken(spark, generation, by) {
  if (generation >= spark.generation) {
    field.burst(spark, by === me.id ? me.hue : players.get(by)?.hue ?? daily.hue);
    spark.takenBy = by;
    spark.worth = spark.lucky ? daily.worth : 1;
    place(spark, generation + 1);
    return true;
  }
  if (generation === spark.generation - 1 && by < spark.takenBy) {
    if (spark.takenBy === me.id) me.score = Math.max(0, me.score - spark.worth);
    spark.takenBy = by;
  }
  return false;
}

// Loop: steer, step, collect, send, draw ------------------------------------------------------------------------------

let previous = performance.now();
let sentAt = 0;

function frame(now) {
  const seconds = Math.min((now - previous) / 1000, 0.05);
  previous = now;
  glide(me, ...steering.direction(field.toScreen(me)), seconds);
  if (me.running) {
    collect();
    if (now >= endsAt) finish();
  }
  for (const player of players.values()) {
    if (player.samples.length) Object.assign(player, positionAt(player.samples, now - player.offset - BEHIND_MS));
  }
  const moving = Math.hypot(me.vx, me.vy) > 1;
  if (link && now - sentAt >= (moving ? SEND_MS : 1000)) {
    sentAt = now;
    sendPosition();
  }
  field.draw({ me, players, sparks, daily, stick: steering.stick }, now, seconds);
  requestAnimationFrame(frame);
}

function collect() {
  for (const spark of sparks) {
    const reach = RADIUS.disc + (spark.lucky ? RADIUS.lucky : RADIUS.spark);
    if (!link || Math.hypot(spark.x - me.x, spark.y - me.y) > reach) continue;
    const { generation, x, y } = spark;
    if (!taken(spark, generation, me.id)) continue;
    me.score += spark.worth;
    field.say(`+${spark.worth}`, x, y);
    send(OP.TAKE, { slot: spark.slot, generation });
  }
}

function start() {
  Object.assign(me, { score: 0, running: true });
  steering.enable(true);
  endsAt = performance.now() + RUN_SECONDS * 1000;
  showPage();
  $("field").focus();
}

function finish() {
  if (!me.running) return;
  me.running = false;
  $("result-text").textContent = me.score > me.best ? "Your best run so far" : "Sparks in this run";
  $("result-score").textContent = me.score;
  keepScore();
  steering.enable(false);
  sendPosition();
  $("result").hidden = false;
  $("intro").hidden = true;
  $("play").textContent = "Play again";
  showPage();
  $("play").focus({ preventScroll: true });
}

/** Note the score of this run and hand it in. */
function keepScore() {
  me.best = Math.max(me.best, me.score);
  unsent = Math.max(unsent, me.score);
  submit();
}

// Page: form, panels, messages --------------------------------------------------------------------------------------

// What comes from a save or from other players is bounded before it is used; pages get it as text, never as markup.
const nameOf = (text) => String(text ?? "").trim().slice(0, 16) || "Player";
const hueOf = (hue) => (HUES.includes(hue) ? hue : HUES[0]);

function showPage() {
  const left = me.running ? Math.max(0, Math.ceil((endsAt - performance.now()) / 1000)) : RUN_SECONDS;
  $("score").textContent = me.score;
  $("best").textContent = Math.max(me.best, me.score);
  $("time").textContent = left;
  $("time").parentElement.dataset.late = me.running && left <= 10;
  $("card").hidden = me.running;
  $("finish").hidden = !me.running;
  $("play").disabled = !loaded;
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
    sendHello();
  });
  $("card").addEventListener("submit", (event) => {
    event.preventDefault();
    me.name = nameOf($("name").value);
    start();
    sendHello();
    link?.client.updateAccount(link.session, { display_name: me.name }).then(store).catch(() => toast("Your name is not saved yet"));
  });
  $("finish").addEventListener("click", finish);
  addEventListener("keydown", (event) => event.code === "Escape" && finish());
  // A phone that is put away may never come back: hand in what there is.
  addEventListener("visibilitychange", () => document.hidden && me.running && keepScore());
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
  get connected() { return link !== null; },
});

Object.assign(me, { x: WORLD.width * (0.25 + Math.random() / 2), y: WORLD.height * (0.25 + Math.random() / 2) });
chooseHue(me.hue);
listen();
stayConnected();
requestAnimationFrame(frame);
