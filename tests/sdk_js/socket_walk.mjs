// Calls every method of the stock JavaScript socket, call by call, as players of a game would; runs in Node.js and in
// browsers. A step names the method it is about.

const SECONDS_MAX = 15;
let assert;
const text = (data) => new TextDecoder().decode(data);
const names = (presences) => (presences ?? []).map((one) => one.username).sort();

const same = (actual, expected) => assert.deepEqual(actual, expected);

async function refused(promise, code, message) {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  same([error?.code, error?.message], [code, message]);
}

// A player with a socket. What is pushed to it waits until a step asks for it.
class Player {
  constructor(name, session, socket, called) {
    this.name = name;
    this.session = session;
    this.id = session.user_id;
    this.waiting = new Set();
    this.pushed = [];
    this.real = socket;
    for (const event of Object.getOwnPropertyNames(Object.getPrototypeOf(socket)).filter((one) => one.startsWith("on"))) {
      socket[event] = (value) => this.push(event, value);
    }
    this.socket = new Proxy(socket, {
      get(target, method) {
        const member = Reflect.get(target, method);
        if (typeof member !== "function") return member;
        called.add(method);
        return member.bind(target);
      },
    });
  }

  push(event, value) {
    this.pushed.push([event, value]);
    for (const look of this.waiting) look();
  }

  // The oldest push of a kind that fits, waiting for it if need be.
  next(event, fits = () => true) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const at = this.pushed.findIndex(([kind, value]) => kind === event && fits(value));
        if (at < 0) return;
        done();
        resolve(this.pushed.splice(at, 1)[0][1]);
      };
      const late = setTimeout(() => {
        done();
        reject(new Error(`${this.name} heard no ${event}, but ${JSON.stringify(this.pushed)}`));
      }, SECONDS_MAX * 1000);
      const done = () => {
        clearTimeout(late);
        this.waiting.delete(look);
      };
      this.waiting.add(look);
      look();
    });
  }

  joined(event, other) {
    return this.next(event, (one) => names(one.joins).includes(other.name));
  }

  left(event, other) {
    return this.next(event, (one) => names(one.leaves).includes(other.name));
  }
}

const STEPS = [
  ["connect", async ({ ann, bob, cid }) => {
    for (const player of [ann, bob, cid]) same(await player.socket.connect(player.session, player !== bob), player.session);
  }],
  ["pingPong", async ({ ann }) => same(await ann.socket.pingPong(), undefined)],
  ["getHeartbeatTimeoutMs", async ({ ann }) => same(ann.socket.getHeartbeatTimeoutMs(), 10_000)],
  ["setHeartbeatTimeoutMs", async ({ ann }) => {
    ann.socket.setHeartbeatTimeoutMs(20_000);
    same(ann.socket.getHeartbeatTimeoutMs(), 20_000);
  }],

  ["rpc", async ({ ann }) => {
    const answer = await ann.socket.rpc("echo", '{"text":"χαῖρε 🎲"}');
    same([answer.id, answer.payload], ["echo", '{"text":"χαῖρε 🎲"}']);
    await refused(ann.socket.rpc("nothing"), 6, "RPC function not found");
  }],
  ["rpc, which puts the caller on a stream", async ({ ann }) => {
    await ann.socket.rpc("listen", "");
    same(names((await ann.joined("onstreampresence", ann)).joins), [ann.name]);
    await ann.socket.rpc("shout", "to all");
    const { stream, data } = await ann.next("onstreamdata");
    same([stream.mode, stream.label, data], [100, "square", "to all"]);
  }],
  ["nothing: a friend is asked over HTTP, who hears it", async ({ ann, bob, client }) => {
    await client.addFriends(bob.session, [ann.id]);
    const told = await ann.next("onnotification", (one) => one.sender_id === bob.id);
    same([told.code, told.persistent, typeof told.content], [-2, true, "object"]);
    same(new Date(told.create_time) > new Date(2020, 1), true);
  }],

  ["createMatch", async (t) => {
    t.match = await t.ann.socket.createMatch();
    same([t.match.size, t.match.authoritative ?? false, t.match.self.username], [1, false, t.ann.name]);
    await t.ann.joined("onmatchpresence", t.ann);
    if (t.format === "protobuf") return; // this adapter knows no names of matches
    const named = await t.ann.socket.createMatch(`lobby of ${t.ann.name}`);
    same((await t.bob.socket.createMatch(`lobby of ${t.ann.name}`)).match_id, named.match_id);
  }],
  ["joinMatch", async ({ ann, bob, cid, match }) => {
    const joined = await bob.socket.joinMatch(match.match_id);
    same([joined.size, joined.self.username, names(joined.presences)], [1, bob.name, [ann.name]]);
    same((await cid.socket.joinMatch(match.match_id, undefined, { colour: "red" })).size, 2);
    for (const other of [bob, cid]) await ann.joined("onmatchpresence", other);
    await refused(bob.socket.joinMatch("nonsense"), 3, "Invalid match ID");
  }],
  ["sendMatchState", async ({ ann, bob, cid, match }) => {
    await ann.socket.sendMatchState(match.match_id, 7, '{"x":3}');
    for (const other of [bob, cid]) {
      const heard = await other.next("onmatchdata");
      const { presence, op_code, data } = heard;
      same([heard.match_id, presence.username, op_code, text(data)], [match.match_id, ann.name, 7, '{"x":3}']);
    }
    const bytes = new Uint8Array(256).map((_, place) => place);
    await bob.socket.sendMatchState(match.match_id, 1, bytes, undefined, true);
    await bob.socket.sendMatchState(match.match_id, 4_294_967_297, "", [match.self]);
    const first = await ann.next("onmatchdata");
    same([first.op_code, first.reliable, [...first.data]], [1, true, [...bytes]]);
    const second = await ann.next("onmatchdata");
    same([second.op_code, second.data?.length ?? 0], [4_294_967_297, 0]);
    same((await cid.next("onmatchdata")).op_code, 1);
  }],
  ["leaveMatch", async ({ ann, bob, cid, match }) => {
    for (const player of [bob, cid]) {
      await player.socket.leaveMatch(match.match_id);
      await ann.left("onmatchpresence", player);
    }
    same((await ann.socket.rpc("echo", "still here")).payload, "still here");
    same(bob.pushed.concat(cid.pushed).filter(([event]) => event === "onmatchdata"), []);
  }],

  ["joinMatch, of a match that the server runs", async ({ ann, bob }) => {
    const match_id = (await ann.socket.rpc("tower", "")).payload;
    for (const player of [ann, bob]) {
      const joined = await player.socket.joinMatch(match_id);
      same([joined.authoritative, joined.label, joined.self.username], [true, '{"mode":"walk"}', player.name]);
    }
    await ann.socket.sendMatchState(match_id, 2, "up");
    for (const player of [ann, bob]) {
      const { presence, op_code, data } = await player.next("onmatchdata", (one) => one.presence);
      same([presence.username, op_code, text(data)], [ann.name, 2, "up"]);
    }
    // From the match itself; in JSON an op code of 0 is absent, of which the SDK makes NaN.
    const { match_id: from, op_code, data } = await ann.next("onmatchdata", (one) => !one.presence);
    same([from, op_code || 0, text(data)], [match_id, 0, "up"]);
  }],

  ["followUsers", async ({ ann, bob, cid }) => {
    const { presences } = await ann.socket.followUsers([bob.id, cid.id]);
    same(names(presences), [cid.name]); // Bob did not ask to be shown
  }],
  ["updateStatus", async ({ ann, bob }) => {
    await bob.socket.updateStatus("playing");
    same((await ann.joined("onstatuspresence", bob)).joins[0].status, "playing");
    await bob.socket.updateStatus();
    same((await ann.left("onstatuspresence", bob)).leaves[0].status, "playing");
  }],
  ["unfollowUsers", async ({ ann, bob, cid }) => {
    await ann.socket.unfollowUsers([bob.id]);
    await bob.socket.updateStatus("unseen");
    await cid.socket.updateStatus("seen");
    await ann.joined("onstatuspresence", cid);
    same(ann.pushed.filter(([event, one]) => event === "onstatuspresence" && names(one.joins).includes(bob.name)), []);
  }],

  ["joinChat", async (t) => {
    const { ann, bob } = t;
    t.room = await ann.socket.joinChat(`room of ${ann.name}`, 1, true, false);
    same([t.room.room_name, t.room.self.username], [`room of ${ann.name}`, ann.name]);
    const seen = await bob.socket.joinChat(`room of ${ann.name}`, 1, true, false);
    same([seen.id, seen.self.username, names(seen.presences).includes(ann.name)], [t.room.id, bob.name, true]);
    await ann.joined("onchannelpresence", bob);
    const direct = await ann.socket.joinChat(bob.id, 2, false, false);
    same([direct.user_id_one, direct.user_id_two].sort(), [ann.id, bob.id].sort());
  }],
  ["writeChatMessage", async (t) => {
    const ack = await t.ann.socket.writeChatMessage(t.room.id, { text: "héllo" });
    same([ack.channel_id, ack.code, ack.username, ack.persistent], [t.room.id, 0, t.ann.name, true]);
    t.message = ack.message_id;
    for (const player of [t.ann, t.bob]) {
      const told = await player.next("onchannelmessage", (one) => one.message_id === t.message && one.code === 0);
      same([told.content, told.sender_id, told.username], [{ text: "héllo" }, t.ann.id, t.ann.name]);
      same(new Date(told.create_time) > new Date(2020, 1), true);
    }
  }],
  ["updateChatMessage", async ({ ann, bob, room, message }) => {
    same((await ann.socket.updateChatMessage(room.id, message, { text: "bye" })).message_id, message);
    const told = await bob.next("onchannelmessage", (one) => one.message_id === message);
    same([told.code, told.content], [1, { text: "bye" }]);
  }],
  ["removeChatMessage", async ({ ann, bob, room, message }) => {
    same((await ann.socket.removeChatMessage(room.id, message)).message_id, message);
    same((await bob.next("onchannelmessage", (one) => one.message_id === message)).code, 2);
  }],
  ["leaveChat", async ({ ann, bob, room }) => {
    await bob.socket.leaveChat(room.id);
    await ann.left("onchannelpresence", bob);
  }],

  ["createParty", async (t) => {
    t.party = await t.ann.socket.createParty(true, 4);
    const { open, max_size, self, leader, presences } = t.party;
    same([open, max_size, self.username, leader.username], [true, 4, t.ann.name, t.ann.name]);
    same(names(presences), [t.ann.name]);
  }],
  ["joinParty", async (t) => {
    const { ann, bob, party } = t;
    await bob.socket.joinParty(party.party_id);
    const told = await bob.next("onparty", (one) => one.party_id === party.party_id);
    same([told.max_size, told.leader.username, names(told.presences)], [4, ann.name, [ann.name, bob.name].sort()]);
    t.bob_there = (await ann.joined("onpartypresence", bob)).joins[0];
  }],
  ["sendPartyData", async ({ ann, bob, party }) => {
    await ann.socket.sendPartyData(party.party_id, 9, "forward");
    const { presence, op_code, data } = await bob.next("onpartydata");
    same([presence.username, op_code, text(data)], [ann.name, 9, "forward"]);
    await bob.socket.sendPartyData(party.party_id, 10, new Uint8Array([0, 255]));
    same([...(await ann.next("onpartydata")).data], [0, 255]);
  }],
  ["addMatchmakerParty", async (t) => {
    const { ann, bob, party } = t;
    const { ticket } = await ann.socket.addMatchmakerParty(party.party_id, "*", 3, 4, { mode: "duel" }, { level: 1.5 });
    const told = await bob.next("onpartymatchmakerticket");
    same([told.party_id, told.ticket], [party.party_id, ticket]);
    t.ticket = ticket;
  }],
  ["removeMatchmakerParty", async ({ ann, party, ticket }) => {
    await ann.socket.removeMatchmakerParty(party.party_id, ticket);
  }],
  ["promotePartyMember", async ({ ann, bob, party, bob_there }) => {
    await ann.socket.promotePartyMember(party.party_id, bob_there);
    for (const player of [ann, bob]) {
      same((await player.next("onpartyleader")).presence.username, bob.name);
    }
    await bob.socket.promotePartyMember(party.party_id, party.self);
    for (const player of [ann, bob]) {
      same((await player.next("onpartyleader")).presence.username, ann.name);
    }
  }],
  ["removePartyMember", async ({ ann, bob, party, bob_there }) => {
    await ann.socket.removePartyMember(party.party_id, bob_there);
    same((await bob.next("onpartyclose")).party_id, party.party_id);
    await ann.left("onpartypresence", bob);
  }],
  ["closeParty", async (t) => {
    await t.ann.socket.closeParty(t.party.party_id);
    t.party = await t.ann.socket.createParty(false, 3);
  }],
  ["listPartyJoinRequests", async (t) => {
    const { ann, cid, party } = t;
    await cid.socket.joinParty(party.party_id);
    same(names((await ann.next("onpartyjoinrequest")).presences), [cid.name]);
    const listed = await ann.socket.listPartyJoinRequests(party.party_id);
    same(names(listed.presences), [cid.name]);
    t.request = listed.presences[0];
  }],
  ["acceptPartyMember", async ({ ann, cid, party, request }) => {
    await ann.socket.acceptPartyMember(party.party_id, request);
    same((await cid.next("onparty")).party_id, party.party_id);
    await ann.joined("onpartypresence", cid);
  }],
  ["leaveParty", async ({ ann, cid, party }) => {
    await cid.socket.leaveParty(party.party_id);
    await ann.left("onpartypresence", cid);
  }],

  ["addMatchmaker", async ({ ann, bob, run }) => {
    const seek = [`+properties.run:${run}`, 2, 2, { run }, { level: 2.5 }];
    const tickets = new Map();
    for (const player of [ann, bob]) {
      tickets.set(player, (await player.socket.addMatchmaker(...seek)).ticket);
    }
    for (const player of [ann, bob]) {
      const matched = await player.next("onmatchmakermatched");
      same([matched.ticket, matched.self.presence.username], [tickets.get(player), player.name]);
      same(names(matched.users.map((one) => one.presence)), [ann.name, bob.name].sort());
      same(matched.users.map((one) => [one.string_properties, one.numeric_properties]), Array(2).fill([{ run }, { level: 2.5 }]));
      same((await player.socket.joinMatch(undefined, matched.token)).self.username, player.name);
    }
  }],
  ["removeMatchmaker", async ({ ann, run }) => {
    const { ticket } = await ann.socket.addMatchmaker(`+properties.run:${run}`, 2, 2, { run });
    await ann.socket.removeMatchmaker(ticket);
  }],

  ["disconnect", async ({ ann, bob, cid }) => {
    for (const player of [ann, bob, cid]) {
      player.socket.disconnect(true);
      await player.next("ondisconnect");
    }
  }],
];

// `run` sets these players apart from those of other walks on the same node.
export async function walk({ sdk, assert: given, host, port, format, run }) {
  assert = given;
  const { Client, DefaultSocket, WebSocketAdapterText, WebSocketAdapterPb } = sdk;
  const client = new Client("defaultkey", host, port, false, 20_000);
  const called = new Set();
  const t = { client, run, format };
  for (const name of ["ann", "bob", "cid"]) {
    const session = await client.authenticateDevice(`a-device-of-${name}-${run}`, true, `${name}-${run}`);
    const adapter = format === "protobuf" ? new WebSocketAdapterPb() : new WebSocketAdapterText();
    t[name] = new Player(`${name}-${run}`, session, client.createSocket(false, false, adapter), called);
  }
  for (const [step, act] of STEPS) {
    try {
      await act(t);
    } catch (error) {
      throw new Error(`${step} (${format}): ${error?.message ?? JSON.stringify(error)}`);
    }
  }
  const methods = Object.getOwnPropertyNames(DefaultSocket.prototype);
  return {
    called: [...called].sort(),
    methods: methods.filter((name) => !/^(on|constructor$|send$|generatecid$)/.test(name)).sort(),
  };
}
