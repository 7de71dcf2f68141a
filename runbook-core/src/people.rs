//! [`Severity`], [`Contact`], [`Escalation`]: how grave an incident is, whom to call, and when.

mod directory;
mod reach;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::directory::People;
pub use self::reach::{Reach, ReachKind};
use crate::error::Error;
use crate::timestamp::{Timestamp, limit};

/// How grave what a runbook is about is, and how soon somebody has to answer.
///
/// The constants are the four that most teams have; [`new`](Self::new) makes those of one's own.
/// A graver one is greater.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::{Manual, Runbook, Severity};
///
/// let mut b = Runbook::new("site-down");
/// b.severity(Severity::SEV1);
/// b.manual(Manual::new("Bring the site back"));
///
/// let p1 = Severity::new(1, "P1", "nobody can pay", Duration::from_secs(10 * 60));
/// assert!(Severity::SEV1 > Severity::SEV2 && p1 > Severity::SEV2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Severity {
    level: u8,
    name: Cow<'static, str>,
    meaning: Cow<'static, str>,
    #[serde(rename = "respond_within_ms", with = "millis")]
    respond_within: Duration,
}

impl Severity {
    /// The service is down: an answer within 15 minutes.
    pub const SEV1: Self = Self::standard(1, "SEV1", "the service is down", 15);
    /// Something that matters does not work: an answer within 30 minutes.
    pub const SEV2: Self = Self::standard(2, "SEV2", "something that matters does not work", 30);
    /// It works, but worse than it should: an answer within 2 hours.
    pub const SEV3: Self = Self::standard(3, "SEV3", "it works, but worse than it should", 120);
    /// A flaw that hinders nobody: an answer within a day.
    pub const SEV4: Self = Self::standard(4, "SEV4", "a flaw that hinders nobody", 24 * 60);

    const fn standard(
        level: u8,
        name: &'static str,
        meaning: &'static str,
        respond_within_minutes: u64,
    ) -> Self {
        Self {
            level,
            name: Cow::Borrowed(name),
            meaning: Cow::Borrowed(meaning),
            respond_within: Duration::from_secs(respond_within_minutes * 60),
        }
    }

    /// One of one's own: `level` 1 is the gravest, `meaning` says in a few words what is not well.
    pub fn new(
        level: u8,
        name: impl Into<Cow<'static, str>>,
        meaning: impl Into<Cow<'static, str>>,
        respond_within: Duration,
    ) -> Self {
        Self { level, name: name.into(), meaning: meaning.into(), respond_within }
    }

    /// 1 is the gravest.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// `SEV1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is not well, in a few words.
    #[must_use]
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// How soon after the beginning somebody has to answer.
    #[must_use]
    pub fn respond_within(&self) -> Duration {
        self.respond_within
    }

    /// `SEV1 (the service is down): an answer is due within 15 min`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let within = span(self.respond_within);
        format!("{} ({}): an answer is due within {within}", self.name, self.meaning)
    }

    pub(crate) fn scrubbed(self) -> Self {
        Self { name: scrub(&self.name).into(), meaning: scrub(&self.meaning).into(), ..self }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Ord for Severity {
    fn cmp(&self, other: &Self) -> Ordering {
        let rest = |one: &Self| (one.name.clone(), one.meaning.clone(), one.respond_within);
        other.level.cmp(&self.level).then_with(|| rest(self).cmp(&rest(other)))
    }
}

impl PartialOrd for Severity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Somebody to call, and how.
///
/// ```
/// use runbook_core::Contact;
/// let kim = Contact::new("Kim").role("operator on call").reach("+1 555 0100")?;
/// assert_eq!(kim.to_string(), "Kim (operator on call): +1 555 0100");
/// # Ok::<(), runbook_core::Error>(())
/// ```
///
/// Its fields are no secrets: they stand in plans, pages and journals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contact {
    /// Who: a person, a team, a company.
    pub name: String,
    /// As what: `operator on call`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// When: `24/7`, `9:00 to 18:00`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hours: String,
    /// How, the best way first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<Reach>,
}

impl Contact {
    /// Somebody, with no way to reach them yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), role: String::new(), hours: String::new(), reach: Vec::new() }
    }

    /// As what.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = role.into();
        self
    }

    /// When.
    #[must_use]
    pub fn hours(mut self, hours: impl Into<String>) -> Self {
        self.hours = hours.into();
        self
    }

    /// One more way to reach them; see [`Reach`].
    ///
    /// # Errors
    /// `to` is none.
    pub fn reach(mut self, to: &str) -> Result<Self, Error> {
        let reach = to.parse().map_err(|error| Error::usage(format!("{}: {error}", self.name)))?;
        self.reach.push(reach);
        Ok(self)
    }

    fn scrubbed(self) -> Self {
        Self {
            name: scrub(&self.name),
            role: scrub(&self.role),
            hours: scrub(&self.hours),
            reach: self.reach.into_iter().map(Reach::scrubbed).collect(),
        }
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match (self.role.as_str(), self.hours.as_str()) {
            ("", "") => {}
            ("", one) | (one, "") => write!(f, " ({one})")?,
            (role, hours) => write!(f, " ({role}, {hours})")?,
        }
        for (n, reach) in self.reach.iter().enumerate() {
            write!(f, "{}{reach}", if n == 0 { ": " } else { " or " })?;
        }
        Ok(())
    }
}

/// Whom to call at once, and whom after so long, as long as it is not solved.
///
/// ```
/// use std::time::Duration;
/// use runbook_core::{Contact, Escalation};
///
/// let kim = Contact::new("Kim").reach("+1 555 0100")?;
/// let lee = Contact::new("Lee").role("lead").reach("lee@example.org")?;
/// let escalation = Escalation::at_once([kim]).after(Duration::from_secs(15 * 60), [lee]);
///
/// let minutes = |n: u64| Duration::from_secs(n * 60);
/// assert_eq!(escalation.due(minutes(14)).len(), 1);
/// assert_eq!(escalation.due(minutes(15)).len(), 2);
/// # Ok::<(), runbook_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<EscalationLevel>", into = "Vec<EscalationLevel>")]
pub struct Escalation {
    /// In order of time, no two at the same, none without anybody.
    levels: Vec<EscalationLevel>,
}

/// Who is called after so long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EscalationLevel {
    /// How long after the beginning; zero for at once.
    #[serde(rename = "after_ms", with = "millis")]
    pub after: Duration,
    /// Who.
    pub call: Vec<Contact>,
}

/// A level of an [`Escalation`], with the moment of its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Call {
    /// From when on.
    pub from: Timestamp,
    /// Who.
    pub call: Vec<Contact>,
}

impl Escalation {
    /// Calls `contacts` at once.
    #[must_use]
    pub fn at_once(contacts: impl IntoIterator<Item = Contact>) -> Self {
        Self::default().after(Duration::ZERO, contacts)
    }

    /// And `contacts`, if it is not solved so long after the beginning.
    #[must_use]
    pub fn after(mut self, wait: Duration, contacts: impl IntoIterator<Item = Contact>) -> Self {
        // Whole milliseconds, as it is written down.
        let wait = Duration::from_millis(crate::plan::millis(wait));
        let contacts: Vec<Contact> = contacts.into_iter().collect();
        if contacts.is_empty() {
            return self;
        }
        match self.levels.binary_search_by_key(&wait, |level| level.after) {
            Ok(at) => self.levels[at].call.extend(contacts),
            Err(at) => self.levels.insert(at, EscalationLevel { after: wait, call: contacts }),
        }
        self
    }

    /// Its levels, in order of time.
    #[must_use]
    pub fn levels(&self) -> &[EscalationLevel] {
        &self.levels
    }

    /// The levels whose turn has come when it has lasted for `elapsed`.
    #[must_use]
    pub fn due(&self, elapsed: Duration) -> &[EscalationLevel] {
        let due = self.levels.partition_point(|level| level.after <= elapsed);
        &self.levels[..due]
    }

    /// Who is called from when on, for what began at `began`.
    pub fn calls(&self, began: Timestamp) -> impl Iterator<Item = Call> {
        self.levels
            .iter()
            .map(move |level| Call { from: began.after(level.after), call: level.call.clone() })
    }

    /// Whom to call now that it has lasted for `elapsed`, in one line: `call now Kim: +1 555 0100;
    /// after 15 min Lee: lee@example.org`. Nothing if there is nobody.
    #[must_use]
    pub fn advice(&self, elapsed: Duration) -> String {
        let due = self.due(elapsed);
        let now: Vec<&Contact> = due.iter().flat_map(|level| &level.call).collect();
        let mut parts = Vec::new();
        if !now.is_empty() {
            parts.push(format!("call now {}", listed(now)));
        }
        let later = &self.levels[due.len()..];
        parts.extend(later.iter().map(|level| level.to_string()));
        parts.join("; ")
    }

    pub(crate) fn scrubbed(self) -> Self {
        let levels = self.levels.into_iter().map(|level| EscalationLevel {
            after: level.after,
            call: level.call.into_iter().map(Contact::scrubbed).collect(),
        });
        Self { levels: levels.collect() }
    }
}

impl EscalationLevel {
    /// `at once`, `after 15 min`.
    #[must_use]
    pub fn when(&self) -> String {
        match self.after {
            Duration::ZERO => "at once".into(),
            after => format!("after {}", span(after)),
        }
    }
}

impl fmt::Display for EscalationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.when(), listed(&self.call))
    }
}

/// `at once Kim: +1 555 0100; after 15 min Lee: lee@example.org`.
impl fmt::Display for Escalation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels: Vec<String> = self.levels.iter().map(ToString::to_string).collect();
        f.write_str(&levels.join("; "))
    }
}

impl From<Vec<EscalationLevel>> for Escalation {
    fn from(levels: Vec<EscalationLevel>) -> Self {
        levels.into_iter().fold(Self::default(), |all, level| all.after(level.after, level.call))
    }
}

impl From<Escalation> for Vec<EscalationLevel> {
    fn from(escalation: Escalation) -> Self {
        escalation.levels
    }
}

/// `Kim: +1 555 0100, and Lee: lee@example.org`.
fn listed<'a>(contacts: impl IntoIterator<Item = &'a Contact>) -> String {
    let contacts: Vec<String> = contacts.into_iter().map(ToString::to_string).collect();
    contacts.join(", and ")
}

/// `15 min`.
fn span(duration: Duration) -> String {
    limit(crate::plan::millis(duration))
}

fn scrub(text: &str) -> String {
    crate::secret::scrub(text).into_owned()
}

/// A duration as whole milliseconds, as journals have it.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(crate::plan::millis(*d))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
