//! What a machine is, and which tools it has.

use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::{Machine, command, script};

/// What a machine runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Os {
    /// Its own name.
    pub host_name: String,
    /// The system, as it calls itself: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// A short word for it: `debian`, `alpine`.
    pub id: String,
    /// Its version: `12`; empty for one that rolls.
    pub version: String,
    /// The kernel: `6.1.0-18-amd64`.
    pub kernel: String,
    /// The processor: `x86_64`.
    pub architecture: String,
    /// How long the kernel runs, in seconds.
    pub uptime: f64,
}

impl Machine {
    /// What the machine runs; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// b.check(web.os());
    /// ```
    #[must_use]
    pub fn os(&self) -> impl Check<Evidence = Os> {
        os(self)
    }

    /// A program is there, of this version or a later one. Understands what most print for
    /// `--version`: the first number with dots.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// b.check(web.tool_at_least("node", "20.1"));
    /// b.check(web.tool_at_least("docker", "24"));
    /// ```
    pub fn tool_at_least(
        &self,
        program: impl Into<String>,
        version: impl Into<String>,
    ) -> impl Check<Evidence = String> {
        tool_at_least(self, program.into(), version.into())
    }

    /// An error if a value that a program gets would be taken for one of its options.
    pub(crate) fn refuse_option(&self, value: &str) -> Result<()> {
        if value.is_empty() || value.starts_with('-') {
            let (place, value) = (self.to_string(), value.to_owned());
            return Err(Error::NoName { place, value }.failure());
        }
        Ok(())
    }
}

/// What it runs
#[check(title = "What {machine} runs", preview = "uname -srm")]
async fn os(cx: &Observer, machine: &Machine) -> Result<Verdict<Os>> {
    let uname = script("uname -n && uname -r && uname -m");
    let text = machine.look(cx, uname).await?.text();
    let lines: Vec<&str> = text.lines().collect();
    let [host_name, kernel, architecture] = lines[..] else {
        return Err(machine.odd("`uname`", &text).failure());
    };
    let paths = ["/etc/os-release", "/usr/lib/os-release", "/proc/uptime"];
    let files = machine.texts(cx, &paths).await?;
    let release = files.get(paths[0]).or_else(|| files.get(paths[1])).map_or("", String::as_str);
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or("").trim().trim_matches(['"', '\'']).to_owned()
    };
    let uptime = files.get(paths[2]).and_then(|text| text.split(' ').next()?.parse().ok());
    let os = Os {
        host_name: host_name.to_owned(),
        name: field("PRETTY_NAME"),
        id: field("ID"),
        version: field("VERSION_ID"),
        kernel: kernel.to_owned(),
        architecture: architecture.to_owned(),
        uptime: uptime.unwrap_or(0.0),
    };
    let name = if os.name.is_empty() { "an unknown system" } else { &os.name };
    let why = format!("{name}, kernel {kernel}, {architecture}");
    Ok(Verdict::pass(os, why))
}

/// The tool is recent enough
#[check(title = "{program} on {machine} is at least {version}", preview = "{program} --version")]
async fn tool_at_least(
    cx: &Observer,
    machine: &Machine,
    program: String,
    version: String,
) -> Result<Verdict<String>> {
    machine.refuse_option(&program)?;
    let Some(wanted) = parse_version(&version) else {
        return Err(Error::NoVersion { place: machine.to_string(), text: version }.failure());
    };
    let output = machine.look(cx, command(&program, ["--version"])).await?;
    // Some say it where errors go.
    let said = output.text() + "\n" + &String::from_utf8_lossy(&output.stderr);
    let Some(found) = parse_version(&said) else {
        return Err(Error::NoVersion { place: machine.to_string(), text: said }.failure());
    };
    let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
    let why = format!("it is {text}");
    Ok(Verdict::pass_if(at_least(&found, &wanted), text, why))
}

/// The first number of a text, with what follows it by dots. One that ends a word is passed over
/// if another with dots comes: `python3 3.11`.
fn parse_version(text: &str) -> Option<Vec<u64>> {
    let mut first = None;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len()
            && (bytes[at].is_ascii_digit()
                || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)))
        {
            at += 1;
        }
        let numbers: Option<Vec<u64>> =
            text.get(start..at)?.split('.').map(|part| part.parse().ok()).collect();
        match numbers {
            Some(numbers) if numbers.len() > 1 => return Some(numbers),
            Some(numbers) => first = first.or(Some(numbers)),
            None => {}
        }
    }
    first
}

/// Missing parts count as zero.
fn at_least(found: &[u64], wanted: &[u64]) -> bool {
    let part = |parts: &[u64], at: usize| parts.get(at).copied().unwrap_or(0);
    let most = found.len().max(wanted.len());
    let found = (0..most).map(|at| part(found, at));
    found.ge((0..most).map(|at| part(wanted, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_tools_print_them() {
        for (text, version) in [
            ("v20.20.2\n", vec![20, 20, 2]),
            ("Python 3.11.7", vec![3, 11, 7]),
            ("Docker version 20.10.24+dfsg1, build 297e128", vec![20, 10, 24]),
            ("psql (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", vec![15, 14]),
            ("nginx version: nginx/1.22.1", vec![1, 22, 1]),
            ("python3 3.12", vec![3, 12]),
            ("less 590 (GNU regular expressions)", vec![590]),
        ] {
            assert_eq!(parse_version(text), Some(version), "{text}");
        }
        assert_eq!(parse_version("no number"), None);
    }

    #[test]
    fn ten_comes_after_nine() {
        assert!(at_least(&[20, 10], &[20, 9, 9]));
        assert!(at_least(&[20], &[20, 0]));
        assert!(!at_least(&[20, 1], &[20, 1, 1]));
    }
}
