//! [`Redis`]: one database of one server, reached through its host.

use std::fmt;
use std::sync::Arc;

use runbook_core::{Context, Host, Observer, Result};

use crate::config::Config;
use crate::connection::{Connection, Pool};
use crate::session::{Reader, Session};

/// One database of one server, reached through its host.
///
/// It is a handle: cheap to clone, and it opens nothing until a step or check needs it; what it
/// opened is kept for the next one. Its methods make steps and checks; [`read`](Self::read) and
/// [`session`](Self::session) are for those that you write yourself.
///
/// ```
/// use runbook_core::{Host, Runbook, testing::FakeTarget};
/// use runbook_redis::{Config, Redis};
///
/// let host = Host::new(FakeTarget::new("cache-1"));
/// let cache = Redis::new(&host, Config::new().database(2).password("correct horse"));
/// assert_eq!(cache.to_string(), "redis database 2 on cache-1");
///
/// let mut b = Runbook::new("status");
/// b.check(cache.ping());
/// b.check(cache.memory(80));
/// # b.build().unwrap();
/// ```
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    config: Config,
    pool: Pool,
}

impl Redis {
    /// The database that `config` names, on the server that `host` sees there.
    #[must_use]
    pub fn new(host: &Host, config: Config) -> Self {
        let pool = Connection::pool(host, &config);
        Self { inner: Arc::new(Inner { host: host.clone(), config, pool }) }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Where the server listens and who we are to it.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Another database of the same server.
    ///
    /// ```
    /// # use runbook_core::{Host, testing::FakeTarget};
    /// # use runbook_redis::{Config, Redis};
    /// # let cache = Redis::new(&Host::new(FakeTarget::new("cache-1")), Config::new());
    /// assert_eq!(cache.other(1).to_string(), "redis database 1 on cache-1");
    /// ```
    #[must_use]
    pub fn other(&self, database: u32) -> Self {
        Self::new(&self.inner.host, self.inner.config.clone().database(database))
    }

    /// Opens a connection that takes commands which only look, and refuses all others before they
    /// are sent.
    ///
    /// ```
    /// use runbook_core::{Observer, Result, Verdict};
    /// use runbook_redis::Redis;
    /// async fn carts_are_few(cx: &Observer, cache: &Redis) -> Result<Verdict<i64>> {
    ///     let carts = cache.read(cx).await?.query(["SCARD", "carts"]).await?;
    ///     let carts = carts.integer().unwrap_or(0);
    ///     Ok(Verdict::pass_if(carts < 10_000, carts, format!("{carts} carts")))
    /// }
    /// ```
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub async fn read<'a>(&self, cx: &'a Observer) -> Result<Reader<'a>> {
        self.open(cx).await.map(Reader)
    }

    /// Opens a connection on which anything can be done.
    ///
    /// ```
    /// use runbook_core::{Context, Result};
    /// use runbook_redis::Redis;
    /// async fn close_the_shop(cx: &Context, cache: &Redis) -> Result<()> {
    ///     cache.session(cx).await?.command(["SET", "shop:closed", "1", "EX", "3600"]).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub async fn session<'a>(&self, cx: &'a Context) -> Result<Session<'a>> {
        self.open(cx.observer()).await
    }

    /// For our own looks: a unit that held two connections could wait for another that does.
    pub(crate) async fn open<'a>(&self, cx: &'a Observer) -> Result<Session<'a>> {
        Session::open(self, cx).await
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }
}

/// How errors and plans name a database.
pub(crate) fn place(host: &Host, config: &Config) -> String {
    match config.database {
        0 => format!("redis on {host}"),
        number => format!("redis database {number} on {host}"),
    }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(self.host(), self.config()))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({self}, at {})", self.config().address())
    }
}
