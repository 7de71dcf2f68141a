//! Signs of corruption in a server's log, for the decision whether to restore.

use std::path::Path;

use runbook_core::{Check, Command, During, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::client::Postgres;

/// What a server's log says about its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogFindings {
    /// Lines that say that data is damaged, the last ones, at most 50.
    pub corruption: Vec<String>,
    /// Lines of level `PANIC`, the last ones, at most 50: the server gave up and started anew.
    pub panics: Vec<String>,
    /// Lines of level `FATAL` that no client's login caused, the last ones, at most 50.
    pub fatal: Vec<String>,
}

impl LogFindings {
    /// What it speaks for: whether to restore a backup.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        if !self.corruption.is_empty() {
            "data is damaged: stop writing, copy the data folder, and restore the last good dump \
             unless only an index is meant (then REINDEX)"
        } else if !self.panics.is_empty() {
            "the server gave up and recovered by itself: look for a full disk or a failing one \
             before thinking of a restore"
        } else {
            "nothing speaks for a restore"
        }
    }
}

impl Postgres {
    /// The log, a file or the newest file of a folder on the host, shows no corruption; warns of
    /// panics.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_postgres::{Config, Postgres};
    /// # let shop = Postgres::new(&Host::new(FakeTarget::new("db-1")), Config::new("shop"));
    /// # let mut b = Runbook::new("database-down");
    /// let seen = b.observe(shop.log_is_clean("/var/log/postgresql/postgresql-15-main.log"));
    /// b.when("Restore?", seen.failed(), |b| {
    ///     b.manual(runbook_core::Manual::new("Decide whether to restore the last dump"));
    /// });
    /// ```
    pub fn log_is_clean(
        &self,
        log: impl Into<std::path::PathBuf>,
    ) -> impl Check<Evidence = LogFindings> {
        log_is_clean(self, &log.into())
    }
}

/// Words of the server's own messages about damaged data.
const CORRUPTION: &str = "invalid page in block|page verification failed|could not read block|\
    read only [0-9]+ of [0-9]+ bytes|unexpected zero page|invalid page header|\
    missing chunk number|unexpected chunk number|invalid memory alloc request size|\
    could not access status of transaction|found xmin .* from before|found multixact .* from before|\
    (index|heap|tuple|table|data|file|page|checksum).*(is|are|be|looks) corrupt|corrupted (page|item|line pointer|statistics)|\
    incorrect checksum|calculated (CRC )?checksum|right sibling's left-link|failed to re-find (tuple|parent key)|\
    invalid (primary |secondary )?checkpoint record|contains unexpected zero page|could not open file .base/";

/// The log shows no corruption
#[check(title = "The log of {db} shows no corruption", preview = "grep {log}")]
pub(crate) async fn log_is_clean(
    cx: &Observer,
    db: &Postgres,
    log: &Path,
) -> Result<Verdict<LogFindings>> {
    let host = cx.on(db.host());
    let doing = format!("looking into the log {} on {}", log.display(), db.host());
    let info = host.stat(log).await?;
    let file = match info.map(|info| info.kind) {
        Some(runbook_core::FileKind::Dir) => {
            let mut all = host.list(log).await?;
            all.retain(|info| info.kind == runbook_core::FileKind::File);
            all.sort_by_key(|info| info.modified);
            all.pop().map(|info| info.path)
        }
        Some(_) => Some(log.to_owned()),
        None => None,
    };
    let Some(file) = file else {
        return Err(runbook_core::Failure::msg("there is no log"))
            .during(doing)
            .or_next("`SHOW log_directory` and `pg_lsclusters` say where it is");
    };
    let lines = async |pattern: &str| -> Result<Vec<String>> {
        let grep = Command::new("grep")
            .args(["-a", "-E", "-e", pattern, "--"])
            .arg(&file)
            .env("LC_ALL", "C")
            .read_only();
        let output = host.status(&grep).await?;
        match output.exit {
            // 1: no line.
            runbook_core::Exit::Code(0 | 1) => {}
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
                return Err(runbook_core::Failure::msg(said)).during(&doing);
            }
        }
        let text = output.text();
        let all: Vec<_> = text.lines().map(|line| line.chars().take(400).collect()).collect();
        Ok(all[all.len().saturating_sub(50)..].to_vec())
    };
    let corruption = lines(CORRUPTION).await?;
    let panics = lines("(^|[^A-Za-z])PANIC:  ").await?;
    let mut fatal = lines("(^|[^A-Za-z])FATAL:  ").await?;
    let of_clients = [
        "password authentication failed",
        "no pg_hba.conf entry",
        "does not exist",
        "the database system is",
        "terminating connection",
        "Peer authentication",
        "too many c",
        "remaining connection slots",
        "connection to client lost",
    ];
    fatal.retain(|line| !of_clients.iter().any(|words| line.contains(words)));
    let found = LogFindings { corruption, panics, fatal };
    let advice = found.advice();
    Ok(if let Some(last) = found.corruption.last() {
        let why = format!(
            "{} lines tell of corruption, the last one: {last}; {advice}",
            found.corruption.len()
        );
        Verdict::fail(found, why)
    } else if let Some(last) = found.panics.last() {
        let why = format!("{} panics, the last one: {last}; {advice}", found.panics.len());
        Verdict::warn(found, why)
    } else {
        Verdict::pass(found, advice)
    })
}
