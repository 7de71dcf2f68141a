//! Why a shell would not start a program.

use std::ffi::OsString;
use std::io::Error;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use runbook_core::{Command, Failure};
use rustix::io::Errno;

use super::super::channel::Channels;
use super::super::files::call;
use super::super::target::Inner;
use super::super::words::plain;
use crate::refused::{self, Seen};

/// Looks at the folder `$1` and, from there, at the program `$2`.
const LOOK: &str = r#"
if [ "$1" ] && ! cd "$1"; then
    if [ ! -e "$1" ]; then echo none; elif [ -d "$1" ]; then echo shut; else echo file; fi
elif [ -e "$2" ] || [ -L "$2" ]; then
    echo there
fi
"#;

/// `why` is the shell's exit code or `d` for the folder; `said` the end of its error output.
pub(super) async fn why<C: Channels>(
    inner: &Arc<Inner<C>>,
    command: &Command,
    why: &str,
    said: &[u8],
) -> Failure {
    let dir = command.directory().map(plain).unwrap_or_default();
    let program = OsString::from(command.program());
    // Looking would otherwise come back here.
    let looked = match Box::pin(call(inner, "look", LOOK, [dir, program])).await {
        Ok(looked) => looked.stdout,
        Err(failure) => return failure,
    };
    let error = |errno: Errno| Error::from(errno);
    let seen = match looked.trim_ascii() {
        b"none" => Seen { dir: Some(Err(error(Errno::NOENT))), program: false },
        b"shut" => Seen { dir: Some(Err(error(Errno::ACCESS))), program: false },
        b"file" => Seen { dir: Some(Ok(false)), program: false },
        looked => Seen { dir: Some(Ok(true)), program: looked == b"there" },
    };
    let said = said.to_ascii_lowercase();
    let says = |what: &[u8]| memchr::memmem::find(&said, what).is_some();
    let errno = if says(b"list too long") {
        Errno::TOOBIG
    } else if says(b"text file busy") {
        Errno::TXTBSY
    } else if says(b"bad interpreter") || (why == "127" && !says(b"permission denied")) {
        Errno::NOENT
    } else {
        Errno::ACCESS
    };
    debug_assert!(!command.program().as_bytes().contains(&0));
    refused::start(inner.name(), command, &error(errno), seen)
}
