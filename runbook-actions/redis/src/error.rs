//! [`Error`]: what goes wrong with a server or a queue, and what to do about it.

use std::time::Duration;

use deadpool_redis::redis::RedisError;
use runbook_core::{Failure, FailureKind, scrub};
use runbook_tls::TlsError;

/// What goes wrong with a server or a queue.
///
/// Steps and checks fail with it as a [`Failure`], which carries its text and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was given is no URL of a server.
    #[error("the URL of a Redis server can't be used: {why}")]
    Url {
        /// What is wrong with it. It is not shown itself: there may be a password in it.
        why: &'static str,
    },
    /// Nothing answers there, or nothing that speaks the protocol.
    #[error("{place}: the server can't be reached at {address}: {why}")]
    Unreachable {
        /// The database and host.
        place: String,
        /// Where it was looked for.
        address: String,
        /// What came back.
        why: String,
    },
    /// No private connection.
    #[error("{place}: {source}")]
    Tls {
        /// The database and host.
        place: String,
        /// Why.
        source: TlsError,
    },
    /// The user or password is wrong, or none was given.
    #[error("{place}: the server refuses the user `{user}`: {why}")]
    WrongPassword {
        /// The database and host.
        place: String,
        /// The user.
        user: String,
        /// What it says.
        why: String,
    },
    /// The user may not run this command, or not on these keys.
    #[error("{place}: the user `{user}` may not run {command}: {why}")]
    NotPermitted {
        /// The database and host.
        place: String,
        /// The user.
        user: String,
        /// The command.
        command: String,
        /// What it says.
        why: String,
    },
    /// There is no database of that number.
    #[error("{place}: there is no such database: {why}")]
    NoDatabase {
        /// The database and host.
        place: String,
        /// What it says.
        why: String,
    },
    /// All connections are taken.
    #[error("{place}: all connections are taken: {why}")]
    TooManyClients {
        /// The database and host.
        place: String,
        /// What it says.
        why: String,
    },
    /// It has started, and reads its data.
    #[error("{place}: the server is still loading its data into memory")]
    Loading {
        /// The database and host.
        place: String,
    },
    /// A script runs, and nothing else does.
    #[error("{place}: the server is busy with a script that does not end: {command} was refused")]
    Busy {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
    },
    /// Its memory is full, and writes are refused.
    #[error("{place}: the memory is full (`maxmemory`), and {command} was refused")]
    OutOfMemory {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
    },
    /// It is a replica, and takes no writes.
    #[error("{place}: the server is a read-only replica, and {command} was refused")]
    ReadOnly {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
    },
    /// It can't save to its disk, and refuses writes for that.
    #[error("{place}: the server can't save its data to disk, and {command} was refused: {why}")]
    CannotSave {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
        /// What it says.
        why: String,
    },
    /// No answer in time.
    #[error("{place}: no answer to {command} within {}", humantime::format_duration(*.limit))]
    TimedOut {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection broke before the answer came.
    #[error("{place}: the connection was lost during {command}: {why}")]
    Lost {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
        /// How.
        why: String,
    },
    /// The server refused a command for another reason.
    #[error("{place}: {command}: {why}")]
    Refused {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
        /// What it says.
        why: String,
    },
    /// The answer is not what was expected.
    #[error("{place}: the answer to {command} can't be understood: {why}")]
    Answer {
        /// The database and host.
        place: String,
        /// The command.
        command: String,
        /// What was wrong with it.
        why: String,
    },
    /// There is no queue of that name.
    #[error("{place}: there is no queue `{queue}`: the key {key} is missing")]
    NoQueue {
        /// The database and host.
        place: String,
        /// The queue.
        queue: String,
        /// What every queue that was ever used has.
        key: String,
    },
    /// It was not begun, because it would do harm or could not be undone.
    #[error("{place}: {why}")]
    Unsafe {
        /// The database, or queue, and host.
        place: String,
        /// Why.
        why: String,
        /// What to do.
        next: String,
    },
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::Url { .. } => {
                "write it as redis://USER:PASSWORD@HOST:PORT/DATABASE (`rediss` \
                 for TLS), with special characters of the password percent-encoded"
            }
            Self::Unreachable { .. } => {
                "see whether it runs (`systemctl status redis-server`) \
                 and where it listens (`bind`, `port`, `unixsocket`, `tls-port`)"
            }
            Self::Tls { source, .. } => return source.next(),
            Self::WrongPassword { user, why, .. } => {
                return Some(if why.contains("without any password") {
                    "the server asks for no password: leave it out, or set `requirepass`".into()
                } else {
                    format!(
                        "check the user and password that are configured (`{user}`) against the \
                         server's `requirepass` or `ACL LIST`"
                    )
                });
            }
            Self::NotPermitted { user, command, .. } => {
                let name = command.to_lowercase().replace(' ', "|");
                return Some(format!(
                    "have it granted (`ACL SETUSER {user} +{name}`, `~PATTERN` for keys), or \
                     connect as another user"
                ));
            }
            Self::NoDatabase { .. } => {
                "check the number that is configured; the server has as \
                 many as its `databases` says, a cluster only 0"
            }
            Self::TooManyClients { .. } => {
                "find out who opens so many (`CLIENT LIST`), or raise \
                 `maxclients`"
            }
            Self::Loading { .. } => {
                "wait until it has loaded (INFO persistence says how far it \
                 is), then try again"
            }
            Self::Busy { .. } => {
                "end the script with `SCRIPT KILL`, which works as long as it \
                 has written nothing"
            }
            Self::OutOfMemory { .. } => {
                "free memory (delete keys, raise `maxmemory`) or choose \
                 what may go (`maxmemory-policy`); a queue needs `noeviction`"
            }
            Self::ReadOnly { .. } => {
                "connect to its master (`INFO replication` names it), or \
                 promote it"
            }
            Self::CannotSave { .. } => {
                "free disk space on its host and check that it may write \
                 into `dir`; its log says more"
            }
            Self::TimedOut { .. } => {
                "the command may still be running or have taken effect: see \
                 `SLOWLOG GET` and `CLIENT LIST`, or raise `response_timeout`"
            }
            Self::Lost { .. } => {
                "whether the command took effect is not known: see whether the \
                 server runs, look, then resume the run"
            }
            Self::Refused { why, .. } if why.contains("protected mode") => {
                "set a password on the server, or reach it by its loopback address through SSH"
            }
            Self::Refused { why, .. } if why.contains("unknown command") => {
                "the server is older than the command, or has it renamed (`rename-command`)"
            }
            Self::NoQueue { .. } => {
                "check the name of the queue, its prefix and the number of the database; a queue \
                 is there from its first job on"
            }
            Self::Refused { .. } | Self::Answer { .. } => return None,
            Self::Unsafe { next, .. } => return Some(next.clone()),
        };
        Some(advice.to_owned())
    }

    /// The same as a failure of a step or check, with its [`advice`](Self::advice) as what to do
    /// next.
    ///
    /// ```
    /// use runbook_redis::Error;
    /// let error = Error::Loading { place: "redis on cache-1".into() };
    /// let failure = error.into_failure();
    /// assert!(failure.to_string().ends_with("is still loading its data into memory"));
    /// assert!(failure.to_problem().next.unwrap().starts_with("wait until"));
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let kind = match &self {
            Self::Lost { .. } => FailureKind::Disconnected,
            Self::TimedOut { .. } => FailureKind::TimedOut,
            Self::Unsafe { .. } => FailureKind::Refused,
            _ => FailureKind::Failed,
        };
        let next = self.advice();
        let failure = Failure::new(kind, self);
        match next {
            Some(next) => failure.next(next),
            None => failure,
        }
    }

    /// What a server or connection answered to a command.
    pub(crate) fn of(error: &RedisError, at: At<'_>) -> Self {
        let (place, command) = (at.place.to_owned(), at.command.to_owned());
        let user = at.user.to_owned();
        let Some(code) = error.code() else {
            let why = scrub(&error.to_string()).into_owned();
            return if error.is_io_error() || error.is_connection_dropped() {
                Self::Lost { place, command, why }
            } else {
                Self::Answer { place, command, why }
            };
        };
        let detail = error.detail().unwrap_or_default();
        // A server that is asked through a script wraps the answer into its own words.
        let all = format!("{code} {detail}");
        let why = scrub(if code == "ERR" { detail } else { &all }).into_owned();
        let says = |word: &str| code == word || detail.contains(&format!("-{word} "));
        if says("WRONGPASS") || says("NOAUTH") || detail.contains("without any password") {
            Self::WrongPassword { place, user, why }
        } else if says("NOPERM") {
            Self::NotPermitted { place, user, command, why }
        } else if says("LOADING") || code == "BUSYLOADING" {
            Self::Loading { place }
        } else if says("BUSY") {
            Self::Busy { place, command }
        } else if says("OOM") {
            Self::OutOfMemory { place, command }
        } else if says("READONLY") {
            Self::ReadOnly { place, command }
        } else if says("MISCONF") {
            Self::CannotSave { place, command, why }
        } else if detail.contains("max number of clients") {
            Self::TooManyClients { place, why }
        } else if command == "SELECT" {
            Self::NoDatabase { place, why }
        } else {
            Self::Refused { place, command, why }
        }
    }
}

/// Where something was asked.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) place: &'a str,
    pub(crate) user: &'a str,
    pub(crate) command: &'a str,
}
