//! [`Certificate`]: the facts of an X.509 certificate, and whether they will do.

use std::net::IpAddr;

use runbook_core::{Timestamp, Verdict};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::error::TlsError;

const DAY: i64 = 24 * 60 * 60;

/// What a certificate says.
///
/// ```
/// use runbook_tls::Certificate;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pem = rcgen::generate_simple_self_signed(["*.example.org".to_owned()])?.cert.pem();
/// let certificate = Certificate::from_pem(pem.as_bytes())?;
/// assert!(certificate.matches("shop.example.org"));
/// assert!(!certificate.matches("example.org"));
/// assert!(certificate.days_left() > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Certificate {
    /// Whom it is for, as written by `openssl x509 -subject`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The host names and addresses that it is for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Its serial number, in hexadecimal.
    pub serial: String,
}

impl Certificate {
    /// The first certificate of a PEM file: of a chain, the server's own.
    ///
    /// # Errors
    /// There is none in it, or it can't be understood.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let bad = |why: String| TlsError::Pem { what: "reading a certificate".into(), why };
        let der = CertificateDer::from_pem_slice(pem)
            .map_err(|error| bad(format!("it holds no certificate in PEM form ({error})")))?;
        Self::from_der(&der)
    }

    /// A certificate in its binary form.
    ///
    /// # Errors
    /// It can't be understood.
    pub fn from_der(der: &[u8]) -> Result<Self, TlsError> {
        let bad = |why: String| TlsError::Pem { what: "reading a certificate".into(), why };
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| bad(error.to_string()))?;
        let names = match parsed.subject_alternative_name() {
            Ok(Some(names)) => names.value.general_names.iter().filter_map(name_of).collect(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(bad(format!("its names can't be read: {error}"))),
        };
        Ok(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names,
            not_before: timestamp(parsed.validity().not_before),
            not_after: timestamp(parsed.validity().not_after),
            serial: parsed.raw_serial_as_string(),
        })
    }

    /// Whole days until it expires, rounded down; negative once it has.
    #[must_use]
    pub fn days_left(&self) -> i64 {
        self.days_left_at(Timestamp::now())
    }

    /// Whole days from `now` until it expires, rounded down; negative once it has.
    #[must_use]
    pub fn days_left_at(&self, now: Timestamp) -> i64 {
        (seconds(self.not_after) - seconds(now)).div_euclid(DAY)
    }

    /// Whether it is for `name`, a host name or an address. A `*` stands for one whole first
    /// label; the common name does not count, as in every browser.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.trim_matches(['[', ']']).trim_end_matches('.');
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.names.iter().any(|one| one.parse() == Ok(address));
        }
        self.names.iter().any(|one| match one.strip_prefix("*.") {
            Some(parent) => name.split_once('.').is_some_and(|(label, rest)| {
                !label.is_empty() && rest.eq_ignore_ascii_case(parent)
            }),
            None => one.eq_ignore_ascii_case(name),
        })
    }

    /// Passes, warns or fails: by the days left, and by the name if one is asked for.
    ///
    /// ```
    /// use runbook_core::Level;
    /// use runbook_tls::{Certificate, Validity};
    /// # let pem = rcgen::generate_simple_self_signed(["shop.example.org".to_owned()]).unwrap();
    /// # let certificate = Certificate::from_pem(pem.cert.pem().as_bytes()).unwrap();
    /// let verdict = certificate.clone().judge(Some("shop.example.org"), Validity::default());
    /// assert_eq!(verdict.level(), Level::Pass);
    /// let verdict = certificate.judge(Some("mail.example.org"), Validity::default());
    /// assert_eq!(verdict.why(), "it is for shop.example.org, not for mail.example.org");
    /// ```
    #[must_use]
    pub fn judge(self, name: Option<&str>, validity: Validity) -> Verdict<Self> {
        self.judge_at(Timestamp::now(), name, validity)
    }

    fn judge_at(self, now: Timestamp, name: Option<&str>, validity: Validity) -> Verdict<Self> {
        let days = self.days_left_at(now);
        if let Some(name) = name.filter(|name| !self.matches(name)) {
            let names =
                if self.names.is_empty() { "no name".into() } else { self.names.join(", ") };
            let why = format!("it is for {names}, not for {name}");
            return Verdict::fail(self, why);
        }
        if now < self.not_before {
            let why = format!("it is valid only from {} on", self.not_before);
            return Verdict::fail(self, why);
        }
        if now > self.not_after {
            let why = format!("it expired at {}", self.not_after);
            return Verdict::fail(self, why);
        }
        let why = format!("{days} days left, until {}", self.not_after);
        if days < i64::from(validity.fail_days) {
            Verdict::fail(self, why)
        } else if days < i64::from(validity.warn_days) {
            Verdict::warn(self, why)
        } else {
            Verdict::pass(self, why)
        }
    }
}

/// How many days a certificate must still be valid.
///
/// The default suits Let's Encrypt, whose 90 days are renewed 30 days before their end: fewer than
/// 21 days left mean that the renewal has been failing, fewer than 7 that somebody must act.
///
/// ```
/// let strict = runbook_tls::Validity { warn_days: 45, fail_days: 14 };
/// assert!(strict.warn_days > runbook_tls::Validity::default().warn_days);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Validity {
    /// Fewer days left: a warning.
    pub warn_days: u32,
    /// Fewer days left: a failure.
    pub fail_days: u32,
}

impl Default for Validity {
    fn default() -> Self {
        Self { warn_days: 21, fail_days: 7 }
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Years before 1970 become 1970: nothing that is compared with now is lost by it.
fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_micros(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1_000_000))
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_micros() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str], from_day: u64, to_day: u64) -> Certificate {
        let day = |day: u64| Timestamp::from_micros(day * 86_400 * 1_000_000);
        Certificate {
            subject: "CN=shop.example.org".into(),
            issuer: "CN=Test CA".into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            not_before: day(from_day),
            not_after: day(to_day),
            serial: "01".into(),
        }
    }

    #[test]
    fn a_star_stands_for_exactly_one_label() {
        let one = certificate(&["*.example.org", "192.0.2.7", "2001:db8::1"], 0, 1);
        for yes in ["shop.example.org", "SHOP.Example.ORG", "shop.example.org.", "192.0.2.7"] {
            assert!(one.matches(yes), "{yes}");
        }
        assert!(one.matches("[2001:db8:0::1]"));
        for no in ["example.org", "a.b.example.org", ".example.org", "192.0.2.8", "x.0.2.7"] {
            assert!(!one.matches(no), "{no}");
        }
    }

    #[test]
    fn the_common_name_does_not_count() {
        assert!(!certificate(&[], 0, 1).matches("shop.example.org"));
    }

    #[test]
    fn the_days_left_decide_between_pass_warn_and_fail() {
        use runbook_core::Level::{Fail, Pass, Warn};
        let at = |day: u64| Timestamp::from_micros(day * 86_400 * 1_000_000);
        let one = certificate(&["shop.example.org"], 100, 190);
        for (now, level) in [(99, Fail), (160, Pass), (169, Pass), (170, Warn), (183, Warn)] {
            let verdict = one.clone().judge_at(at(now), None, Validity::default());
            assert_eq!(verdict.level(), level, "day {now}: {}", verdict.why());
        }
        assert_eq!(one.clone().judge_at(at(184), None, Validity::default()).level(), Fail);
        let expired = one.judge_at(at(191), None, Validity::default());
        assert_eq!(expired.why(), "it expired at 1970-07-10T00:00:00.000000Z");
        assert_eq!(expired.evidence().days_left_at(at(191)), -1);
    }
}
