-- Puts a job whose data is back into the state that it was in, unless it is in one.
-- KEYS[1] the queue's meta. ARGV: the beginning of its keys, the id, the state, its score (or ""),
-- "next" if it was to be taken next (or "").
local queue, id, state, score, next = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call("EXISTS", queue .. id) == 0 then return 0 end
for _, one in ipairs({"completed", "waiting-children", "delayed", "failed", "prioritized"}) do
  if redis.call("ZSCORE", queue .. one, id) then return 0 end
end
for _, one in ipairs({"wait", "paused", "active"}) do
  for _, other in ipairs(redis.call("LRANGE", queue .. one, 0, -1)) do
    if other == id then return 0 end
  end
end
local paused = redis.call("HEXISTS", queue .. "meta", "paused") == 1
if score ~= "" then
  redis.call("ZADD", queue .. state, score, id)
  if state == "delayed" and not paused then
    local first = redis.call("ZRANGE", queue .. "delayed", 0, 0, "WITHSCORES")
    redis.call("ZADD", queue .. "marker", tonumber(first[2]) / 0x1000, "1")
  end
else
  redis.call(next == "next" and "RPUSH" or "LPUSH", queue .. state, id)
end
if (state == "wait" or state == "prioritized") and not paused then
  redis.call("ZADD", queue .. "marker", 0, "0")
end
return 1
