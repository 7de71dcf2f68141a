//! Why a shell would not start a program.

use std::io::Error;
use std::sync::Arc;

use runbook_core::{Command, Exit, Failure};
use rustix::io::Errno;

use super::super::channel::Channels;
use super::super::files::call;
use super::super::files::scripts::Script;
use super::super::target::Inner;
use super::super::words::plain;
use crate::refused::{self, Seen};

/// Looks at the folder `$1` and, from there, at the program `$2`.
const LOOK: Script = Script::subshell(
    "look",
    r#"
if [ "$1" ] && ! cd "$1"; then
    if [ ! -e "$1" ]; then echo 'no folder'; elif [ -d "$1" ]; then echo shut; else echo file; fi
    exit
fi
case $2 in
*/*) p=$2 ;;
*) p=$(command -v "$2") ;;
esac
case $p in */* | '') ;; *) echo there; exit ;; esac  # BusyBox has it itself
first=$(head -c 256 "$p" | head -n 1 | tr -d '\0')
case $first in
'#!'*) set -- ${first#??} ;;
*) set -- / ;;
esac
if [ ! -e "$p" ]; then echo missing
elif [ -d "$p" ] || [ ! -x "$p" ]; then echo locked
elif [ ! -e "$1" ]; then echo orphan
else echo there; fi
"#,
);

/// Why a command that ended so did not start at all, if it did not. `remarks` are the shell's, which
/// says itself that it refused a program unless it is `silent`; `said` is the end of the error
/// output.
pub(super) async fn why<C: Channels>(
    inner: &Arc<Inner<C>>,
    command: &Command,
    exit: Exit,
    remarks: &[String],
    silent: bool,
    said: &[u8],
) -> Option<Failure> {
    let refused = remarks.iter().find_map(|remark| remark.strip_prefix('!'));
    if refused.is_none() && !silent {
        return None;
    }
    let dir = command.directory().map(plain).unwrap_or_default();
    let program = command.program().to_owned();
    // Looking would otherwise come back here.
    let looked = match Box::pin(call(inner, &LOOK, [dir, program])).await {
        Ok(looked) => looked.stdout,
        Err(failure) => return Some(failure),
    };
    let looked = looked.trim_ascii();
    if refused.is_none() && looked == b"there" {
        return None;
    }
    let seen = match looked {
        b"no folder" => Seen { dir: Some(Err(Errno::NOENT.into())), program: false },
        b"shut" => Seen { dir: Some(Err(Errno::ACCESS.into())), program: false },
        b"file" => Seen { dir: Some(Ok(false)), program: false },
        looked => Seen { dir: Some(Ok(true)), program: looked != b"missing" },
    };
    let said = said.to_ascii_lowercase();
    let says = |what: &[u8]| memchr::memmem::find(&said, what).is_some();
    let errno = if says(b"list too long") {
        Errno::TOOBIG
    } else if says(b"text file busy") {
        Errno::TXTBSY
    } else if matches!(looked, b"missing" | b"orphan")
        || (looked == b"there" && (refused == Some("127") || exit == Exit::Code(127)))
    {
        Errno::NOENT
    } else {
        Errno::ACCESS
    };
    Some(refused::start(inner.name(), command, &Error::from(errno), seen))
}
