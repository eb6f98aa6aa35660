/**
 * Dice's client: connection, game, rolls and their verification, page, in that order. What is computed to verify a roll
 * stands in fair.js.
 *
 * The server decides everything; the page shows what it is told. It is told in two ways, by the answer to a roll and by
 * notifications to all windows of the player, and takes both for the same thing: a roll is known by its id.
 */

import { SIDES, canCompute, commitmentOf, rollOf, seedBytes } from "./fair.js";

const SDK = "/vendor/nakama-js.esm.mjs"; // the stock client SDK, as its npm package ships it
const DEVICE = "dice.device";
const CODE = { ROLLED: 1, REVEALED: 2 }; // what a notification is about
const ROLLS_SHOWN = 30;
const ROLL_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 700;
const RETRY_SECONDS_MAX = 8;

const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const number = new Intl.NumberFormat("en");

const rolls = new Map(); // round id → what was rolled, oldest first
const secrets = new Map(); // commitment → the server seed behind it, once revealed
const promised = new Set(); // commitments that this window has shown
let client = null;
let session = null;
let connected = false;
let table = { coins: 0, pays: {} };
let pair = null; // the seeds in use
let rolling = false;
let unheard = []; // notifications that wait until the roll has come to rest

// Connection: log in, listen, and come back whenever the server was away --------------------------------------------

/** This browser's identity, made up once. Without storage (private windows) it lasts one visit. */
function deviceId() {
  try {
    const device = localStorage.getItem(DEVICE) ?? freshKey();
    localStorage.setItem(DEVICE, device);
    return device;
  } catch {
    return freshKey();
  }
}
const device = deviceId();

function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function logIn() {
  const soon = Date.now() / 1000 + 60;
  if (session && !session.isexpired(soon)) return;
  session = session && !session.isrefreshexpired(soon) ? await client.sessionRefresh(session) : await client.authenticateDevice(device, true);
}

/** Be told of what happens, then read what has happened. Resolves to a promise holder: next to wait for is the loss. */
async function enter() {
  await logIn();
  const socket = client.createSocket(client.useSSL);
  const lost = new Promise((resolve) => (socket.ondisconnect = socket.onheartbeattimeout = resolve));
  socket.onnotification = ({ code, content }) => {
    const hear = { [CODE.ROLLED]: onRolled, [CODE.REVEALED]: onRevealed }[code];
    if (hear) rolling ? unheard.push(() => hear(content)) : hear(content);
  };
  await socket.connect(session, false);
  table = await rpc("welcome", {});
  await Promise.all([readSeeds(), readRolls()]);
  showCoins(table.coins);
  return { lost, socket };
}

async function stayConnected() {
  const secure = location.protocol === "https:";
  const { Client } = await import(SDK);
  client = new Client("defaultkey", location.hostname, location.port || (secure ? "443" : "80"), secure);
  for (let failures = 0; ; failures += 1) {
    let socket = null;
    try {
      const entered = await enter();
      socket = entered.socket;
      failures = 0;
      setConnected(true);
      await entered.lost;
    } catch (error) {
      session = null; // whatever it was, a new login is the surest way back
      console.info("Dice could not connect:", await explain(error));
    }
    socket?.disconnect(false);
    setConnected(false);
    await wait(1000 * Math.min(2 ** failures, RETRY_SECONDS_MAX) * (0.8 + Math.random() * 0.4));
  }
}

async function rpc(id, request) {
  await logIn();
  return (await client.rpc(session, id, request)).payload;
}

/** The platform's own endpoints, which are not in the stock SDK. Throws the Response if it is a refusal. */
async function call(method, path, request) {
  await logIn();
  const headers = { Authorization: `Bearer ${session.token}` };
  const answer = await fetch(`/v2/palestra/${path}`, { method, headers, body: request && JSON.stringify(request) });
  if (!answer.ok) throw answer;
  return answer.json();
}

/** The SDK throws a Response, a text or an Error: find the words in it. */
async function explain(error) {
  if (error instanceof Response) return (await error.json().catch(() => ({}))).message ?? `HTTP ${error.status}`;
  return error?.message ?? (typeof error === "string" ? error : "no answer");
}

// Game: bet, and what came of it --------------------------------------------------------------------------------------

const under = () => Number($("under").value);
const stake = () => Number(document.querySelector('input[name="stake"]:checked').value);

/**
 * Place a bet and see it through. The key is made before the first attempt: a bet whose answer was lost is sent again
 * with the same key until there is one, and is played once.
 */
async function place(bet) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await rpc("roll", bet);
    } catch (error) {
      const final = error instanceof Response && ![429, 503].includes(error.status);
      if (final) throw error;
      toast("No answer yet. Your bet is safe: it is asked for again and played once.");
      await wait(1000 * Math.min(2 ** failures, RETRY_SECONDS_MAX));
    }
  }
}

async function roll() {
  if (rolling || !connected) return;
  rolling = true;
  showGame();
  $("number").dataset.outcome = "rolling";
  const spin = setInterval(() => ($("number").textContent = Math.floor(Math.random() * SIDES)), 55); // for the eye only
  try {
    const [rolled] = await Promise.all([place({ stake: stake(), under: under(), key: freshKey() }), wait(ROLL_MS)]);
    clearInterval(spin);
    land(rolled);
    onRolled(rolled);
  } catch (error) {
    clearInterval(spin);
    $("number").textContent = "–";
    $("number").dataset.outcome = "";
    $("outcome").textContent = "Nothing was rolled.";
    toast(await explain(error));
  }
  rolling = false;
  for (const hear of unheard.splice(0)) hear();
  showGame();
}

/** A roll of this player, in this window or another one. */
function onRolled(rolled) {
  const { coins, ...round } = rolled;
  const isNew = !rolls.has(round.id);
  showCoins(coins);
  if (!isNew) return;
  keep({ ...round, early: promised.has(round.fair.commitment) });
  if (pair?.commitment === round.fair.commitment) pair.nonce = Math.max(pair.nonce, round.fair.nonce + 1);
  showSeeds();
  showRolls();
}

function keep(round) {
  rolls.set(round.id, round);
  for (const oldest of [...rolls.keys()].slice(0, -ROLLS_SHOWN)) rolls.delete(oldest);
}

/** The server's secret came out, by this window or another one. */
function onRevealed({ commitment, server_seed }) {
  secrets.set(commitment, server_seed);
  showRolls();
  if ($("check").open) showCheck();
  readSeeds().catch(() => {}); // a lost connection is dealt with in stayConnected
}

async function readSeeds() {
  const [active, { seeds }] = await Promise.all([call("GET", "fair"), call("GET", "fair/history")]);
  for (const seed of seeds) secrets.set(seed.commitment, seed.server_seed);
  pair = active;
  showSeeds();
  showRolls();
}

/** The player's records. One that is open belongs to a bet under way, or to one that a crash has cut off: not yet a roll. */
async function readRolls() {
  const { rounds = [] } = await call("GET", `rounds?limit=${ROLLS_SHOWN}`);
  for (const round of rounds.reverse()) {
    if (round.game !== "dice" || round.outcome !== "settled" || rolls.has(round.id)) continue;
    keep({
      id: round.id,
      stake: Number(round.stakes[0].amount),
      under: JSON.parse(round.inputs).under,
      roll: JSON.parse(round.result).roll,
      payout: Number(round.payouts?.[0]?.amount ?? 0),
      fair: JSON.parse(round.fair),
    });
  }
  showRolls();
}

/** Reveal the server seed in use and go on with the next one, and with a seed of the player's if one is given. */
async function reveal(clientSeed) {
  try {
    const { revealed, active } = await call("POST", "fair/rotate", clientSeed ? { client_seed: clientSeed } : {});
    pair = active;
    $("next-client-seed").value = "";
    onRevealed(revealed);
  } catch (error) {
    toast(await explain(error));
  }
}

// Verification ----------------------------------------------------------------------------------------------------------

let checked = null; // the roll in the dialog

/** Everything that must hold for a roll to have been fair, each with whether it does: true, false, or null for unknown. */
async function stepsOf(round, secret) {
  const { commitment, client_seed, nonce } = round.fair;
  const seed = seedBytes(secret);
  if (!seed) return [[false, "A secret is 64 hexadecimal digits."]];
  const steps = [];
  if (canCompute) {
    const digest = await commitmentOf(seed);
    const early = round.early ? ", which this page showed before you rolled" : "";
    steps.push([digest === commitment, `SHA-256 of the secret is ${short(digest)}`, `committed: ${short(commitment)}${early}`]);
    const again = await rollOf(seed, client_seed, nonce);
    const message = `HMAC-SHA256 of “${client_seed}:${nonce}:0” begins with ${again.word}`;
    steps.push([again.roll === round.roll, `The seeds give ${again.roll}`, `${message}, modulo ${SIDES}; rolled: ${round.roll}`]);
  } else {
    steps.push([null, "Not computed here", "browsers offer WebCrypto on https and on this machine only"]);
  }
  const due = round.roll < round.under ? (round.stake / 100) * table.pays[round.under] : 0;
  steps.push([due === round.payout, `${round.roll} under ${round.under} pays ${number.format(due)}`, `paid: ${number.format(round.payout)}`]);
  steps.push(await publicStep(round, secret));
  return steps;
}

/** The same from the platform's public endpoint, which anybody may ask without being logged in. */
async function publicStep(round, server_seed) {
  const { commitment, client_seed, nonce } = round.fair;
  try {
    const request = { server_seed, client_seed, nonce, draws: [{ kind: "below", n: SIDES }] };
    const answer = await call("POST", "fair/verify", request);
    const same = answer.commitment === commitment && answer.values[0] === round.roll;
    return [same, `The public endpoint says ${answer.values[0]}`, `with the SHA-256 ${short(answer.commitment)}`];
  } catch (error) {
    return [null, "The public endpoint did not answer", await explain(error)];
  }
}

const short = (digest) => `${digest.slice(0, 8)}…${digest.slice(-8)}`;

function openCheck(round) {
  checked = round;
  const gain = round.payout - round.stake;
  $("check-title").textContent = `Rolled ${round.roll}, under ${round.under}: ${signed(gain)}`;
  $("check-client-seed").textContent = round.fair.client_seed;
  $("check-nonce").textContent = round.fair.nonce;
  $("server-seed").value = "";
  showCheck();
  $("check").showModal();
}

/** The dialog for the roll that is being checked: what is to come, or what was found. */
async function showCheck() {
  const round = checked;
  const secret = secrets.get(round.fair.commitment);
  $("inputs").hidden = !secret;
  $("reveal-here").hidden = secret !== undefined;
  if (!secret) {
    const same = [...rolls.values()].filter(({ fair }) => fair.commitment === round.fair.commitment).length;
    const others = same > 1 ? ` and ${same - 1} other${same > 2 ? "s" : ""} made with it` : "";
    return showVerdict("waiting", `The secret behind this roll is still in use. Its SHA-256, ${short(round.fair.commitment)}, is
      fixed already. Reveal it, and this roll${others} can be checked; the next rolls use the next secret.`);
  }
  $("server-seed").value ||= secret;
  await verify();
}

/** Work it out with the secret as it stands in the dialog, which may be another one than the server's. */
async function verify() {
  const [round, secret] = [checked, $("server-seed").value.trim()];
  const steps = await stepsOf(round, secret);
  if (round !== checked || secret !== $("server-seed").value.trim()) return; // meanwhile something else was asked
  $("steps").replaceChildren(...steps.map(([holds, text, detail = ""]) => {
    const step = element("li", "", text);
    step.dataset.state = stateOf([holds]);
    step.append(element("small", "", detail));
    return step;
  }));
  const state = stateOf(steps.map(([holds]) => holds));
  const untouched = secret === secrets.get(round.fair.commitment);
  showVerdict(state, {
    good: "Fair: this roll follows from the seeds, and the secret is the one that was promised.",
    bad: untouched ? "Not fair: this roll does not follow from what was promised." : "With this secret it does not add up.",
    waiting: "What could be checked is right; something could not be checked from here.",
  }[state]);
  if (untouched) {
    round.state = state;
    showRolls();
  }
}

const stateOf = (holds) => (holds.includes(false) ? "bad" : holds.includes(null) ? "waiting" : "good");

function showVerdict(state, text) {
  $("verdict").dataset.state = state;
  $("verdict").textContent = text;
}

// Page ------------------------------------------------------------------------------------------------------------------

const signed = (amount) => `${amount < 0 ? "−" : "+"}${number.format(Math.abs(amount))}`;

function element(kind, className, text = "") {
  return Object.assign(document.createElement(kind), { className, textContent: text });
}

function showGame() {
  const pays = table.pays[under()];
  $("game").style.setProperty("--under", under());
  $("fact-under").textContent = under();
  $("fact-chance").textContent = `${under()} %`;
  $("fact-pays").textContent = pays ? number.format((stake() / 100) * pays) : "–";
  $("fact-times").textContent = pays ? `× ${(pays / 100).toFixed(2)}` : "";
  $("under").setAttribute("aria-valuetext", `${under()}, a chance of ${under()} per cent`);
  for (const input of $("game").elements) input.disabled = rolling && input.id !== "newcomer";
  const poor = connected && table.coins < stake();
  $("roll").disabled = rolling || !connected || poor;
  $("roll").textContent = rolling ? "Rolling" : poor ? "Not enough coins" : `Roll for ${number.format(stake())}`;
  $("broke").hidden = !connected || rolling || table.coins >= 100;
}

/** The die comes to rest. */
function land({ roll: rolled, under: bound, stake: paid, payout }) {
  const won = rolled < bound;
  $("number").textContent = rolled;
  $("number").dataset.outcome = won ? "won" : "lost";
  $("marker").hidden = false;
  $("marker").style.setProperty("--at", rolled);
  $("marker").dataset.outcome = won ? "won" : "lost";
  $("outcome").textContent = won
    ? `${rolled} is under ${bound}: you win ${number.format(payout)} coins.`
    : `${rolled} is not under ${bound}: ${number.format(paid)} coins go to the house.`;
}

function showCoins(coins) {
  const change = coins - table.coins;
  table.coins = coins;
  $("coins").textContent = number.format(coins);
  if (change) {
    const note = element("span", "change", signed(change));
    note.dataset.outcome = change > 0 ? "won" : "lost";
    note.id = "change";
    note.setAttribute("aria-hidden", "true");
    $("change").replaceWith(note); // a new element starts its animation anew
  }
  showGame();
}

function showSeeds() {
  if (!pair) return;
  promised.add(pair.commitment).add(pair.next_commitment);
  $("commitment").textContent = pair.commitment;
  $("next-commitment").textContent = pair.next_commitment;
  $("client-seed").textContent = pair.client_seed;
  $("nonce").textContent = pair.nonce;
  $("reveal").disabled = !connected;
}

function showRolls() {
  $("no-rolls").hidden = rolls.size > 0;
  $("rolls").replaceChildren(...[...rolls.values()].reverse().map((round) => {
    const row = element("li", "");
    const gain = round.payout - round.stake;
    row.dataset.outcome = round.payout ? "won" : "lost";
    const text = element("p", "bet", `under ${round.under}`);
    text.append(element("small", "", `staked ${number.format(round.stake)}`));
    const state = round.state ?? (secrets.has(round.fair.commitment) ? "ready" : "sealed");
    const button = element("button", "verify", { good: "Fair", bad: "Not fair" }[state] ?? "Verify");
    button.type = "button";
    button.dataset.state = state;
    button.setAttribute("aria-label", `${button.textContent}: the roll ${round.roll} under ${round.under}`);
    button.addEventListener("click", () => openCheck(round));
    row.append(element("span", "rolled", round.roll), text, element("span", "gain", signed(gain)), button);
    return row;
  }));
}

function setConnected(now) {
  connected = now;
  $("badge").dataset.state = now ? "online" : "offline";
  $("badge").textContent = now ? "Online" : "Offline";
  $("banner").hidden = now;
  $("banner").textContent = `The server at ${location.host} does not answer. It is asked again and again; your coins are safe.`;
  showSeeds();
  showGame();
}

let toastTimer = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").dataset.shown = true;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").dataset.shown = false), 4000);
}

$("game").addEventListener("submit", (event) => {
  event.preventDefault();
  roll();
});
$("game").addEventListener("input", showGame);
$("newcomer").addEventListener("click", () => {
  try {
    localStorage.removeItem(DEVICE);
  } finally {
    location.reload();
  }
});
$("rotation").addEventListener("submit", (event) => {
  event.preventDefault();
  reveal($("next-client-seed").value.trim());
});
$("reveal-here").addEventListener("click", () => reveal());
$("server-seed").addEventListener("input", verify);

/** What tests may read. */
window.dice = Object.freeze({
  get connected() { return connected; },
  get rolling() { return rolling; },
  get rolls() { return [...rolls.values()]; },
});

showGame();
stayConnected().catch(() => {
  $("banner").hidden = false;
  $("banner").textContent = `The client SDK is missing at ${SDK}. Once the server offers it, reload this page.`;
});
