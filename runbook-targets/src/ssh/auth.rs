//! Who we are on a host: [`Auth`], what may be used to prove it, and the proof.

mod attempt;
mod candidates;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use runbook_core::{Result, Secret};
use ssh2::Session;

use self::attempt::Attempt;
use super::config::Resolved;

/// What proves to a host who we are.
///
/// Without any of it, what `ssh` would use: the keys of the agent and the files that the ssh
/// configuration names, or those in `~/.ssh`. Keys that are given here come first.
///
/// A password is never asked for: it comes from a [`Secret`], and is used only if no key was taken.
/// Certificates and Kerberos are not used, FIDO keys through an agent only.
///
/// ```
/// use runbook_core::Secret;
/// use runbook_targets::Auth;
///
/// let auth = Auth::new().key_file("/run/secrets/deploy_key").passphrase(Secret::new("open sesame"));
/// assert_eq!(
///     format!("{auth:?}"),
///     r#"Auth { keys: ["/run/secrets/deploy_key"], passphrase: Some(***), .. }"#,
/// );
/// ```
#[derive(Clone, Default)]
pub struct Auth {
    keys: Vec<Key>,
    passphrase: Option<Secret>,
    prompt: Option<Prompt>,
    password: Option<Secret>,
    without_agent: bool,
    opened: Opened,
}

/// The passphrases that were asked for, by the name of the key: shared by all connections, so that
/// nobody is asked twice. Locked while somebody is asked.
type Opened = Arc<Mutex<HashMap<String, Secret>>>;
type Prompt = Arc<dyn Fn(&str) -> Option<Secret> + Send + Sync>;

#[derive(Clone)]
enum Key {
    File(PathBuf),
    Text(Secret),
}

impl Auth {
    /// What `ssh` would use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also the private key in this file: ed25519, ECDSA or RSA, in OpenSSH's format or in PEM.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys.push(Key::File(path.into()));
        self
    }

    /// Also this private key: the text that its file would hold.
    #[must_use]
    pub fn key(mut self, text: Secret) -> Self {
        self.keys.push(Key::Text(text));
        self
    }

    /// Opens encrypted keys.
    #[must_use]
    pub fn passphrase(mut self, passphrase: Secret) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// Asks for the passphrase of a key, if the host takes the key, and no other passphrase opens
    /// it. The argument says which key it is; `None` gives it up. It is asked at most three times,
    /// on a thread where it may block, and not again for other connections once it was right.
    ///
    /// ```
    /// use runbook_targets::Auth;
    /// let auth = Auth::new().ask_passphrase(|key| {
    ///     let _question = format!("passphrase of {key}: ");
    ///     None // nobody is there to be asked
    /// });
    /// ```
    #[must_use]
    pub fn ask_passphrase(
        mut self,
        prompt: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static,
    ) -> Self {
        self.prompt = Some(Arc::new(prompt));
        self
    }

    /// The user's password, for a host that takes no key. Jump hosts that the ssh configuration
    /// names are not told it: `Ssh::through` is for those that have one of their own.
    #[must_use]
    pub fn password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// Doesn't ask the agent.
    #[must_use]
    pub fn without_agent(mut self) -> Self {
        self.without_agent = true;
        self
    }

    /// For a jump host that the ssh configuration names: it must not learn another host's password.
    pub(super) fn of_jump_host(&self) -> Self {
        Self { password: None, ..self.clone() }
    }

    /// Signs in. Blocks.
    pub(super) fn sign_in(&self, session: &Session, resolved: &Resolved) -> Result<()> {
        Attempt::new(self, session, resolved).run()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Auth");
        shown.field("keys", &self.keys);
        if let Some(passphrase) = &self.passphrase {
            shown.field("passphrase", &Some(passphrase));
        }
        if let Some(password) = &self.password {
            shown.field("password", &Some(password));
        }
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
