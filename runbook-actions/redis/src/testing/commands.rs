//! The commands that the fake knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Kept, NOW_MS, World, scripts};
use crate::reply::Reply;

type Answer = Result<Reply, String>;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_NUMBER: &str = "ERR value is not an integer or out of range";

/// Runs a command; `args` are its words without its name.
pub(super) fn run(world: &mut World, name: &str, args: &[String]) -> Answer {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match (name, words.as_slice()) {
        ("PING", []) => Ok(data("PONG")),
        ("SELECT", [_]) | ("MEMORY", ["PURGE"]) => Ok(ok()),
        ("TIME", []) => Ok(list([(NOW_MS / 1000).to_string(), "0".into()])),
        ("INFO", _) => Ok(data(info(world))),
        ("CLIENT", ["SETNAME" | "SETINFO", ..]) => Ok(ok()),
        ("CLIENT", ["LIST"]) => Ok(data(clients(world))),
        ("CONFIG", ["SET", "maxmemory", bytes]) => {
            world.max_memory = bytes.parse().map_err(|_| NO_NUMBER)?;
            Ok(ok())
        }
        ("CONFIG", ["SET", "maxmemory-policy", policy]) => {
            world.policy = (*policy).to_owned();
            Ok(ok())
        }
        ("DBSIZE", []) => Ok(count(world.keys.len())),
        ("EVAL", [script, keys, rest @ ..]) => {
            let keys: usize = keys.parse().map_err(|_| NO_NUMBER)?;
            scripts::run_script(world, script, rest.get(keys..).unwrap_or_default())
        }
        (_, [key, rest @ ..]) => of_key(world, name, key, rest),
        _ => Err(unknown(name, args)),
    }
}

fn of_key(world: &mut World, name: &str, key: &str, rest: &[&str]) -> Answer {
    match name {
        "EXISTS" => {
            let all = [key].into_iter().chain(rest.iter().copied());
            return Ok(count(all.filter(|key| world.keys.contains_key(*key)).count()));
        }
        "DEL" | "UNLINK" => {
            let all = [key].into_iter().chain(rest.iter().copied());
            return Ok(count(all.filter(|key| world.keys.remove(*key).is_some()).count()));
        }
        "TYPE" => return Ok(data(world.keys.get(key).map_or("none", Kept::kind))),
        "RENAME" => {
            let kept = world.keys.remove(key).ok_or("ERR no such key")?;
            world.keys.insert(rest.first().copied().unwrap_or_default().to_owned(), kept);
            return Ok(ok());
        }
        _ => {}
    }
    let answer = match name {
        "GET" | "SET" | "INCR" => text(&mut world.keys, name, key, rest),
        "HSET" | "HSETNX" | "HGET" | "HMGET" | "HGETALL" | "HDEL" | "HEXISTS" | "HLEN" => {
            hash(&mut world.keys, name, key, rest)
        }
        "LPUSH" | "RPUSH" | "LPOP" | "RPOP" | "LLEN" | "LRANGE" | "LINDEX" | "LREM" => {
            of_list(&mut world.keys, name, key, rest)
        }
        "SADD" | "SREM" | "SMEMBERS" | "SISMEMBER" | "SCARD" => {
            set(&mut world.keys, name, key, rest)
        }
        "ZADD" | "ZREM" | "ZCARD" | "ZSCORE" | "ZRANGE" | "ZREVRANGE" => {
            sorted(&mut world.keys, name, key, rest)
        }
        "XADD" | "XREVRANGE" | "XLEN" => stream(&mut world.keys, name, key, rest),
        _ => None,
    };
    let answer = answer.unwrap_or_else(|| {
        let words = [key].iter().chain(rest).map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Err(unknown(name, &words))
    });
    // What holds nothing is not there.
    if world.keys.get(key).is_some_and(Kept::is_empty) {
        world.keys.remove(key);
    }
    answer
}

fn unknown(name: &str, args: &[String]) -> String {
    format!("ERR the fake has no `{name} {}`; script it with `on`", args.join(" "))
}

type Keys = BTreeMap<String, Kept>;

/// What a key holds if it is of that kind; made if it is not there.
macro_rules! kept {
    ($keys:ident, $key:ident, $kind:ident, $empty:expr) => {
        match $keys.entry($key.to_owned()).or_insert_with(|| Kept::$kind($empty)) {
            Kept::$kind(kept) => kept,
            _ => return Some(Err(WRONG_TYPE.into())),
        }
    };
}

/// Each is `None` if there is no such command with such words.
fn text(keys: &mut Keys, name: &str, key: &str, rest: &[&str]) -> Option<Answer> {
    if name == "SET" {
        let [value] = rest else { return None };
        keys.insert(key.to_owned(), Kept::Text((*value).to_owned()));
        return Some(Ok(ok()));
    }
    let there = keys.contains_key(key);
    let kept = kept!(keys, key, Text, String::new());
    Some(match (name, rest) {
        ("GET", []) => Ok(if there { data(kept.as_str()) } else { Reply::Nil }),
        ("INCR", []) => {
            let number = if there { kept.parse().map_err(|_| NO_NUMBER.to_owned()) } else { Ok(0) };
            number.map(|number: i64| {
                *kept = (number + 1).to_string();
                Reply::Integer(number + 1)
            })
        }
        _ => return None,
    })
}

fn hash(keys: &mut Keys, name: &str, key: &str, rest: &[&str]) -> Option<Answer> {
    let kept = kept!(keys, key, Hash, BTreeMap::new());
    let field = |name: &str| kept.get(name).map_or(Reply::Nil, data);
    Some(Ok(match (name, rest) {
        ("HSET", pairs) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            let new = |pair: &&[&str]| kept.insert(pair[0].into(), pair[1].into()).is_none();
            count(pairs.chunks_exact(2).filter(new).count())
        }
        ("HSETNX", [name, value]) => {
            let new = !kept.contains_key(*name);
            kept.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
            count(usize::from(new))
        }
        ("HGET", [name]) => field(name),
        ("HMGET", names) => Reply::List(names.iter().map(|name| field(name)).collect()),
        ("HGETALL", []) => list(kept.iter().flat_map(|(name, value)| [name, value])),
        ("HDEL", names) => count(names.iter().filter(|name| kept.remove(**name).is_some()).count()),
        ("HEXISTS", [name]) => count(usize::from(kept.contains_key(*name))),
        ("HLEN", []) => count(kept.len()),
        _ => return None,
    }))
}

fn of_list(keys: &mut Keys, name: &str, key: &str, rest: &[&str]) -> Option<Answer> {
    let kept = kept!(keys, key, List, VecDeque::new());
    let or_nil = |value: Option<String>| value.map_or(Reply::Nil, data);
    Some(Ok(match (name, rest) {
        ("LPUSH", values) => {
            values.iter().for_each(|value| kept.push_front((*value).to_owned()));
            count(kept.len())
        }
        ("RPUSH", values) => {
            values.iter().for_each(|value| kept.push_back((*value).to_owned()));
            count(kept.len())
        }
        ("LPOP", []) => or_nil(kept.pop_front()),
        ("RPOP", []) => or_nil(kept.pop_back()),
        ("LLEN", []) => count(kept.len()),
        ("LINDEX", [at]) => {
            let at: i64 = at.parse().ok()?;
            let at = if at < 0 { at + i64::try_from(kept.len()).ok()? } else { at };
            or_nil(usize::try_from(at).ok().and_then(|at| kept.get(at)).cloned())
        }
        ("LRANGE", [from, to]) => {
            let (from, to) = range(kept.len(), from, to)?;
            list(kept.iter().skip(from).take(to.saturating_sub(from)))
        }
        ("LREM", ["1", value]) => {
            let at = kept.iter().position(|one| one == value);
            at.map(|at| kept.remove(at));
            count(usize::from(at.is_some()))
        }
        _ => return None,
    }))
}

fn set(keys: &mut Keys, name: &str, key: &str, rest: &[&str]) -> Option<Answer> {
    let kept = kept!(keys, key, Set, BTreeSet::new());
    Some(Ok(match (name, rest) {
        ("SADD", values) => {
            count(values.iter().filter(|value| kept.insert((**value).to_owned())).count())
        }
        ("SREM", values) => count(values.iter().filter(|value| kept.remove(**value)).count()),
        ("SMEMBERS", []) => list(kept.iter()),
        ("SISMEMBER", [value]) => count(usize::from(kept.contains(*value))),
        ("SCARD", []) => count(kept.len()),
        _ => return None,
    }))
}

fn sorted(keys: &mut Keys, name: &str, key: &str, rest: &[&str]) -> Option<Answer> {
    let kept = kept!(keys, key, Sorted, BTreeMap::new());
    Some(Ok(match (name, rest) {
        ("ZADD", [score, member]) => {
            let score: f64 = score.parse().ok()?;
            count(usize::from(kept.insert((*member).to_owned(), score).is_none()))
        }
        ("ZREM", members) => {
            count(members.iter().filter(|member| kept.remove(**member).is_some()).count())
        }
        ("ZCARD", []) => count(kept.len()),
        ("ZSCORE", [member]) => {
            kept.get(*member).map_or(Reply::Nil, |score| data(score.to_string()))
        }
        ("ZRANGE" | "ZREVRANGE", [from, to, scores @ ..]) => {
            let with_scores = match scores {
                [] => false,
                ["WITHSCORES"] => true,
                _ => return None,
            };
            let mut all: Vec<(&String, &f64)> = kept.iter().collect();
            all.sort_by(|a, b| a.1.total_cmp(b.1).then_with(|| a.0.cmp(b.0)));
            if name == "ZREVRANGE" {
                all.reverse();
            }
            let (from, to) = range(all.len(), from, to)?;
            let some = all.into_iter().skip(from).take(to.saturating_sub(from));
            list(some.flat_map(|(member, score)| {
                let score = with_scores.then(|| score.to_string());
                [Some(member.clone()), score].into_iter().flatten()
            }))
        }
        _ => return None,
    }))
}

fn stream(keys: &mut Keys, name: &str, key: &str, rest: &[&str]) -> Option<Answer> {
    let kept = kept!(keys, key, Stream, Vec::new());
    let id = |at: usize| format!("{NOW_MS}-{at}");
    Some(Ok(match (name, rest) {
        ("XADD", ["*", fields @ ..]) => {
            kept.push(fields.iter().map(|field| (*field).to_owned()).collect());
            data(id(kept.len()))
        }
        ("XLEN", []) => count(kept.len()),
        ("XREVRANGE", ["+", "-", "COUNT", most]) => {
            let entries = kept.iter().enumerate().rev().take(most.parse().ok()?);
            let entries =
                entries.map(|(at, fields)| Reply::List(vec![data(id(at + 1)), list(fields)]));
            Reply::List(entries.collect())
        }
        _ => return None,
    }))
}

impl Kept {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Sorted(_) => "zset",
            Self::Stream(_) => "stream",
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            // The text of a key that is there may be empty.
            Self::Text(text) => text.is_empty(),
            Self::Hash(kept) => kept.is_empty(),
            Self::List(kept) => kept.is_empty(),
            Self::Set(kept) => kept.is_empty(),
            Self::Sorted(kept) => kept.is_empty(),
            Self::Stream(kept) => kept.is_empty(),
        }
    }
}

/// The half-open range that `from` and `to` name, which count from the end if they are negative.
fn range(len: usize, from: &str, to: &str) -> Option<(usize, usize)> {
    let len = i64::try_from(len).ok()?;
    let at = |text: &str| text.parse::<i64>().ok().map(|at| if at < 0 { at + len } else { at });
    let (from, to) = (at(from)?.max(0), (at(to)? + 1).clamp(0, len));
    Some((usize::try_from(from).ok()?, usize::try_from(to).ok()?))
}

/// What the checks of this crate read of `INFO`, as a server of version 7 writes it.
fn info(world: &World) -> String {
    let World { used_memory: used, max_memory: max, policy, .. } = world;
    let connected = world.clients.len() + 1;
    format!(
        "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:86400\r\n\
         # Clients\r\nconnected_clients:{connected}\r\nblocked_clients:0\r\nmaxclients:10000\r\n\
         # Memory\r\nused_memory:{used}\r\nused_memory_peak:{used}\r\nused_memory_rss:{used}\r\n\
         maxmemory:{max}\r\nmaxmemory_policy:{policy}\r\ntotal_system_memory:8589934592\r\n\
         mem_fragmentation_ratio:1.00\r\n\
         # Persistence\r\nloading:0\r\nrdb_last_bgsave_status:ok\r\nrdb_last_save_time:{}\r\n\
         rdb_changes_since_last_save:0\r\naof_enabled:0\r\naof_last_write_status:ok\r\n\
         aof_last_bgrewrite_status:ok\r\n\
         # Stats\r\ntotal_commands_processed:1\r\ninstantaneous_ops_per_sec:0\r\n\
         keyspace_hits:0\r\nkeyspace_misses:0\r\nexpired_keys:0\r\nevicted_keys:0\r\n\
         rejected_connections:0\r\n\
         # Replication\r\nrole:master\r\n",
        NOW_MS / 1000
    )
}

fn clients(world: &World) -> String {
    let line = |(id, name): (usize, &String)| {
        format!("id={} addr=127.0.0.1:{} name={name} age=60 idle=0\n", id + 2, 50_000 + id)
    };
    let ours = "id=1 addr=127.0.0.1:49999 name=runbook age=0 idle=0\n".to_owned();
    ours + &world.clients.iter().enumerate().map(line).collect::<String>()
}

fn ok() -> Reply {
    data("OK")
}

fn count(number: usize) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn data(text: impl Into<String>) -> Reply {
    Reply::Data(text.into().into_bytes())
}

fn list<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Reply {
    Reply::List(texts.into_iter().map(data).collect())
}
