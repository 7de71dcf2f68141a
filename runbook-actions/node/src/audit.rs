//! Known vulnerabilities of what is installed.

use std::fmt;

use runbook_core::{Check, Failure, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::package::Npm;

/// How bad a vulnerability is, in npm's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `low`
    Low,
    /// `moderate`
    Moderate,
    /// `high`
    High,
    /// `critical`
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// How many packages have known vulnerabilities, by the worst of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vulnerabilities {
    /// At most low.
    pub low: u32,
    /// At most moderate.
    pub moderate: u32,
    /// At most high.
    pub high: u32,
    /// Critical.
    pub critical: u32,
}

impl Vulnerabilities {
    /// Those that are at least this bad.
    ///
    /// ```
    /// use runbook_node::{Severity, Vulnerabilities};
    /// let found = Vulnerabilities { low: 3, high: 1, ..Default::default() };
    /// assert_eq!(found.at_least(Severity::Moderate), 1);
    /// ```
    #[must_use]
    pub fn at_least(&self, severity: Severity) -> u32 {
        let all = [
            (Severity::Low, self.low),
            (Severity::Moderate, self.moderate),
            (Severity::High, self.high),
            (Severity::Critical, self.critical),
        ];
        all.iter().filter(|(of, _)| *of >= severity).map(|(_, count)| count).sum()
    }
}

impl Npm {
    /// No package that is installed for production has a known vulnerability that is at least this
    /// bad. Asks the registry.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::{Npm, Severity};
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("release");
    /// b.observe(shop.audit(Severity::High));
    /// ```
    #[must_use]
    pub fn audit(&self, worst: Severity) -> impl Check<Evidence = Vulnerabilities> {
        audit(self, worst)
    }
}

#[derive(Deserialize)]
struct Report {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    vulnerabilities: Vulnerabilities,
}

/// No known vulnerabilities
#[check(
    title = "No package of {npm} has a known vulnerability that is {worst} or worse",
    preview = "npm audit --omit=dev"
)]
async fn audit(cx: &Observer, npm: &Npm, worst: Severity) -> Result<Verdict<Vulnerabilities>> {
    let command = npm.command(&["audit", "--omit=dev", "--json"]);
    // It exits with 1 if it finds any.
    let output = npm.look(cx, command.clone()).await?;
    let Ok(report) = serde_json::from_slice::<Report>(&output.stdout) else {
        if output.exit.success() {
            return Err(Failure::msg(format!("npm audit of {npm} printed no report")));
        }
        return Err(Error::of(npm, &command, &output).failure());
    };
    let found = report.metadata.vulnerabilities;
    let bad = found.at_least(worst);
    let why = format!(
        "{} critical, {} high, {} moderate, {} low",
        found.critical, found.high, found.moderate, found.low
    );
    Ok(Verdict::pass_if(bad == 0, found, why))
}
