-- The requests of the bench at size, for wrk: `wrk … URL -- WORKLOAD TARGETS_FILE RUN`.
-- TARGETS_FILE is that of bench/population.py; RUN is a number that no other run has.

local callers, players, groups, count = {}, {}, {}, 0
local LEAGUES, PAGE = 100, 20

local function any(list) return list[math.random(#list)] end

local function get(path, caller)
  return wrk.format("GET", path, { ["Authorization"] = "Bearer " .. (caller or any(callers)).token })
end

local function send(method, path, body, caller)
  local headers = { ["Authorization"] = "Bearer " .. (caller or any(callers)).token, ["Content-Type"] = "application/json" }
  return wrk.format(method, path, headers, body)
end

local make = {
  account = function() return get("/v2/account") end,
  users_by_id = function() return get("/v2/user?ids=" .. any(players).id) end,
  users_by_name = function() return get("/v2/user?usernames=" .. any(players).name) end,
  users_20 = function()
    local ids = {}
    for n = 1, PAGE do ids[n] = "ids=" .. any(players).id end
    return get("/v2/user?" .. table.concat(ids, "&"))
  end,
  friends_list = function() return get("/v2/friend?limit=" .. PAGE) end,
  friends_list_all = function() return get("/v2/friend") end,
  friends_of_friends = function() return get("/v2/friend/friends?limit=10") end,
  groups_list = function()
    local tags = { "en", "de", "fr", "es", "ja" }
    return get("/v2/group?limit=" .. PAGE .. "&lang_tag=" .. any(tags) .. "&members=" .. math.random(30, 60))
  end,
  groups_by_name = function() return get("/v2/group?limit=" .. PAGE .. "&name=group-" .. math.random(0, 999) .. "%25") end,
  group_users = function() return get("/v2/group/" .. any(groups) .. "/user?limit=" .. PAGE) end,
  user_groups = function() return get("/v2/user/" .. any(players).id .. "/group?limit=" .. PAGE) end,
  notifications_list = function() return get("/v2/notification?limit=" .. PAGE) end,
  chat_history = function()
    local caller = any(callers)
    return get("/v2/channel/3." .. caller.group .. "..?limit=" .. PAGE .. "&forward=false", caller)
  end,
  storage_read = function()
    local caller = any(callers)
    local id = '{"object_ids":[{"collection":"saves","key":"slot%d","user_id":"%s"}]}'
    return send("POST", "/v2/storage", string.format(id, math.random(10), caller.id), caller)
  end,
  storage_list = function()
    local caller = any(callers)
    return get("/v2/storage/saves?limit=10&user_id=" .. caller.id, caller)
  end,
  storage_list_public = function() return get("/v2/storage/saves?limit=" .. PAGE) end,
  board_list = function() return get("/v2/leaderboard/million?limit=" .. PAGE) end,
  board_rank = function()
    local caller = any(callers)
    return get("/v2/leaderboard/million?owner_ids=" .. caller.id, caller)
  end,
  board_around = function()
    local caller = any(callers)
    return get("/v2/leaderboard/million/owner/" .. caller.id .. "?limit=10", caller)
  end,
  tournaments_list = function() return get("/v2/tournament?limit=" .. PAGE) end,
  tournament_records = function() return get("/v2/tournament/cup?limit=" .. PAGE) end,
  matches_list = function() return get("/v2/match?limit=10") end,
  subscriptions_list = function() return send("POST", "/v2/iap/subscription", '{"limit":10}') end,

  account_update = function()
    count = count + 1
    return send("PUT", "/v2/account", string.format('{"display_name":"Player %d"}', count))
  end,
  friend_add = function() return send("POST", "/v2/friend?ids=" .. any(players).id) end,
  group_join = function() return send("POST", "/v2/group/" .. any(groups) .. "/join") end,
  notification_send = function() return send("POST", "/v2/rpc/notify", '""') end,
  notification_delete = function()
    local number = math.random(#callers)
    local id = string.format("%08x-%04x-4000-8000-000000000000", number - 1, math.random(0, 199))
    return send("DELETE", "/v2/notification?ids=" .. id, nil, callers[number])
  end,
  chat_send = function()
    local caller = any(callers)
    return send("POST", "/v2/rpc/say", string.format('"{\\"channel\\":\\"3.%s..\\"}"', caller.group), caller)
  end,
  storage_write = function()
    count = count + 1
    local object = '{"objects":[{"collection":"saves","key":"slot%d","value":"{\\"level\\":%d}","permission_read":1,"permission_write":1}]}'
    return send("PUT", "/v2/storage", string.format(object, math.random(10), count))
  end,
  board_write = function() return send("POST", "/v2/leaderboard/million", string.format('{"score":"%d"}', math.random(100000000))) end,
  board_write_small = function() return send("POST", "/v2/leaderboard/thousand", string.format('{"score":"%d"}', math.random(100000000))) end,
  tournament_join = function() return send("POST", "/v2/tournament/league-" .. math.random(0, LEAGUES - 1) .. "/join") end,
  tournament_submit = function() return send("POST", "/v2/tournament/cup", string.format('{"score":"%d"}', math.random(100000000))) end,
}

local chosen

function init(arguments)
  chosen = make[arguments[1]] or error("no such workload: " .. tostring(arguments[1]))
  for line in io.lines(arguments[2]) do
    local fields = {}
    for field in line:gmatch("[^\t]+") do fields[#fields + 1] = field end
    if fields[1] == "caller" then
      callers[#callers + 1] = { token = fields[2], id = fields[3], name = fields[4], group = fields[5] }
    elseif fields[1] == "player" then
      players[#players + 1] = { id = fields[2], name = fields[3] }
    else
      groups[#groups + 1] = fields[2]
    end
  end
  math.randomseed(tonumber(arguments[3]))
end

function request() return chosen() end
