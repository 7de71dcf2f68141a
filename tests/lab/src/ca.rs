//! A certificate authority of the lab's own.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::Folder;

/// A certificate authority that no system trusts, and the certificates that it gives.
///
/// ```
/// let ca = lab::Ca::new();
/// let site = ca.certificate(&["site.example.org", "127.0.0.1"]);
/// assert!(site.certificate().exists());
/// let late = ca.expired(&["site.example.org"]);
/// assert_ne!(late.key(), site.key());
/// ```
#[derive(Debug)]
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    number: std::sync::atomic::AtomicU32,
    _owner: Folder,
}

/// A certificate and its private key: PEM files of their own, valid as long as their [`Ca`].
#[derive(Clone, Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Ca {
    /// One in a folder of its own.
    ///
    /// # Panics
    /// It can't be made or written.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that writes files surprises")]
    pub fn new() -> Self {
        Self::inside(&Folder::new())
    }

    /// One in `folder/ca`.
    ///
    /// # Panics
    /// It can't be made or written.
    #[must_use]
    pub fn inside(owner: &Folder) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "lab CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, new_key()).expect("a valid CA");
        let folder = owner.subfolder("ca");
        write(&folder.join("ca.pem"), &issuer.pem());
        Self { issuer, folder, number: 0.into(), _owner: owner.clone() }
    }

    /// Its own certificate (PEM): what a client is to trust.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate of these names and addresses; the first name is its subject.
    ///
    /// # Panics
    /// A name is none, or the files can't be written.
    #[must_use]
    pub fn certificate(&self, names: &[&str]) -> Certificate {
        self.issue(names, 4096)
    }

    /// One that expired on 1 January 2024.
    ///
    /// # Panics
    /// As [`certificate`](Self::certificate).
    #[must_use]
    pub fn expired(&self, names: &[&str]) -> Certificate {
        self.issue(names, 2024)
    }

    fn issue(&self, names: &[&str], end: i32) -> Certificate {
        let owned: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(owned)
            .unwrap_or_else(|error| panic!("a certificate of {names:?}: {error}"));
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("lab"));
        params.not_before = date_time_ymd(2023, 1, 1);
        params.not_after = date_time_ymd(end, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = new_key();
        let signed = params.signed_by(&key, &self.issuer).expect("a valid certificate");
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let files = Certificate {
            certificate: self.folder.join(format!("{number}.pem")),
            key: self.folder.join(format!("{number}.key")),
        };
        write(&files.certificate, &signed.pem());
        write(&files.key, &key.serialize_pem());
        files
    }
}

impl Certificate {
    /// The certificate's file (PEM).
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The private key's file (PEM).
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.key
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key pair")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
}
