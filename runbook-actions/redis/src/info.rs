//! What the server says about itself: does it answer, how full is it, does it save.

use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use deadpool_redis::redis::cmd;

use crate::client::Redis;
use crate::error::Error;
use crate::session::Session;

/// What a server says about itself (`INFO`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// Its version, e.g. `7.0.15`.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// For how many seconds it has been running.
    pub uptime_seconds: u64,
    /// How full it is.
    pub memory: Memory,
    /// What was asked of it since it started.
    pub stats: Stats,
    /// Who is connected.
    pub clients: Clients,
    /// Whether its data is on disk.
    pub persistence: Persistence,
}

/// How full a server is, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Memory {
    /// What its data takes, as `maxmemory` counts it.
    pub used: u64,
    /// The most that it ever took.
    pub peak: u64,
    /// What the process takes from the host.
    pub resident: u64,
    /// `maxmemory`; `None` if it has no limit.
    pub max: Option<u64>,
    /// What the host has.
    pub of_host: u64,
    /// What goes when it is full (`maxmemory-policy`), e.g. `noeviction`: nothing, writes are
    /// refused.
    pub policy: String,
    /// `resident` by what is used; far above 1, `MEMORY PURGE` may help.
    pub fragmentation: f64,
}

/// What was asked of a server since it started, or since `CONFIG RESETSTAT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Commands.
    pub commands: u64,
    /// Commands in the last second.
    pub commands_per_second: u64,
    /// Lookups of keys that were there.
    pub hits: u64,
    /// Lookups of keys that were not.
    pub misses: u64,
    /// Keys whose time was over.
    pub expired: u64,
    /// Keys that had to go because the memory was full.
    pub evicted: u64,
    /// Connections that were refused because there were too many.
    pub rejected: u64,
}

/// Who is connected to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Clients {
    /// How many.
    pub connected: u64,
    /// How many of these wait for something (`BLPOP` and the like).
    pub blocked: u64,
    /// `maxclients`; `None` if the server is too old to say.
    pub max: Option<u64>,
}

/// Whether a server's data is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Persistence {
    /// It is reading its data.
    pub loading: bool,
    /// Whether the last snapshot (`BGSAVE`) worked; true if there was none yet.
    pub snapshot_ok: bool,
    /// When it was, in seconds since 1970; without one, when the server started.
    pub snapshot_at: u64,
    /// Changes since then.
    pub changes_since: u64,
    /// Whether it writes every change to a file (AOF).
    pub append_only: bool,
    /// Whether the last write to that file, and the last rewrite of it, worked.
    pub append_only_ok: bool,
}

impl Memory {
    /// How much of `maxmemory`, or else of the host's memory, is used.
    #[must_use]
    pub fn percent(&self) -> u64 {
        percent(self.used, self.max.unwrap_or(self.of_host))
    }
}

impl Stats {
    /// How many of a hundred lookups found something; `None` if there were none.
    #[must_use]
    pub fn hit_percent(&self) -> Option<u64> {
        let lookups = self.hits + self.misses;
        (lookups > 0).then(|| percent(self.hits, lookups))
    }
}

fn percent(part: u64, of: u64) -> u64 {
    if of == 0 {
        0
    } else {
        u64::try_from(u128::from(part) * 100 / u128::from(of)).unwrap_or(u64::MAX)
    }
}

impl Redis {
    /// The server answers `PING`, and lets us in.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// b.check(cache.ping());
    /// ```
    #[must_use]
    pub fn ping(&self) -> impl Check<Evidence = String> {
        ping(self)
    }

    /// The server has loaded its data and takes commands; made to be waited for after a start.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, Wait, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// b.wait_until(cache.accepting(), Wait::at_most(std::time::Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn accepting(&self) -> impl Check<Evidence = Info> {
        accepting(self)
    }

    /// What the server says about itself.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// let info = b.check(cache.info());
    /// let evicted = info.map(|info| info.stats.evicted);
    /// ```
    #[must_use]
    pub fn info(&self) -> impl Check<Evidence = Info> {
        info(self)
    }

    /// Less than `limit` percent of `maxmemory` is used; from ten points below on it warns. A
    /// server without a limit is compared with the memory of its host. One that may drop keys
    /// when it is full (`maxmemory-policy`) only warns: it is meant to be full.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// b.check(cache.memory(90));
    /// ```
    #[must_use]
    pub fn memory(&self, limit: u8) -> impl Check<Evidence = Memory> {
        memory(self, &limit)
    }

    /// At least `least` of a hundred lookups find something; fewer are a warning, for a cache that
    /// misses is slow and not broken. Says nothing against a server that was asked little.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// b.check(cache.hit_ratio(80));
    /// ```
    #[must_use]
    pub fn hit_ratio(&self, least: u8) -> impl Check<Evidence = Stats> {
        hit_ratio(self, &least)
    }

    /// Less than `limit` percent of the connections that it allows are taken; from ten points
    /// below on it warns.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// b.check(cache.clients(80));
    /// ```
    #[must_use]
    pub fn clients(&self, limit: u8) -> impl Check<Evidence = Clients> {
        clients(self, &limit)
    }

    /// The server saved its data when it last tried to, as a snapshot and in its append-only file.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// # let mut b = Runbook::new("status");
    /// b.check(cache.saves());
    /// ```
    #[must_use]
    pub fn saves(&self) -> impl Check<Evidence = Persistence> {
        saves(self)
    }
}

/// The server answers
#[check(title = "{redis} answers", preview = "PING")]
async fn ping(cx: &Observer, redis: &Redis) -> Result<Verdict<String>> {
    let said: String = redis.open(cx).await?.ask(&cmd("PING")).await?;
    Ok(Verdict::pass_if(said == "PONG", said.clone(), format!("PING gives {said}")))
}

/// The server takes commands
#[check(title = "The server of {redis} takes commands", preview = "INFO")]
async fn accepting(cx: &Observer, redis: &Redis) -> Result<Verdict<Info>> {
    let info = read(&redis.open(cx).await?, redis).await?;
    let why = format!("version {}, {}, up for {} s", info.version, info.role, info.uptime_seconds);
    Ok(if info.persistence.loading {
        Verdict::fail(info, "it is loading its data")
    } else {
        Verdict::pass(info, why)
    })
}

/// What the server says about itself
#[check(title = "What {redis} says about itself", preview = "INFO")]
async fn info(cx: &Observer, redis: &Redis) -> Result<Verdict<Info>> {
    let info = read(&redis.open(cx).await?, redis).await?;
    let why = format!(
        "version {}, {}; {} used; {} connections",
        info.version,
        info.role,
        mebibytes(info.memory.used),
        info.clients.connected
    );
    Ok(Verdict::pass(info, why))
}

/// Enough memory is free
#[check(title = "{redis} uses less than {limit} % of its memory", preview = "INFO memory")]
async fn memory(cx: &Observer, redis: &Redis, limit: &u8) -> Result<Verdict<Memory>> {
    let memory = read(&redis.open(cx).await?, redis).await?.memory;
    let (percent, limit) = (memory.percent(), u64::from(*limit));
    let used = mebibytes(memory.used);
    let of = match memory.max {
        Some(max) => format!("{used} of {} of `maxmemory` ({})", mebibytes(max), memory.policy),
        None => {
            format!(
                "{used} of the {} of its host: it has no `maxmemory`",
                mebibytes(memory.of_host)
            )
        }
    };
    let why = format!("{percent} % is used: {of}");
    let evicts = memory.max.is_some() && memory.policy != "noeviction";
    Ok(if percent >= limit && !evicts {
        Verdict::fail(memory, why)
    } else if percent + 10 >= limit {
        Verdict::warn(memory, why)
    } else {
        Verdict::pass(memory, why)
    })
}

/// Lookups find something
#[check(
    title = "At least {least} % of the lookups in {redis} find something",
    preview = "INFO stats"
)]
async fn hit_ratio(cx: &Observer, redis: &Redis, least: &u8) -> Result<Verdict<Stats>> {
    /// Fewer say nothing.
    const ENOUGH: u64 = 1000;
    let stats = read(&redis.open(cx).await?, redis).await?.stats;
    let lookups = stats.hits + stats.misses;
    let Some(percent) = stats.hit_percent() else {
        return Ok(Verdict::pass(stats, "nothing was looked up yet"));
    };
    let why = format!("{percent} % of {lookups} lookups found something");
    Ok(if percent >= u64::from(*least) {
        Verdict::pass(stats, why)
    } else if lookups < ENOUGH {
        Verdict::pass(stats, format!("{why}; too few to say"))
    } else {
        Verdict::warn(stats, why)
    })
}

/// Connections are free
#[check(
    title = "Less than {limit} % of the connections of {redis} are taken",
    preview = "INFO clients"
)]
async fn clients(cx: &Observer, redis: &Redis, limit: &u8) -> Result<Verdict<Clients>> {
    let clients = read(&redis.open(cx).await?, redis).await?.clients;
    let Some(max) = clients.max else {
        let why = format!("{} connections; the server does not say of how many", clients.connected);
        return Ok(Verdict::pass(clients, why));
    };
    let (percent, limit) = (percent(clients.connected, max), u64::from(*limit));
    let why = format!("{} of {max} connections are taken", clients.connected);
    Ok(if percent >= limit {
        Verdict::fail(clients, why)
    } else if percent + 10 >= limit {
        Verdict::warn(clients, why)
    } else {
        Verdict::pass(clients, why)
    })
}

/// The server saves its data
#[check(title = "{redis} saves its data", preview = "INFO persistence")]
async fn saves(cx: &Observer, redis: &Redis) -> Result<Verdict<Persistence>> {
    let state = read(&redis.open(cx).await?, redis).await?.persistence;
    let mut wrong = Vec::new();
    if !state.snapshot_ok {
        wrong.push(format!("the last snapshot failed; {} changes since", state.changes_since));
    }
    if state.append_only && !state.append_only_ok {
        wrong.push("the last write to the append-only file failed".to_owned());
    }
    let file = if state.append_only { "written" } else { "off" };
    let fine = format!(
        "the last snapshot worked, {} changes since; append-only file {file}",
        state.changes_since
    );
    let why = if wrong.is_empty() { fine } else { wrong.join("; ") };
    Ok(Verdict::pass_if(wrong.is_empty(), state, why))
}

/// A number of bytes as people say it.
pub(crate) fn mebibytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Asks, and reads the answer.
pub(crate) async fn read(session: &Session<'_>, redis: &Redis) -> Result<Info> {
    let text: String = session.ask(&cmd("INFO")).await?;
    parse(&text).map_err(|field| {
        let why = format!("`{field}` is missing, or no number");
        let place = redis.to_string();
        Error::Answer { place, command: "INFO".into(), why }.into_failure()
    })
}

/// The error is the name of the field that can't be read.
fn parse(text: &str) -> Result<Info, &'static str> {
    let optional = |name: &'static str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim_end().to_owned())
    };
    let string = |name| optional(name).ok_or(name);
    let number = |name| optional(name).and_then(|value| value.parse::<u64>().ok()).ok_or(name);
    let flag = |name| number(name).map(|value| value == 1);
    let ok = |name| string(name).map(|value| value == "ok");
    Ok(Info {
        version: string("redis_version")?,
        role: string("role")?,
        uptime_seconds: number("uptime_in_seconds")?,
        memory: Memory {
            used: number("used_memory")?,
            peak: number("used_memory_peak")?,
            resident: number("used_memory_rss")?,
            max: Some(number("maxmemory")?).filter(|max| *max > 0),
            of_host: number("total_system_memory").unwrap_or(0),
            policy: string("maxmemory_policy")?,
            fragmentation: string("mem_fragmentation_ratio")?.parse().unwrap_or(1.0),
        },
        stats: Stats {
            commands: number("total_commands_processed")?,
            commands_per_second: number("instantaneous_ops_per_sec")?,
            hits: number("keyspace_hits")?,
            misses: number("keyspace_misses")?,
            expired: number("expired_keys")?,
            evicted: number("evicted_keys")?,
            rejected: number("rejected_connections")?,
        },
        clients: Clients {
            connected: number("connected_clients")?,
            blocked: number("blocked_clients")?,
            max: number("maxclients").ok(),
        },
        persistence: Persistence {
            loading: flag("loading")?,
            snapshot_ok: ok("rdb_last_bgsave_status")?,
            snapshot_at: number("rdb_last_save_time")?,
            changes_since: number("rdb_changes_since_last_save")?,
            append_only: flag("aof_enabled")?,
            append_only_ok: ok("aof_last_write_status")? && ok("aof_last_bgrewrite_status")?,
        },
    })
}
