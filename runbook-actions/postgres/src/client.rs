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
    /// Whoever creates, renames and drops databases.
    administrator: Option<Config>,
}

impl Postgres {
    /// The database that `config` names, on the server that `host` sees there.
    #[must_use]
    pub fn new(host: &Host, config: Config) -> Self {
        Self { inner: Arc::new(Inner { host: host.clone(), config, administrator: None }) }
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
        let Inner { host, config, administrator } = &*self.inner;
        let (host, administrator) = (host.clone(), administrator.clone());
        let config = Config { database: database.into(), ..config.clone() };
        Self { inner: Arc::new(Inner { host, config, administrator }) }
    }

    /// The same, but databases are created, renamed and dropped as another role: that of `admin`,
    /// of the same server. What fills them stays this one, so that nothing of a dump is run with
    /// the rights of a superuser.
    ///
    /// ```
    /// # use runbook_core::{Host, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let host = Host::new(FakeTarget::new("db-1"));
    /// let admin = Postgres::new(&host, Config::new("shop").user("postgres"));
    /// let shop = Postgres::new(&host, Config::new("shop").user("shop")).administered_by(&admin);
    /// assert_eq!(shop.to_string(), "shop on db-1");
    /// ```
    #[must_use]
    pub fn administered_by(&self, admin: &Self) -> Self {
        let Inner { host, config, .. } = &*self.inner;
        let administrator = Some(admin.config().clone());
        let (host, config) = (host.clone(), config.clone());
        Self { inner: Arc::new(Inner { host, config, administrator }) }
    }

    /// The database from which others are created and dropped, and the role that may.
    pub(crate) fn maintenance(&self) -> Self {
        self.as_administrator(&self.administrator().maintenance_database)
    }

    /// A database as the role that may create and drop it.
    pub(crate) fn as_administrator(&self, database: &str) -> Self {
        let config = Config { database: database.to_owned(), ..self.administrator().clone() };
        Self::new(&self.inner.host, config)
    }

    fn administrator(&self) -> &Config {
        self.inner.administrator.as_ref().unwrap_or(&self.inner.config)
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
