//! [`Fakes`]: an environment made of fake targets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use runbook_core::testing::FakeTarget;

/// An environment whose hosts are fake targets, and these targets, so that the harness can see
/// what became of them.
///
/// ```
/// use runbook::Host;
/// use runbook::harness::Fakes;
/// use runbook::testing::FakeTarget;
/// let web = FakeTarget::new("web-1");
/// let fakes = Fakes::new(Host::new(web.clone())).target(&web);
/// # let _ = fakes;
/// ```
pub struct Fakes<E> {
    pub(super) env: E,
    pub(super) targets: Vec<FakeTarget>,
}

impl<E> Fakes<E> {
    /// An environment.
    #[must_use]
    pub fn new(env: E) -> Self {
        Self { env, targets: Vec::new() }
    }

    /// One of its targets.
    #[must_use]
    pub fn target(mut self, target: &FakeTarget) -> Self {
        self.targets.push(target.clone());
        self
    }
}

/// What is on targets: by target and path, the mode and the content or where a link points.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Trees(BTreeMap<(String, PathBuf), Entry>);

/// Mode, where a link points, and content.
type Entry = (u32, Option<PathBuf>, Vec<u8>);

impl Trees {
    pub(super) fn of(targets: &[FakeTarget]) -> Self {
        let files = targets.iter().flat_map(|target| {
            let name = format!("{target:?}");
            target.tree().into_iter().map(move |(info, content)| {
                ((name.clone(), info.path), (info.mode, info.link, content))
            })
        });
        Self(files.collect())
    }

    /// What differs, a line each; paths that `ignored` says yes to aside.
    pub(super) fn differences(&self, other: &Self, ignored: impl Fn(&Path) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let keys: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for key in keys.into_iter().filter(|(_, path)| !ignored(path)) {
            let word = match (self.0.get(key), other.0.get(key)) {
                (Some(one), Some(two)) if one == two => continue,
                (Some(_), None) => "is gone",
                (None, _) => "is new",
                _ => "is changed",
            };
            lines.push(format!("{} on {} {word}", key.1.display(), key.0));
        }
        lines
    }

    /// The targets on which something differs; paths that `ignored` says yes to aside.
    pub(super) fn hosts_that_differ(
        &self,
        other: &Self,
        ignored: impl Fn(&Path) -> bool,
    ) -> BTreeSet<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differs = |key: &&&(String, PathBuf)| self.0.get(*key) != other.0.get(*key);
        let keys = keys.iter().filter(|(_, path)| !ignored(path));
        keys.filter(differs).map(|(host, _)| host.clone()).collect()
    }
}
