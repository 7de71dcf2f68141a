//! What the operating system refused, as a [`Failure`] that says what to do next.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::Path;

use runbook_core::{Command, Failure};

/// What was being done to which file.
pub(crate) struct Doing<'a> {
    pub(crate) verb: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) host: &'a str,
}

impl fmt::Display for Doing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.verb, self.path.display(), self.host)
    }
}

impl Doing<'_> {
    pub(crate) fn failed(&self, error: &Error) -> Failure {
        let failure = Failure::msg(text(error)).while_doing(self);
        match self.advice(error) {
            Some(advice) => failure.next(advice),
            None => failure,
        }
    }

    /// It was about a second path as well.
    pub(crate) fn failed_to(&self, to: &Path, error: &Error) -> Failure {
        let doing =
            format!("{} {} to {} on {}", self.verb, self.path.display(), to.display(), self.host);
        let failure = Failure::msg(text(error)).while_doing(doing);
        match self.advice(error) {
            Some(advice) => failure.next(advice),
            None => failure,
        }
    }

    /// What was to be written could not be read.
    pub(crate) fn source_failed(&self, error: &Error) -> Failure {
        Failure::msg(text(error)).while_doing("the content could not be read").while_doing(self)
    }

    fn advice(&self, error: &Error) -> Option<String> {
        let host = self.host;
        let path = self.path.display();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).display();
        Some(match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "look at the owner and mode of {path} and of {folder} on {host}, or wrap the \
                 target in `Sudo`"
            ),
            ErrorKind::StorageFull => format!("free some space on {host}: `df -h {folder}`"),
            ErrorKind::QuotaExceeded => format!("free some space of this user on {host}: `quota`"),
            ErrorKind::FileTooLarge => {
                "raise the limit of the size of files: `ulimit -f`".to_owned()
            }
            ErrorKind::ReadOnlyFilesystem => format!(
                "see why {folder} is mounted read-only on {host} (`findmnt -T {folder}`); after a \
                 disk error the kernel does that"
            ),
            ErrorKind::CrossesDevices => {
                "they are on different file systems: copy it, then remove the first".to_owned()
            }
            ErrorKind::NotFound if matches!(self.verb, "writing" | "linking") => {
                format!("create the folder {folder} first")
            }
            ErrorKind::DirectoryNotEmpty => {
                "remove what is in it first, or use `remove_tree`".to_owned()
            }
            _ => return None,
        })
    }
}

#[cfg(feature = "local")]
pub(crate) fn connect(host: &str, address: &runbook_core::Address, error: &Error) -> Failure {
    let failure =
        Failure::msg(text(error)).while_doing(format!("connecting to {address} from {host}"));
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            failure.next("nothing listens there: see whether the service runs, and where")
        }
        ErrorKind::NotFound if matches!(address, runbook_core::Address::Unix(_)) => {
            failure.next("there is no such socket: see whether the service runs, and where")
        }
        ErrorKind::PermissionDenied => {
            failure.next("look at the owner and mode of the socket and of the folders above it")
        }
        _ => failure,
    }
}

/// What there was to see where a program could not be started.
pub(crate) struct Seen {
    /// The working directory, if the command has one: whether it is a folder, or why it can't be
    /// looked at.
    pub(crate) dir: Option<std::io::Result<bool>>,
    /// Something is at the path of the program.
    pub(crate) program: bool,
}

/// Why a program could not be started.
pub(crate) fn start(host: &str, command: &Command, error: &Error, seen: Seen) -> Failure {
    let program = command.program().to_string_lossy();
    let by_path = program.contains('/');
    let in_dir = command.directory().zip(seen.dir);
    match (error.kind(), in_dir) {
        (_, Some((dir, Err(why)))) => Failure::msg(text(&why))
            .while_doing(format!("entering the working directory {}", dir.display())),
        (_, Some((dir, Ok(false)))) => {
            Failure::msg(format!("the working directory {} is no folder", dir.display()))
        }
        (ErrorKind::NotFound, _) if by_path && seen.program => Failure::msg(format!(
            "`{program}` is there, but the interpreter that its first line names is not"
        ))
        .next(format!("install that interpreter on {host}, or correct the first line")),
        (ErrorKind::NotFound, _) if by_path => {
            Failure::msg(format!("there is no program `{program}` on {host}"))
                .next("install it, or correct its path")
        }
        (ErrorKind::NotFound, _) => {
            Failure::msg(format!("there is no program `{program}` in the PATH of {host}"))
                .next(format!("install `{program}` on {host}, or correct the PATH"))
        }
        (ErrorKind::PermissionDenied, _) => {
            Failure::msg(format!("`{program}` may not be executed: {}", text(error)))
                .next(format!("look at its mode, and at how its file system is mounted, on {host}"))
        }
        (ErrorKind::ExecutableFileBusy, _) => {
            Failure::msg(format!("`{program}` is just being written: {}", text(error)))
        }
        (ErrorKind::ArgumentListTooLong, _) => {
            Failure::msg(text(error)).next("hand a long list over on standard input or in a file")
        }
        (ErrorKind::InvalidInput, _) => {
            Failure::msg("a NUL byte in the program, an argument or the environment")
        }
        _ => Failure::msg(text(error)).while_doing(format!("starting `{program}`")),
    }
}

/// The error in lower case, as every other text of a failure.
pub(crate) fn text(error: &Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => text,
    }
}
