//! The process-wide registry of secrets, and the search for them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use memchr::memmem::Finder;

use super::variants::variants;

const MASK: &str = "***";

/// Shorter secrets are found only where they stand alone.
const SHORT: usize = 4;

/// Set once the first secret is registered; without one, scrubbing is this one load.
static ANY: AtomicBool = AtomicBool::new(false);
static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(RwLock::default);

#[derive(Default)]
struct Registry {
    secrets: HashSet<Arc<str>>,
    patterns: HashSet<String>,
    /// Made when it is first needed after a change.
    search: Option<Arc<Search>>,
}

/// Finds all patterns, one after another: they are few, and each passes at memory speed.
struct Search {
    patterns: Vec<Finder<'static>>,
}

/// Adds a secret. An empty one is none.
pub(super) fn register(secret: &Arc<str>) {
    if secret.is_empty() {
        return;
    }
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    if registry.secrets.insert(Arc::clone(secret)) {
        if secret.chars().count() < SHORT {
            registry.patterns.insert(secret.to_string());
        } else {
            registry.patterns.extend(variants(secret));
        }
        registry.search = None;
    }
    drop(registry);
    ANY.store(true, Ordering::Release);
}

pub(super) fn scrub(text: &str) -> Cow<'_, str> {
    let Some(search) = search() else { return Cow::Borrowed(text) };
    let found = search.find(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for range in found {
        clean.push_str(&text[from..range.start]);
        clean.push_str(MASK);
        from = range.end;
    }
    clean.push_str(&text[from..]);
    Cow::Owned(clean)
}

pub(super) fn contains(text: &str) -> bool {
    search().is_some_and(|search| search.matches(text).next().is_some())
}

fn search() -> Option<Arc<Search>> {
    if !ANY.load(Ordering::Acquire) {
        return None;
    }
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(search) = &registry.search {
        return Some(Arc::clone(search));
    }
    drop(registry);
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let made = Arc::new(Search::new(registry.patterns.iter().map(String::as_str)));
    Some(Arc::clone(registry.search.insert(made)))
}

impl Search {
    fn new<'a>(patterns: impl Iterator<Item = &'a str>) -> Self {
        Self { patterns: patterns.map(|pattern| Finder::new(pattern).into_owned()).collect() }
    }

    /// All matches, also those that overlap.
    fn matches<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let found = self.patterns.iter().flat_map(move |pattern| {
            let mut from = 0;
            std::iter::from_fn(move || {
                let at = from + pattern.find(&text.as_bytes()[from..])?;
                // Bytes of UTF-8 text match only where characters begin.
                from = at + 1;
                Some(at..at + pattern.needle().len())
            })
        });
        found.filter(move |range| stands_alone(text, range))
    }

    /// What to mask: matches that overlap are one. Of two secrets of which one begins with the
    /// other, or where one ends in what the other begins with, nothing is left over.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut matches: Vec<_> = self.matches(text).collect();
        matches.sort_unstable_by_key(|range| (range.start, range.end));
        let mut found: Vec<Range<usize>> = Vec::new();
        for next in matches {
            match found.last_mut() {
                Some(last) if next.start < last.end => last.end = last.end.max(next.end),
                _ => found.push(next),
            }
        }
        found
    }
}

/// Whether a match counts: if it is short, only outside of words and numbers.
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    if range.len() > SHORT * 4 || text[range.clone()].chars().count() >= SHORT {
        return true;
    }
    let before = text[..range.start].chars().next_back();
    let after = text[range.end..].chars().next();
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !word(before) && !word(after)
}
