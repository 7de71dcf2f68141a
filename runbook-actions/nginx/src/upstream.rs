//! [`Upstream`]: which servers requests go to, and how they are chosen.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::edit::{missing, parse};
use crate::error::NginxError;
use crate::splice::Edits;
use crate::syntax::{Directive, quoted};

/// Changes of an upstream, made in this order.
///
/// ```
/// use runbook_nginx::{Server, Upstream};
/// let change = Upstream::new("app")
///     .least_conn()
///     .with(Server::new("10.0.0.2:8000").weight(3))
///     .with(Server::new("10.0.0.3:8000").down())
///     .without("10.0.0.1:8000");
/// assert_eq!(change.to_string(), "upstream app: least_conn, 10.0.0.2:8000 weight=3, \
///                                 10.0.0.3:8000 down, not 10.0.0.1:8000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    name: String,
    changes: Vec<UpstreamChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UpstreamChange {
    LeastConn,
    With(Server),
    Without(String),
}

/// A server of an upstream, and those of its parameters that are to change.
///
/// ```
/// use runbook_nginx::Server;
/// let back = Server::new("10.0.0.2:8000").up().weight(1);
/// assert_eq!(back.to_string(), "10.0.0.2:8000 weight=1 up");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    address: String,
    weight: Option<u32>,
    down: Option<bool>,
}

impl Upstream {
    pub(crate) fn apply(&self, file: &Path, text: &str) -> Result<String, NginxError> {
        self.changes
            .iter()
            .try_fold(text.to_owned(), |text, change| change.apply(file, &self.name, &text))
    }

    /// Of the upstream `name`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), changes: Vec::new() }
    }

    /// Requests go to the server with the fewest connections.
    #[must_use]
    pub fn least_conn(mut self) -> Self {
        self.changes.push(UpstreamChange::LeastConn);
        self
    }

    /// This server is in it, with these parameters; its others stay.
    #[must_use]
    pub fn with(mut self, server: Server) -> Self {
        self.changes.push(UpstreamChange::With(server));
        self
    }

    /// The server of this address is not in it.
    #[must_use]
    pub fn without(mut self, address: impl Into<String>) -> Self {
        self.changes.push(UpstreamChange::Without(address.into()));
        self
    }
}

impl Server {
    /// The server of this address: host and port, or `unix:/run/app.sock`.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), weight: None, down: None }
    }

    /// How many requests it gets, compared with the others.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// It gets no requests.
    #[must_use]
    pub fn down(mut self) -> Self {
        self.down = Some(true);
        self
    }

    /// It gets requests again.
    #[must_use]
    pub fn up(mut self) -> Self {
        self.down = Some(false);
        self
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| match change {
                UpstreamChange::LeastConn => "least_conn".to_owned(),
                UpstreamChange::With(server) => server.to_string(),
                UpstreamChange::Without(address) => format!("not {address}"),
            })
            .collect();
        write!(f, "upstream {}: {}", self.name, changes.join(", "))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        if let Some(weight) = self.weight {
            write!(f, " weight={weight}")?;
        }
        match self.down {
            Some(true) => f.write_str(" down"),
            Some(false) => f.write_str(" up"),
            None => Ok(()),
        }
    }
}

impl UpstreamChange {
    fn apply(&self, file: &Path, name: &str, text: &str) -> Result<String, NginxError> {
        let document = parse(file, text)?;
        let all = document.walk();
        let upstream = all
            .into_iter()
            .find(|one| one.name == "upstream" && one.args.first().is_some_and(|arg| arg == name))
            .ok_or_else(|| missing(file, format!("upstream {name}")))?;
        let mut edits = Edits::default();
        let of = |address: &str| {
            let is = |one: &&Directive| {
                one.name == "server" && one.args.first().is_some_and(|arg| arg == address)
            };
            upstream.inside().iter().find(is)
        };
        match self {
            Self::LeastConn => {
                let method = upstream.inside().iter().find(|one| {
                    ["least_conn", "ip_hash", "hash", "random"].contains(&one.name.as_str())
                });
                match method {
                    Some(one) if one.name == "least_conn" => {}
                    Some(one) => edits.replace(one.range.clone(), "least_conn;"),
                    // At the top: it has to stand before `keepalive`.
                    None => edits.lines_into(text, upstream, &["least_conn;"]),
                }
            }
            Self::Without(address) => {
                if let Some(server) = of(address) {
                    edits.remove(text, server.range.clone());
                }
            }
            Self::With(server) => match of(&server.address) {
                Some(found) => server.set(found, &mut edits),
                None => {
                    let mut line = format!("server {}", quoted(&server.address));
                    if let Some(weight) = server.weight {
                        line.push_str(&format!(" weight={weight}"));
                    }
                    if server.down == Some(true) {
                        line.push_str(" down");
                    }
                    line.push(';');
                    match upstream.inside().iter().rfind(|one| one.name == "server") {
                        Some(last) => edits.line_after(text, last, &line),
                        None => edits.lines_into(text, upstream, &[&line]),
                    }
                }
            },
        }
        Ok(edits.apply(text))
    }
}

impl Server {
    /// Gives a server that is there its parameters.
    fn set(&self, found: &Directive, edits: &mut Edits) {
        let end = found.words.last().map_or(found.range.end - 1, |word| word.end);
        if let Some(weight) = self.weight {
            match found.args.iter().position(|arg| arg.starts_with("weight=")) {
                Some(at) => edits.replace(found.words[at].clone(), format!("weight={weight}")),
                None => edits.replace(end..end, format!(" weight={weight}")),
            }
        }
        let down = found.args.iter().position(|arg| arg == "down");
        match (self.down, down) {
            (Some(true), None) => edits.replace(end..end, " down"),
            (Some(false), Some(at)) if at > 0 => {
                edits.replace(found.words[at - 1].end..found.words[at].end, "");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(change: &Upstream, text: &str) -> Result<String, String> {
        change.apply(Path::new("app.conf"), text).map_err(|error| error.to_string())
    }

    const APP: &str = "\
# the shop's servers
upstream app {
    server 10.0.0.1:8000   weight=1 max_fails=2;  # the old box
    server 10.0.0.2:8000 down;

    keepalive 16; # not before the servers
}
";

    #[test]
    fn an_upstream_is_changed_and_all_else_stays() {
        let change = Upstream::new("app")
            .least_conn()
            .with(Server::new("10.0.0.1:8000").weight(5))
            .with(Server::new("10.0.0.2:8000").up())
            .with(Server::new("10.0.0.3:8000").weight(2).down());
        let expected = "\
# the shop's servers
upstream app {
    least_conn;
    server 10.0.0.1:8000   weight=5 max_fails=2;  # the old box
    server 10.0.0.2:8000;
    server 10.0.0.3:8000 weight=2 down;

    keepalive 16; # not before the servers
}
";
        let changed = apply(&change, APP).unwrap();
        assert_eq!(changed, expected);
        assert_eq!(apply(&change, &changed).unwrap(), expected, "twice is once");

        let without = Upstream::new("app").without("10.0.0.2:8000").without("10.0.0.9:1");
        let expected = APP.replace("    server 10.0.0.2:8000 down;\n", "");
        assert_eq!(apply(&without, APP).unwrap(), expected);

        let other = apply(&Upstream::new("api").least_conn(), APP).unwrap_err();
        assert_eq!(other, "app.conf has no upstream api");
        let hash = APP.replace("    keepalive", "    ip_hash;\n    keepalive");
        let least = apply(&Upstream::new("app").least_conn(), &hash).unwrap();
        assert!(least.contains("    least_conn;\n    keepalive") && !least.contains("ip_hash"));
    }
}
