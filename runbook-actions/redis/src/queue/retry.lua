-- Makes failed jobs wait again, as BullMQ's `Job.retry` does (its script reprocessJob).
-- KEYS[1] the queue's meta. ARGV: the beginning of its keys, "list" or "flag", ids.
local queue, layout = ARGV[1], ARGV[2]
local meta, wait, marker = queue .. "meta", queue .. "wait", queue .. "marker"

local limits = redis.call("HMGET", meta, "paused", "concurrency", "opts.maxLenEvents")
local paused = limits[1]
local full = limits[2] and redis.call("LLEN", queue .. "active") >= tonumber(limits[2])
local events = limits[3]
if not events then
  events = 10000
  redis.call("HSET", meta, "opts.maxLenEvents", events)
end

local retried = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local job = queue .. id
  if redis.call("EXISTS", job) == 1 and redis.call("ZREM", queue .. "failed", id) == 1 then
    redis.call("HDEL", job, "finishedOn", "processedOn", "failedReason")
    local priority = tonumber(redis.call("HGET", job, "priority")) or 0
    if layout == "flag" and priority > 0 then
      local number = redis.call("INCR", queue .. "pc")
      local score = priority * 0x100000000 + number % 0x100000000
      redis.call("ZADD", queue .. "prioritized", score, id)
    else
      local target = wait
      if layout == "list" and paused then target = queue .. "paused" end
      local read, options = pcall(cjson.decode, redis.call("HGET", job, "opts") or "{}")
      local last_first = read and type(options) == "table" and options["lifo"] == true
      redis.call(last_first and "RPUSH" or "LPUSH", target, id)
    end
    if not paused and not full then redis.call("ZADD", marker, 0, "0") end
    -- A child that failed is something to be waited for again.
    local parent = redis.call("HGET", job, "parentKey")
    if parent and redis.call("EXISTS", parent) == 1 then
      if redis.call("ZREM", parent .. ":unsuccessful", job) == 1
        or redis.call("HDEL", parent .. ":failed", job) == 1 then
        redis.call("SADD", parent .. ":dependencies", job)
      end
    end
    redis.call("XADD", queue .. "events", "MAXLEN", "~", events, "*",
      "event", "waiting", "jobId", id, "prev", "failed")
    retried[#retried + 1] = id
  end
end
return retried
