// Calls every public method of the stock JavaScript client against a running node, as a new user's game would; runs in
// Node.js and in browsers.

export async function walk({ sdk: { Client }, assert, host, port }) {
  const called = new Set();
  const latest = {};
  const realFetch = globalThis.fetch.bind(globalThis);
  globalThis.fetch = async (url, options) => {
    const response = await realFetch(url, options);
    latest.route = `${options.method} ${new URL(url).pathname}`;
    return response;
  };

  const client = new Proxy(new Client("defaultkey", host, port, false, 20_000), {
    get(target, name) {
      const member = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      called.add(name);
      return member.bind(target);
    },
  });

  async function refused(promise, status, code, message) {
    let response;
    try {
      await promise;
    } catch (error) {
      response = error;
    }
    assert.ok(response instanceof Response, `expected ${status}, but ${latest.route} went through or failed: ${response}`);
    const body = await response.json();
    assert.deepEqual([response.status, body.code], [status, code], `${latest.route}: ${body.message}`);
    if (message) assert.equal(body.message, message);
  }

  // Purchases answer as the reference says of a server without such a configuration.
  async function purchase(promise, status, code) {
    let response;
    try {
      await promise;
    } catch (error) {
      response = error;
    }
    if (status === 200) {
      assert.equal(response, undefined, latest.route);
    } else {
      assert.deepEqual([response.status, (await response.json()).code], [status, code], latest.route);
    }
  }

  let count = 0;
  const player = (name) => client.authenticateDevice(`a-device-of-${name}-${++count}`, true, name);
  const named = (list, key) => list.map((one) => one[key]);

  // -- log-in, sessions

  const ann = await player("ann");
  const bob = await player("bob");
  const cid = await player("cid");
  assert.equal(ann.created, true);
  assert.equal(ann.username, "ann");
  const again = await client.authenticateCustom("custom-of-dora", true, "dora", { theme: "dark" });
  assert.equal(again.vars.theme, "dark");
  assert.equal((await client.authenticateCustom("custom-of-dora", true)).created, false);
  const mail = await client.authenticateEmail("eve@example.com", "a long password", true, "eve");
  await refused(client.authenticateEmail("eve@example.com", "another password"), 401, 16, "Invalid credentials.");
  await refused(client.authenticateDevice("a-device-of-nobody", false), 404, 5, "User account not found.");
  await refused(client.authenticateApple(""), 400, 9, "Apple authentication is not configured.");
  await refused(client.authenticateFacebook(""), 400, 3, "Facebook access token is required.");
  await refused(client.authenticateFacebookInstantGame(""), 400, 3, "Signed Player Info for a Facebook Instant Game is required.");
  await refused(client.authenticateGoogle(""), 400, 3, "Google access token is required.");
  await refused(client.authenticateGameCenter("", "", "", "", "", 0), 400, 3, "GameCenter bundle ID is required.");
  await refused(client.authenticateSteam(""), 400, 9, "Steam authentication is not configured.");

  const token = mail.token;
  const refreshed = await client.sessionRefresh(mail, { level: "2" });
  assert.notEqual(refreshed.token, token);
  assert.equal(refreshed.vars.level, "2");
  assert.equal(await client.sessionLogout(mail, mail.token, mail.refresh_token), true);
  mail.refresh_token = "";
  await refused(client.getAccount(mail), 401, 16, "Auth token invalid");

  // -- accounts

  assert.equal(await client.updateAccount(ann, { display_name: "Ann", location: "Delphi", timezone: "Europe/Athens" }), true);
  const account = await client.getAccount(ann);
  assert.equal(account.user.display_name, "Ann");
  assert.equal(account.wallet, "{}");
  assert.equal(account.devices.length, 1);
  const found = await client.getUsers(ann, [bob.user_id], ["cid"], []);
  assert.deepEqual(named(found.users, "username").sort(), ["bob", "cid"]);
  assert.deepEqual(await client.getUsers(ann, [], ["nobody"]), { users: [] });

  assert.equal(await client.linkDevice(ann, { id: "another-device-of-ann" }), true);
  assert.equal(await client.linkCustom(ann, { id: "custom-of-ann" }), true);
  assert.equal(await client.linkEmail(ann, { email: "ann@example.com", password: "a long password" }), true);
  await refused(client.linkCustom(bob, { id: "custom-of-ann" }), 409, 6, "Custom ID is already in use.");
  await refused(client.linkApple(ann, { token: "" }), 400, 9, "Apple authentication is not configured.");
  await refused(client.linkFacebook(ann, { token: "" }), 400, 3, "Facebook access token is required.");
  await refused(client.linkFacebookInstantGame(ann, { signed_player_info: "" }), 400, 3, "Signed Player Info for a Facebook Instant Game is required.");
  await refused(client.linkGoogle(ann, { token: "" }), 400, 3, "Google access token is required.");
  await refused(client.linkGameCenter(ann, {}), 400, 3, "GameCenter bundle ID is required.");
  await refused(client.linkSteam(ann, { account: { token: "" } }), 400, 3, "Steam access token is required.");
  assert.equal(await client.unlinkDevice(ann, { id: "another-device-of-ann" }), true);
  assert.equal(await client.unlinkCustom(ann, { id: "custom-of-ann" }), true);
  assert.equal(await client.unlinkEmail(ann, { email: "ann@example.com", password: "a long password" }), true);
  assert.equal(await client.unlinkApple(ann, {}), true);
  assert.equal(await client.unlinkFacebook(ann, {}), true);
  assert.equal(await client.unlinkFacebookInstantGame(ann, {}), true);
  assert.equal(await client.unlinkGoogle(ann, {}), true);
  assert.equal(await client.unlinkGameCenter(ann, {}), true);
  assert.equal(await client.unlinkSteam(ann, {}), true);
  await refused(
    client.unlinkDevice(bob, { id: "a-device-of-bob-2" }), 403, 7,
    "Cannot unlink last account identifier. Check profile exists and is not last link.",
  );

  // -- friends and notifications

  assert.equal(await client.addFriends(ann, [bob.user_id], ["cid"]), true);
  assert.equal(await client.addFriends(bob, [ann.user_id]), true);
  assert.equal(await client.addFriends(bob, [], ["cid"]), true);
  assert.equal(await client.addFriends(cid, [bob.user_id]), true);
  const friends = await client.listFriends(ann, 0, 10);
  assert.deepEqual(friends.friends.map((one) => [one.user.username, one.state]), [["bob", 0]]);
  assert.equal((await client.listFriends(ann)).friends.length, 2);
  const further = await client.listFriendsOfFriends(ann, 10);
  assert.deepEqual(further.friends_of_friends.map((one) => [one.referrer, one.user.username]), [[bob.user_id, "cid"]]);
  const inbox = await client.listNotifications(bob, 100);
  assert.deepEqual(named(inbox.notifications, "code").sort(), [-2, -3]);
  assert.equal(inbox.notifications.find((one) => one.code === -2).content.username, "ann");
  assert.ok(inbox.cacheable_cursor);
  assert.equal(await client.deleteNotifications(bob, named(inbox.notifications, "id")), true);
  assert.deepEqual((await client.listNotifications(bob, 100)).notifications, []);
  assert.equal(await client.deleteFriends(ann, [bob.user_id]), true);
  assert.equal(await client.blockFriends(ann, [], ["cid"]), true);
  assert.deepEqual((await client.listFriends(ann)).friends.map((one) => [one.user.username, one.state]), [["cid", 3]]);
  await refused(client.addFriends(ann, [ann.user_id]), 400, 3, "Cannot add self as friend.");
  await refused(client.importFacebookFriends(ann, { token: "" }), 400, 3, "Facebook token is required.");
  await refused(client.importSteamFriends(ann, { token: "" }, false), 400, 9, "Steam authentication is not configured.");

  // -- groups

  const group = await client.createGroup(ann, { name: "Argonauts", description: "Rowers", open: false, max_count: 10 });
  assert.deepEqual([group.name, group.creator_id, group.open, group.edge_count], ["Argonauts", ann.user_id, false, 1]);
  await refused(client.createGroup(bob, { name: "Argonauts" }), 409, 6, "Group name is in use.");
  assert.equal(await client.joinGroup(bob, group.id), true);
  assert.deepEqual((await client.listGroupUsers(ann, group.id)).group_users.map((one) => one.state), [0, 3]);
  assert.equal(await client.addGroupUsers(ann, group.id, [bob.user_id, cid.user_id]), true);
  assert.deepEqual(await client.promoteGroupUsers(ann, group.id, [bob.user_id]), {}); // the SDK passes the answer on
  const admins = await client.listGroupUsers(ann, group.id, 1);
  assert.deepEqual(admins.group_users.map((one) => one.user.username), ["bob"]);
  assert.equal(await client.demoteGroupUsers(ann, group.id, [bob.user_id]), true);
  assert.equal(await client.updateGroup(ann, group.id, { description: "Heroes", open: true }), true);
  const listed = await client.listGroups(ann, "Argo%", undefined, 10);
  assert.deepEqual(listed.groups.map((one) => [one.description, one.open, one.edge_count]), [["Heroes", true, 3]]);
  const mine = await client.listUserGroups(bob, bob.user_id);
  assert.deepEqual(mine.user_groups.map((one) => [one.group.name, one.state]), [["Argonauts", 2]]);
  const told = await client.listChannelMessages(ann, `3.${group.id}..`, 100);
  assert.ok(told.messages.length >= 4 && told.messages.every((one) => one.persistent && one.group_id === group.id));
  assert.equal(await client.kickGroupUsers(ann, group.id, [cid.user_id]), true);
  assert.equal(await client.banGroupUsers(ann, group.id, [bob.user_id]), true);
  assert.deepEqual((await client.listGroupUsers(ann, group.id, 4)).group_users.map((one) => one.user.username), ["bob"]);
  assert.equal(await client.joinGroup(cid, group.id), true);
  assert.equal(await client.leaveGroup(cid, group.id), true);
  assert.equal(await client.deleteGroup(ann, group.id), true);

  // -- stored objects

  const { acks } = await client.writeStorageObjects(ann, [
    { collection: "saves", key: "slot", value: { level: 3 }, permission_read: 2, permission_write: 1 },
    { collection: "saves", key: "secret", value: { code: 7 } },
  ]);
  assert.deepEqual(named(acks, "key"), ["slot", "secret"]);
  const seen = await client.readStorageObjects(bob, {
    object_ids: ["slot", "secret"].map((key) => ({ collection: "saves", key, user_id: ann.user_id })),
  });
  assert.deepEqual(seen.objects.map((one) => [one.key, one.value.level, one.version]), [["slot", 3, acks[0].version]]);
  await refused(
    client.writeStorageObjects(ann, [{ collection: "saves", key: "slot", value: {}, version: "*" }]), 400, 3,
    "Storage write rejected - version check failed.",
  );
  assert.equal((await client.listStorageObjects(ann, "saves", ann.user_id, 10)).objects.length, 2);
  assert.equal(await client.deleteStorageObjects(ann, { object_ids: [{ collection: "saves", key: "slot" }] }), true);
  assert.deepEqual(named((await client.listStorageObjects(ann, "saves", ann.user_id, 10)).objects, "key"), ["secret"]);

  // -- leaderboards and tournaments

  const record = await client.writeLeaderboardRecord(ann, "weekly", { score: "90", subscore: "1", metadata: { car: "red" } });
  assert.deepEqual([record.score, record.subscore, record.rank, record.num_score, record.metadata.car], [90, 1, 1, 1, "red"]);
  await client.writeLeaderboardRecord(bob, "weekly", { score: "100" });
  const board = await client.listLeaderboardRecords(ann, "weekly", [ann.user_id], 10);
  assert.deepEqual(board.records.map((one) => [one.username, one.score, one.rank]), [["bob", 100, 1], ["ann", 90, 2]]);
  assert.deepEqual(named(board.owner_records, "rank"), [2]);
  const around = await client.listLeaderboardRecordsAroundOwner(ann, "weekly", ann.user_id, 2);
  assert.deepEqual(named(around.records, "username"), ["bob", "ann"]);
  await refused(client.writeLeaderboardRecord(ann, "nowhere", { score: "1" }), 404, 5, "Leaderboard not found.");

  const cups = await client.listTournaments(ann, 0, 127, undefined, undefined, 10);
  assert.deepEqual(cups.tournaments.map((one) => [one.id, one.title, one.can_enter]), [["cup", "Cup", true]]);
  await assert.rejects(client.writeTournamentRecord(ann, "cup", { score: "5" }), "it has to be joined first");
  assert.equal(await client.joinTournament(ann, "cup"), true);
  assert.equal((await client.writeTournamentRecord(ann, "cup", { score: "5" })).score, 5);
  const entries = await client.listTournamentRecords(ann, "cup", [], 10);
  assert.deepEqual(entries.records.map((one) => [one.username, one.score]), [["ann", 5]]);
  assert.equal((await client.listTournamentRecordsAroundOwner(ann, "cup", ann.user_id, 2)).records.length, 1);
  await client.deleteTournamentRecord(ann, "cup");
  assert.deepEqual((await client.listTournamentRecords(ann, "cup", [], 10)).records, []);

  // -- functions, events, matches, the socket

  assert.deepEqual((await client.rpc(ann, "echo", { day: 1 })).payload, { day: 1 });
  await refused(client.rpc(ann, "nothing", {}), 404, 5, "RPC function not found");
  assert.equal((await client.rpcHttpKey("defaulthttpkey", "echo", { day: 1 })).payload, undefined); // a GET has no payload
  await refused(client.rpcHttpKey("another key", "echo"), 401, 16, "HTTP key invalid");
  assert.equal(await client.emitEvent(ann, { name: "level", properties: { to: "2" } }), true);
  assert.deepEqual(await client.listMatches(ann, 10, false), {});
  await refused(client.listMatches(ann, 101), 400, 3);
  assert.equal(typeof client.createSocket(false, false).connect, "function");

  // -- purchases

  await purchase(client.validatePurchaseApple(ann, "a receipt"), 400, 9);
  await purchase(client.validatePurchaseGoogle(ann, "a receipt"), 400, 9);
  await purchase(client.validatePurchaseHuawei(ann, "a purchase", "a signature"), 400, 9);
  await purchase(client.validatePurchaseFacebookInstant(ann, "a request"), 400, 9);
  await purchase(client.validateSubscriptionApple(ann, "a receipt"), 400, 9);
  await purchase(client.validateSubscriptionGoogle(ann, "a receipt"), 400, 9);
  await purchase(client.listSubscriptions(ann), 200, 0);
  await purchase(client.getSubscription(ann, "gold"), 404, 5);

  // -- the end

  assert.equal(await client.deleteAccount(cid), true);
  cid.refresh_token = "";
  await refused(client.getAccount(cid), 401, 16, "Auth token invalid");

  const methods = Object.getOwnPropertyNames(Client.prototype).filter((name) => name !== "constructor");
  return { methods: methods.sort(), called: [...called].sort() };
}
