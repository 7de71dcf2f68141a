//! Upkeep: the journal, logs, and packages that nobody needs.

use std::time::Duration;

use runbook_core::{
    Check, Command, Context, IntoInput, Irreversible, Observer, Result, Step, Verdict,
};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::machine::{Machine, command, script};

/// A package and its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The version that is installed.
    pub version: String,
}

impl Machine {
    /// How much room the journal of systemd takes, in journalctl's words; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.check(web.journal_size());
    /// ```
    #[must_use]
    pub fn journal_size(&self) -> impl Check<Evidence = String> {
        journal_size(self)
    }

    /// Removes the oldest entries of systemd's journal until it takes at most `most`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Bytes, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.check(web.journal_size());
    /// b.irreversible(web.vacuum_journal(Bytes::mib(500)), "500 MiB are weeks of it");
    /// ```
    #[must_use]
    pub fn vacuum_journal(
        &self,
        most: Bytes,
    ) -> impl Step<Output = String, Rollback = Irreversible> {
        vacuum_journal(self, most)
    }

    /// Removes the entries of systemd's journal that are older than `age`, in whole seconds.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # use std::time::Duration;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// let three_days = Duration::from_secs(3 * 86_400);
    /// b.irreversible(web.vacuum_journal_older_than(three_days), "three days are kept");
    /// ```
    #[must_use]
    pub fn vacuum_journal_older_than(
        &self,
        age: Duration,
    ) -> impl Step<Output = String, Rollback = Irreversible> {
        vacuum_journal_older_than(self, age.as_secs())
    }

    /// What `logrotate` would do with a configuration, in its own words; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.check(web.would_rotate("/etc/logrotate.d/shop"));
    /// ```
    pub fn would_rotate(&self, config: impl Into<String>) -> impl Check<Evidence = String> {
        would_rotate(self, config.into())
    }

    /// Rotates the logs of a `logrotate` configuration now, due or not. The oldest are removed,
    /// as it says.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.irreversible(web.rotate_logs("/etc/logrotate.d/shop"), "14 old ones are kept");
    /// ```
    pub fn rotate_logs(
        &self,
        config: impl Into<String>,
    ) -> impl Step<Output = (), Rollback = Irreversible> {
        rotate_logs(self, config.into())
    }

    /// The packages that apt installed for others and that nothing needs any more; it always
    /// passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("monthly");
    /// b.check(web.unneeded_packages());
    /// ```
    #[must_use]
    pub fn unneeded_packages(&self) -> impl Check<Evidence = Vec<Package>> {
        unneeded_packages(self)
    }

    /// Removes the packages that [`unneeded_packages`](Self::unneeded_packages) listed. Refuses if
    /// apt would remove any other now.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("monthly");
    /// let unneeded = b.check(web.unneeded_packages());
    /// b.irreversible(web.remove_packages(unneeded), "nothing needs them");
    /// ```
    pub fn remove_packages(
        &self,
        listed: impl IntoInput<Vec<Package>>,
    ) -> impl Step<Output = Vec<Package>, Rollback = Irreversible> {
        remove_packages(self, listed)
    }

    /// How much room the package files take that apt downloaded; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.check(web.package_cache());
    /// ```
    #[must_use]
    pub fn package_cache(&self) -> impl Check<Evidence = Bytes> {
        package_cache(self)
    }

    /// Removes the package files that apt downloaded.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.check(web.package_cache());
    /// b.irreversible(web.clean_package_cache(), "apt downloads again what it needs");
    /// ```
    #[must_use]
    pub fn clean_package_cache(&self) -> impl Step<Output = (), Rollback = Irreversible> {
        clean_package_cache(self)
    }

    async fn unneeded(&self, cx: &Observer) -> Result<Vec<Package>> {
        let simulate = apt(["--simulate", "autoremove"]);
        let text = self.look(cx, simulate).await?.text();
        // `Remv libfoo1 [1.2-3] [libbar:amd64 ]`
        let packages = text.lines().filter_map(|line| {
            let mut words = line.strip_prefix("Remv ")?.split_whitespace();
            let name = words.next()?.to_owned();
            let version = words.next().unwrap_or("").trim_matches(['[', ']']).to_owned();
            Some(Package { name, version })
        });
        let mut packages: Vec<_> = packages.collect();
        packages.sort();
        Ok(packages)
    }
}

/// apt that asks nothing and waits for whoever has its lock.
fn apt<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    command("apt-get", ["-o", "DPkg::Lock::Timeout=120"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
}

/// The size of the journal
#[check(title = "The journal of {machine}", preview = "journalctl --disk-usage")]
async fn journal_size(cx: &Observer, machine: &Machine) -> Result<Verdict<String>> {
    let text = machine.look(cx, command("journalctl", ["--disk-usage"])).await?.text();
    Ok(Verdict::pass(text.clone(), text.replace('\n', "; ")))
}

/// Shrink the journal
#[step(irreversible, repeatable, title = "Shrink the journal of {machine} to {most}")]
async fn vacuum_journal(cx: &Context, machine: &Machine, most: Bytes) -> Result<String> {
    let size = format!("--vacuum-size={}", most.get());
    vacuum(cx, machine, &size).await
}

/// Remove old entries of the journal
#[step(
    irreversible,
    repeatable,
    title = "Remove what is older than {seconds} s from the journal of {machine}",
    preview = "journalctl --vacuum-time={seconds}s"
)]
async fn vacuum_journal_older_than(
    cx: &Context,
    machine: &Machine,
    seconds: u64,
) -> Result<String> {
    vacuum(cx, machine, &format!("--vacuum-time={seconds}s")).await
}

async fn vacuum(cx: &Context, machine: &Machine, how: &str) -> Result<String> {
    // Only files that are closed are removed.
    let output = machine.run(cx, command("journalctl", ["--rotate", how])).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &output.text();
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

/// What would be rotated
#[check(
    title = "What logrotate would do with {config} on {machine}",
    preview = "logrotate -d {config}"
)]
async fn would_rotate(cx: &Observer, machine: &Machine, config: String) -> Result<Verdict<String>> {
    machine.refuse_option(&config)?;
    let output = machine.look(cx, command("logrotate", ["-d", "-f", &config])).await?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &output.text();
    let logs = text.lines().filter_map(|line| line.strip_prefix("rotating log "));
    let logs: Vec<_> = logs.filter_map(|line| line.split(", ").next()).collect();
    let why = if logs.is_empty() { "no log".to_owned() } else { logs.join(", ") };
    Ok(Verdict::pass(text, why))
}

/// Rotate logs
#[step(
    irreversible,
    title = "Rotate the logs of {config} on {machine}",
    preview = "logrotate -f {config}"
)]
async fn rotate_logs(cx: &Context, machine: &Machine, config: String) -> Result<()> {
    machine.refuse_option(&config)?;
    machine.run(cx, command("logrotate", ["-v", "-f", &config])).await?;
    Ok(())
}

/// What nothing needs
#[check(
    title = "Packages of {machine} that nothing needs",
    preview = "apt-get --simulate autoremove"
)]
async fn unneeded_packages(cx: &Observer, machine: &Machine) -> Result<Verdict<Vec<Package>>> {
    let packages = machine.unneeded(cx).await?;
    let why = names(&packages);
    Ok(Verdict::pass(packages, why))
}

/// Remove what nothing needs
#[step(
    irreversible,
    title = "Remove packages of {machine} that nothing needs",
    preview = "apt-get autoremove"
)]
async fn remove_packages(
    cx: &Context,
    machine: &Machine,
    listed: Vec<Package>,
) -> Result<Vec<Package>> {
    let now = machine.unneeded(cx.observer()).await?;
    if let Some(other) = now.iter().find(|package| !listed.contains(package)) {
        let (place, package) = (machine.to_string(), other.name.clone());
        return Err(Error::OtherPackages { place, package }.failure());
    }
    if now.is_empty() {
        cx.say("none is there any more");
        return Ok(now);
    }
    cx.say(names(&now));
    machine.run(cx, apt(["--assume-yes", "autoremove"])).await?;
    Ok(now)
}

fn names(packages: &[Package]) -> String {
    if packages.is_empty() {
        return "none".into();
    }
    let names: Vec<_> =
        packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
    names.join(", ")
}

/// The size of apt's cache
#[check(
    title = "The package files that {machine} keeps",
    preview = "du -sk /var/cache/apt/archives"
)]
async fn package_cache(cx: &Observer, machine: &Machine) -> Result<Verdict<Bytes>> {
    const SCRIPT: &str = r#"eval "$(apt-config shell D Dir::Cache::Archives/d)"
du -sk "${D:-/var/cache/apt/archives}""#;
    // The folder of half-loaded files is root's alone: du then counts the others and complains.
    let text = machine.glance(cx, script(SCRIPT)).await?.text();
    let kib = text.split('\t').next().and_then(|kib| kib.parse().ok());
    let size = Bytes::kib(kib.ok_or_else(|| machine.odd("`du`", &text).failure())?);
    Ok(Verdict::pass(size, size.to_string()))
}

/// Empty apt's cache
#[step(
    irreversible,
    repeatable,
    title = "Remove the package files that {machine} keeps",
    preview = "apt-get clean"
)]
async fn clean_package_cache(cx: &Context, machine: &Machine) -> Result<()> {
    machine.run(cx, apt(["clean"])).await?;
    Ok(())
}
