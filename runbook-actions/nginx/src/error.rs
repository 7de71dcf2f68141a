//! [`NginxError`]: what can be wrong with a configuration, or with a change of it.

use std::path::PathBuf;

use runbook::Failure;

/// Why a configuration can't be read or changed.
///
/// ```
/// use runbook_nginx::NginxError;
/// let error = NginxError::NotRunning { pid_file: "/run/nginx.pid".into() };
/// assert_eq!(error.to_string(), "nginx is not running: /run/nginx.pid names no master process");
/// assert!(error.next().contains("systemctl start nginx"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NginxError {
    /// `nginx -t` refused it; nothing was switched.
    #[error("nginx refuses the configuration: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// A file holds what this crate does not understand, so it does not touch it.
    #[error("{} line {line}: {why}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is not understood.
        why: String,
    },
    /// The file is not part of the configuration, so a change of it would do nothing.
    #[error("{} is not part of the configuration {}", .file.display(), .main.display())]
    NotIncluded {
        /// The file.
        file: PathBuf,
        /// The main file.
        main: PathBuf,
    },
    /// What is to be changed is not there.
    #[error("{} has no {what}", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// The change can't be made as it was asked for.
    #[error("{} can't be changed so: {why}", .file.display())]
    Edit {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: String,
    },
    /// No master process.
    #[error("nginx is not running: {} names no master process", .pid_file.display())]
    NotRunning {
        /// The file that should name it.
        pid_file: PathBuf,
    },
    /// The workers are still the old ones.
    #[error(
        "nginx was told to reload, but after {seconds} s its workers are still the old ones{said}"
    )]
    NotReloaded {
        /// How long it was waited for.
        seconds: u64,
        /// The end of its error log, if that is known.
        said: String,
    },
    /// Somebody else changed the file in the meantime.
    #[error("{} was changed by somebody else since", .file.display())]
    ChangedSince {
        /// The file.
        file: PathBuf,
    },
    /// The backup does not hold the old content as it was.
    #[error("the backup {} of {} is gone, or is not what was there", .backup.display(), .file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// Its backup.
        backup: PathBuf,
    },
}

impl NginxError {
    /// What to do about it, in one line.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Refused { .. } => "correct it and try again; the running nginx was not touched".into(),
            Self::Syntax { file, .. } => format!("edit {} by hand, then `nginx -t`", file.display()),
            Self::NotIncluded { file, main } => format!(
                "include {} in {} at the right level, or name the file that is included",
                file.display(),
                main.display()
            ),
            Self::Missing { file, .. } => {
                format!("`nginx -T` shows in which file it is, if it is not in {}", file.display())
            }
            Self::Edit { .. } => "correct what was asked for".into(),
            Self::NotRunning { .. } => {
                "start it (`systemctl start nginx`) and see why it ended: `journalctl -u nginx`".into()
            }
            Self::NotReloaded { .. } => {
                "see its error log: a port that can't be bound or a file that only the reload opens \
                 is not found by `nginx -t`"
                    .into()
            }
            Self::ChangedSince { file } => {
                format!("compare {} with what you want, by hand", file.display())
            }
            Self::Backup { file, .. } => {
                format!("put {} back from another backup, by hand", file.display())
            }
        }
    }

    /// The same as a failure of a step or check, with [`next`](Self::next) as its advice.
    ///
    /// ```
    /// use runbook_nginx::NginxError;
    /// let failure = NginxError::Refused { said: "unknown directive".into() }.into_failure();
    /// assert!(failure.to_problem().next.unwrap().contains("was not touched"));
    /// ```
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let next = self.next();
        Failure::from(self).next(next)
    }
}
