//! The identities to try, in order: [`candidates`].

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Auth, Key};
use crate::ssh::config::Resolved;
use crate::ssh::key::{PublicKey, is_encrypted};

/// Far more than any key.
const LIMIT: u64 = 1 << 20;

/// An identity that may be tried.
pub(super) struct Candidate {
    /// As errors name it.
    pub(super) name: String,
    pub(super) public: Option<PublicKey>,
    pub(super) source: Source,
}

pub(super) enum Source {
    /// A private key; empty if only its public half is at hand. No [`Secret`], which would be
    /// registered again at each sign-in: nothing shows it.
    ///
    /// [`Secret`]: runbook_core::Secret
    Private { text: String, encrypted: bool },
    /// The agent has it: which of its keys it is.
    Agent(usize),
}

/// What was found, and what could not be used, and why.
#[derive(Default)]
pub(super) struct Candidates {
    pub(super) found: Vec<Candidate>,
    pub(super) unusable: Vec<(String, String)>,
}

/// As OpenSSH orders them: keys of files that the agent has, other keys of the agent, other files.
/// Those that the code names come before all of these.
pub(super) fn candidates(
    auth: &Auth,
    resolved: &Resolved,
    agent: &[(PublicKey, String)],
) -> Candidates {
    let mut named = Candidates::default();
    for key in &auth.keys {
        match key {
            Key::File(path) => named.read(path, true),
            Key::Text(text) => {
                named.add("the key given in code".to_owned(), text.expose().to_owned(), None)
            }
        }
    }
    let mut configured = Candidates::default();
    // As with `ssh -i`: who names a key does not mean those that lie around.
    if resolved.identities_chosen || auth.keys.is_empty() {
        for path in &resolved.identity_files {
            configured.read(path, resolved.identities_chosen);
        }
    }

    let mut all = Candidates::default();
    let mut mine = vec![false; agent.len()];
    let position =
        |public: &Option<PublicKey>| agent.iter().position(|(key, _)| public.as_ref() == Some(key));
    for candidate in named.found {
        if let Some(at) = position(&candidate.public) {
            mine[at] = true;
            all.found.push(from_agent(agent, at));
        } else {
            all.found.push(candidate);
        }
    }
    let mut preferred = Vec::new();
    let mut files = Vec::new();
    for candidate in configured.found {
        match position(&candidate.public) {
            Some(at) => preferred.push(at),
            None => files.push(candidate),
        }
    }
    preferred.sort_unstable();
    if !resolved.identities_only {
        preferred.extend(0..agent.len());
    }
    for at in preferred {
        if !std::mem::replace(&mut mine[at], true) {
            all.found.push(from_agent(agent, at));
        }
    }
    all.found.extend(files);
    all.unusable = named.unusable;
    all.unusable.extend(configured.unusable);
    for candidate in std::mem::take(&mut all.found) {
        match candidate.needs_agent() {
            Some(why) => all.unusable.push((candidate.name, why.to_owned())),
            None => all.found.push(candidate),
        }
    }
    all
}

fn from_agent(agent: &[(PublicKey, String)], at: usize) -> Candidate {
    let (key, comment) = &agent[at];
    let name = format!("the agent's key `{comment}` ({} {})", key.kind(), key.fingerprint());
    Candidate { name, public: Some(key.clone()), source: Source::Agent(at) }
}

impl Candidate {
    /// Why a file is of no use by itself.
    fn needs_agent(&self) -> Option<&'static str> {
        let Source::Private { text, .. } = &self.source else { return None };
        let kind = self.public.as_ref().map_or("", PublicKey::kind);
        if text.is_empty() {
            Some("it holds a public key, and the agent has not the private one")
        } else if kind.starts_with("sk-") {
            Some("a key of this type signs through an agent only: `ssh-add` it")
        } else if kind == "ssh-dss" {
            Some("keys of this type are not used any more: make another one")
        } else {
            None
        }
    }
}

impl Candidates {
    /// A file that is missing is worth a word only if somebody chose it.
    fn read(&mut self, path: &Path, chosen: bool) {
        let name = path.display().to_string();
        match read(path) {
            Ok(text) => {
                let beside = path.with_file_name({
                    let mut name = path.file_name().unwrap_or_default().to_owned();
                    name.push(".pub");
                    name
                });
                let beside = std::fs::read(beside).ok();
                let beside = beside.and_then(|text| PublicKey::from_text(&text));
                self.add(name, text, beside);
            }
            Err(why) if why == MISSING && !chosen => {}
            Err(why) => self.unusable.push((name, why)),
        }
    }

    fn add(&mut self, name: String, text: String, beside: Option<PublicKey>) {
        let (text, public) = match PublicKey::from_text(text.as_bytes()) {
            Some(public) => (String::new(), Some(public)),
            None if !text.contains("PRIVATE KEY-----") => {
                self.unusable.push((name, "it holds no private key".to_owned()));
                return;
            }
            None => {
                let public = PublicKey::of_private(&text).or(beside);
                (text, public)
            }
        };
        let name = match &public {
            Some(key) => format!("{name} ({} {})", key.kind(), key.fingerprint()),
            None => name,
        };
        let encrypted = is_encrypted(&text);
        self.found.push(Candidate { name, public, source: Source::Private { text, encrypted } });
    }
}

const MISSING: &str = "there is no such file";

fn read(path: &Path) -> Result<String, String> {
    let words = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => MISSING.to_owned(),
        _ => error.to_string(),
    };
    let file = File::open(path).map_err(words)?;
    let about = file.metadata().map_err(words)?;
    let mode = about.mode() & 0o777;
    if about.uid() == rustix::process::getuid().as_raw()
        && mode & 0o077 != 0
        && path.extension().is_none_or(|extension| extension != "pub")
    {
        return Err(format!(
            "others than its owner have access to it (mode {mode:03o}): `chmod 600 {}`",
            path.display()
        ));
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text).map_err(words)?;
    Ok(text)
}
