//! [`certificates()`]: the certificates that the configuration names, read from their files.

use std::path::PathBuf;

use runbook::{During as _, Level, Observer, Result, Verdict};
use runbook_macros::check;
use runbook_tls::{Certificate, TlsError, Validity};
use serde::{Deserialize, Serialize};

use crate::client::Nginx;

impl Nginx {
    /// The certificates of all sites are for their names and valid for long enough. See
    /// [`certificates()`].
    pub fn certificates(&self, validity: Validity) -> certificates {
        certificates(self, validity)
    }
}

/// A certificate that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServedCertificate {
    /// Its file.
    pub file: PathBuf,
    /// The names of the sites that use it.
    pub sites: Vec<String>,
    /// How good it is.
    pub level: Level,
    /// Why.
    pub why: String,
}

/// The certificates of all sites are good
///
/// Every `ssl_certificate` of the configuration is read on the host and judged by the names of its
/// site and by the days that it is still valid. Whether nginx has loaded what is in the file, only
/// a handshake tells.
///
/// ```
/// use runbook_core::Runbook;
/// use runbook_nginx::{Nginx, Validity};
/// fn monthly(b: &mut Runbook, nginx: &Nginx) {
///     b.check(nginx.certificates(Validity::default()));
/// }
/// ```
#[check(title = "The certificates of {nginx} are good", preview = "read every ssl_certificate")]
pub async fn certificates(
    cx: &Observer,
    nginx: &Nginx,
    validity: Validity,
) -> Result<Verdict<Vec<ServedCertificate>>> {
    let tree = nginx.tree(cx).await?;
    let base = nginx.config.main.parent().map(PathBuf::from).unwrap_or_default();
    let mut used: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for directive in tree.files.iter().flat_map(|file| file.document.walk()) {
        // A certificate above the servers counts for its days alone.
        let inside = if directive.name == "server" {
            directive.inside()
        } else {
            std::slice::from_ref(directive)
        };
        let names = inside.iter().filter(|one| one.name == "server_name").flat_map(|one| &one.args);
        // Neither a pattern nor the name that stands for none is in any certificate.
        let names: Vec<_> = names
            .filter(|name| name.contains('.') && !name.contains(['~', '*', '$']))
            .cloned()
            .collect();
        for path in inside.iter().filter(|one| one.name == "ssl_certificate") {
            let Some(path) = path.args.first().filter(|path| !path.contains(['$', ':'])) else {
                continue;
            };
            let path = base.join(path);
            match used.iter_mut().find(|(file, _)| *file == path) {
                Some((_, all)) => all.extend(names.iter().cloned()),
                None => used.push((path, names.clone())),
            }
        }
    }
    let mut seen = Vec::new();
    for (file, mut sites) in used {
        sites.sort();
        sites.dedup();
        let pem = cx.on(nginx.host()).read(&file).await?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(TlsError::into_failure)
            .during(format!("reading {}", file.display()))?;
        let names = sites.iter().map(|site| Some(site.as_str())).chain([None]);
        let worst =
            names.map(|name| certificate.clone().judge(name, validity)).max_by_key(Verdict::level);
        let Some(worst) = worst else { continue };
        seen.push(ServedCertificate {
            level: worst.level(),
            why: format!("{}: {}", file.display(), worst.why()),
            file,
            sites,
        });
    }
    let level = seen.iter().map(|one| one.level).max();
    let bad: Vec<_> =
        seen.iter().filter(|one| Some(one.level) == level).map(|one| one.why.as_str()).collect();
    let why = bad.join("; ");
    Ok(match level {
        None => Verdict::warn(seen, "the configuration names no certificate"),
        Some(Level::Pass) => Verdict::pass(seen, why),
        Some(Level::Warn) => Verdict::warn(seen, why),
        Some(Level::Fail) => Verdict::fail(seen, why),
    })
}
