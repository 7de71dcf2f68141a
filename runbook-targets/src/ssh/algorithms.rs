//! The algorithms to ask a server for: [`prefer`].

use runbook_core::{Failure, FailureKind, Result};
use ssh2::{MethodType, Session};

use super::config::Resolved;

/// Those of OpenSSH that are safe, in the order that is best here. Key types that are not listed
/// (certificates above all, which nothing here could verify) are never asked for.
const HOST_KEYS: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
/// The first is the fastest on processors of servers: measured at twice the rate of the next.
const CIPHERS: &[&str] = &[
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];
const KEX: &[&str] = &[
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
];
const MACS: &[&str] = &[
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
];

/// Tells `session` what to ask for: what the configuration chose, or the usual; host keys of the
/// types in `known` first, or a server with several keys could show one that is not listed.
///
/// # Errors
/// Nothing of what the configuration chose can be had.
pub(super) fn prefer(session: &Session, resolved: &Resolved, known: &[&str]) -> Result<()> {
    use MethodType::{CryptCs, CryptSc, HostKey, Kex, MacCs, MacSc};
    let Resolved { host_key_algorithms, ciphers, macs, kex_algorithms, .. } = resolved;
    set(session, "HostKeyAlgorithms", &[HostKey], HOST_KEYS, host_key_algorithms, known)?;
    set(session, "Ciphers", &[CryptCs, CryptSc], CIPHERS, ciphers, &[])?;
    set(session, "MACs", &[MacCs, MacSc], MACS, macs, &[])?;
    set(session, "KexAlgorithms", &[Kex], KEX, kex_algorithms, &[])
}

fn set(
    session: &Session,
    option: &str,
    methods: &[MethodType],
    usual: &[&str],
    chosen: &Option<String>,
    first: &[&str],
) -> Result<()> {
    for method in methods {
        let supported = session
            .supported_algs(*method)
            .map_err(|error| Failure::msg(format!("asking libssh2 for its `{option}`: {error}")))?;
        let list = order(usual, chosen.as_deref(), &supported, first);
        if list.is_empty() {
            let chosen = chosen.as_deref().unwrap_or_default();
            return Err(Failure::new(
                FailureKind::Refused,
                format!(
                    "the ssh configuration allows `{option} {chosen}` only, and none of them is \
                     among those that can be used here: {}",
                    supported.join(",")
                ),
            )
            .next(format!("allow one of these in `{option}` for this host")));
        }
        session
            .method_pref(*method, &list.join(","))
            .map_err(|error| Failure::msg(format!("setting `{option}`: {error}")))?;
    }
    Ok(())
}

fn order<'a>(
    usual: &[&'a str],
    chosen: Option<&'a str>,
    supported: &[&str],
    first: &[&str],
) -> Vec<&'a str> {
    let wanted: Vec<&str> = match chosen {
        Some(chosen) => chosen.split(',').filter(|name| !name.contains("-cert-")).collect(),
        None => usual.to_vec(),
    };
    let (mut list, later): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .filter(|name| supported.contains(name))
        .partition(|name| first.contains(&key_type(name)));
    list.extend(later);
    list
}

/// The type of the keys that an algorithm signs with.
fn key_type(algorithm: &str) -> &str {
    if algorithm.starts_with("rsa-sha2-") { "ssh-rsa" } else { algorithm }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 3] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512"];

    #[test]
    fn known_types_come_first_in_the_usual_order() {
        assert_eq!(order(&ALL, None, &ALL, &[]), ALL);
        assert_eq!(
            order(&ALL, None, &ALL, &["ssh-rsa", "ecdsa-sha2-nistp256"]),
            ["ecdsa-sha2-nistp256", "rsa-sha2-512", "ssh-ed25519"]
        );
    }

    #[test]
    fn what_was_chosen_is_asked_for_as_far_as_it_can_be_had() {
        let chosen = Some("x,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512,ssh-ed25519");
        assert_eq!(order(&ALL, chosen, &ALL, &[]), ["rsa-sha2-512", "ssh-ed25519"]);
        assert_eq!(order(&ALL, Some("x"), &ALL, &[]), <[&str; 0]>::default());
    }

    #[test]
    fn a_choice_that_cannot_be_had_is_an_error_with_both_lists() {
        let mut resolved = Resolved::explicit("example.org", 22, "deploy");
        resolved.ciphers = Some("3des-cbc-x,none".to_owned());
        let error = prefer(&Session::new().unwrap(), &resolved, &[]).unwrap_err().to_string();
        assert!(error.contains("`Ciphers 3des-cbc-x,none` only"), "{error}");
        assert!(error.contains("aes128-gcm@openssh.com"), "{error}");
    }
}
