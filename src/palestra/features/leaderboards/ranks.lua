-- The ranks of one period of a board, as a copy of what PostgreSQL holds. Runs as a whole, or not at all.
--
-- Two copies have room, of which one is current and one is being built at times:
--   order   a sorted set of 32-byte keys, all of score 0, so that they stand in the order of their bytes:
--           score (8), subscore (8), owner (16), big-endian
--   owners  a hash from owner to version and key
-- A version is when the record was made (8 bytes, µs) and how often it was changed (4): whatever the order in which two
-- nodes' news arrive, the later one stays. Who has left stays known for a while beside the copies:
--   gone    a hash from owner to the version up to which it has no record
--   gone_at a sorted set of those owners, by when that was heard
--
-- KEYS: the state, gone, gone_at, then order and owners of each copy. ARGV: what to do, and more for each below.
local STATE, GONE, GONE_AT = KEYS[1], KEYS[2], KEYS[3]
local IDLE_MILLISECONDS = 7 * 86400 * 1000
local BUILDER_SECONDS = 15
local GONE_SECONDS = 600
local GONE_AT_A_TIME = 50
local WRITER_SECONDS = 600
local BUILT_SECONDS = 60
local NEWS_BYTES, KEY_BYTES, VERSION_BYTES, OWNER_BYTES = 44, 32, 12, 16
local NO_RECORD = '\255\255\255\255'
local READY, STALE, LOADING, MISSING = 0, 1, 2, 3

local call = redis.call
local time = call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function copy(number)
    local at = 4 + 2 * number
    return KEYS[at], KEYS[at + 1]
end

local function older(version, than)
    local made, changes = struct.unpack('>I8I4', version)
    local than_made, than_changes = struct.unpack('>I8I4', than)
    return made < than_made or (made == than_made and changes < than_changes)
end

-- Takes one piece of news into a copy; answers by how much that changes the number of ranks.
local function take(number, news, some_gone)
    local order, owners = copy(number)
    local key, version = string.sub(news, 1, KEY_BYTES), string.sub(news, KEY_BYTES + 1)
    local owner = string.sub(key, -OWNER_BYTES)
    local stored = call('HGET', owners, owner)
    if stored and older(version, stored) then
        return 0
    end
    local before = stored and string.sub(stored, VERSION_BYTES + 1)
    if string.sub(version, -4) == NO_RECORD then
        if not stored then
            return 0
        end
        call('ZREM', order, before)
        call('HDEL', owners, owner)
        return -1
    end
    local left = some_gone and call('HGET', GONE, owner)
    if left and older(version, left) then
        return 0
    end
    if before ~= key then
        if before then
            call('ZREM', order, before)
        end
        call('ZADD', order, 0, key)
    end
    call('HSET', owners, owner, version .. key)
    return stored and 0 or 1
end

local function take_all(number, news)
    local more, some_gone = 0, call('EXISTS', GONE) == 1
    for at = 1, #news, NEWS_BYTES do
        more = more + take(number, string.sub(news, at, at + NEWS_BYTES - 1), some_gone)
    end
    if more ~= 0 then
        call('HINCRBY', STATE, 'count' .. number, more)
    end
end

-- Remembers who has left, also while there is no copy: older news of theirs may come in when there is one.
local function remember_gone(news)
    for at = 1, #news, NEWS_BYTES do
        local version = string.sub(news, at + KEY_BYTES, at + NEWS_BYTES - 1)
        if string.sub(version, -4) == NO_RECORD then
            local owner = string.sub(news, at + KEY_BYTES - OWNER_BYTES, at + KEY_BYTES - 1)
            local left = call('HGET', GONE, owner)
            if not left or older(left, version) then
                call('HSET', GONE, owner, version)
            end
            call('ZADD', GONE_AT, now, owner)
            call('PEXPIRE', GONE, 2000 * GONE_SECONDS)
            call('PEXPIRE', GONE_AT, 2000 * GONE_SECONDS)
        end
    end
end

-- Those who have left for long need not be remembered: no news of theirs is on its way any more.
local function forget_gone()
    for _, owner in ipairs(call('ZRANGEBYSCORE', GONE_AT, '-inf', now - GONE_SECONDS, 'LIMIT', 0, GONE_AT_A_TIME)) do
        call('HDEL', GONE, owner)
        call('ZREM', GONE_AT, owner)
    end
end

-- Whether nothing of a copy is missing, as after the server has thrown a key away; and how many have a rank.
local function whole(number)
    local order, owners = copy(number)
    local count = tonumber(call('HGET', STATE, 'count' .. number) or 0)
    return call('ZCARD', order) == count and call('HLEN', owners) == count, count
end

local function keep(number)
    for _, key in ipairs({STATE, copy(number)}) do
        local left = call('PTTL', key)
        if left ~= -2 and left < IDLE_MILLISECONDS / 2 then
            call('PEXPIRE', key, IDLE_MILLISECONDS)
        end
    end
end

local function begin(token, life)
    local state = call('HMGET', STATE, 'current', 'token', 'until')
    if state[2] and tonumber(state[3]) > now then
        return 0
    end
    local number = state[1] == '0' and 1 or 0
    call('UNLINK', copy(number))
    if not state[1] then
        call('UNLINK', copy(1 - number))
    end
    call('HSET', STATE, 'building', number, 'token', token, 'until', now + BUILDER_SECONDS, 'begun', life,
        'count' .. number, 0)
    call('PEXPIRE', STATE, IDLE_MILLISECONDS)
    return 1
end

local function fill(token, rows)
    local state = call('HMGET', STATE, 'building', 'token')
    if state[2] ~= token then
        return 0
    end
    local number = tonumber(state[1])
    take_all(number, rows)
    keep(number)
    call('HSET', STATE, 'until', now + BUILDER_SECONDS)
    return 1
end

local function finish(token, life)
    local state = call('HMGET', STATE, 'building', 'token', 'begun')
    if state[2] ~= token then
        return 0
    end
    local number = tonumber(state[1])
    call('HDEL', STATE, 'building', 'token', 'until', 'begun')
    if state[3] ~= life or not whole(number) then
        return 0
    end
    call('HSET', STATE, 'current', number, 'life', life, 'built', now)
    call('UNLINK', copy(1 - number))
    keep(number)
    return 1
end

-- What is there may lack something: it is to be built anew, and what is being built as well. A full server allows it.
local function doubt()
    return call('HDEL', STATE, 'token', 'until', 'life')
end

-- A node died that wrote here of late: it may have had news that nobody else has. Whatever it wrote while ranks are built,
-- or were a moment ago, may have moved an owner past the reader.
local function distrust(node)
    local state = call('HMGET', STATE, 'writer:' .. node, 'token', 'built')
    local wrote = state[1] and tonumber(state[1]) > now - WRITER_SECONDS
    if wrote or state[2] or (state[3] and tonumber(state[3]) > now - BUILT_SECONDS) then
        doubt()
    end
    return 1
end

-- Takes news, and answers the state, how many have a rank, and the rank of each owner that was asked for.
local function touch(node, life, doubted, descending, news, asked, rebuild_seconds)
    if doubted == '1' then
        doubt()
    end
    local state = call('HMGET', STATE, 'current', 'building', 'token', 'until', 'life', 'built')
    local builds = state[3] and tonumber(state[4]) > now
    if news ~= '' then
        remember_gone(news)
        forget_gone()
        for at = 1, 2 do
            if state[at] then
                take_all(tonumber(state[at]), news)
            end
        end
        if state[1] or state[2] then
            call('HSET', STATE, 'writer:' .. node, now)
        end
    end
    if not state[1] then
        return {builds and LOADING or MISSING, 0}
    end
    local number = tonumber(state[1])
    local is_whole, count = whole(number)
    if not is_whole then
        call('UNLINK', STATE, KEYS[4], KEYS[5], KEYS[6], KEYS[7])
        return {MISSING, 0}
    end
    keep(number)
    local old = state[5] ~= life or now - tonumber(state[6]) > tonumber(rebuild_seconds)
    local answer = {(old and not builds) and STALE or READY, count}
    local order, owners = copy(number)
    for at = 1, #asked, OWNER_BYTES do
        local stored = call('HGET', owners, string.sub(asked, at, at + OWNER_BYTES - 1))
        local rank = 0
        if stored then
            local which = descending == '1' and 'ZREVRANK' or 'ZRANK'
            rank = call(which, order, string.sub(stored, VERSION_BYTES + 1)) + 1
        end
        answer[#answer + 1] = rank
    end
    return answer
end

local what = ARGV[1]
if what == 'touch' then
    return touch(unpack(ARGV, 2))
elseif what == 'begin' then
    return begin(ARGV[2], ARGV[3])
elseif what == 'fill' then
    return fill(ARGV[2], ARGV[3])
elseif what == 'finish' then
    return finish(ARGV[2], ARGV[3])
elseif what == 'doubt' then
    return doubt()
elseif what == 'distrust' then
    return distrust(ARGV[2])
elseif what == 'forget' then
    return call('UNLINK', unpack(KEYS))
end
return redis.error_reply('unknown: ' .. what)
