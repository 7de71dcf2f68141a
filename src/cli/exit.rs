//! [`Exit`]: how a command line ended.

use std::process::ExitCode;

use runbook_core::Status;

/// How a command line ended; its [`code`](Self::code) is the process's exit code.
///
/// ```
/// use runbook::cli::Exit;
/// assert_eq!(Exit::Suspended.code(), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// 0: it did what was asked; also a `rollback` that rolled back.
    Succeeded,
    /// 1: the run failed and was rolled back, or failed with nothing to undo.
    Failed,
    /// 2: usage or configuration; nothing was changed.
    Usage,
    /// 3: the run is stuck: a person is needed.
    Stuck,
    /// 4: a check failed (`check`, `plan`).
    ChecksFailed,
    /// 5: the run is suspended: it waits for a person.
    Suspended,
    /// 6: the run succeeded, but not on every host: it went on without some, as it was allowed to.
    NotEverywhere,
    /// 130: interrupted (Ctrl-C twice).
    Interrupted,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Stuck => 3,
            Self::ChecksFailed => 4,
            Self::Suspended => 5,
            Self::NotEverywhere => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Succeeded => Self::Succeeded,
            Status::RolledBack | Status::Failed => Self::Failed,
            Status::Stuck => Self::Stuck,
            Status::Suspended => Self::Suspended,
        }
    }
}
