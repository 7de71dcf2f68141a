//! [`Url`]: as much of an address as HTTP needs.

use std::fmt;

use crate::error::HttpError;

/// An address with scheme, host, port and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) secure: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with `/`; with the query, without the fragment.
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, HttpError> {
        let bad = |why: &str| HttpError::Address { address: text.into(), why: why.into() };
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(bad("its scheme is neither http nor https")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            // Not shown: it may hold a password.
            return Err(HttpError::Address {
                address: format!("{scheme}://***"),
                why: "give a user and password as a secret header, not in the address".into(),
            });
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(|| bad("a `]` is missing"))?;
                (host, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(bad("it has no host name"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad("its port is no number up to 65535"))?,
            None if secure => 443,
            None => 80,
        };
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = Self { secure, host: host.to_ascii_lowercase(), port, path };
        if url.path.parse::<hyper::Uri>().is_err() {
            return Err(bad("its path holds characters that must be percent-encoded"));
        }
        Ok(url)
    }

    /// The address of `path` below this one.
    pub(crate) fn below(&self, path: &str) -> Result<Self, HttpError> {
        let base = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let slash = if path.is_empty() || path.starts_with(['/', '?']) { "" } else { "/" };
        Self::parse(&format!("{}{base}{slash}{path}", self.origin()))
    }

    /// Where a `Location` header leads to from here.
    pub(crate) fn join(&self, reference: &str) -> Result<Self, HttpError> {
        let reference = reference.trim();
        let scheme = if self.secure { "https" } else { "http" };
        let here = self.path.split('?').next().unwrap_or("/");
        if reference.starts_with("http://") || reference.starts_with("https://") {
            Self::parse(reference)
        } else if let Some(rest) = reference.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))
        } else if reference.starts_with('/') {
            Self::parse(&format!("{}{}", self.origin(), without_dots(reference)))
        } else if reference.starts_with('?') {
            Self::parse(&format!("{}{here}{reference}", self.origin()))
        } else if reference.is_empty() || reference.starts_with('#') {
            Ok(self.clone())
        } else {
            let folder = &here[..=here.rfind('/').unwrap_or(0)];
            let path = without_dots(&format!("{folder}{reference}"));
            Self::parse(&format!("{}{path}", self.origin()))
        }
    }

    /// Scheme, host, and the port unless it is the scheme's own.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }

    /// Host, and the port unless it is the scheme's own: what a `Host` header says.
    pub(crate) fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == "/" { "" } else { self.path.as_str() };
        write!(f, "{}{path}", self.origin())
    }
}

/// `path` without `.` and `..`; the query untouched.
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (path, String::new()),
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for part in path.split('/').skip(1) {
        ends_in_folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let slash = if ends_in_folder && !parts.is_empty() { "/" } else { "" };
    format!("/{}{slash}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_put_together_again() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://Shop.example.org/", "https://shop.example.org"),
            ("https://shop.example.org:443/a?b#c", "https://shop.example.org/a?b"),
            ("http://[2001:db8::1]:8080/x", "http://[2001:db8::1]:8080/x"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["shop.example.org", "ftp://x", "http://", "http://x:99999", "http://x/a b"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_shown() {
        let error = Url::parse("https://admin:hunter2@shop.example.org/").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_redirect_leads_where_a_browser_would_go() {
        let here = Url::parse("https://shop.example.org/a/b?c").unwrap();
        for (reference, there) in [
            ("/login?next=%2F", "https://shop.example.org/login?next=%2F"),
            ("d", "https://shop.example.org/a/d"),
            ("../e/./f", "https://shop.example.org/e/f"),
            ("?page=2", "https://shop.example.org/a/b?page=2"),
            ("//cdn.example.org/x", "https://cdn.example.org/x"),
            ("http://old.example.org/", "http://old.example.org"),
            ("", "https://shop.example.org/a/b?c"),
        ] {
            assert_eq!(here.join(reference).unwrap().to_string(), there, "{reference}");
        }
    }

    #[test]
    fn a_path_goes_below_the_base() {
        let base = Url::parse("https://shop.example.org/api/").unwrap();
        for (path, there) in [
            ("/health", "https://shop.example.org/api/health"),
            ("health?x=1", "https://shop.example.org/api/health?x=1"),
            ("", "https://shop.example.org/api"),
        ] {
            assert_eq!(base.below(path).unwrap().to_string(), there);
        }
    }
}
