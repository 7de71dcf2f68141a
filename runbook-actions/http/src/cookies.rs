//! Cookies: the flags that checks look at, and the jar of one session.

use runbook::Secret;
use serde::{Deserialize, Serialize};

use crate::url::Url;

/// A cookie as a server sets it, without its value.
///
/// ```
/// use runbook_http::CookieFlags;
/// let cookie = CookieFlags::parse("sid=abc; Path=/; HttpOnly; Secure; SameSite=Lax").unwrap();
/// assert!(cookie.http_only && cookie.secure);
/// assert_eq!(cookie.same_site.as_deref(), Some("Lax"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CookieFlags {
    /// Its name.
    pub name: String,
    /// Sent over HTTPS only.
    pub secure: bool,
    /// Not to be read by scripts.
    pub http_only: bool,
    /// `Strict`, `Lax` or `None`, if it says so.
    pub same_site: Option<String>,
}

impl CookieFlags {
    /// What a `Set-Cookie` header says; `None` if it is none.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        Some(Cookie::parse(header)?.flags)
    }
}

/// A cookie with its value.
struct Cookie {
    flags: CookieFlags,
    value: String,
    domain: Option<String>,
    path: Option<String>,
    gone: bool,
}

impl Cookie {
    fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split(';');
        let (name, value) = parts.next()?.split_once('=')?;
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        let value = value.trim().trim_matches('"').to_owned();
        let flags =
            CookieFlags { name: name.into(), secure: false, http_only: false, same_site: None };
        let mut cookie = Self { flags, value, domain: None, path: None, gone: false };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "secure" => cookie.flags.secure = true,
                "httponly" => cookie.flags.http_only = true,
                "samesite" => cookie.flags.same_site = Some(value.into()),
                "domain" => {
                    cookie.domain = Some(value.trim_start_matches('.').to_ascii_lowercase());
                }
                "path" if value.starts_with('/') => cookie.path = Some(value.into()),
                // How servers take a cookie back.
                "max-age" => cookie.gone |= value.parse::<i64>().is_ok_and(|age| age <= 0),
                "expires" => cookie.gone |= value.contains("1970"),
                _ => {}
            }
        }
        Some(cookie)
    }
}

/// The cookies of one session.
#[derive(Clone, Default)]
pub(crate) struct Jar(Vec<Kept>);

#[derive(Clone)]
struct Kept {
    flags: CookieFlags,
    value: String,
    /// Of exactly this host, or of those below it too.
    host: String,
    below: bool,
    path: String,
}

impl Jar {
    /// Keeps what the server at `url` sets.
    pub(crate) fn take(&mut self, url: &Url, header: &str) {
        let Some(cookie) = Cookie::parse(header) else { return };
        let (host, below) = match cookie.domain {
            Some(domain) if is_below(&url.host, &domain) => (domain, true),
            // A server speaks for itself and its parents only.
            Some(_) => return,
            None => (url.host.clone(), false),
        };
        let path = cookie.path.unwrap_or_else(|| {
            let path = url.path.split('?').next().unwrap_or("/");
            match path.rfind('/') {
                Some(0) | None => "/".into(),
                Some(end) => path[..end].into(),
            }
        });
        self.0.retain(|kept| {
            (&kept.flags.name, &kept.host, &kept.path) != (&cookie.flags.name, &host, &path)
        });
        if cookie.gone {
            return;
        }
        // A long value is a session or a token: whoever echoes it is scrubbed. A short one is a
        // word like `dark`, which must not vanish from all output.
        if cookie.value.len() >= 16 {
            drop(Secret::new(cookie.value.as_str()));
        }
        self.0.push(Kept { flags: cookie.flags, value: cookie.value, host, below, path });
    }

    /// The `Cookie` header for `url`; `None` if there is nothing to send.
    pub(crate) fn header(&self, url: &Url) -> Option<String> {
        let path = url.path.split('?').next().unwrap_or("/");
        let fits = |kept: &&Kept| {
            let host = kept.host == url.host || (kept.below && is_below(&url.host, &kept.host));
            let below = path == kept.path
                || path.starts_with(&format!("{}/", kept.path.trim_end_matches('/')));
            host && below && (url.secure || !kept.flags.secure)
        };
        let pairs: Vec<_> = self
            .0
            .iter()
            .filter(fits)
            .map(|kept| format!("{}={}", kept.flags.name, kept.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|kept| kept.flags.name == name).map(|kept| kept.value.as_str())
    }

    pub(crate) fn flags(&self) -> Vec<CookieFlags> {
        self.0.iter().map(|kept| kept.flags.clone()).collect()
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host == domain
        || host.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.') && domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_cookie_goes_back_only_where_it_belongs() {
        let mut jar = Jar::default();
        jar.take(&url("https://shop.example.org/a/login"), "sid=1; Secure; Path=/");
        jar.take(&url("https://shop.example.org/a/login"), "theme=2");
        jar.take(&url("https://shop.example.org/"), "wide=3; Domain=.example.org; Path=/");
        jar.take(&url("https://shop.example.org/"), "theirs=4; Domain=example.com");
        let sent = |address: &str| jar.header(&url(address)).unwrap_or_default();
        assert_eq!(sent("https://shop.example.org/a/b"), "sid=1; theme=2; wide=3");
        assert_eq!(sent("https://shop.example.org/ab"), "sid=1; wide=3");
        assert_eq!(sent("http://shop.example.org/"), "wide=3");
        assert_eq!(sent("https://mail.example.org/"), "wide=3");
        assert_eq!(sent("https://example.com/"), "");
    }

    #[test]
    fn a_cookie_is_replaced_and_taken_back() {
        let mut jar = Jar::default();
        let here = url("https://shop.example.org/");
        jar.take(&here, "sid=1; Path=/");
        jar.take(&here, "sid=2; Path=/");
        assert_eq!(jar.header(&here).unwrap(), "sid=2");
        jar.take(&here, "sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(jar.header(&here), None);
    }
}
