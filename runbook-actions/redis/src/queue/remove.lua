-- Removes a job from the state that it is in, with its data, as BullMQ's `Job.remove` does (its
-- script removeJob), but for jobs of a family.
-- KEYS[1] the queue's meta. ARGV: the beginning of its keys, the id.
local queue, id = ARGV[1], ARGV[2]
local job = queue .. id
if redis.call("EXISTS", job) == 0 then return "gone" end
if redis.call("EXISTS", job .. ":lock") == 1 then return "locked" end
local fields = redis.call("HMGET", job, "parentKey", "rjk", "deid")
if fields[1] or redis.call("EXISTS", job .. ":dependencies", job .. ":processed",
  job .. ":failed", job .. ":unsuccessful") > 0 then
  return "family"
end
if fields[2] then
  local next = redis.call("ZSCORE", queue .. "repeat", fields[2])
  if next and id == "repeat:" .. fields[2] .. ":" .. next then return "scheduled" end
end

local before = "unknown"
for _, state in ipairs({"completed", "waiting-children", "delayed", "failed", "prioritized"}) do
  if redis.call("ZREM", queue .. state, id) == 1 then
    before = state
    break
  end
end
if before == "unknown" then
  for _, state in ipairs({"wait", "paused", "active"}) do
    if redis.call("LREM", queue .. state, 1, id) == 1 then
      before = state
      break
    end
  end
end
redis.call("SREM", queue .. "stalled", id)
if fields[3] and redis.call("GET", queue .. "de:" .. fields[3]) == id then
  redis.call("DEL", queue .. "de:" .. fields[3], queue .. "dn:" .. fields[3])
end
redis.call("DEL", job, job .. ":logs")
redis.call("XADD", queue .. "events", "MAXLEN", "~",
  redis.call("HGET", queue .. "meta", "opts.maxLenEvents") or 10000, "*",
  "event", "removed", "jobId", id, "prev", before)
return "removed"
