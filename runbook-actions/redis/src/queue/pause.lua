-- Pauses or resumes a queue, as BullMQ does (its script pause).
-- KEYS[1] the queue's meta. ARGV: the beginning of its keys, "list" or "flag", "paused" or
-- "resumed". Gives how many jobs are still to be moved: then it is to be called again.
local queue, layout, state = ARGV[1], ARGV[2], ARGV[3]
local meta, wait, paused = queue .. "meta", queue .. "wait", queue .. "paused"
local marker, delayed = queue .. "marker", queue .. "delayed"

local function move(from, to)
  if redis.call("EXISTS", from) == 0 then return 0 end
  if redis.call("EXISTS", to) == 0 then
    redis.call("RENAME", from, to)
    return 0
  end
  local jobs = redis.call("LRANGE", from, 0, 4999)
  redis.call("RPUSH", to, unpack(jobs))
  redis.call("LTRIM", from, #jobs, -1)
  return redis.call("LLEN", from)
end

local left = 0
local was = redis.call("HEXISTS", meta, "paused") == 1
if state == "paused" then
  redis.call("HSET", meta, "paused", 1)
  redis.call("DEL", marker)
  if layout == "list" then left = move(wait, paused) end
else
  redis.call("HDEL", meta, "paused")
  left = move(paused, wait)
  if redis.call("LLEN", wait) + redis.call("ZCARD", queue .. "prioritized") > 0 then
    redis.call("ZADD", marker, 0, "0")
  else
    local next = redis.call("ZRANGE", delayed, 0, 0, "WITHSCORES")
    if next[2] then redis.call("ZADD", marker, tonumber(next[2]) / 0x1000, "1") end
  end
end
if was ~= (state == "paused") then
  redis.call("XADD", queue .. "events", "*", "event", state)
end
return left
