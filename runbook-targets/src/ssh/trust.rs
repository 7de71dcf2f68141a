//! Whether a host is the one it should be: [`HostKeys`], the policy, and its enforcement.

mod accept;
mod revoked;

use std::io::ErrorKind;
use std::path::PathBuf;

use runbook_core::{During as _, Failure, FailureKind, Result};

use super::config::Resolved;
use super::key::PublicKey;
use super::known_hosts::{self, HostNames, Listing, Place, Verdict};

/// Which host keys are trusted.
///
/// The lists are those of `ssh`: `~/.ssh/known_hosts`, `/etc/ssh/ssh_known_hosts`, or what the ssh
/// configuration names. `StrictHostKeyChecking` of the configuration is not followed: a runbook
/// says itself whom it trusts. A changed or a revoked key is refused, whatever the policy.
///
/// ```
/// use runbook_targets::HostKeys;
/// // Of a host that was made a minute ago, by a program that knows its key.
/// let policy = HostKeys::Pinned("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".to_owned());
/// assert_ne!(policy, HostKeys::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeys {
    /// Those that are listed. The default.
    #[default]
    Strict,
    /// Those that are listed, and whatever key an unlisted host shows: it is added to the list.
    /// Whoever sits in the middle at that first time is trusted from then on.
    AcceptNew,
    /// This one only, whatever the lists say: its fingerprint as `ssh-keygen -l` prints it
    /// (`SHA256:` and base64), or the public key itself (`ssh-ed25519 AAAA..`). Of a host with keys
    /// of several types, give the key itself, so that it is asked for that type.
    Pinned(String),
}

impl HostKeys {
    /// For a jump host that the ssh configuration names: what is pinned is another host's key.
    pub(super) fn of_jump_host(&self) -> Self {
        match self {
            Self::Pinned(_) => Self::Strict,
            policy => policy.clone(),
        }
    }
}

/// [`HostKeys`] for one host.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    policy: HostKeys,
    host: HostNames,
    /// What to give to `ssh`.
    name: String,
    user_lists: Vec<PathBuf>,
    system_lists: Vec<PathBuf>,
    revoked: Option<PathBuf>,
    hash: bool,
    configured: String,
}

enum Pin {
    Fingerprint(String),
    Key(PublicKey),
}

impl Trust {
    pub(crate) fn new(resolved: &Resolved, policy: HostKeys) -> Self {
        let host = match &resolved.host_key_alias {
            Some(alias) => HostNames::alias(alias),
            None => HostNames::new(&resolved.host, resolved.port),
        };
        Self {
            policy,
            host,
            // An alias knows its port.
            name: if resolved.port == 22 || resolved.name != resolved.host {
                resolved.name.clone()
            } else {
                format!("-p {} {}", resolved.port, resolved.name)
            },
            user_lists: resolved.user_known_hosts.clone(),
            system_lists: resolved.global_known_hosts.clone(),
            revoked: resolved.revoked_host_keys.clone(),
            hash: resolved.hash_known_hosts,
            configured: resolved.strict_host_key_checking.clone(),
        }
    }

    /// The types of keys by which the host is known, which should be asked for first.
    ///
    /// # Errors
    /// A list can't be read, or what is pinned is neither a fingerprint nor a key.
    pub(crate) fn kinds(&self) -> Result<Vec<&'static str>> {
        let kinds = match self.pin()? {
            Some(Pin::Key(key)) => Ok(vec![key.kind()]),
            Some(Pin::Fingerprint(_)) => Ok(Vec::new()),
            None => self.lists().map(|lists| known_hosts::kinds(&lists, &self.host)),
        };
        kinds.during(self.doing())
    }

    /// Returns if the host may be trusted that showed the key of this wire form.
    ///
    /// # Errors
    /// It is unknown, has changed or was revoked; a list can't be read, or not be added to.
    pub(crate) fn verify(&self, blob: &[u8]) -> Result<()> {
        let key = PublicKey::from_blob(blob)
            .ok_or_else(|| Failure::msg("the server showed a host key that can't be read"));
        key.and_then(|key| self.decide(&key)).during(self.doing())
    }

    fn doing(&self) -> String {
        format!("checking the host key of {}", self.host)
    }

    fn decide(&self, key: &PublicKey) -> Result<()> {
        if let Some(path) = &self.revoked
            && revoked::is_revoked(path, key)?
        {
            return Err(self.revoked_key(key, &path.display().to_string()));
        }
        if let Some(pin) = self.pin()? {
            return self.compare(&pin, key);
        }
        match known_hosts::judge(&self.lists()?, &self.host, key) {
            Verdict::Unknown if self.policy == HostKeys::AcceptNew => self.accept(key),
            verdict => self.refuse(&verdict, key),
        }
    }

    /// The error for a verdict; none for a known key.
    fn refuse(&self, verdict: &Verdict, key: &PublicKey) -> Result<()> {
        match verdict {
            Verdict::Known(_) => Ok(()),
            Verdict::Unknown => Err(self.unknown(key)),
            Verdict::Changed { place, kinds } => Err(self.changed(key, place, kinds)),
            Verdict::Revoked(place) => Err(self.revoked_key(key, &place.to_string())),
        }
    }

    fn unknown(&self, key: &PublicKey) -> Failure {
        let lists: Vec<_> = self.all().map(|path| path.display().to_string()).collect();
        let lists = if lists.is_empty() { "no list".to_owned() } else { lists.join(", ") };
        let mut advice = format!(
            "ask for the fingerprint on the host's own console (`ssh-keygen -lf \
             /etc/ssh/ssh_host_{}_key.pub`); if it is the same, `ssh {}` once and say yes, or give \
             it in code: `HostKeys::Pinned`",
            file_name(key.kind()),
            self.name,
        );
        if matches!(self.configured.as_str(), "accept-new" | "no" | "off" | "false") {
            advice.push_str(&format!(
                " (`StrictHostKeyChecking {}` of the ssh configuration is not followed here: \
                 `HostKeys::AcceptNew` is)",
                self.configured
            ));
        }
        refused(format!("the host is unknown: {} is not in {lists}", describe(key))).next(advice)
    }

    fn changed(&self, key: &PublicKey, place: &Place, kinds: &[&str]) -> Failure {
        refused(format!(
            "the host key has changed: the host shows {}, but is listed with other keys ({}) at \
             {place}; somebody may be in the middle",
            describe(key),
            kinds.join(", "),
        ))
        .next(format!(
            "find out why before anything else; if the host was set up anew and its console shows \
             this fingerprint (`ssh-keygen -lf /etc/ssh/ssh_host_{}_key.pub`), remove the old keys: \
             `ssh-keygen -f {} -R '{}'`",
            file_name(key.kind()),
            place.path.display(),
            self.host,
        ))
    }

    fn revoked_key(&self, key: &PublicKey, place: &str) -> Failure {
        refused(format!("the host key was revoked: the host shows {}, see {place}", describe(key)))
            .next(
                "don't connect: others may have the private key; ask who revoked it, and give the \
                 host a new key (`ssh-keygen -A` after removing the old one)",
            )
    }

    fn compare(&self, pin: &Pin, key: &PublicKey) -> Result<()> {
        let (same, pinned) = match pin {
            Pin::Fingerprint(pinned) => (*pinned == key.fingerprint(), pinned.clone()),
            Pin::Key(pinned) => (pinned == key, describe(pinned)),
        };
        if same {
            return Ok(());
        }
        Err(refused(format!(
            "the host key is not the pinned one: the host shows {}, pinned is {pinned}; somebody \
             may be in the middle",
            describe(key)
        ))
        .next(
            "find out why before anything else; if the host was set up anew, or has keys of \
             several types, pin the public key that its console shows (`cat \
             /etc/ssh/ssh_host_*_key.pub`)",
        ))
    }

    fn pin(&self) -> Result<Option<Pin>> {
        let HostKeys::Pinned(text) = &self.policy else { return Ok(None) };
        let text = text.trim();
        if let Some(base64) = text.strip_prefix("SHA256:")
            && base64.trim_end_matches('=').len() == 43
        {
            return Ok(Some(Pin::Fingerprint(text.trim_end_matches('=').to_owned())));
        }
        match PublicKey::from_text(text.as_bytes()) {
            Some(key) => Ok(Some(Pin::Key(key))),
            None => Err(refused(format!("`{text}` was pinned, which is no key"))
                .next("pin a fingerprint (`SHA256:..`) or a public key (`ssh-ed25519 AAAA..`)")),
        }
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.user_lists.iter().chain(&self.system_lists)
    }

    /// The lists that exist.
    fn lists(&self) -> Result<Vec<Listing>> {
        let mut lists = Vec::new();
        for path in self.all() {
            match std::fs::read(path) {
                Ok(content) => lists.push(Listing { path: path.clone(), content }),
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                // It may hold the line that revokes the key.
                Err(error) => {
                    return Err(Failure::from(error)
                        .while_doing(format!("reading {}", path.display()))
                        .next(format!("make {} readable, or remove it", path.display())));
                }
            }
        }
        Ok(lists)
    }
}

fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Refused, message)
}

/// `ssh-ed25519 SHA256:..`.
fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.kind(), key.fingerprint())
}

/// As in `/etc/ssh/ssh_host_*_key`.
fn file_name(kind: &str) -> &'static str {
    match kind {
        "ssh-rsa" => "rsa",
        "ssh-ed25519" => "ed25519",
        "ssh-dss" => "dsa",
        _ => "ecdsa",
    }
}

#[cfg(test)]
mod tests;
