//! Is node new enough.

use runbook_core::{Check, Command, Exit, Failure, Observer, Result, Verdict};
use runbook_macros::check;

use crate::package::Npm;

impl Npm {
    /// The host's node is at least this version: `20`, `20.9` or `20.9.1`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.check(shop.node_at_least("20.9"));
    /// ```
    pub fn node_at_least(&self, version: impl Into<String>) -> impl Check<Evidence = String> {
        node_at_least(self, &version.into())
    }
}

/// Node is new enough
#[check(title = "Node is at least {version}", preview = "node --version")]
async fn node_at_least(cx: &Observer, npm: &Npm, version: &str) -> Result<Verdict<String>> {
    let wanted = numbers(version)
        .ok_or_else(|| Failure::msg(format!("{version:?} is no version such as 20.9")))?;
    let output = npm.look(cx, Command::new("node").arg("--version")).await?;
    let said = output.text().trim().trim_start_matches('v').to_owned();
    let Some(there) = numbers(&said).filter(|_| output.exit == Exit::Code(0)) else {
        return Err(Failure::msg(format!("node on {} says no version: {said:?}", npm.host())));
    };
    let why = format!("it is {said}");
    Ok(Verdict::pass_if(there >= wanted, said, why))
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = [0; 3];
    for (at, part) in release.split('.').enumerate() {
        *numbers.get_mut(at)? = part.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("20.9") < numbers("20.10.1"));
        assert!(numbers("20") <= numbers("20.0.0"));
        assert_eq!(numbers("20.x"), None);
        assert_eq!(numbers("1.2.3.4"), None);
        assert_eq!(numbers("22.1.0-nightly"), Some([22, 1, 0]));
    }
}
