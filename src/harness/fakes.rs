//! [`Fakes`]: an environment made of fake targets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    pub(super) watched: Watched,
}

impl<E> Fakes<E> {
    /// An environment.
    #[must_use]
    pub fn new(env: E) -> Self {
        Self { env, watched: Watched::default() }
    }

    /// One of its targets: the files on it are compared.
    #[must_use]
    pub fn target(mut self, target: &FakeTarget) -> Self {
        self.watched.targets.push(target.clone());
        self
    }

    /// What else is to be compared, besides the files: the rows of a fake database, which apps run.
    /// Leave out what may differ each time (process ids, times).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    /// use runbook::Host;
    /// use runbook::harness::Fakes;
    /// use runbook::testing::{FakeTarget, Reply};
    /// let (web, runs) = (FakeTarget::new("web-1"), Arc::new(AtomicBool::new(true)));
    /// let shop = Arc::clone(&runs);
    /// web.on("systemctl stop shop").reply_with(move |_| {
    ///     shop.store(false, SeqCst);
    ///     Reply::ok()
    /// });
    /// let fakes = Fakes::new(Host::new(web.clone()))
    ///     .target(&web)
    ///     .state("shop runs", move || runs.load(SeqCst).to_string());
    /// # let _ = fakes;
    /// ```
    #[must_use]
    pub fn state(
        mut self,
        name: impl Into<String>,
        now: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.watched.states.push((name.into(), Arc::new(now)));
        self
    }

    /// What a person does before he confirms the unit with this id: the fakes are changed as he
    /// would change the hosts.
    ///
    /// ```
    /// use runbook::Host;
    /// use runbook::harness::Fakes;
    /// use runbook::testing::FakeTarget;
    /// let web = FakeTarget::new("web-1").file("/etc/shop.conf", "prot = 3000");
    /// let disk = web.disk();
    /// let fakes = Fakes::new(Host::new(web.clone()))
    ///     .target(&web)
    ///     .person("mend-the-line", move || disk.write("/etc/shop.conf", "port = 3000").unwrap());
    /// # let _ = fakes;
    /// ```
    #[must_use]
    pub fn person(
        mut self,
        unit: impl Into<String>,
        does: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.watched.people.push((unit.into(), Arc::new(does)));
        self
    }
}

/// What is compared before and after a run, and what people do in it.
#[derive(Clone, Default)]
pub(super) struct Watched {
    pub(super) targets: Vec<FakeTarget>,
    states: Vec<(String, State)>,
    people: Vec<(String, Deed)>,
}

type State = Arc<dyn Fn() -> String + Send + Sync>;
type Deed = Arc<dyn Fn() + Send + Sync>;

/// What was seen: by target and path, the mode and the content or where a link points; and by name,
/// what else is watched. Without the times in names and texts, which differ from run to run.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// Several of one path differ by a time in their names.
    files: BTreeMap<(String, PathBuf), Vec<Entry>>,
    states: BTreeMap<String, String>,
}

/// Mode, where a link points, and content.
type Entry = (u32, Option<PathBuf>, Vec<u8>);

impl Watched {
    /// A person is asked to do something, and does it.
    pub(super) fn asked(&self, unit: &str) {
        self.people.iter().filter(|(of, _)| of == unit).for_each(|(_, does)| does());
    }

    /// The units that a person does something for.
    pub(super) fn people(&self) -> impl Iterator<Item = &str> {
        self.people.iter().map(|(unit, _)| unit.as_str())
    }

    /// What is so now.
    pub(super) fn now(&self) -> Sight {
        let mut files: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
        for target in &self.targets {
            for (info, content) in target.tree() {
                let path = timeless(&info.path.to_string_lossy()).into();
                let content = match String::from_utf8(content) {
                    Ok(text) => timeless(&text).into_bytes(),
                    Err(binary) => binary.into_bytes(),
                };
                let entry = (info.mode, info.link, content);
                files.entry((format!("{target:?}"), path)).or_default().push(entry);
            }
        }
        let states = self.states.iter().map(|(name, state)| (name.clone(), timeless(&state())));
        Sight { files, states: states.collect() }
    }
}

impl Sight {
    /// What differs, a line each; paths and names that `ignored` says yes to aside.
    pub(super) fn differences(&self, other: &Self, ignored: impl Fn(&Path) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let keys: BTreeSet<_> = self.files.keys().chain(other.files.keys()).collect();
        for key in keys.into_iter().filter(|(_, path)| !ignored(path)) {
            let word = match (self.files.get(key), other.files.get(key)) {
                (Some(one), Some(two)) if one == two => continue,
                (Some(_), None) => "is gone",
                (None, _) => "is new",
                _ => "is changed",
            };
            lines.push(format!("{} on {} {word}", key.1.display(), key.0));
        }
        for (name, was) in self.states.iter().filter(|(name, _)| !ignored(Path::new(name))) {
            if let Some(now) = other.states.get(name).filter(|now| *now != was) {
                lines.push(format!("{name} is {now:?} and not {was:?}"));
            }
        }
        lines
    }

    /// The targets on which something differs; paths that `ignored` says yes to aside.
    pub(super) fn hosts_that_differ(
        &self,
        other: &Self,
        ignored: impl Fn(&Path) -> bool,
    ) -> BTreeSet<String> {
        let keys: BTreeSet<_> = self.files.keys().chain(other.files.keys()).collect();
        let differs = |key: &&&(String, PathBuf)| self.files.get(*key) != other.files.get(*key);
        let keys = keys.iter().filter(|(_, path)| !ignored(path));
        keys.filter(differs).map(|(host, _)| host.clone()).collect()
    }
}

/// `shop-TIME.dump` of `shop-2026-03-14-150926.dump`.
pub(super) fn timeless(text: &str) -> String {
    const DATE: &[u8] = b"dddd-dd-dd";
    let bytes = text.as_bytes();
    let is_date = |at: usize| {
        bytes.get(at..at + DATE.len()).is_some_and(|some| {
            some.iter().zip(DATE).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
        })
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    let mut at = 0;
    while at < bytes.len() {
        if !is_date(at) {
            at += 1;
            continue;
        }
        out.push_str(&text[rest..at]);
        out.push_str("TIME");
        at += DATE.len();
        let in_time = |at: usize| match bytes.get(at) {
            Some(b'.' | b'-' | b'T' | b' ' | b':') => {
                bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
            }
            Some(byte) => byte.is_ascii_digit() || *byte == b'Z',
            None => false,
        };
        while in_time(at) {
            at += 1;
        }
        rest = at;
    }
    out.push_str(&text[rest..]);
    out
}

#[cfg(test)]
mod tests {
    use super::timeless;

    #[test]
    fn times_are_taken_out_of_names_and_texts_and_nothing_else() {
        for (text, left) in [
            ("/srv/shop-2026-03-14-150926.dump", "/srv/shop-TIME.dump"),
            ("/srv/shop-2026-03-14-150926-2.dump", "/srv/shop-TIME.dump"),
            ("at 2026-03-14T15:09:26.535897Z, é", "at TIME, é"),
            ("v1 of 20 2026-3-14", "v1 of 20 2026-3-14"),
        ] {
            assert_eq!(timeless(text), left);
        }
    }
}
