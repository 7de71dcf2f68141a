//! [`Reader`] and [`Session`]: an open connection, for checks and for steps.

use std::time::Duration;

use runbook_core::{During, Failure, FailureKind, Observer, Result};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Client, NoTls, Row};

use crate::client::Postgres;
use crate::config::millis;
use crate::error::{At, Error};
use crate::row;
use crate::tls::{Connector, Wire};
use crate::value::Value;

/// An open connection on which nothing can be changed; from [`Postgres::read`].
///
/// Every statement is one read-only transaction of its own. It can't write; what it calls can
/// still act outside of the database, as `pg_terminate_backend` does: don't call that in a check.
pub struct Reader<'a>(pub(crate) Connection<'a>);

/// An open connection on which anything can be done; from [`Postgres::session`].
pub struct Session<'a>(pub(crate) Connection<'a>);

impl Reader<'_> {
    /// The rows, each as a `T`: a struct by column names, a tuple by position, a single value from
    /// a single column.
    ///
    /// ```
    /// use runbook_core::{Observer, Result};
    /// use runbook_postgres::Postgres;
    /// #[derive(serde::Deserialize)]
    /// struct Shop {
    ///     name: String,
    ///     opened: Option<runbook_core::Timestamp>,
    /// }
    /// async fn shops(cx: &Observer, db: &Postgres, town: &str) -> Result<Vec<Shop>> {
    ///     let db = db.read(cx).await?;
    ///     db.query("SELECT name, opened FROM shops WHERE town = $1", &[town.into()]).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The server refuses the statement, the connection is lost, or a row is no `T`.
    pub async fn query<T: DeserializeOwned>(&self, sql: &str, values: &[Value]) -> Result<Vec<T>> {
        self.0.typed(sql, self.rows(sql, values).await?)
    }

    /// The only row.
    ///
    /// # Errors
    /// As for [`query`](Self::query), or there is none, or more than one.
    pub async fn one<T: DeserializeOwned>(&self, sql: &str, values: &[Value]) -> Result<T> {
        only(&self.0, sql, self.query(sql, values).await?)
    }

    /// Lets statements of this connection run as long as the unit may.
    pub(crate) async fn unlimited(self) -> Result<Self> {
        self.0.batch("SET statement_timeout = 0").await?;
        Ok(self)
    }

    async fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.0.batch("BEGIN TRANSACTION READ ONLY").await?;
        let rows = self.0.rows(sql, values).await;
        // A statement that failed leaves a transaction as well; a lost connection none.
        let ended = self.0.batch("ROLLBACK").await;
        let rows = rows?;
        ended?;
        Ok(rows)
    }
}

impl Session<'_> {
    /// The rows, as [`Reader::query`] gives them; the statement may change things
    /// (`INSERT .. RETURNING`).
    ///
    /// # Errors
    /// The server refuses the statement, the connection is lost, or a row is no `T`.
    pub async fn query<T: DeserializeOwned>(&self, sql: &str, values: &[Value]) -> Result<Vec<T>> {
        self.0.typed(sql, self.0.rows(sql, values).await?)
    }

    /// The only row.
    ///
    /// # Errors
    /// As for [`query`](Self::query), or there is none, or more than one.
    pub async fn one<T: DeserializeOwned>(&self, sql: &str, values: &[Value]) -> Result<T> {
        only(&self.0, sql, self.query(sql, values).await?)
    }

    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// The server refuses the statement, or the connection is lost.
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let client = &self.0.client;
        let work = async { client.execute_raw(sql, values).await };
        self.0.guarded(sql, work).await
    }

    /// Runs several statements, separated by semicolons.
    ///
    /// # Errors
    /// The server refuses one of them, or the connection is lost.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        self.0.batch(sql).await
    }

    /// Lets statements of this session run as long as the unit may.
    pub(crate) async fn unlimited(self) -> Result<Self> {
        self.0.batch("SET statement_timeout = 0").await?;
        Ok(self)
    }
}

fn only<T>(connection: &Connection<'_>, sql: &str, mut rows: Vec<T>) -> Result<T> {
    let many = rows.len();
    match (rows.pop(), many) {
        (Some(row), 1) => Ok(row),
        _ => {
            let why = format!("one row was expected, and there are {many}");
            Err(connection.row_error(sql, why))
        }
    }
}

/// An open connection through a host.
pub(crate) struct Connection<'a> {
    cx: &'a Observer,
    db: Postgres,
    client: Client,
    driver: Option<JoinHandle<()>>,
}

impl Drop for Connection<'_> {
    /// The task that drives the connection says goodbye and ends once the client is gone, except
    /// if the other end is silent.
    fn drop(&mut self) {
        let Some(mut driver) = self.driver.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if timeout(GOODBYE, &mut driver).await.is_err() {
                    driver.abort();
                }
            })),
            Err(_) => driver.abort(),
        }
    }
}

/// How long a connection may take to end.
const GOODBYE: Duration = Duration::from_secs(5);

impl<'a> Connection<'a> {
    pub(crate) async fn open(db: &Postgres, cx: &'a Observer, read_only: bool) -> Result<Self> {
        let config = db.config();
        let limit = config.connect_timeout;
        let open = async {
            let address = config.address();
            let stream = cx.on(db.host()).connect(&address).await.map_err(|failure| {
                if failure.kind() == FailureKind::Failed {
                    let (place, address) = (db.to_string(), address.to_string());
                    Error::Unreachable { place, address, why: failure.to_string() }.into_failure()
                } else {
                    failure
                }
            })?;
            let mut raw = tokio_postgres::Config::new();
            raw.user(&config.user).dbname(&config.database);
            raw.application_name(&config.application_name);
            if let Some(password) = &config.password {
                raw.password(password.expose());
            }
            let tls = Connector::of(config)?;
            raw.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
            let opened = match tls {
                // Its end is seen by the client, whose next answer is that it is closed.
                Some(tls) => {
                    raw.connect_raw(Wire(stream), tls).await.map(|(client, connection)| {
                        (client, tokio::spawn(async { drop(connection.await) }))
                    })
                }
                None => raw.connect_raw(Wire(stream), NoTls).await.map(|(client, connection)| {
                    (client, tokio::spawn(async { drop(connection.await) }))
                }),
            };
            opened.map_err(|error| {
                Error::of(error, at(db, &address.to_string(), None)).into_failure()
            })
        };
        let (client, driver) = tokio::select! {
            biased;
            why = cx.stopped() => return Err(why.while_doing(format!("connecting to {db}"))),
            opened = timeout(limit, open) => match opened {
                Ok(opened) => opened?,
                Err(_) => {
                    let why = format!("no answer within {}", humantime::format_duration(limit));
                    let (place, address) = (db.to_string(), config.address().to_string());
                    return Err(Error::Unreachable { place, address, why }.into_failure());
                }
            },
        };
        let this = Self { cx, db: db.clone(), client, driver: Some(driver) };
        // Not as options of the startup message: poolers refuse those.
        this.batch(&format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = '10min'; \
             SET default_transaction_read_only = {}",
            millis(config.statement_timeout),
            millis(config.lock_timeout),
            if read_only { "on" } else { "off" },
        ))
        .await?;
        Ok(this)
    }

    async fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        let values: Vec<_> = values
            .iter()
            .map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let work = async { self.client.query(sql, &values).await };
        self.guarded(sql, work).await
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<()> {
        self.guarded(sql, self.client.batch_execute(sql)).await
    }

    fn typed<T: DeserializeOwned>(&self, sql: &str, rows: Vec<Row>) -> Result<Vec<T>> {
        rows.iter()
            .map(|one| row::read(one).map_err(|error| self.row_error(sql, error.0)))
            .collect()
    }

    fn row_error(&self, sql: &str, why: String) -> Failure {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        Error::Row { place: self.db.to_string(), sql, why }.into_failure()
    }

    /// Waits for a statement; if the unit is to stop, or gives up waiting, has the server cancel
    /// it through a second stream.
    async fn guarded<T>(
        &self,
        sql: &str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let mut cancel = Cancel { db: self.db.clone(), token: Some(self.client.cancel_token()) };
        tokio::pin!(work);
        let why = tokio::select! {
            biased;
            why = self.cx.stopped() => why,
            done = &mut work => {
                cancel.token = None;
                let address = self.db.config().address().to_string();
                return done.map_err(|error| {
                    Error::of(error, at(&self.db, &address, Some(sql))).into_failure()
                });
            }
        };
        let told = cancel.now().await;
        // A cancel is a wish: the statement may have ended before it arrived. What it says now is
        // what happened.
        let end = match timeout(CANCEL, work).await {
            Ok(Ok(_)) => "it had ended before it could be cancelled",
            Ok(Err(error)) if error.code().is_some() => "the server cancelled it",
            _ => "whether it took effect is not known",
        };
        let told = told.map_or_else(|failure| format!(" ({failure})"), |()| String::new());
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(Failure::new(why.kind(), format!("{why}: {end}{told}"))
            .while_doing(format!("`{sql}` in {}", self.db)))
    }
}

/// How long a cancel may take.
const CANCEL: Duration = Duration::from_secs(2);

/// Has the server cancel a statement when it is dropped with a token in it.
struct Cancel {
    db: Postgres,
    token: Option<CancelToken>,
}

impl Cancel {
    async fn now(&mut self) -> Result<()> {
        match self.token.take() {
            Some(token) => cancel(self.db.clone(), token).await,
            None => Ok(()),
        }
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(token) = self.token.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let db = self.db.clone();
            runtime.spawn(async move {
                // Nobody is left to tell: `statement_timeout` ends it as well.
                let _ = cancel(db, token).await;
            });
        }
    }
}

async fn cancel(db: Postgres, token: CancelToken) -> Result<()> {
    let doing = "having the server cancel it";
    let cancel = async {
        // Not through the unit, which may open nothing any more.
        let stream = db.host().target().connect(&db.config().address()).await?;
        match Connector::of(db.config())? {
            Some(tls) => token.cancel_query_raw(Wire(stream), tls).await?,
            None => token.cancel_query_raw(Wire(stream), NoTls).await?,
        }
        Ok::<_, Failure>(())
    };
    match timeout(CANCEL, cancel).await {
        Ok(told) => told.during(doing),
        Err(_) => Err(Failure::msg("no answer").while_doing(doing)),
    }
}

fn at<'a>(db: &'a Postgres, address: &'a str, sql: Option<&'a str>) -> At<'a> {
    At { place: db.to_string(), address, user: &db.config().user, sql }
}
