//! [`People`]: contacts and escalations by name, as a configuration gives them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Contact, Escalation, EscalationLevel};
use crate::error::Error;

/// Contacts and escalations by name: a table of a configuration.
///
/// ```toml
/// [people.contacts.kim]
/// name = "Kim"
/// role = "operator on call"
/// hours = "24/7"
/// reach = ["+1 555 0100", "#ops"]
///
/// [people.contacts.lee]
/// name = "Lee"
/// reach = ["lee@example.org"]
///
/// [people.escalation]
/// technical = [{ call = ["kim"] }, { after = "15 min", call = ["lee"] }]
/// ```
///
/// ```
/// # let json = r##"{
/// #   "contacts": {
/// #     "kim": { "name": "Kim", "role": "operator on call", "reach": ["+1 555 0100", "#ops"] },
/// #     "lee": { "name": "Lee", "reach": ["lee@example.org"] }
/// #   },
/// #   "escalation": {
/// #     "technical": [{ "call": ["kim"] }, { "after": "15 min", "call": ["lee"] }]
/// #   }
/// # }"##;
/// use runbook_core::{People, Runbook};
///
/// # let config = || serde_json::from_str(json).unwrap();
/// let people: People = config();
/// let mut b = Runbook::new("site-down");
/// b.escalation(people.escalation("technical")?);
/// assert_eq!(people.contact("lee")?.name, "Lee");
/// assert!(people.escalation("legal").unwrap_err().to_string().contains("there is: technical"));
/// # Ok::<(), runbook_core::Error>(())
/// ```
///
/// What is wrong in it (a name that nobody has, a phone number with a letter, two levels at the
/// same time) is said when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Tables")]
pub struct People {
    contacts: BTreeMap<String, Contact>,
    escalation: BTreeMap<String, Escalation>,
}

impl People {
    /// The contact called so.
    ///
    /// # Errors
    /// There is none; the names that there are.
    pub fn contact(&self, name: &str) -> Result<&Contact, Error> {
        find(&self.contacts, "contact", name).map_err(Error::usage)
    }

    /// The escalation called so.
    ///
    /// # Errors
    /// There is none; the names that there are.
    pub fn escalation(&self, name: &str) -> Result<&Escalation, Error> {
        find(&self.escalation, "escalation", name).map_err(Error::usage)
    }
}

fn find<'a, T>(all: &'a BTreeMap<String, T>, what: &str, name: &str) -> Result<&'a T, String> {
    all.get(name).ok_or_else(|| {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        format!("there is no {what} `{name}`; there is: {known}")
    })
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    contacts: BTreeMap<String, ContactTable>,
    #[serde(default)]
    escalation: BTreeMap<String, Vec<LevelTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContactTable {
    name: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    hours: String,
    reach: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelTable {
    #[serde(default)]
    after: Option<String>,
    call: Vec<String>,
}

impl TryFrom<Tables> for People {
    type Error = String;

    fn try_from(tables: Tables) -> Result<Self, String> {
        let contacts = tables
            .contacts
            .into_iter()
            .map(|(key, table)| match contact(table) {
                Ok(contact) => Ok((key, contact)),
                Err(why) => Err(format!("contact `{key}`: {why}")),
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        let escalation = tables
            .escalation
            .into_iter()
            .map(|(key, levels)| match escalation(levels, &contacts) {
                Ok(escalation) => Ok((key, escalation)),
                Err(why) => Err(format!("escalation `{key}`: {why}")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { contacts, escalation })
    }
}

fn contact(table: ContactTable) -> Result<Contact, String> {
    let ContactTable { name, role, hours, reach } = table;
    for (key, text) in [("name", &name), ("role", &role), ("hours", &hours)] {
        if text.contains(char::is_control) {
            return Err(format!("`{key}` is more than one line"));
        }
    }
    if name.trim().is_empty() {
        return Err("`name` is empty".into());
    }
    if reach.is_empty() {
        return Err("`reach` is empty: say how to reach them".into());
    }
    let reach = reach.iter().map(|to| to.parse()).collect::<Result<_, Error>>();
    let reach = reach.map_err(|error| error.to_string())?;
    Ok(Contact { name, role, hours, reach })
}

fn escalation(
    tables: Vec<LevelTable>,
    contacts: &BTreeMap<String, Contact>,
) -> Result<Escalation, String> {
    let mut levels: Vec<EscalationLevel> = Vec::with_capacity(tables.len());
    for (n, table) in (1..).zip(tables) {
        let after = match &table.after {
            None => Duration::ZERO,
            Some(text) => humantime::parse_duration(text).map_err(|error| {
                format!("level {n}: `after = \"{text}\"` is no duration such as `15 min`: {error}")
            })?,
        };
        if table.call.is_empty() {
            return Err(format!("level {n}: `call` names nobody"));
        }
        if let Some(before) = levels.last().filter(|before| before.after >= after) {
            let when = before.when();
            return Err(format!(
                "level {n}: its `after` is not later than that of the level before it ({when})"
            ));
        }
        let call = table.call.iter().map(|name| find(contacts, "contact", name).cloned());
        let call = call.collect::<Result<_, _>>().map_err(|why| format!("level {n}: {why}"))?;
        levels.push(EscalationLevel { after, call });
    }
    if levels.is_empty() {
        return Err("it has no level: `[{ call = [\"name\"] }]` is one".into());
    }
    Ok(levels.into())
}
