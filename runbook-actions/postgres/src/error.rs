//! [`Error`]: what goes wrong with a server, its programs and its dumps, and what to do about it.

use std::path::PathBuf;

use runbook_core::{Failure, FailureKind, scrub};
use runbook_tls::TlsError;
use tokio_postgres::error::SqlState;

/// What goes wrong with a server, its programs and its dumps.
///
/// Steps and checks fail with it as a [`Failure`], which carries its text and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing answers there.
    #[error("{place}: the server can't be reached at {address}: {why}")]
    Unreachable {
        /// The database and host.
        place: String,
        /// Where it was looked for.
        address: String,
        /// What came back.
        why: String,
    },
    /// The server is there and takes nobody in: it starts, stops or recovers.
    #[error("{place}: the server does not accept connections: {why}")]
    NotAccepting {
        /// The database and host.
        place: String,
        /// What it says.
        why: String,
    },
    /// All connections are taken.
    #[error("{place}: all connections are taken: {why}")]
    TooManyConnections {
        /// The database and host.
        place: String,
        /// What it says.
        why: String,
    },
    /// The password is wrong, or there is none.
    #[error("{place}: the server refuses the user `{user}`: {why}")]
    WrongPassword {
        /// The database and host.
        place: String,
        /// The role.
        user: String,
        /// What it says.
        why: String,
    },
    /// The server's rules let this user not in from there.
    #[error("{place}: the server lets the user `{user}` not in: {why}")]
    NotAllowedIn {
        /// The database and host.
        place: String,
        /// The role.
        user: String,
        /// What it says.
        why: String,
    },
    /// There is no private connection to the server.
    #[error("{place}: {source}")]
    Tls {
        /// The database and host.
        place: String,
        /// Why not.
        source: TlsError,
    },
    /// The server speaks no TLS, and was asked to.
    #[error("{place}: TLS is asked for, and the server does not speak it")]
    NoTls {
        /// The database and host.
        place: String,
    },
    /// There is no such database.
    #[error("{place}: there is no such database")]
    NoDatabase {
        /// The database and host.
        place: String,
    },
    /// The connection was lost while a statement ran.
    #[error("{place}: the connection was lost during `{sql}`")]
    Lost {
        /// The database and host.
        place: String,
        /// The statement.
        sql: String,
    },
    /// The server said no to a statement.
    #[error(
        "{place}: `{sql}`: {message}{}{} (SQLSTATE {code})",
        part("; ", detail),
        part("; hint: ", hint)
    )]
    Refused {
        /// The database and host.
        place: String,
        /// The statement.
        sql: String,
        /// Five letters and digits, e.g. `42P01`.
        code: String,
        /// What it says.
        message: String,
        /// More of it.
        detail: Option<String>,
        /// What it advises.
        hint: Option<String>,
    },
    /// The rows are not of the type that was asked for.
    #[error("{place}: a row of `{sql}` is not as expected: {why}")]
    Row {
        /// The database and host.
        place: String,
        /// The statement.
        sql: String,
        /// What differs.
        why: String,
    },
    /// What was to be done is not safe now.
    #[error("{place}: {why}")]
    Unsafe {
        /// The database and host.
        place: String,
        /// Why not.
        why: String,
        /// What to do.
        next: String,
    },
    /// A program of the server's is not on its host.
    #[error("{host} has no program `{program}`")]
    NoProgram {
        /// The host.
        host: String,
        /// The program.
        program: String,
    },
    /// `pg_dump` is older than the server.
    #[error("{host}: `{program}` is older than the server: {why}")]
    OldProgram {
        /// The host.
        host: String,
        /// The program.
        program: String,
        /// What it says.
        why: String,
    },
    /// A program of the server's failed.
    #[error("`{command}` on {host}: {why}")]
    Program {
        /// The host.
        host: String,
        /// As a person would type it.
        command: String,
        /// How it ended, and what it said last.
        why: String,
    },
    /// A dump is not what it was when it was written.
    #[error("the dump {} on {host} is not as it was written: {why}", .path.display())]
    Changed {
        /// The host.
        host: String,
        /// The dump.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A dump is not complete, or can't be read.
    #[error("the dump {} on {host} can't be used: {why}", .path.display())]
    Unusable {
        /// The host.
        host: String,
        /// The dump.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

fn part(before: &str, text: &Option<String>) -> String {
    text.as_ref().map(|text| format!("{before}{text}")).unwrap_or_default()
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { .. } => "see whether it runs (`pg_lsclusters`, `systemctl status \
                 postgresql`) and where it listens (`listen_addresses`, `port`, \
                 `unix_socket_directories`)"
                .into(),
            Self::NotAccepting { .. } => "wait until it has started or recovered, and look into \
                 its log if it does not"
                .into(),
            Self::TooManyConnections { .. } => "end idle sessions (look for idle in transaction \
                 first), or connect as a superuser: some connections are kept for those"
                .into(),
            Self::WrongPassword { user, .. } => {
                format!("check the password that is configured for `{user}`")
            }
            Self::NotAllowedIn { .. } => "add a line to the server's pg_hba.conf and reload it, \
                 or connect as another user or by its unix socket"
                .into(),
            Self::Tls { source, .. } => return source.next(),
            Self::NoTls { .. } => {
                "set `ssl = on` on the server with a certificate, or reach it by \
                 its loopback address or unix socket through SSH and leave `tls` out"
                    .into()
            }
            Self::NoDatabase { .. } => "create it, or check the name that is configured \
                 (`psql -l` lists all)"
                .into(),
            Self::Lost { .. } => "whether the statement took effect is not known: see whether the \
                 server runs, look, then resume the run"
                .into(),
            Self::Refused { code, .. } => return refused_advice(code).map(Into::into),
            Self::Row { .. } => "fix the type that the runbook reads, or cast the column".into(),
            Self::Unsafe { next, .. } => next.clone(),
            Self::NoProgram { program, .. } => format!(
                "install the package {} there, or configure `programs`, the folder that holds \
                 `{program}` (e.g. /usr/lib/postgresql/15/bin)",
                package(program)
            ),
            Self::OldProgram { .. } => "install the client of the server's own version, or \
                 configure `programs`, its folder (e.g. /usr/lib/postgresql/15/bin)"
                .into(),
            Self::Program { why, .. } => return program_advice(why).map(Into::into),
            Self::Changed { .. } | Self::Unusable { .. } => {
                "use another dump; nothing was dropped or changed".into()
            }
        })
    }

    /// The same as a failure of a step or check, with its [`advice`](Self::advice) as what to do
    /// next.
    ///
    /// ```
    /// use runbook_postgres::Error;
    /// let error = Error::NoDatabase { place: "shop on db-1".into() };
    /// let failure = error.into_failure();
    /// assert_eq!(failure.to_string(), "shop on db-1: there is no such database");
    /// assert!(failure.to_problem().next.unwrap().starts_with("create it"));
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let kind = match &self {
            Self::Lost { .. } => FailureKind::Disconnected,
            Self::Unsafe { .. } | Self::Changed { .. } | Self::Unusable { .. } => {
                FailureKind::Refused
            }
            _ => FailureKind::Failed,
        };
        let next = self.advice();
        let failure = Failure::new(kind, self);
        match next {
            Some(next) => failure.next(next),
            None => failure,
        }
    }

    /// What a server or connection answered to a statement; what was said at a login has the
    /// statement `None`.
    pub(crate) fn of(error: tokio_postgres::Error, at: At<'_>) -> Self {
        let place = at.place;
        let user = at.user.to_owned();
        let Some(db) = error.as_db_error() else {
            let mut why = error.to_string();
            if why.contains("TLS handshake") {
                return match error.into_source().map(|source| source.downcast::<TlsError>()) {
                    Some(Ok(source)) => Self::Tls { place, source: *source },
                    _ => Self::NoTls { place },
                };
            }
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                why = format!("{why}: {cause}");
                source = cause.source();
            }
            return match at.sql {
                _ if why.contains("password missing") => Self::WrongPassword {
                    place,
                    user,
                    why: "it asks for a password, and none is configured".into(),
                },
                None => Self::Unreachable { place, address: at.address.to_owned(), why },
                Some(sql) if why.starts_with("error ser") || why.starts_with("error deser") => {
                    Self::Row { place, sql: short(sql), why }
                }
                Some(sql) => Self::Lost { place, sql: short(sql) },
            };
        };
        let why = scrub(db.message()).into_owned();
        let code = db.code();
        if *code == SqlState::INVALID_PASSWORD {
            Self::WrongPassword { place, user, why }
        } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
            Self::NotAllowedIn { place, user, why }
        } else if *code == SqlState::INVALID_CATALOG_NAME && at.sql.is_none() {
            Self::NoDatabase { place }
        } else if *code == SqlState::CANNOT_CONNECT_NOW {
            Self::NotAccepting { place, why }
        } else if *code == SqlState::TOO_MANY_CONNECTIONS {
            Self::TooManyConnections { place, why }
        } else if let Some(sql) = at.sql
            && [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code)
        {
            Self::Lost { place, sql: short(sql) }
        } else {
            Self::Refused {
                place,
                sql: short(at.sql.unwrap_or("connect")),
                code: code.code().to_owned(),
                message: why,
                detail: db.detail().map(str::to_owned),
                hint: db.hint().map(str::to_owned),
            }
        }
    }

    /// What a program of the server's said when it failed.
    pub(crate) fn of_program(
        host: &str,
        program: &str,
        command: &str,
        exit: &str,
        said: &str,
    ) -> Self {
        let host = host.to_owned();
        let line = |words: &[&str]| {
            said.lines().find(|line| words.iter().any(|word| line.contains(word))).map(str::trim)
        };
        let missing = [": not found", "No such file or directory", "command not found"];
        if let Some(line) = line(&missing)
            && (exit.contains("127") || exit.contains("126"))
            && let Some(program) = PROGRAMS.iter().find(|program| line.contains(*program))
        {
            return Self::NoProgram { host, program: (*program).to_owned() };
        }
        let why = |line: &str| scrub(line).into_owned();
        if let Some(line) = line(&["server version mismatch", "unsupported version"]) {
            let all = said.lines().map(str::trim).filter(|line| !line.is_empty());
            let said = all.collect::<Vec<_>>().join("; ");
            let said = if said.len() < 400 { said } else { line.to_owned() };
            return Self::OldProgram { host, program: program.to_owned(), why: why(&said) };
        }
        let tail: Vec<_> =
            said.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let tail = tail[tail.len().saturating_sub(6)..].join("\n    ");
        let said = if tail.is_empty() { String::new() } else { format!(": {tail}") };
        Self::Program { host, command: command.to_owned(), why: format!("{exit}{}", why(&said)) }
    }
}

/// Where something was asked.
pub(crate) struct At<'a> {
    pub(crate) place: String,
    pub(crate) address: &'a str,
    pub(crate) user: &'a str,
    pub(crate) sql: Option<&'a str>,
}

/// A statement on one line of bounded length.
fn short(sql: &str) -> String {
    const WIDTH: usize = 160;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH).chain("..".chars()).collect()
}

fn refused_advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "57014" => {
            "the statement was ended and did not take effect: raise `statement_timeout`, or find \
             out what it waited for"
        }
        "55P03" => "find out who holds the lock (the check `locks` says), and try again",
        "42501" => "connect as the owner or a superuser, or grant the right",
        "25006" => {
            "it is read-only here: a check may not change anything, and neither may anyone \
                    on a standby"
        }
        "53100" => "free disk space on the server's host",
        "40001" | "40P01" => "it collided with another transaction and can be tried again",
        "42P01" | "42703" => "check the name, and that the migrations are applied",
        _ => return None,
    })
}

fn program_advice(why: &str) -> Option<&'static str> {
    let known = [
        ("lock timeout", "stop what uses the database first (the check `unused` says who does)"),
        ("password authentication failed", "check the password that is configured"),
        ("No space left on device", "free disk space there, or use another folder"),
        ("Permission denied", "use a folder in which the user may write, or run as another one"),
        ("permission denied", "connect as the owner of the database or a superuser"),
        ("must be owner", "connect as the owner of the database or a superuser"),
        ("does not exist", "create what is missing (a role, a database, an extension) first"),
        ("Connection refused", "see whether the server runs and where it listens"),
        ("could not connect", "see whether the server runs and where it listens"),
    ];
    known.iter().find(|(words, _)| why.contains(words)).map(|(_, advice)| *advice)
}

/// What we run there.
const PROGRAMS: [&str; 10] = [
    "pg_dump",
    "pg_restore",
    "psql",
    "vacuumdb",
    "gzip",
    "awk",
    "sed",
    "sha256sum",
    "tail",
    "mktemp",
];

/// The Debian package of a program.
fn package(program: &str) -> &'static str {
    match program {
        "gzip" => "gzip",
        "awk" => "mawk",
        "sed" => "sed",
        "sha256sum" | "tail" | "mktemp" => "coreutils",
        _ => "postgresql-client",
    }
}
