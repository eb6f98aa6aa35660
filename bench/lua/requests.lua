-- The requests of every HTTP workload, for wrk: `wrk … URL -- WORKLOAD TOKENS_FILE RUN`.
-- For round_signed the file holds signed requests instead (bench/signed.py). TOKENS_FILE holds one session token a line; RUN is a number that no other run has, so that new players are new.

local tokens, users, run, count = {}, {}, 0, 0

local function bearer(number)
  return { ["Authorization"] = "Bearer " .. tokens[number], ["Content-Type"] = "application/json" }
end

local function any_player() return bearer(math.random(#tokens)) end

local SERVER = { ["Authorization"] = "Basic ZGVmYXVsdGtleTo=", ["Content-Type"] = "application/json" }
local LOG_IN = "/v2/account/authenticate/device?create=true"
local SAVE = '{"objects":[{"collection":"saves","key":"slot%d","value":"{\\"level\\":%d,\\"hp\\":100,\\"items\\":[1,2,3,4,5]}",'
  .. '"permission_read":1,"permission_write":1}]}'

local make = {
  healthcheck = function() return wrk.format("GET", "/healthcheck") end,
  account = function() return wrk.format("GET", "/v2/account", any_player()) end,
  auth_existing = function()
    return wrk.format("POST", LOG_IN, SERVER, string.format('{"id":"bench-player-%06d"}', math.random(#tokens) - 1))
  end,
  auth_new = function()
    count = count + 1
    return wrk.format("POST", LOG_IN, SERVER, string.format('{"id":"fresh-player-%d-%d"}', run, count))
  end,
  storage_write = function()
    count = count + 1
    return wrk.format("PUT", "/v2/storage", any_player(), string.format(SAVE, math.random(5), count))
  end,
  leaderboard_write = function()
    return wrk.format("POST", "/v2/leaderboard/bench", any_player(), string.format('{"score":"%d"}', math.random(1000000)))
  end,
  leaderboard_list = function() return wrk.format("GET", "/v2/leaderboard/bench?limit=20", any_player()) end,
  rpc_echo = function() return wrk.format("POST", "/v2/rpc/echo", any_player(), '"hello"') end,
  round_signed = function()
    count = count + 1
    local action, at, signature, body = (tokens[count] or error("out of signed requests")):match("(%S+)\t(%S+)\t(%S+)\t(.+)")
    return wrk.format("POST", "/v2/palestra/provider/" .. action, {
      ["X-Palestra-Provider"] = "bench", ["X-Palestra-Key"] = "1", ["X-Palestra-Timestamp"] = at,
      ["X-Palestra-Signature"] = signature, ["Content-Type"] = "application/json",
    }, body)
  end,
  rpc_wallet = function() return wrk.format("POST", "/v2/rpc/wallet", any_player(), '""') end,
}

-- Reads and writes of several kinds, one as likely as another; its file holds a token and a user id a line.
local mixed = {
  make.account, make.storage_write, make.leaderboard_write, make.leaderboard_list, make.rpc_echo,
  function()
    local number = math.random(#tokens)
    local id = '{"object_ids":[{"collection":"saves","key":"slot%d","user_id":"%s"}]}'
    return wrk.format("POST", "/v2/storage", bearer(number), string.format(id, math.random(5), users[number]))
  end,
}
make.mixed = function() return mixed[math.random(#mixed)]() end

local chosen

function init(arguments)
  chosen = make[arguments[1]] or error("no such workload: " .. tostring(arguments[1]))
  for line in io.lines(arguments[2]) do
    if arguments[1] == "mixed" then line, users[#tokens + 1] = line:match("(%S+)\t(%S+)") end
    tokens[#tokens + 1] = line
  end
  run = tonumber(arguments[3])
  math.randomseed(run)
end

function request() return chosen() end
