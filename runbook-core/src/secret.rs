//! [`Secret`]: a value that no argument list, event, journal, error or panic shows, and the
//! scrubber that takes registered secrets out of text.

mod scrubber;
mod variants;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Once};

use crate::error::{During as _, Failure, Result};

/// A password, token or key.
///
/// It has no `Display` and no `Serialize`; `Debug` prints `***`. Making one registers its text
/// with the process-wide scrubber, so that whatever a program echoes back is scrubbed as well.
///
/// ```
/// use runbook_core::Secret;
/// let password = Secret::new("correct horse");
/// assert_eq!(format!("{password:?}"), "***");
/// assert_eq!(runbook_core::scrub("login with correct horse failed"), "login with *** failed");
/// ```
///
/// It can't be printed:
///
/// ```compile_fail,E0277
/// println!("{}", runbook_core::Secret::new("correct horse"));
/// ```
///
/// And it can't be written down:
///
/// ```compile_fail,E0277
/// fn write_down(_: impl serde::Serialize) {}
/// write_down(runbook_core::Secret::new("correct horse"));
/// ```
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes `text` and registers it with the scrubber.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text: Arc<str> = text.into().into();
        scrubber::register(&text);
        Self(text)
    }

    /// The text itself. Hand it to a protocol, a file or a command's standard input only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value of an environment variable.
    ///
    /// ```
    /// use runbook_core::Secret;
    /// let error = Secret::from_env("SHOP_TOKEN_THAT_NOBODY_SET").unwrap_err();
    /// assert!(error.to_string().ends_with("`SHOP_TOKEN_THAT_NOBODY_SET`: it is not set"));
    /// ```
    ///
    /// # Errors
    /// It is not set, empty, or no UTF-8. The error does not show the value.
    pub fn from_env(name: &str) -> Result<Self> {
        let doing = format!("reading a secret from the environment variable `{name}`");
        // Not with `?`: the error of a value that is no UTF-8 shows that value.
        let value = match std::env::var(name) {
            Ok(value) if value.is_empty() => Err("it is empty"),
            Ok(value) => Ok(value),
            Err(std::env::VarError::NotPresent) => Err("it is not set"),
            Err(std::env::VarError::NotUnicode(_)) => Err("its value is not UTF-8"),
        };
        let advice = format!("set `{name}` and try again");
        value.map(Self::new).map_err(|why| Failure::msg(why).while_doing(doing).next(advice))
    }

    /// The content of a file, without a newline at its end.
    ///
    /// # Errors
    /// It can't be read, is empty, or no UTF-8. The error does not show the content.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let doing = || format!("reading a secret from {}", path.display());
        let bytes = std::fs::read(path).during(doing())?;
        let mut text = String::from_utf8(bytes)
            .map_err(|_| Failure::msg("its content is not UTF-8").while_doing(doing()))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(Failure::msg("it is empty").while_doing(doing()));
        }
        Ok(Self::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// `text` with every registered secret replaced by `***`.
///
/// A secret is found as it is, line by line if it has several, and as JSON, a shell word, part of
/// a URL or base64 would show it. One of fewer than four characters is found only where it stands
/// alone, not inside of words and numbers: scrubbed everywhere it would make all text unreadable,
/// and be told by the gaps. Secrets stay registered for the life of the process, also when their
/// `Secret` is gone: output that has been read may still be on its way.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    scrubber::scrub(text)
}

/// Whether `text` contains a registered secret, in any form that [`scrub`] finds.
#[must_use]
pub fn contains_secret(text: &str) -> bool {
    scrubber::contains(text)
}

/// Scrubs the messages of panics of this process from now on.
///
/// Call it at the beginning of a program's `main`. Panics without a secret in them go to the hook
/// that was there before.
pub fn scrub_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            match panic.payload_as_str().map(scrub) {
                // A hook can't be handed another message than the panic's own.
                Some(Cow::Owned(message)) => report_panic(panic.location(), &message),
                _ => before(panic),
            }
        }));
    });
}

fn report_panic(location: Option<&std::panic::Location<'_>>, message: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let mut err = std::io::stderr().lock();
    // Nobody is left to tell if this fails.
    let _ = match location {
        Some(place) => writeln!(err, "thread '{name}' panicked at {place}:\n{message}"),
        None => writeln!(err, "thread '{name}' panicked:\n{message}"),
    };
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        let _ = writeln!(err, "{}", scrub(&trace.to_string()));
    }
}
