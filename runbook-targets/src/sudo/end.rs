//! Ends processes of the other user, as that user.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use runbook_core::{BoxRead, BoxWrite, Exit, Failure, Process, Result, Spawn, scrub};

use super::shell::{COOKIE, finish};
use super::{Sudo, script};

/// Ends every process that has the entry `$1` in its environment and none that begins with `$2`,
/// if that is given: SIGTERM, and SIGKILL after `$3` tenths of a second. Says what they were.
const END: &str = r#"
mark=$1 spare=$2 left=$3 told=' '
find_them() {
    set -- $(grep -szlxF -e "$mark" /proc/[0-9]*/environ)
    if [ $# -gt 0 ] && [ -n "$spare" ]; then
        set -- $(grep -szL -e "^$spare" "$@")
    fi
    for file do
        pid=${file#/proc/}
        pid=${pid%/environ}
        [ "$pid" = $$ ] || echo "$pid"
    done
}
while pids=$(find_them); [ -n "$pids" ]; do
    for pid in $pids; do
        case $told in
        *" $pid "*) ;;
        *)
            told="$told$pid "
            line=$(tr '\0\n' '  ' < "/proc/$pid/cmdline" 2>/dev/null)
            echo "${line% } (process $pid)"
            if [ "$left" -gt 0 ]; then
                kill -TERM "$pid" 2>/dev/null
                kill -CONT "$pid" 2>/dev/null
            fi
            ;;
        esac
        [ "$left" -gt 0 ] || kill -KILL "$pid" 2>/dev/null
    done
    if [ "$left" -lt -50 ]; then
        echo "still running: $pids" >&2
        exit 1
    fi
    left=$((left - 1))
    sleep 0.1
done
"#;

/// A command that `sudo` runs.
pub(super) struct SudoProcess {
    /// Taken only when it is dropped.
    inner: Option<Box<dyn Process>>,
    sudo: Sudo,
    command: String,
    ended: bool,
}

impl SudoProcess {
    pub(super) fn new(inner: Box<dyn Process>, sudo: Sudo, command: String) -> Self {
        Self { inner: Some(inner), sudo, command, ended: false }
    }
}

fn gone() -> Failure {
    Failure::msg("the process is gone")
}

#[async_trait]
impl Process for SudoProcess {
    fn stdin(&mut self) -> Option<BoxWrite> {
        self.inner.as_mut()?.stdin()
    }

    fn stdout(&mut self) -> Option<BoxRead> {
        self.inner.as_mut()?.stdout()
    }

    fn stderr(&mut self) -> Option<BoxRead> {
        self.inner.as_mut()?.stderr()
    }

    async fn wait(&mut self) -> Result<Exit> {
        let exit = self.inner.as_mut().ok_or_else(gone)?.wait().await?;
        self.ended = true;
        Ok(exit)
    }

    async fn kill(&mut self, grace: Duration) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let mark = format!("{}={}", Spawn::COMMAND_VARIABLE, self.command);
        let began = Instant::now();
        let ended = end(&self.sudo, &mark, "", grace).await;
        // Once its command is gone `sudo` itself goes. What is left is this side's to end.
        let left = grace.saturating_sub(began.elapsed()).max(Duration::from_millis(500));
        let inner = self.inner.as_mut().ok_or_else(gone)?;
        let inner_ended = inner.kill(left).await;
        self.ended = true;
        ended?;
        inner_ended
    }
}

impl Drop for SudoProcess {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The side of this user ends at once. The other user's takes one more command.
        drop(self.inner.take());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let sudo = self.sudo.clone();
        let mark = format!("{}={}", Spawn::COMMAND_VARIABLE, self.command);
        runtime.spawn(async move { end(&sudo, &mark, "", Duration::ZERO).await });
    }
}

/// Ends what another process than this one started for `cookie`, as the other user.
pub(super) async fn leftovers(sudo: &Sudo, cookie: &str, grace: Duration) -> Result<Vec<String>> {
    let mark = format!("{}={cookie}", Spawn::VARIABLE);
    let spare = format!("{}={}.", Spawn::COMMAND_VARIABLE, Spawn::this_process());
    let said = end(sudo, &mark, &spare, grace).await?;
    Ok(said.lines().map(|line| scrub(line).into_owned()).collect())
}

async fn end(sudo: &Sudo, mark: &str, spare: &str, grace: Duration) -> Result<String> {
    let tenths = grace.as_millis().div_ceil(100).to_string();
    let end = script(END, [mark, spare, &tenths].map(OsStr::new));
    // Not by way of what is to be ended: this command must not end itself.
    let process = sudo.inner.target().spawn(&sudo.command(&end)?, &Spawn::new(COOKIE)).await?;
    let said = finish(process).await?;
    if said.exit == Exit::Code(0) {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    Err(Failure::msg(scrub(&said.why()))
        .while_doing(format!("ending processes of {} on {}", sudo.user, sudo.inner)))
}
