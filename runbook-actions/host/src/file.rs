//! Single files: copied over with a way back, truncated, summed.

use std::path::{Path, PathBuf};

use runbook_core::{Check, Context, Irreversible, Observer, Result, Rollback, Step, Verdict};
use runbook_macros::{check, step};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::kept::FileWas;
use crate::machine::{Machine, script};

/// Truncates by the open file, once it is proven to be the one that was looked at: a link put in
/// its place meanwhile is not followed.
const TRUNCATE: &str = r#"cd -P -- "$1" || exit 1
is=$(stat -c '%d %i %F' -- "./$2") || exit 1
case $is in *" regular file") ;; *) exit 8;; esac
exec 3<>"./$2" || exit 1
[ "$(stat -L -c '%d %i %F' "/proc/$$/fd/3")" = "$is" ] || exit 8
if [ -n "$3" ]; then
  umask 077; set -C
  gzip -c <"/proc/$$/fd/3" >"./$3" && chmod "$(stat -L -c %a "/proc/$$/fd/3")" "./$3" || exit 1
  set +C
fi
: >"/proc/$$/fd/3""#;

impl Machine {
    /// The SHA-256 of a file is this one, in hexadecimal digits.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("verify");
    /// let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// b.check(web.has_checksum("/var/backups/shop.dump", sum));
    /// ```
    pub fn has_checksum(
        &self,
        path: impl Into<PathBuf>,
        sha256: impl runbook_core::IntoInput<String>,
    ) -> impl Check<Evidence = String> {
        has_checksum(self, path.into(), sha256)
    }

    /// The SHA-256 of a file, in hexadecimal digits; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("copy");
    /// let sum = b.check(web.checksum("/srv/shop/release.tar.gz"));
    /// b.check(web.has_checksum("/mnt/copy/release.tar.gz", sum));
    /// ```
    pub fn checksum(&self, path: impl Into<PathBuf>) -> impl Check<Evidence = String> {
        checksum(self, path.into())
    }

    /// Copies a file over another, atomically; what was there is kept in a copy beside it, and a
    /// rollback puts it back. Its output is that copy's path, if there was a file.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("configure");
    /// b.step(web.copy_over("/srv/shop/release/shop.conf", "/etc/shop.conf"));
    /// ```
    pub fn copy_over(
        &self,
        from: impl Into<PathBuf>,
        to: impl Into<PathBuf>,
    ) -> impl Step<Output = Option<String>, Rollback = FileWas> {
        copy_over(self, from.into(), to.into())
    }

    /// Empties a file that is larger than `limit`; whoever has it open for appending goes on
    /// writing to it. What is in it is lost. Its output is what was freed. Needs `/proc`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Bytes, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.irreversible(web.truncate_above("/var/log/shop.log", Bytes::mib(500)), "the disk is full");
    /// ```
    pub fn truncate_above(
        &self,
        path: impl Into<PathBuf>,
        limit: Bytes,
    ) -> impl Step<Output = Bytes, Rollback = Irreversible> {
        truncate_above(self, path.into(), limit)
    }

    /// The same, with a compressed copy made before, beside it: `shop.log.RUN.gz`. What is written
    /// between the copy and the truncation is lost, as with `copytruncate` of logrotate.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Bytes, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("clean-up");
    /// let log = "/var/log/shop.log";
    /// b.irreversible(web.copy_truncate_above(log, Bytes::mib(500)), "a copy is kept");
    /// ```
    pub fn copy_truncate_above(
        &self,
        path: impl Into<PathBuf>,
        limit: Bytes,
    ) -> impl Step<Output = Bytes, Rollback = Irreversible> {
        copy_truncate_above(self, path.into(), limit)
    }

    async fn truncate(&self, cx: &Context, path: &Path, limit: Bytes, copy: bool) -> Result<Bytes> {
        let there = self.plain_file(cx.observer(), path).await?;
        let place = format!("{} on {self}", path.display());
        let Some(info) = there else {
            let (wanted, found) = ("a file".into(), "not there".into());
            return Err(Error::NotA { place, wanted, found }.failure());
        };
        let size = Bytes::new(info.size);
        if size <= limit {
            cx.say(format!("{place} is of {size}: not above {limit}"));
            return Ok(Bytes::new(0));
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::BadPath { place, why: "it names no file".into() }.failure());
        };
        let mut kept = std::ffi::OsString::new();
        if copy {
            kept = name.to_owned();
            kept.push(format!(".{}.gz", cx.run_id()));
        }
        cx.say(format!("{place} is of {size}"));
        let output = self.try_run(cx, script(TRUNCATE).arg(folder).arg(name).arg(&kept)).await?;
        match output.exit {
            runbook_core::Exit::Code(0) => Ok(size),
            runbook_core::Exit::Code(8) => {
                let changed = vec!["it is another file than the one that was looked at".into()];
                Err(Error::Changed { place, changed }.failure())
            }
            exit => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
                let failure = runbook_core::Failure::msg(format!("{exit}: {said}"));
                Err(failure.while_doing(format!("truncating {place}")))
            }
        }
    }
}

/// The file is what it should be
#[check(title = "{path} on {machine} has the SHA-256 {sha256}", preview = "sha256sum {path}")]
async fn has_checksum(
    cx: &Observer,
    machine: &Machine,
    path: PathBuf,
    sha256: String,
) -> Result<Verdict<String>> {
    let sum = machine.sha256(cx, &path).await?;
    let good = sum.eq_ignore_ascii_case(sha256.trim());
    let why = format!("it is {sum}");
    Ok(Verdict::pass_if(good, sum, why))
}

/// The sum of a file
#[check(title = "The SHA-256 of {path} on {machine}", preview = "sha256sum {path}")]
async fn checksum(cx: &Observer, machine: &Machine, path: PathBuf) -> Result<Verdict<String>> {
    let sum = machine.sha256(cx, &path).await?;
    Ok(Verdict::pass(sum.clone(), sum))
}

/// Copy a file over another
#[step(rollback = FileWas, repeatable, title = "Copy {from} over {to} on {machine}", preview = "cp -p {from} {to}")]
async fn copy_over(
    cx: &Context,
    machine: &Machine,
    from: PathBuf,
    to: PathBuf,
) -> Result<Option<String>> {
    if machine.plain_file(cx.observer(), &from).await?.is_none() {
        let place = format!("{} on {machine}", from.display());
        let (wanted, found) = ("a file".into(), "not there".into());
        return Err(Error::NotA { place, wanted, found }.failure());
    }
    let backup = match machine.plain_file(cx.observer(), &to).await? {
        Some(_) => Some(machine.text_of(&FileWas::keep(machine, cx, &to).await?)?),
        None => None,
    };
    cx.on(machine.host()).copy(&from, &to).await?;
    Ok(backup)
}

impl Rollback<copy_over> for FileWas {
    async fn record(step: &copy_over, cx: &Observer) -> Result<Self> {
        Self::of(&step.machine, cx, &step.to.get(cx)?).await
    }

    async fn rollback(
        &self,
        step: &copy_over,
        _: Option<&Option<String>>,
        cx: &Context,
    ) -> Result<()> {
        self.back(&step.machine, cx).await
    }
}

/// Empty a large file
#[step(irreversible, repeatable, title = "Empty {path} on {machine} if it is above {limit}")]
async fn truncate_above(
    cx: &Context,
    machine: &Machine,
    path: PathBuf,
    limit: Bytes,
) -> Result<Bytes> {
    machine.truncate(cx, &path, limit, false).await
}

/// Compress a large file away
#[step(
    irreversible,
    repeatable,
    title = "Move what is in {path} on {machine} to a compressed copy if it is above {limit}"
)]
async fn copy_truncate_above(
    cx: &Context,
    machine: &Machine,
    path: PathBuf,
    limit: Bytes,
) -> Result<Bytes> {
    machine.truncate(cx, &path, limit, true).await
}
