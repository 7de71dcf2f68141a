//! [`Reader`] and [`Session`]: an open connection for a check, and for a step.

use std::fmt;
use std::time::Duration;

use deadpool::managed::{Object, PoolError};
use deadpool_redis::redis::{Cmd, FromRedisValue};
use runbook_core::{Failure, Observer, Result};

use crate::client::Redis;
use crate::connection::{Manager, name};
use crate::error::Error;
use crate::reply::Reply;

/// How long a command that is known to take long may take, at least.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// An open connection on which nothing can be changed; from [`Redis::read`].
pub struct Reader<'a>(pub(crate) Session<'a>);

impl Reader<'_> {
    /// Asks with a command that only looks; others are refused and not sent.
    ///
    /// ```
    /// use runbook_core::Result;
    /// use runbook_redis::Reader;
    /// async fn cart(redis: &Reader<'_>, user: &str) -> Result<Option<String>> {
    ///     let cart = redis.query(["HGET", "carts", user]).await?;
    ///     Ok(cart.text().map(str::to_owned))
    /// }
    /// ```
    ///
    /// # Errors
    /// The command is not one that only looks, or the server refuses it.
    pub async fn query(&self, words: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<Reply> {
        let command = command(words);
        if !only_looks(&name(&command)) {
            return Err(Error::Unsafe {
                place: self.0.redis.to_string(),
                why: format!("{} may change something, and a check may not", name(&command)),
                next: "use it in a step".into(),
            }
            .into_failure());
        }
        self.0.ask(&command).await
    }
}

/// An open connection; from [`Redis::session`].
pub struct Session<'a> {
    cx: &'a Observer,
    redis: Redis,
    /// Empty while a command is under way, and after one whose answer did not come.
    connection: tokio::sync::Mutex<Option<Object<Manager>>>,
    limit: Duration,
}

impl<'a> Session<'a> {
    pub(crate) async fn open(redis: &Redis, cx: &'a Observer) -> Result<Self> {
        let connection = connect(redis, cx).await?;
        Ok(Self {
            cx,
            redis: redis.clone(),
            connection: tokio::sync::Mutex::new(Some(connection)),
            limit: redis.config().response_timeout,
        })
    }

    /// Runs a command.
    ///
    /// ```
    /// use runbook_core::Result;
    /// use runbook_redis::Session;
    /// async fn forget(redis: &Session<'_>, user: &str) -> Result<bool> {
    ///     Ok(redis.command(["HDEL", "carts", user]).await?.integer() == Some(1))
    /// }
    /// ```
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn command(&self, words: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<Reply> {
        self.ask(&command(words)).await
    }

    /// The same, for commands that may take long.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.limit = self.limit.max(LONG);
        self
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut place = self.connection.lock().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => connect(&self.redis, self.cx).await?,
        };
        tokio::select! {
            biased;
            why = self.cx.stopped() => {
                drop(Object::take(connection));
                Err(why.while_doing(format!("{} in {}", name(command), self.redis)))
            }
            answer = connection.ask(command, self.limit) => {
                match &answer {
                    // It may still be held up by that command.
                    Err(failure) if failure.kind().outcome_unknown() => {
                        drop(Object::take(connection));
                    }
                    _ => *place = Some(connection),
                }
                answer
            }
        }
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({})", self.0.redis)
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.redis)
    }
}

async fn connect(redis: &Redis, cx: &Observer) -> Result<Object<Manager>> {
    let doing = || format!("connecting to {redis}");
    tokio::select! {
        biased;
        why = cx.stopped() => Err(why.while_doing(doing())),
        opened = redis.pool().get() => opened.map_err(|error| match error {
            PoolError::Backend(failure) => failure,
            other => Failure::msg(other).while_doing(doing()),
        }),
    }
}

fn command(words: impl IntoIterator<Item: AsRef<[u8]>>) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word.as_ref());
    }
    command
}

/// Commands that change nothing, not even when a key was last used for anything that counts.
/// Scripts and `CONFIG GET`, which shows passwords, are not among them.
fn only_looks(name: &str) -> bool {
    const COMMANDS: &str = "
        ACL WHOAMI, BITCOUNT, BITPOS, CLIENT GETNAME, CLIENT ID, CLIENT INFO, CLIENT LIST,
        CLUSTER INFO, CLUSTER NODES, COMMAND COUNT, COMMAND INFO, DBSIZE, DUMP, ECHO, EXISTS,
        EXPIRETIME, GEODIST, GEOPOS, GET, GETBIT, GETRANGE, HEXISTS, HGET, HGETALL, HKEYS, HLEN,
        HMGET, HSCAN, HSTRLEN, HVALS, INFO, LASTSAVE, LINDEX, LLEN, LPOS, LRANGE, MEMORY DOCTOR,
        MEMORY STATS, MEMORY USAGE, MGET, OBJECT ENCODING, OBJECT FREQ, OBJECT IDLETIME,
        OBJECT REFCOUNT, PEXPIRETIME, PFCOUNT, PING, PTTL, ROLE, SCAN, SCARD, SDIFF, SINTER,
        SISMEMBER, SLOWLOG GET, SLOWLOG LEN, SMEMBERS, SMISMEMBER, SRANDMEMBER, SSCAN, STRLEN,
        SUNION, TIME, TTL, TYPE, XINFO CONSUMERS, XINFO GROUPS, XINFO STREAM, XLEN, XPENDING,
        XRANGE, XREVRANGE, ZCARD, ZCOUNT, ZLEXCOUNT, ZMSCORE, ZRANDMEMBER, ZRANGE,
        ZRANGEBYSCORE, ZRANK, ZREVRANGE, ZREVRANK, ZSCAN, ZSCORE
    ";
    COMMANDS.split(',').any(|command| command.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::only_looks;

    #[test]
    fn what_only_looks_is_told_from_what_changes() {
        for name in ["ACL WHOAMI", "DBSIZE", "GET", "PING", "SCAN", "XLEN", "ZSCORE"] {
            assert!(only_looks(name), "{name}");
        }
        for name in ["SET", "GETDEL", "KEYS", "CONFIG GET", "EVAL", "SORT", "MEMORY PURGE", ""] {
            assert!(!only_looks(name), "{name}");
        }
    }
}
