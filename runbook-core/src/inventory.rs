//! [`Inventory`]: the hosts that runbooks work on, by name, with groups and values of their own;
//! [`Fleet`]: those of them that an operator selected.

mod config;
mod selection;

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

pub use self::selection::Selection;
use crate::error::Error;
use crate::target::Host;

/// Hosts by name: from a list in code, or from configuration.
///
/// `V` is what is known of each host besides its name, address and groups: any type that serde can
/// read, `()` for nothing. What a host *is* (SSH, a container, a fake) is not said here: a closure
/// makes a [`Host`] of each [`Entry`].
///
/// ```
/// use runbook_core::{Entry, Host, Inventory, Rolling, Runbook, testing::FakeTarget};
///
/// let inventory = Inventory::new([
///     Entry::new("web-1", ()).group("web"),
///     Entry::new("web-2", ()).group("web").address("192.0.2.12"),
///     Entry::new("db-1", ()).group("db"),
/// ])?;
/// let web = inventory.select(&"web,!web-2".parse()?)?;
/// let hosts = web.hosts(|entry| Host::new(FakeTarget::new(entry.name())));
///
/// let mut b = Runbook::new("restart");
/// b.each(&hosts, Rolling::default(), |member, b| {
///     // steps on `member.host`
/// #   let _ = (&member.host, b);
/// });
/// assert_eq!(hosts.len(), 1);
/// # Ok::<(), runbook_core::Error>(())
/// ```
///
/// # Configuration
///
/// A table for each host and each group, in any format that serde reads. A host has an `address`
/// (its name, if it gives none), is in `groups`, and gives the fields of `V`; those that it does
/// not give it takes from its groups (the last one named goes before the others), and then from the
/// group `all`, which every host is in.
///
/// ```
/// # use runbook_core::Inventory;
/// # use serde::Deserialize;
/// #[derive(Deserialize)]
/// struct Web {
///     port: u16,
///     #[serde(default)]
///     weight: u8,
/// }
///
/// // [hosts.web-1]
/// // address = "192.0.2.11"
/// // groups = ["web"]
/// //
/// // [hosts.web-2]
/// // groups = ["web"]
/// // weight = 5
/// //
/// // [groups.web]
/// // port = 8080
/// let inventory: Inventory<Web> = serde_json::from_str(
///     r#"{
///         "hosts": {
///             "web-1": { "address": "192.0.2.11", "groups": ["web"] },
///             "web-2": { "groups": ["web"], "weight": 5 }
///         },
///         "groups": { "web": { "port": 8080 } }
///     }"#,
/// )?;
/// let web_2 = inventory.get("web-2").unwrap();
/// assert_eq!((web_2.values().port, web_2.values().weight), (8080, 5));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// In the environment of a binary, `#[serde(flatten)] fleet: Inventory<Web>` reads them from
/// `[staging.hosts.web-1]` and `[staging.groups.web]`.
///
/// A name that stands twice, a group without a table, and a key that `V` does not know are refused,
/// with the names that there are.
///
/// # Order
///
/// Hosts of a list keep its order; those of a configuration are in the order of their names, with
/// numbers as numbers: `web-2` before `web-10`. A selection never changes the order.
#[derive(Clone, Debug)]
pub struct Inventory<V = ()> {
    hosts: Vec<Entry<V>>,
    /// Their names, in order, without `all`.
    groups: Vec<String>,
}

/// One host of an [`Inventory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<V = ()> {
    name: String,
    address: Option<String>,
    groups: Vec<String>,
    values: V,
}

/// Hosts of an [`Inventory`], in its order.
#[derive(Clone, Debug)]
pub struct Fleet<'a, V = ()>(Vec<&'a Entry<V>>);

/// An [`Entry`] and the [`Host`] that was made of it; shown as the entry's name.
#[derive(Clone, Debug)]
pub struct Member<'a, V = ()> {
    /// What the inventory knows of it.
    pub entry: &'a Entry<V>,
    /// Where its commands run.
    pub host: Host,
}

impl<V> Inventory<V> {
    /// An inventory of these hosts, in this order; its groups are those that they name.
    ///
    /// # Errors
    /// Two have the same name, a name is also that of a group, or is none: empty, `all`, or with
    /// one of `,!*?/` or a space in it.
    pub fn new(hosts: impl IntoIterator<Item = Entry<V>>) -> Result<Self, Error> {
        let hosts: Vec<_> = hosts.into_iter().collect();
        let mut groups: Vec<String> = Vec::new();
        for group in hosts.iter().flat_map(|entry| &entry.groups) {
            if !groups.contains(group) && group != ALL {
                groups.push(group.clone());
            }
        }
        groups.sort_by(|a, b| natural(a, b));
        Self { hosts, groups }.checked().map_err(Error::usage)
    }

    /// What can't be is refused.
    fn checked(self) -> Result<Self, String> {
        if self.hosts.is_empty() {
            return Err("the inventory has no hosts".into());
        }
        let mut seen = std::collections::HashSet::new();
        for entry in &self.hosts {
            name_fits("host", &entry.name)?;
            if !seen.insert(entry.name.as_str()) {
                return Err(format!("the host `{}` is there twice", entry.name));
            }
        }
        for group in &self.groups {
            name_fits("group", group)?;
            if seen.contains(group.as_str()) {
                return Err(format!("`{group}` is the name of a host and of a group"));
            }
        }
        Ok(self)
    }

    /// The host called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry<V>> {
        self.hosts.iter().find(|entry| entry.name == name)
    }

    /// All hosts, in order.
    #[must_use]
    pub fn all(&self) -> Fleet<'_, V> {
        Fleet(self.hosts.iter().collect())
    }

    /// The names of its groups, without `all`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }

    /// The hosts that `selection` names, in the order of the inventory.
    ///
    /// ```
    /// use runbook_core::{Entry, Inventory};
    /// let inventory = Inventory::new(["a", "b"].map(|name| Entry::new(name, ())))?;
    /// let error = inventory.select(&"c".parse()?).unwrap_err();
    /// assert_eq!(error.to_string(), "no host or group is called `c`; hosts: a, b; groups: all");
    /// # Ok::<(), runbook_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// A part of it names nothing, or nothing is left; the error lists what there is.
    pub fn select(&self, selection: &Selection) -> Result<Fleet<'_, V>, Error> {
        selection.of(self).map(Fleet).map_err(Error::usage)
    }

    /// A [`Host`] for every entry, in order.
    pub fn hosts(&self, connect: impl FnMut(&Entry<V>) -> Host) -> Vec<Member<'_, V>> {
        self.all().hosts(connect)
    }

    /// `hosts: a, b; groups: all`.
    fn what_there_is(&self) -> String {
        let hosts: Vec<&str> = self.hosts.iter().map(Entry::name).collect();
        let groups: Vec<&str> = self.groups().chain([ALL]).collect();
        format!("hosts: {}; groups: {}", few(&hosts), few(&groups))
    }
}

impl<V> Entry<V> {
    /// A host called `name`, in no group.
    pub fn new(name: impl Into<String>, values: V) -> Self {
        Self { name: name.into(), address: None, groups: Vec::new(), values }
    }

    /// Where it is: a name, an address, or an alias that the target knows.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// One more group that it is in.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Its name, which plans, journals and reports show.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is; its name, if it gives no address.
    #[must_use]
    pub fn at(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.name)
    }

    /// The groups that it is in, without `all`.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether it is in `group`.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        group == ALL || self.groups.iter().any(|own| own == group)
    }

    /// What else is known of it.
    #[must_use]
    pub fn values(&self) -> &V {
        &self.values
    }
}

impl<V> fmt::Display for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<'a, V> Fleet<'a, V> {
    /// A [`Host`] for each, in order: what [`Runbook::each`](crate::Runbook::each) goes through.
    pub fn hosts(&self, mut connect: impl FnMut(&Entry<V>) -> Host) -> Vec<Member<'a, V>> {
        self.0.iter().map(|&entry| Member { entry, host: connect(entry) }).collect()
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|entry| entry.name())
    }
}

impl<'a, V> Deref for Fleet<'a, V> {
    type Target = [&'a Entry<V>];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<V> fmt::Display for Member<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry.name())
    }
}

/// The group that every host is in.
const ALL: &str = "all";

/// Names that a selection could not tell from its own signs are refused.
fn name_fits(what: &str, name: &str) -> Result<(), String> {
    let sign = |c: char| c.is_whitespace() || c.is_control() || ",!*?/".contains(c);
    if name == ALL {
        return Err(format!("a {what} can't be called `{ALL}`: every host is in that group"));
    }
    if name.is_empty() || name.contains(sign) {
        return Err(format!(
            "a {what} can't be called {name:?}: a name has no space and none of , ! * ? / in it"
        ));
    }
    Ok(())
}

/// More names than this are counted, not listed.
const LISTED: usize = 30;

fn few(names: &[&str]) -> String {
    match names.split_at_checked(LISTED) {
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more", first.join(", "), rest.len())
        }
        _ => names.join(", "),
    }
}

/// The order of names for a person: numbers in them as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (text, digits) = (|c: char| c.is_ascii_digit(), |c: char| !c.is_ascii_digit());
        let cut = |s: &str, at: Option<usize>| at.unwrap_or(s.len());
        let (l, r) = (cut(left, left.find(text)), cut(right, right.find(text)));
        let words = left[..l].cmp(&right[..r]);
        if words != Ordering::Equal {
            return words;
        }
        (left, right) = (&left[l..], &right[r..]);
        if left.is_empty() || right.is_empty() {
            // The same but for zeros before a number: some order, and a stable one.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        }
        let (l, r) = (cut(left, left.find(digits)), cut(right, right.find(digits)));
        let number = |digits: &str| digits.trim_start_matches('0').to_owned();
        let (x, y) = (number(&left[..l]), number(&right[..r]));
        let numbers = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
        if numbers != Ordering::Equal {
            return numbers;
        }
        (left, right) = (&left[l..], &right[r..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Inventory {
        Inventory::new([
            Entry::new("web-2", ()).group("web"),
            Entry::new("web-1", ()).group("web").group("eu").address("192.0.2.1"),
            Entry::new("db", ()).group("eu"),
        ])
        .unwrap()
    }

    fn names(selection: &str) -> Result<Vec<String>, String> {
        let inventory = three();
        let selection = selection.parse::<Selection>().map_err(|error| error.to_string())?;
        let fleet = inventory.select(&selection).map_err(|error| error.to_string())?;
        Ok(fleet.names().map(str::to_owned).collect())
    }

    #[test]
    fn a_selection_keeps_the_order_of_the_inventory() {
        for (selection, expected) in [
            ("all", "web-2 web-1 db"),
            ("db,web-1,web-2", "web-2 web-1 db"),
            ("web", "web-2 web-1"),
            ("web-*", "web-2 web-1"),
            ("*", "web-2 web-1 db"),
            ("web-?", "web-2 web-1"),
            ("!web-2", "web-1 db"),
            ("!web-2,web", "web-1"),
            ("web, !web-2 , db", "web-1 db"),
            ("eu,!web", "db"),
            ("*b*,!*2", "web-1 db"),
        ] {
            assert_eq!(names(selection).unwrap().join(" "), expected, "{selection}");
        }
    }

    #[test]
    fn what_selects_nothing_is_refused_with_what_there_is() {
        let refused = ["web-3", "!wbe", "x-*", "web,!web-*", "", "web,,db", "!", "!!db", "we b"];
        let said: Vec<_> = refused
            .map(|selection| format!("{selection:?}: {}", names(selection).unwrap_err()))
            .into_iter()
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn names_that_can_not_be_are_refused() {
        let list = |names: &[&str]| {
            let entries = names.iter().map(|name| Entry::new(*name, ()).group("web"));
            Inventory::new(entries).unwrap_err().to_string()
        };
        let said =
            [list(&["a", "b", "a"]), list(&["web"]), list(&["all"]), list(&["a,b"]), list(&[""])];
        insta::assert_snapshot!(said.join("\n"));
        let none = Inventory::<()>::new([]).unwrap_err();
        assert_eq!(none.to_string(), "the inventory has no hosts");
    }

    #[test]
    fn numbers_in_names_are_ordered_as_numbers() {
        let mut names = ["web-10", "web-2", "web-02", "web", "a", "web-2b", "web-2a", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        let expected = ["9", "10", "a", "web", "web-02", "web-2", "web-2a", "web-2b", "web-10"];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_address_is_the_name_unless_it_is_given() {
        let inventory = three();
        assert_eq!(inventory.get("web-1").unwrap().at(), "192.0.2.1");
        assert_eq!(inventory.get("db").unwrap().at(), "db");
        assert!(inventory.get("db").unwrap().is_in("all"));
    }
}
