//! Replication: its state and lag, and making a standby the primary.

use std::fmt;
use std::time::Duration;

use runbook_core::{Check, Context, Irreversible, Observer, Result, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::activity::Span;
use crate::client::Postgres;
use crate::error::Error;

/// How a server takes part in replication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Replication {
    /// It is written to; these follow it.
    Primary {
        /// Its standbys.
        standbys: Vec<Standby>,
    },
    /// It follows another one.
    Standby {
        /// Whether the log streams in at this moment.
        streaming: bool,
        /// What has been received and not been replayed yet, in bytes.
        behind_bytes: u64,
        /// How old the last transaction is that was replayed, in seconds; zero if nothing waits
        /// to be replayed.
        behind_seconds: f64,
    },
}

/// A standby as its primary sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Standby {
    /// What it calls itself.
    pub name: String,
    /// From where; none for a unix socket.
    pub client: Option<String>,
    /// `streaming`, `catchup` ..
    pub state: String,
    /// `async`, `sync`, `potential`, `quorum`.
    pub sync_state: String,
    /// What it has not replayed yet, in bytes.
    pub behind_bytes: u64,
    /// For how long the last of it has been on its way, in seconds.
    pub behind_seconds: f64,
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary { standbys } if standbys.is_empty() => {
                f.write_str("a primary that nobody follows")
            }
            Self::Primary { standbys } => {
                let all: Vec<_> = standbys
                    .iter()
                    .map(|one| {
                        format!(
                            "{} ({}, {}) is {} bytes, {:.1} s behind",
                            one.name,
                            one.state,
                            one.sync_state,
                            one.behind_bytes,
                            one.behind_seconds
                        )
                    })
                    .collect();
                write!(f, "a primary; {}", all.join("; "))
            }
            Self::Standby { streaming, behind_bytes, behind_seconds } => {
                let how = if *streaming { "streaming" } else { "not streaming" };
                write!(f, "a standby, {how}, {behind_bytes} bytes, {behind_seconds:.1} s behind")
            }
        }
    }
}

impl Postgres {
    /// Replication works: on a primary, `standbys` servers at least follow it, each streaming and
    /// less than `lag` behind; on a standby, the log streams in and it is less than `lag` behind.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # use std::time::Duration;
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("status");
    /// b.check(shop.replication(1, Duration::from_secs(30)));
    /// ```
    #[must_use]
    pub fn replication(&self, standbys: u32, lag: Duration) -> impl Check<Evidence = Replication> {
        replication(self, standbys, &Span(lag))
    }

    /// Makes this standby a primary of its own, and waits until it is. Refuses if it is none.
    ///
    /// Before it, see to it that the old primary is stopped and stays so: two primaries take
    /// orders that nobody can bring together again.
    ///
    /// ```
    /// # use runbook_core::{Host, Manual, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let standby = Postgres::new(&Host::new(FakeTarget::new("db-2")), Config::new("shop"));
    /// # let mut b = Runbook::new("failover");
    /// b.manual(Manual::new("Make sure that the old primary is off"));
    /// b.irreversible(standby.promote(), "the old primary is lost");
    /// ```
    #[must_use]
    pub fn promote(&self) -> impl Step<Output = (), Rollback = Irreversible> {
        promote(self)
    }
}

/// Replication works
#[check(title = "Replication of {db} works, less than {lag} behind")]
pub(crate) async fn replication(
    cx: &Observer,
    db: &Postgres,
    standbys: u32,
    lag: &Span,
) -> Result<Verdict<Replication>> {
    let found = state(cx, db).await?;
    let seconds = lag.0.as_secs_f64();
    let good = match &found {
        Replication::Primary { standbys: all } => {
            let well = |one: &&Standby| one.state == "streaming" && one.behind_seconds < seconds;
            all.iter().filter(well).count() >= standbys as usize && all.iter().all(|one| well(&one))
        }
        Replication::Standby { streaming, behind_seconds, .. } => {
            *streaming && *behind_seconds < seconds
        }
    };
    let why = match &found {
        Replication::Primary { standbys: all } if all.len() < standbys as usize => {
            format!("it is {found}; {standbys} should follow it")
        }
        _ => format!("it is {found}"),
    };
    Ok(Verdict::pass_if(good, found, why))
}

async fn state(cx: &Observer, db: &Postgres) -> Result<Replication> {
    let reader = db.read(cx).await?;
    if !reader.one::<bool>("SELECT pg_is_in_recovery()", &[]).await? {
        let standbys = reader
            .query(
                "SELECT application_name AS name, host(client_addr) AS client, \
                 coalesce(state, 'not told') AS state, coalesce(sync_state, 'not told') AS sync_state, \
                 coalesce(greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0), 0)::int8 \
                     AS behind_bytes, \
                 coalesce(extract(epoch FROM replay_lag), 0)::float8 AS behind_seconds \
                 FROM pg_stat_replication ORDER BY 1, 2",
                &[],
            )
            .await?;
        return Ok(Replication::Primary { standbys });
    }
    let (streaming, behind_bytes, behind_seconds) = reader
        .one(
            "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'), \
             coalesce(greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), \
                 0), 0)::int8, \
             CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
                 ELSE coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0) \
             END::float8",
            &[],
        )
        .await?;
    Ok(Replication::Standby { streaming, behind_bytes, behind_seconds })
}

/// Make the standby the primary
#[step(title = "Promote {db}", irreversible, preview = "SELECT pg_promote()")]
pub(crate) async fn promote(cx: &Context, db: &Postgres) -> Result<()> {
    let session = db.session(cx).await?.unlimited().await?;
    let no = |why: &str, next: &str| {
        Err(Error::Unsafe { place: db.to_string(), why: why.into(), next: next.into() }
            .into_failure())
    };
    if !session.one::<bool>("SELECT pg_is_in_recovery()", &[]).await? {
        return no(
            "it is not promoted: it is no standby",
            "if it is the primary already, there is nothing to do; else check which server this is",
        );
    }
    let promoted: bool = session.one("SELECT pg_promote(true, 60)", &[]).await?;
    let still: bool = session.one("SELECT pg_is_in_recovery()", &[]).await?;
    if !promoted || still {
        return no(
            "it was told to become the primary, and is in recovery still",
            "look into its log; `SELECT pg_is_in_recovery()` says when it is done",
        );
    }
    Ok(())
}
