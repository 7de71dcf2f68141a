//! [`EnvFile`]: a `.env` file, whose values nobody shows.

mod document;

use std::fmt;
use std::path::{Path, PathBuf};

use runbook_core::{Check, Context, IntoInput, Observer, Result, Rollback, Secret, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::document::{Document, is_name};
use crate::error::Error;
use crate::kept::{FileWas, hex};
use crate::machine::Machine;
use crate::secrets::Generate;

/// A `.env` file of a host; from [`Machine::env_file`]. Its values are in no event, journal or
/// error.
///
/// ```
/// # use runbook_core::{Host, Runbook, Secret, testing::FakeTarget};
/// # use runbook_host::{Generate, Machine, Required};
/// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
/// let env = web.env_file("/srv/shop/.env");
/// let mut b = Runbook::new("rotate-session-secret");
/// b.check(env.has([
///     Required::new("DATABASE_URL", "the shop can't reach its database"),
///     Required::new("SESSION_SECRET", "nobody can sign in"),
/// ]));
/// // If what follows fails, the old secret is put back, and then the service restarted.
/// let shop = web.service("shop");
/// b.step(shop.restart_on_the_way_back());
/// b.step(env.rotate("SESSION_SECRET", Generate::base64url(32)));
/// b.step(shop.restart());
/// b.check(shop.is_active());
/// ```
#[derive(Clone)]
pub struct EnvFile {
    machine: Machine,
    path: PathBuf,
}

/// A variable that has to be there, and what breaks without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Required {
    /// Its name.
    pub name: String,
    /// What breaks.
    pub breaks: String,
}

impl Required {
    /// `name`; without it, `breaks`.
    ///
    /// ```
    /// use runbook_host::Required;
    /// let required = Required::new("SMTP_URL", "no mail is sent");
    /// assert_eq!(required.to_string(), "SMTP_URL (no mail is sent)");
    /// ```
    pub fn new(name: impl Into<String>, breaks: impl Into<String>) -> Self {
        Self { name: name.into(), breaks: breaks.into() }
    }
}

impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.breaks)
    }
}

/// What a change of a variable left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changed {
    /// The copy of the file as it was, which only its owner may read. It holds the old secrets:
    /// remove it when the new one is proven.
    pub backup: String,
    /// The first twelve digits of the SHA-256 of the new value, to tell one from another; none of
    /// a value that is not random.
    pub fingerprint: Option<String>,
}

impl Machine {
    /// A `.env` file.
    pub fn env_file(&self, path: impl Into<PathBuf>) -> EnvFile {
        EnvFile { machine: self.clone(), path: path.into() }
    }
}

impl EnvFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// These variables are there and not empty; those that are not are named, with what breaks.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Machine, Required};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// let env = web.env_file("/srv/shop/.env");
    /// b.check(env.has([Required::new("SMTP_URL", "no mail is sent")]));
    /// ```
    pub fn has(
        &self,
        required: impl IntoIterator<Item = Required>,
    ) -> impl Check<Evidence = Vec<Required>> {
        has(self, required.into_iter().collect::<Vec<_>>())
    }

    /// Nobody but its owner and group may read it, and nobody else write it.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// b.check(web.env_file("/srv/shop/.env").is_private());
    /// ```
    #[must_use]
    pub fn is_private(&self) -> impl Check<Evidence = String> {
        is_private(self)
    }

    /// Sets a variable, atomically; everything else in the file stays as it is, its mode and owner
    /// too. A rollback puts the file back. The value is shown in plans: for one that is not to be,
    /// see [`set_secret`](Self::set_secret).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("maintenance");
    /// b.step(web.env_file("/srv/shop/.env").set("MAINTENANCE", "on"));
    /// ```
    pub fn set(
        &self,
        name: impl Into<String>,
        value: impl IntoInput<String>,
    ) -> impl Step<Output = Changed, Rollback = FileWas> {
        set(self, name.into(), value)
    }

    /// The same for a value that is never shown.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, Secret, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("rotate");
    /// let secret = Secret::new("whsec_from_the_dashboard");
    /// b.step(web.env_file("/srv/shop/.env").set_secret("STRIPE_WEBHOOK_SECRET", &secret));
    /// ```
    pub fn set_secret(
        &self,
        name: impl Into<String>,
        value: &Secret,
    ) -> impl Step<Output = Changed, Rollback = FileWas> {
        set_secret(self, name.into(), value)
    }

    /// Sets a variable to a secret that is made when the step runs and that nobody sees. A
    /// rollback puts the old one back; what has to be restarted then is up to
    /// [`Service::restart_on_the_way_back`](crate::Service::restart_on_the_way_back).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Generate, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("rotate");
    /// b.step(web.env_file("/srv/shop/.env").rotate("SESSION_SECRET", Generate::hex(32)));
    /// ```
    pub fn rotate(
        &self,
        name: impl Into<String>,
        generate: Generate,
    ) -> impl Step<Output = Changed, Rollback = FileWas> {
        rotate(self, name.into(), &generate)
    }

    async fn document(&self, cx: &Observer) -> Result<Option<Document>> {
        if self.machine.plain_file(cx, &self.path).await?.is_none() {
            return Ok(None);
        }
        let text = cx.on(self.machine.host()).read_text(&self.path).await?;
        let place = self.to_string();
        let document = Document::parse(&text).map_err(|malformed| {
            Error::Malformed { place, line: malformed.line, why: malformed.why.into() }.failure()
        })?;
        Ok(Some(document))
    }

    /// The new text of the file, and whether it differs.
    async fn change(&self, cx: &Context, name: &str, value: &str) -> Result<String> {
        let place = self.to_string();
        if !is_name(name) {
            return Err(Error::BadVariable { place, name: name.into() }.failure());
        }
        let Some(document) = self.document(cx.observer()).await? else {
            let (wanted, found) = ("a file".into(), "not there".into());
            return Err(Error::NotA { place, wanted, found }.failure());
        };
        let count = document.count(name);
        if count > 1 {
            return Err(Error::Twice { place, name: name.into(), count }.failure());
        }
        let text = document.set(name, value).map_err(|why| {
            Error::BadValue { place, name: name.into(), why: why.0.into() }.failure()
        })?;
        let backup = FileWas::keep(&self.machine, cx, &self.path).await?;
        cx.on(self.machine.host()).write(&self.path, text).await?;
        self.machine.text_of(&backup)
    }

    /// As [`change`](Self::change); the old value is scrubbed from here on as well: until
    /// everything is restarted it still counts.
    async fn change_secret(&self, cx: &Context, name: &str, value: &Secret) -> Result<String> {
        if let Some(document) = self.document(cx.observer()).await?
            && let Some(old) = document.get(name)
            && !old.is_empty()
        {
            drop(Secret::new(old));
        }
        self.change(cx, name, value.expose()).await
    }
}

impl fmt::Display for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path.display(), self.machine)
    }
}

impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvFile({self})")
    }
}

/// What is required is there
#[check(title = "{file} has what is required")]
async fn has(
    cx: &Observer,
    file: &EnvFile,
    required: Vec<Required>,
) -> Result<Verdict<Vec<Required>>> {
    let Some(document) = file.document(cx).await? else {
        return Ok(Verdict::fail(required, format!("there is no file {file}")));
    };
    let lacks =
        |one: &&Required| document.get(&one.name).is_none_or(|value| value.trim().is_empty());
    let missing: Vec<Required> = required.iter().filter(lacks).cloned().collect();
    let lines: Vec<_> = missing
        .iter()
        .map(|one| {
            let how = if document.get(&one.name).is_some() { "empty" } else { "not there" };
            format!("{} is {how}: {}", one.name, one.breaks)
        })
        .collect();
    if missing.is_empty() {
        let twice = required.iter().find(|one| document.count(&one.name) > 1);
        return Ok(match twice {
            Some(one) => Verdict::warn(missing, format!("{} is assigned twice", one.name)),
            None => Verdict::pass(missing, format!("all {} are there", required.len())),
        });
    }
    Ok(Verdict::fail(missing, lines.join("; ")))
}

/// Only who should reads it
#[check(title = "{file} is private")]
async fn is_private(cx: &Observer, file: &EnvFile) -> Result<Verdict<String>> {
    let Some(info) = file.machine.plain_file(cx, &file.path).await? else {
        return Ok(Verdict::fail(String::new(), format!("there is no file {file}")));
    };
    let mode = format!("{:04o}", info.mode & 0o7777);
    let why = format!("its mode is {mode}");
    Ok(Verdict::pass_if(info.mode & 0o027 == 0, mode, why))
}

/// Set a variable
#[step(title = "Set {name} in {file}", rollback = FileWas, repeatable)]
async fn set(cx: &Context, file: &EnvFile, name: String, value: String) -> Result<Changed> {
    let backup = file.change(cx, &name, &value).await?;
    Ok(Changed { backup, fingerprint: None })
}

/// Set a secret
#[step(title = "Set {name} in {file}, not shown", rollback = FileWas, repeatable)]
async fn set_secret(cx: &Context, file: &EnvFile, name: String, value: &Secret) -> Result<Changed> {
    let backup = file.change_secret(cx, &name, value).await?;
    Ok(Changed { backup, fingerprint: None })
}

/// Rotate a secret
#[step(title = "Set {name} in {file} to {generate}", rollback = FileWas, repeatable)]
async fn rotate(
    cx: &Context,
    file: &EnvFile,
    name: String,
    generate: &Generate,
) -> Result<Changed> {
    let secret = generate.secret()?;
    let backup = file.change_secret(cx, &name, &secret).await?;
    let mut fingerprint = hex(&Sha256::digest(secret.expose()));
    fingerprint.truncate(12);
    Ok(Changed { backup, fingerprint: Some(fingerprint) })
}

macro_rules! undone_by_what_the_file_was {
    ($($step:ident),*) => {$(
        impl Rollback<$step> for FileWas {
            async fn record(step: &$step, cx: &Observer) -> Result<Self> {
                Self::of(&step.file.machine, cx, &step.file.path).await
            }

            async fn rollback(&self, step: &$step, _: Option<&Changed>, cx: &Context) -> Result<()> {
                self.back(&step.file.machine, cx).await
            }
        }
    )*};
}
undone_by_what_the_file_was!(set, set_secret, rotate);
