//! [`Postgres`]: one database of one server, reached through its host.

use std::fmt;
use std::sync::Arc;

use runbook_core::{Context, Host, Observer, Result};

use crate::config::Config;
use crate::session::{Connection, Reader, Session};

/// One database of one server, reached through its host.
///
/// It is a handle: cheap to clone, and it opens nothing until a step or check needs it. Its
/// methods make steps and checks; [`read`](Self::read) and [`session`](Self::session) are for
/// those that you write yourself.
///
/// ```
/// use runbook_core::{Host, Runbook, testing::FakeTarget};
/// use runbook_postgres::{Config, Postgres};
///
/// let host = Host::new(FakeTarget::new("db-1"));
/// let shop = Postgres::new(&host, Config::new("shop").host("/run/postgresql").user("shop"));
/// assert_eq!(shop.to_string(), "shop on db-1");
///
/// let mut b = Runbook::new("status");
/// b.check(shop.ping());
/// b.check(shop.connections(80));
/// # b.build().unwrap();
/// ```
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    config: Config,
}

impl Postgres {
    /// The database that `config` names, on the server that `host` sees there.
    #[must_use]
    pub fn new(host: &Host, config: Config) -> Self {
        Self { inner: Arc::new(Inner { host: host.clone(), config }) }
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

    /// The name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.inner.config.database
    }

    /// Another database of the same server.
    ///
    /// ```
    /// # use runbook_core::{Host, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// assert_eq!(shop.other("stock").to_string(), "stock on db-1");
    /// ```
    #[must_use]
    pub fn other(&self, database: impl Into<String>) -> Self {
        let config = Config { database: database.into(), ..self.inner.config.clone() };
        Self::new(&self.inner.host, config)
    }

    /// The database from which others are created and dropped.
    pub(crate) fn maintenance(&self) -> Self {
        self.other(self.config().maintenance_database.clone())
    }

    /// Opens a connection on which nothing can be changed: every statement runs in a read-only
    /// transaction that is then rolled back.
    ///
    /// ```
    /// use runbook_core::{Observer, Result, Verdict};
    /// use runbook_postgres::Postgres;
    /// async fn orders_come_in(cx: &Observer, shop: &Postgres) -> Result<Verdict<i64>> {
    ///     let db = shop.read(cx).await?;
    ///     let since = "now() - interval '1 hour'";
    ///     let sql = format!("SELECT count(*) FROM orders WHERE at > {since} AND state <> $1");
    ///     let orders = db.one(&sql, &["test".into()]).await?;
    ///     Ok(Verdict::pass_if(orders > 0, orders, format!("{orders} orders in the last hour")))
    /// }
    /// ```
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub async fn read<'a>(&self, cx: &'a Observer) -> Result<Reader<'a>> {
        Connection::open(self, cx, true).await.map(Reader)
    }

    /// Opens a connection on which anything can be done.
    ///
    /// ```
    /// use runbook_core::{Context, Result};
    /// use runbook_postgres::Postgres;
    /// async fn close_old_carts(cx: &Context, shop: &Postgres) -> Result<u64> {
    ///     let db = shop.session(cx).await?;
    ///     db.execute("UPDATE carts SET open = false WHERE day < $1::date", &["2026-01-01".into()])
    ///         .await
    /// }
    /// ```
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub async fn session<'a>(&self, cx: &'a Context) -> Result<Session<'a>> {
        Connection::open(self, cx.observer(), false).await.map(Session)
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.database(), self.host())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({} at {} of {})", self.database(), self.config().address(), self.host())
    }
}
