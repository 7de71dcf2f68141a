//! What `%h`, `~` and `${NAME}` stand for.

use std::path::PathBuf;

use runbook_core::{Failure, Result};

use super::Answer;

/// What each token stands for, for one host.
pub(super) struct Tokens {
    values: Vec<(char, String)>,
    home: String,
}

impl Tokens {
    pub(super) fn new(
        answer: &Answer,
        name: &str,
        host: &str,
        port: u16,
        user: &str,
        jump: Option<&str>,
    ) -> Self {
        // As `ControlPath` was asked for: `%C:%u:%l:%L:%d`.
        let local = answer.get("controlpath").unwrap_or_default();
        let mut local = local.splitn(5, ':').map(str::to_owned);
        let mut next = |otherwise: &str| {
            local.next().unwrap_or_else(|| std::env::var(otherwise).unwrap_or_default())
        };
        let (hash, me) = (next(""), next("USER"));
        let (long, short) = (next("HOSTNAME"), next("HOSTNAME"));
        let home = next("HOME");
        // `user@host:port` of the hop that is nearest to the host.
        let jump = jump.map_or("", |jump| jump.rsplit(',').next().unwrap_or(jump));
        let jump = jump.rsplit_once('@').map_or(jump, |(_, host)| host);
        let jump = jump.split_once(':').map_or(jump, |(host, _)| host);
        let alias = answer.some("hostkeyalias").unwrap_or(name);
        let values = vec![
            ('%', "%".to_owned()),
            ('h', host.to_owned()),
            ('n', name.to_owned()),
            ('p', port.to_string()),
            ('r', user.to_owned()),
            ('C', hash),
            ('u', me),
            ('l', long),
            ('L', short),
            ('d', home.clone()),
            ('i', rustix::process::getuid().as_raw().to_string()),
            ('j', jump.to_owned()),
            ('k', alias.to_owned()),
        ];
        Self { values, home }
    }

    /// Expands a path: also `~`, `~user` and `${NAME}`.
    pub(super) fn path(&self, path: &str) -> Result<PathBuf> {
        let path = match path.strip_prefix('~') {
            None => path.to_owned(),
            Some(rest) => {
                let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
                let home = if user.is_empty() { self.home.clone() } else { home_of(user)? };
                format!("{}/{rest}", home.trim_end_matches('/'))
            }
        };
        self.expand(&path, true).map(PathBuf::from)
    }

    /// Expands a command.
    pub(super) fn text(&self, text: &str) -> Result<String> {
        self.expand(text, false)
    }

    fn expand(&self, text: &str, variables: bool) -> Result<String> {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            done.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(tail) = rest.strip_prefix('%') {
                let token = tail.chars().next().unwrap_or_default();
                let Some((_, value)) = self.values.iter().find(|(name, _)| *name == token) else {
                    return Err(Failure::msg(format!("`%{token}` means nothing here"))
                        .next("write `%%` for a percent sign"));
                };
                done.push_str(value);
                rest = &tail[token.len_utf8()..];
            } else if variables && let Some((name, tail)) = variable(rest) {
                let value = std::env::var(name).map_err(|_| {
                    Failure::msg(format!("the environment variable `{name}` is not set"))
                })?;
                done.push_str(&value);
                rest = tail;
            } else {
                done.push('$');
                rest = &rest[1..];
            }
        }
        done.push_str(rest);
        Ok(done)
    }
}

/// `${NAME}`, and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("${")?.split_once('}')
}

fn home_of(user: &str) -> Result<String> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let home = users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.first() == Some(&user)).then(|| fields.get(5).map(|home| (*home).to_owned()))?
    });
    home.ok_or_else(|| {
        Failure::msg(format!("`{user}` is not in /etc/passwd")).next("write the path in full")
    })
}
