//! [`Edit`]: what is changed in a file, as a change of the operator's own text.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::NginxError;
use crate::splice::Edits;
use crate::syntax::{Directive, Document, quoted};
use crate::upstream::Upstream;

/// What is changed in a file of the configuration.
///
/// ```
/// use runbook_nginx::Edit;
/// let edit = Edit::Deny("192.0.2.66".into());
/// assert_eq!(edit.to_string(), "Deny 192.0.2.66");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Edit {
    /// The servers of an upstream, and how they are chosen.
    Upstream(Upstream),
    /// An address or network is denied.
    Deny(String),
    /// An address or network is no longer denied.
    Undeny(String),
    /// Every request of a site is answered with status 503 and a page.
    MaintenanceOn {
        /// A name in the `server_name` of the site.
        site: String,
        /// The page, a file on the host.
        page: PathBuf,
    },
    /// Requests of a site are let through again.
    MaintenanceOff {
        /// A name in the `server_name` of the site.
        site: String,
    },
    /// The whole file.
    Content(String),
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(upstream) => write!(f, "Change {upstream}"),
            Self::Deny(address) => write!(f, "Deny {address}"),
            Self::Undeny(address) => write!(f, "No longer deny {address}"),
            Self::MaintenanceOn { site, .. } => write!(f, "Maintenance page on for {site}"),
            Self::MaintenanceOff { site } => write!(f, "Maintenance page off for {site}"),
            Self::Content(text) => write!(f, "Replace a file ({} bytes)", text.len()),
        }
    }
}

impl Edit {
    /// The text of `file` after the edit; `text` is the one before, if there is such a file.
    pub(crate) fn apply(&self, file: &Path, text: Option<&str>) -> Result<String, NginxError> {
        let there = || {
            text.ok_or_else(|| NginxError::Missing {
                file: file.into(),
                what: "content: it is not there".into(),
            })
        };
        match self {
            Self::Upstream(upstream) => upstream.apply(file, there()?),
            Self::Deny(address) => deny(file, text.unwrap_or_default(), address),
            Self::Undeny(address) => undeny(file, text.unwrap_or_default(), address),
            Self::MaintenanceOn { site, page } => maintenance_on(file, there()?, site, page),
            Self::MaintenanceOff { site } => maintenance_off(file, there()?, site),
            Self::Content(text) => parse(file, text).map(|_| text.clone()),
        }
    }
}

/// An address or a network, as nginx takes it.
#[derive(PartialEq, Eq)]
struct Network(IpAddr, Option<u8>);

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        match length {
            Some(length) if length > whole => None,
            // One address, however it is written.
            length => Some(Self(address, length.filter(|length| *length < whole))),
        }
    }
}

fn network(file: &Path, text: &str) -> Result<Network, NginxError> {
    Network::parse(text).ok_or_else(|| NginxError::Edit {
        file: file.into(),
        why: format!("`{text}` is neither an address nor a network like 192.0.2.0/24"),
    })
}

fn denials<'a>(document: &'a Document, denied: &'a Network) -> impl Iterator<Item = &'a Directive> {
    document.directives.iter().filter(move |one| {
        one.name == "deny"
            && one.args.first().and_then(|arg| Network::parse(arg)).as_ref() == Some(denied)
    })
}

fn deny(file: &Path, text: &str, address: &str) -> Result<String, NginxError> {
    let denied = network(file, address)?;
    let document = parse(file, text)?;
    if denials(&document, &denied).next().is_some() {
        return Ok(text.to_owned());
    }
    let line = format!("deny {address};");
    let mut edits = Edits::default();
    // The first rule that fits decides.
    match document.directives.iter().find(|one| ["allow", "deny"].contains(&one.name.as_str())) {
        Some(first) => edits.line_before(text, first, &line),
        None => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            edits.replace(text.len()..text.len(), format!("{newline}{line}\n"));
        }
    }
    Ok(edits.apply(text))
}

fn undeny(file: &Path, text: &str, address: &str) -> Result<String, NginxError> {
    let denied = network(file, address)?;
    let document = parse(file, text)?;
    let mut edits = Edits::default();
    for one in denials(&document, &denied) {
        edits.remove(text, one.range.clone());
    }
    Ok(edits.apply(text))
}

const BEGIN: &str = "# >>> maintenance page, put here by a runbook";
const END: &str = "# <<< maintenance page";
/// Instead of [`END`] where the rest of a line follows, which a comment would swallow.
const END_OF_LINE: &str = "# <<< maintenance page, before the rest of the line\n";

fn maintenance_on(file: &Path, text: &str, site: &str, page: &Path) -> Result<String, NginxError> {
    let document = parse(file, text)?;
    let (folder, name) = match (page.parent(), page.file_name()) {
        (Some(folder), Some(name)) if page.is_absolute() => (folder, name),
        _ => {
            let why = format!("the page `{}` is no absolute path", page.display());
            return Err(NginxError::Edit { file: file.into(), why });
        }
    };
    let root = format!(
        "location @runbook_maintenance {{ root {}; rewrite ^ {} break; default_type text/html; \
         add_header Retry-After 120 always; }}",
        quoted(&folder.to_string_lossy()),
        quoted(&format!("/{}", name.to_string_lossy())),
    );
    // A file can't be the answer to a POST: that would be a 405, which nobody tries again.
    let posts = "if ($request_method !~ ^(GET|HEAD)$) { return 503 \"maintenance\"; }";
    let page = "error_page 503 @runbook_maintenance;";
    let lines = |end| [BEGIN, page, posts, "return 503;", root.as_str(), end];
    let mut edits = Edits::default();
    for server in servers(file, &document, site)? {
        let Some(block) = &server.block else { continue };
        let inner = &text[block.range.clone()];
        if !inner.contains(BEGIN) {
            let rest = inner.lines().next().unwrap_or_default().trim_start();
            let end = if rest.is_empty() || rest.starts_with('#') { END } else { END_OF_LINE };
            edits.lines_into(text, server, &lines(end));
        }
    }
    Ok(edits.apply(text))
}

fn maintenance_off(file: &Path, text: &str, site: &str) -> Result<String, NginxError> {
    let document = parse(file, text)?;
    let mut edits = Edits::default();
    for server in servers(file, &document, site)? {
        let Some(block) = &server.block else { continue };
        let inner = &text[block.range.clone()];
        let Some(begin) = inner.find(BEGIN) else { continue };
        let Some(end) = inner[begin..].find(END) else {
            let why = format!("the line `{END}` is missing");
            return Err(NginxError::Edit { file: file.into(), why });
        };
        // Just what was put in: from the line break before it.
        let start = inner[..begin].rfind('\n').unwrap_or(begin);
        let end = begin + end;
        let marker = if inner[end..].starts_with(END_OF_LINE) { END_OF_LINE } else { END };
        let range = block.range.start + start..block.range.start + end + marker.len();
        edits.replace(range, "");
    }
    Ok(edits.apply(text))
}

/// The `server` blocks of a site: most often one for HTTP and one for HTTPS.
fn servers<'a>(
    file: &Path,
    document: &'a Document,
    site: &str,
) -> Result<Vec<&'a Directive>, NginxError> {
    let named = |one: &&Directive| {
        one.name == "server"
            && one.inside().iter().any(|one| {
                one.name == "server_name"
                    && one.args.iter().any(|name| name.eq_ignore_ascii_case(site))
            })
    };
    let found: Vec<_> = document.walk().into_iter().filter(named).collect();
    if found.is_empty() {
        return Err(missing(file, format!("server with the name {site}")));
    }
    Ok(found)
}

pub(crate) fn parse(file: &Path, text: &str) -> Result<Document, NginxError> {
    Document::parse(text).map_err(|error| NginxError::Syntax {
        file: file.into(),
        line: error.line,
        why: error.why,
    })
}

pub(crate) fn missing(file: &Path, what: String) -> NginxError {
    NginxError::Missing { file: file.into(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(edit: Edit, text: &str) -> Result<String, String> {
        edit.apply(Path::new("app.conf"), Some(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_denial_goes_before_what_would_allow() {
        let deny = |text: &str, address: &str| apply(Edit::Deny(address.into()), text);
        assert_eq!(deny("", "192.0.2.66").unwrap(), "deny 192.0.2.66;\n");
        assert_eq!(
            deny("# mine\nallow 192.0.2.0/24;\ndeny all;\n", "192.0.2.66").unwrap(),
            "# mine\ndeny 192.0.2.66;\nallow 192.0.2.0/24;\ndeny all;\n"
        );
        let text = "deny 2001:db8:0::1; # them\n";
        assert_eq!(deny(text, "2001:db8::1").unwrap(), text, "it is denied already");
        assert_eq!(apply(Edit::Undeny("2001:db8::1/128".into()), text).unwrap(), " # them\n");
        for bad in ["example.org", "192.0.2.0/33", "192.0.2.1; allow all", ""] {
            assert!(
                deny("", bad).unwrap_err().contains("neither an address nor a network"),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_maintenance_page_comes_and_goes_without_a_trace() {
        let text = "\
server {
    listen 80;
    server_name shop.example.org www.shop.example.org; # both
}
server { server_name shop.example.org; listen 443 ssl; }
server { server_name other.example.org; }
";
        let site = || "shop.example.org".to_owned();
        let page = PathBuf::from("/var/www/back soon.html");
        let on = Edit::MaintenanceOn { site: site(), page };
        let changed = apply(on.clone(), text).unwrap();
        assert_eq!(changed.matches("return 503;").count(), 2);
        assert!(changed.contains("rewrite ^ \"/back soon.html\" break;"), "{changed}");
        assert_eq!(apply(on, &changed).unwrap(), changed, "twice is once");
        let off = apply(Edit::MaintenanceOff { site: site() }, &changed).unwrap();
        assert_eq!(off, text);
        let none = Edit::MaintenanceOff { site: "mail.example.org".into() };
        assert!(apply(none, text).unwrap_err().contains("no server with the name"));
    }
}
