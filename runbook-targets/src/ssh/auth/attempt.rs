//! One sign-in: every identity in turn, and the account of it if none was taken.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use runbook_core::{Failure, FailureKind, Result, Secret};
use ssh2::{Agent, ErrorCode, KeyboardInteractivePrompt, Session};

use super::Auth;
use super::candidates::{Candidate, Candidates, Source, candidates};
use crate::ssh::config::Resolved;
use crate::ssh::key::PublicKey;

/// As `NumberOfPasswordPrompts` of ssh.
const PROMPTS: usize = 3;
/// An agent lists its keys at once, or is stuck.
const AGENT_PATIENCE: Duration = Duration::from_secs(5);

// Of libssh2's errors, those that tell one end of an attempt from another.
const SEND: ErrorCode = ErrorCode::Session(-7);
const TIMEOUT: ErrorCode = ErrorCode::Session(-9);
const DISCONNECT: ErrorCode = ErrorCode::Session(-13);
const PASSWORD_EXPIRED: ErrorCode = ErrorCode::Session(-15);
const REFUSED: ErrorCode = ErrorCode::Session(-18);
const UNVERIFIED: ErrorCode = ErrorCode::Session(-19);
const SOCKET_TIMEOUT: ErrorCode = ErrorCode::Session(-30);
const RECEIVE: ErrorCode = ErrorCode::Session(-43);

pub(super) struct Attempt<'a> {
    auth: &'a Auth,
    session: &'a Session,
    resolved: &'a Resolved,
    /// Each identity, and what came of it.
    account: Vec<(String, String)>,
    /// How many of them the server was asked about.
    asked: usize,
    /// What the server would take, as it said last.
    offers: Option<String>,
}

/// The keys to try, and the agent that has some of them.
struct Keys {
    agent: Option<(Agent, Vec<Held>)>,
    candidates: Candidates,
}

impl Keys {
    /// A server allows six attempts unless told otherwise, and counts the question what it takes
    /// as one if it is not the first.
    const FEW: usize = 3;

    /// Whether to try them on a server of which it is not known whether it takes keys at all.
    fn are_few(&self) -> bool {
        let found = &self.candidates.found;
        (1..=Self::FEW).contains(&found.len())
            // Without its public half, a key is opened before the server is asked.
            && found.iter().all(|candidate| candidate.public.is_some())
    }
}

/// What came of one identity.
enum Came {
    In,
    /// Not taken: why.
    No(String),
    /// The connection is gone.
    Lost(ssh2::Error),
}

impl<'a> Attempt<'a> {
    pub(super) fn new(auth: &'a Auth, session: &'a Session, resolved: &'a Resolved) -> Self {
        Self { auth, session, resolved, account: Vec::new(), asked: 0, offers: None }
    }

    pub(super) fn run(mut self) -> Result<()> {
        match self.proceed() {
            Came::In => Ok(()),
            Came::No(_) => Err(self.refused()),
            Came::Lost(error) => Err(self.lost(&error)),
        }
    }

    fn proceed(&mut self) -> Came {
        let by_key = self.resolved.public_key_authentication;
        // OpenSSH lets who asks what it takes wait for some milliseconds, as it does with all whom
        // it does not let in. Who has nothing but keys need not know.
        let mut keys = None;
        if by_key && self.auth.password.is_none() {
            let found = self.find_keys();
            if found.are_few() {
                return match self.try_keys(found) {
                    Came::No(_) if self.offers.is_none() => {
                        self.ask_for_methods().unwrap_or_else(|| self.are_in())
                    }
                    end => end,
                };
            }
            keys = Some(found);
        }
        if let Some(lost) = self.ask_for_methods() {
            return lost;
        }
        if let Came::In = self.are_in() {
            return Came::In;
        }
        if self.takes("publickey") && by_key {
            let keys = keys.unwrap_or_else(|| self.find_keys());
            match self.try_keys(keys) {
                Came::No(_) => {}
                end => return end,
            }
        }
        let Some(password) = &self.auth.password else { return Came::No(String::new()) };
        if self.takes("password") && self.resolved.password_authentication {
            let result = self.session.userauth_password(&self.resolved.user, password.expose());
            self.result("the password".to_owned(), result)
        } else if self.takes("keyboard-interactive") && self.resolved.keyboard_interactive {
            let mut answer = Answer { password, given: false };
            let user = &self.resolved.user;
            let result = self.session.userauth_keyboard_interactive(user, &mut answer);
            self.result("the password, keyboard-interactive".to_owned(), result)
        } else {
            let why = if self.takes("password") || self.takes("keyboard-interactive") {
                "the ssh configuration forbids it"
            } else {
                "the server does not take one"
            };
            self.account.push(("the password".to_owned(), why.to_owned()));
            Came::No(String::new())
        }
    }

    /// Some if the server is gone.
    fn ask_for_methods(&mut self) -> Option<Came> {
        match self.session.auth_methods(&self.resolved.user) {
            Ok(methods) => {
                self.offers = Some(methods.to_owned());
                None
            }
            Err(error) => Some(Came::Lost(error)),
        }
    }

    fn takes(&self, method: &str) -> bool {
        // Before it said so, nothing but keys is tried.
        let offers = self.offers.as_deref().unwrap_or("publickey");
        offers.split(',').any(|offer| offer == method)
    }

    /// Some servers let in whoever asks what they take.
    fn are_in(&self) -> Came {
        if self.session.authenticated() { Came::In } else { Came::No(String::new()) }
    }

    fn find_keys(&mut self) -> Keys {
        let agent = self.connect_agent();
        let held = agent.as_ref().map(|(_, held)| held.as_slice()).unwrap_or_default();
        let list: Vec<_> =
            held.iter().map(|key| (key.public.clone(), key.comment.clone())).collect();
        Keys { candidates: candidates(self.auth, self.resolved, &list), agent }
    }

    fn try_keys(&mut self, keys: Keys) -> Came {
        let Keys { agent, candidates: Candidates { found, unusable } } = keys;
        for candidate in found {
            let came = match (&candidate.source, &agent) {
                (Source::Agent(at), Some((agent, held))) => {
                    let result = agent.userauth(&self.resolved.user, &held[*at].identity);
                    self.key_result(&candidate, result)
                }
                (Source::Agent(_), None) => continue,
                (Source::Private { text, encrypted: false }, _) => {
                    let result = self.try_key(&candidate, text, None);
                    self.key_result(&candidate, result)
                }
                (Source::Private { text, encrypted: true }, _) => self.encrypted(&candidate, text),
            };
            match came {
                Came::No(why) => self.account.push((candidate.name, why)),
                end => return end,
            }
            // One proof of several that the server wants leaves the other methods.
            if !self.takes("publickey") {
                break;
            }
        }
        self.account.extend(unusable);
        Came::No(String::new())
    }

    fn try_key(
        &self,
        candidate: &Candidate,
        text: &str,
        passphrase: Option<&Secret>,
    ) -> Result<(), ssh2::Error> {
        // With the public key at hand, the server is asked before the private one is opened.
        let public = candidate.public.as_ref().map(PublicKey::to_string);
        self.session.userauth_pubkey_memory(
            &self.resolved.user,
            public.as_deref(),
            text,
            passphrase.map(Secret::expose),
        )
    }

    fn encrypted(&mut self, candidate: &Candidate, text: &str) -> Came {
        let given = self.auth.passphrase.as_ref();
        // Without a passphrase, too: whether the server takes the key decides whether to ask.
        let mut result = self.try_key(candidate, text, given);
        let mut why = match given {
            Some(_) => "it is encrypted, and the passphrase does not open it (or it is damaged)",
            None => "it is encrypted, and no passphrase was given",
        };
        if let Some(prompt) = &self.auth.prompt
            && result.as_ref().is_err_and(cannot_sign)
        {
            let mut opened = self.auth.opened.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(passphrase) = opened.get(&candidate.name) {
                result = self.try_key(candidate, text, Some(passphrase));
            }
            for _ in 0..PROMPTS {
                if !result.as_ref().is_err_and(cannot_sign) {
                    break;
                }
                let Some(passphrase) = prompt(&candidate.name) else {
                    why = "it is encrypted, and the passphrase was not given when asked for";
                    break;
                };
                why = "it is encrypted, and none of the passphrases opens it (or it is damaged)";
                result = self.try_key(candidate, text, Some(&passphrase));
                // Also if the answer came too late for this connection.
                if !result.as_ref().is_err_and(cannot_sign) {
                    opened.insert(candidate.name.clone(), passphrase);
                }
            }
        }
        match self.key_result(candidate, result) {
            Came::No(no) if no == CANNOT_SIGN => Came::No(why.to_owned()),
            came => came,
        }
    }

    fn key_result(&mut self, candidate: &Candidate, result: Result<(), ssh2::Error>) -> Came {
        let Err(error) = result else { return Came::In };
        if error.code() == REFUSED {
            self.asked += 1;
            return Came::No("the server does not take it".to_owned());
        }
        if is_lost(&error) {
            self.account.push((candidate.name.clone(), "asked last".to_owned()));
            return Came::Lost(error);
        }
        if cannot_sign(&error) {
            return Came::No(CANNOT_SIGN.to_owned());
        }
        if error.code() == UNVERIFIED {
            self.asked += 1;
            // Either the signature was no good, or it was, and is not all that the server wants.
            if let Some(lost) = self.ask_for_methods() {
                return lost;
            }
            return Came::No(if self.takes("publickey") {
                "the server does not take its signature".to_owned()
            } else {
                "the server takes it, but wants another proof as well".to_owned()
            });
        }
        Came::No(error.message().to_owned())
    }

    fn result(&mut self, name: String, result: Result<(), ssh2::Error>) -> Came {
        match result {
            Ok(()) => return Came::In,
            Err(error) if is_lost(&error) => {
                self.account.push((name, "asked last".to_owned()));
                return Came::Lost(error);
            }
            Err(error) if error.code() == PASSWORD_EXPIRED => {
                self.account.push((name, "it has expired: sign in by hand to set one".to_owned()));
            }
            // Keyboard-interactive has no code of its own for a no.
            Err(error) if matches!(error.code(), REFUSED | UNVERIFIED) => {
                self.account.push((name, "the server does not take it".to_owned()));
            }
            Err(error) => self.account.push((name, error.message().to_owned())),
        }
        self.asked += 1;
        Came::No(String::new())
    }

    /// The agent, and the keys that it holds.
    fn connect_agent(&mut self) -> Option<(Agent, Vec<Held>)> {
        if self.auth.without_agent {
            return None;
        }
        let socket = self.resolved.agent.as_ref()?;
        // libssh2 would wait for it forever.
        if let Err(why) = answers(socket) {
            self.account.push((format!("the agent at {}", socket.display()), why));
            return None;
        }
        let connected = self.session.agent().and_then(|mut agent| {
            agent.set_identity_path(socket)?;
            agent.connect()?;
            agent.list_identities()?;
            let identities = agent.identities()?;
            Ok((agent, identities))
        });
        match connected {
            Ok((agent, identities)) => {
                let held = identities.into_iter().filter_map(|identity| {
                    let public = PublicKey::from_blob(identity.blob())?;
                    let comment = identity.comment().to_owned();
                    Some(Held { public, comment, identity })
                });
                Some((agent, held.collect()))
            }
            Err(error) => {
                let name = format!("the agent at {}", socket.display());
                self.account.push((name, format!("it does not answer: {}", error.message())));
                None
            }
        }
    }

    fn doing(&self) -> String {
        let Resolved { host, port, user, .. } = self.resolved;
        format!("signing in to {host}:{port} as {user}")
    }

    fn list(&self) -> String {
        let mut list = String::new();
        for (name, why) in &self.account {
            let separator = if list.is_empty() { ": " } else { "; " };
            // Writing to a string does not fail.
            let _ = write!(list, "{separator}{name}: {why}");
        }
        list
    }

    fn refused(&self) -> Failure {
        let user = &self.resolved.user;
        let offers = self.offers.as_deref().filter(|offers| !offers.is_empty());
        let offers = offers.unwrap_or("nothing that is known");
        let what = match (self.account.is_empty(), self.asked) {
            (true, _) => "there was nothing to try".to_owned(),
            (false, 0) => "nothing could be tried".to_owned(),
            (false, 1) => "the one identity that was tried was not taken".to_owned(),
            (false, tried) => format!("none of {tried} identities was taken"),
        };
        let advice = if self.account.iter().any(|(_, why)| why.starts_with(ENCRYPTED)) {
            "give the right passphrase with `Auth::passphrase` or `Auth::ask_passphrase`, or add \
             the key to an agent (`ssh-add`)"
                .to_owned()
        } else if self.takes("publickey") {
            format!(
                "add the public key to `~/.ssh/authorized_keys` of {user} there, or name the right \
                 key with `Auth::key_file` or `IdentityFile`; `ssh -v` shows the same attempt"
            )
        } else {
            "the server takes no keys: give the password with `Auth::password`".to_owned()
        };
        Failure::new(
            FailureKind::Refused,
            format!("{what}, the server takes {offers}{}", self.list()),
        )
        .while_doing(self.doing())
        .next(advice)
    }

    fn lost(&self, error: &ssh2::Error) -> Failure {
        let doing = self.doing();
        if matches!(error.code(), TIMEOUT | SOCKET_TIMEOUT) {
            return Failure::new(
                FailureKind::TimedOut,
                format!("the server did not answer in time{}", self.list()),
            )
            .while_doing(doing);
        }
        let message = format!("the server hung up: {}{}", error.message(), self.list());
        let failure = Failure::new(FailureKind::Disconnected, message).while_doing(doing);
        if self.asked > 0 {
            failure.next(
                "the server allows so many attempts (`MaxAuthTries`): name the right key with \
                 `Auth::key_file`, or set `IdentitiesOnly yes` for this host",
            )
        } else {
            failure.next("look at the server's log (`journalctl -u ssh`)")
        }
    }
}

/// Whether the agent says anything when it is asked for its keys.
fn answers(socket: &Path) -> Result<(), String> {
    const LIST_KEYS: [u8; 5] = [0, 0, 0, 1, 11];
    let ask = || {
        let mut agent = UnixStream::connect(socket)?;
        agent.set_read_timeout(Some(AGENT_PATIENCE))?;
        agent.set_write_timeout(Some(AGENT_PATIENCE))?;
        agent.write_all(&LIST_KEYS)?;
        agent.read_exact(&mut [0; 5])
    };
    ask().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("it does not answer within {} s", AGENT_PATIENCE.as_secs())
        }
        _ => format!("it does not answer: {error}"),
    })
}

struct Held {
    public: PublicKey,
    comment: String,
    identity: ssh2::PublicKey,
}

/// Answers the question for a password, which is the one whose answer is not shown.
struct Answer<'a> {
    password: &'a Secret,
    given: bool,
}

impl KeyboardInteractivePrompt for Answer<'_> {
    fn prompt(&mut self, _: &str, _: &str, prompts: &[ssh2::Prompt<'_>]) -> Vec<String> {
        prompts
            .iter()
            .map(|prompt| {
                // Once: what is asked for next is a second factor, or the same again.
                if prompt.echo || std::mem::replace(&mut self.given, true) {
                    String::new()
                } else {
                    self.password.expose().to_owned()
                }
            })
            .collect()
    }
}

const ENCRYPTED: &str = "it is encrypted";
const CANNOT_SIGN: &str = "it can't be read";

/// The server would take the key, but we can't open it.
fn cannot_sign(error: &ssh2::Error) -> bool {
    let message = error.message();
    match error.code() {
        UNVERIFIED => message.starts_with("Callback") || message.contains("Unable to"),
        // Without a public key, the private one is opened first.
        ErrorCode::Session(-16) => true,
        _ => false,
    }
}

fn is_lost(error: &ssh2::Error) -> bool {
    matches!(error.code(), SEND | DISCONNECT | RECEIVE | TIMEOUT | SOCKET_TIMEOUT)
        || (error.code() == UNVERIFIED && error.message().starts_with("Waiting for"))
}
