//! [`Error`]: what goes wrong with a host, and what to do about it.

use runbook_core::{Failure, Problem};

/// What goes wrong with a host.
///
/// Steps and checks fail with it as a [`Failure`], which carries its text and what to do next.
///
/// ```
/// use runbook_host::Error;
/// let error = Error::NobodyListens { place: "web-1".into(), port: 5000 };
/// assert_eq!(error.to_string(), "web-1: nothing listens on port 5000");
/// assert!(error.advice().starts_with("start"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // `place` is the host, and the file where there is one; the rest is said by the text.
pub enum Error {
    /// A program or file says something else than it should.
    #[error("{place}: {what} says what is not understood: {said:?}")]
    Odd { place: String, what: String, said: String },
    /// A value is empty or begins with a dash.
    #[error("{place}: {value:?} is no name: it is empty, or a program would take it for an option")]
    NoName { place: String, value: String },
    /// No version is in a text.
    #[error("{place}: there is no version in {text:?}")]
    NoVersion { place: String, text: String },
    /// No date is in a header.
    #[error("{place}: {text:?} is no date of an HTTP header")]
    NoDate { place: String, text: String },
    /// A port for `ufw` is malformed.
    #[error("{place}: {port:?} is no port: `80`, `80/tcp` and `6000:6007/udp` are")]
    NoPort { place: String, port: String },
    /// Nothing listens.
    #[error("{place}: nothing listens on port {port}")]
    NobodyListens { place: String, port: u16 },
    /// The owner of a port can't be seen.
    #[error("{place}: who listens on port {port} is not visible to this user")]
    HiddenOwner { place: String, port: u16 },
    /// Another program listens.
    #[error("{place}: not {expected} but another program listens: {found}")]
    OtherOwner { place: String, port: u16, expected: String, found: String },
    /// A port's owner is a service.
    #[error("{place}: port {port} belongs to the service {unit}, which systemd would start again")]
    IsService { place: String, port: u16, unit: String },
    /// A port's owner is no service.
    #[error("{place}: what listens is not one service: {found}")]
    NoService { place: String, port: u16, found: String },
    /// The port was taken again.
    #[error("{place}: after its owner was ended it is taken again: {found}")]
    StillTaken { place: String, port: u16, found: String },
    /// There is no such service.
    #[error("{place}: there is no service {unit}")]
    UnknownService { place: String, unit: String },
    /// A service does not run.
    #[error("{place}: {unit} does not run: {state}")]
    NotRunning { place: String, unit: String, state: String },
    /// Isolation would lock the operator out.
    #[error("{place}: the operator's own address can't be determined; nothing was changed")]
    OperatorUnknown { place: String },
    /// apt would remove another package than those that were listed.
    #[error("{place}: apt would now remove {package}, which was not listed; nothing was removed")]
    OtherPackages { place: String, package: String },
    /// A path is not absolute, or holds `..`.
    #[error("{place}: the path is refused: {why}")]
    BadPath { place: String, why: String },
    /// What is there is something else.
    #[error("{place}: it is not {wanted}, but {found}")]
    NotA { place: String, wanted: String, found: String },
    /// A listed file is no longer what it was.
    #[error("{place}: {}", list(changed))]
    Changed { place: String, changed: Vec<String> },
    /// A file is in the way.
    #[error("{place}: it is there already")]
    Exists { place: String },
    /// An archive is cut short or was changed.
    #[error("{place}: the archive is damaged: {why}")]
    Damaged { place: String, why: String },
    /// A `.env` file can't be understood.
    #[error("{place}:{line}: {why}")]
    Malformed { place: String, line: usize, why: String },
    /// A variable can't be called so.
    #[error("{place}: {name:?} can't be the name of a variable")]
    BadVariable { place: String, name: String },
    /// A value can't be written.
    #[error("{place}: the new value of {name} can't be written: {why}")]
    BadValue { place: String, name: String, why: String },
    /// A variable is assigned more than once.
    #[error("{place}: {name} is assigned {count} times")]
    Twice { place: String, name: String, count: usize },
    /// What is to be put back is gone or was changed.
    #[error("{place}: it can't be put back: {why}")]
    NoWayBack { place: String, why: String },
    /// Random bytes can't be had.
    #[error("a secret can't be generated: {why}")]
    NoSecret { why: String },
}

fn list(changed: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = changed.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if changed.len() > SHOWN {
        text.push_str(&format!("; and {} more", changed.len() - SHOWN));
    }
    text
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> String {
        let text = match self {
            Self::Odd { .. } => "run it by hand on the host and see what it says",
            Self::NoName { .. } => "correct the name in the runbook or its configuration",
            Self::NoVersion { .. } => "see what the program prints for --version",
            Self::NoDate { .. } => "give the Date header of an answer, as it came",
            Self::NoPort { .. } => "correct the port in the runbook",
            Self::NobodyListens { .. } => "start what should listen there",
            Self::HiddenOwner { .. } => "act as root on that host (a `Sudo` host)",
            Self::OtherOwner { .. } => {
                "find out why that program listens there; only the expected one is stopped"
            }
            Self::IsService { unit, .. } => {
                return format!("stop or restart the service {unit} instead");
            }
            Self::NoService { .. } => "restart it with what started it (PM2, Docker, a shell)",
            Self::StillTaken { .. } => "find out what starts it again, and stop that first",
            Self::UnknownService { .. } => "check its name: `systemctl list-unit-files`",
            Self::NotRunning { unit, .. } => {
                return format!("see why: `journalctl -u {unit} -n 50`");
            }
            Self::OperatorUnknown { .. } => {
                "act over SSH, or say who keeps their way in: `Operator::At { address, port }`"
            }
            Self::OtherPackages { .. } => "list them again, look at the list, and run it again",
            Self::BadPath { .. } => "give an absolute path without `..`",
            Self::NotA { .. } => "correct the path in the runbook; links are not followed",
            Self::Changed { .. } => "list them again, look at the list, and run it again",
            Self::Exists { .. } => "take another name, or move it away",
            Self::Damaged { .. } => "do not use it; make a new one or take an older one",
            Self::Malformed { .. } => "correct that line by hand",
            Self::BadVariable { .. } => "names are of letters, digits and `_`",
            Self::BadValue { .. } => "take another value",
            Self::Twice { .. } => "remove all but one: which of them counts differs by reader",
            Self::NoWayBack { .. } => "put it back by hand, then `resume --skip` this unit",
            Self::NoSecret { .. } => "run it on a machine that has /dev/urandom",
        };
        text.into()
    }

    /// As what steps and checks fail with.
    pub(crate) fn failure(self) -> Failure {
        let advice = self.advice();
        Failure::from(self).next(advice)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.failure().to_problem()
    }
}
