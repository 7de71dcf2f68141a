//! What the scripts of this crate do, told once more: the fake runs no Lua. Tests compare it with
//! what a real server does.

use super::World;
use super::commands::run;
use crate::reply::Reply;

pub(super) const PAUSE: &str = include_str!("../queue/pause.lua");
const RETRY: &str = include_str!("../queue/retry.lua");

/// Runs a script; `args` are its arguments, without its keys.
pub(super) fn run_script(world: &mut World, script: &str, args: &[&str]) -> Result<Reply, String> {
    match (script, args) {
        (PAUSE, [queue, layout, state]) => pause(world, queue, layout, state),
        (RETRY, [queue, layout, ids @ ..]) => retry(world, queue, layout, ids),
        _ => Err("ERR the fake runs no scripts; script this one with `on(\"EVAL\", ..)`".into()),
    }
}

fn pause(world: &mut World, queue: &str, layout: &str, state: &str) -> Result<Reply, String> {
    let mut redis = Redis(world);
    let [meta, wait, paused, marker] =
        ["meta", "wait", "paused", "marker"].map(|part| format!("{queue}{part}"));
    let was = redis.number(&["HEXISTS", &meta, "paused"])? == 1;
    if state == "paused" {
        redis.call(&["HSET", &meta, "paused", "1"])?;
        redis.call(&["DEL", &marker])?;
        if layout == "list" {
            redis.append(&wait, &paused)?;
        }
    } else {
        redis.call(&["HDEL", &meta, "paused"])?;
        redis.append(&paused, &wait)?;
        let prioritized = format!("{queue}prioritized");
        if redis.number(&["LLEN", &wait])? + redis.number(&["ZCARD", &prioritized])? > 0 {
            redis.call(&["ZADD", &marker, "0", "0"])?;
        } else {
            let delayed = format!("{queue}delayed");
            let next = redis.call(&["ZRANGE", &delayed, "0", "0", "WITHSCORES"])?;
            if let Some(score) = next.list().and_then(|next| next.get(1)?.text()) {
                let score = score.parse::<f64>().unwrap_or(0.0) / f64::from(0x1000);
                redis.call(&["ZADD", &marker, &score.to_string(), "1"])?;
            }
        }
    }
    if was != (state == "paused") {
        redis.call(&["XADD", &format!("{queue}events"), "*", "event", state])?;
    }
    Ok(Reply::Integer(0))
}

fn retry(world: &mut World, queue: &str, layout: &str, ids: &[&str]) -> Result<Reply, String> {
    let mut redis = Redis(world);
    let key = |part: &str| format!("{queue}{part}");
    let meta = key("meta");
    let is_paused = redis.number(&["HEXISTS", &meta, "paused"])? == 1;
    redis.call(&["HSETNX", &meta, "opts.maxLenEvents", "10000"])?;
    let mut retried = Vec::new();
    for id in ids {
        let job = key(id);
        if redis.number(&["EXISTS", &job])? == 0
            || redis.number(&["ZREM", &key("failed"), id])? == 0
        {
            continue;
        }
        redis.call(&["HDEL", &job, "finishedOn", "processedOn", "failedReason"])?;
        for field in ["priority", "opts", "parentKey"] {
            if redis.call(&["HGET", &job, field])? != Reply::Nil {
                return Err(format!("ERR the fake knows no jobs with `{field}`"));
            }
        }
        let waits_in = if layout == "list" && is_paused { "paused" } else { "wait" };
        redis.call(&["LPUSH", &key(waits_in), id])?;
        if !is_paused {
            redis.call(&["ZADD", &key("marker"), "0", "0"])?;
        }
        redis.call(&[
            "XADD",
            &key("events"),
            "*",
            "event",
            "waiting",
            "jobId",
            id,
            "prev",
            "failed",
        ])?;
        retried.push(Reply::Data(id.as_bytes().to_vec()));
    }
    Ok(Reply::List(retried))
}

/// Calls as a script makes them.
struct Redis<'a>(&'a mut World);

impl Redis<'_> {
    fn call(&mut self, words: &[&str]) -> Result<Reply, String> {
        let args: Vec<String> = words.iter().skip(1).map(|word| (*word).to_owned()).collect();
        run(self.0, words.first().copied().unwrap_or_default(), &args)
    }

    fn number(&mut self, words: &[&str]) -> Result<i64, String> {
        Ok(self.call(words)?.integer().unwrap_or(0))
    }

    /// Moves a list to the end of another.
    fn append(&mut self, from: &str, to: &str) -> Result<(), String> {
        let all = self.call(&["LRANGE", from, "0", "-1"])?;
        for id in all.list().unwrap_or_default() {
            self.call(&["RPUSH", to, id.text().unwrap_or_default()])?;
        }
        self.call(&["DEL", from]).map(drop)
    }
}
