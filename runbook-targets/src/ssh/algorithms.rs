//! The algorithms to ask a server for: [`prefer`].

use runbook_core::{Failure, FailureKind, Result};
use ssh2::{MethodType, Session};

use super::config::Resolved;
use super::offer::Offer;

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
/// AES-GCM first: the processors of servers have instructions for it.
const CIPHERS: &[&str] = &[
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];
/// What comes from the server is decrypted sooner so: libssh2 decrypts AES 16 bytes at a time, each
/// by a call of its own, and this by the packet.
const FROM_SERVER: &[&str] = &["chacha20-poly1305@openssh.com"];
/// nistp256 before curve25519, which is as strong: OpenSSH computes the second by portable C of its
/// own, and so a login takes a server 1.5 ms more with it. (RFC 9142 says SHOULD of both.)
const KEX: &[&str] = &[
    "mlkem768x25519-sha256",
    "ecdh-sha2-nistp256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
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
    for (choice, first) in choices(resolved).iter().zip([known, &[], &[], &[]]) {
        for method in choice.methods {
            let supported = supported(session, *method)?;
            let first = match (method, choice.chosen) {
                (MethodType::CryptSc, None) => FROM_SERVER,
                _ => first,
            };
            let list = choice.order(&supported, first);
            if list.is_empty() {
                return Err(choice.cannot_be_had(&supported));
            }
            session
                .method_pref(*method, &list.join(","))
                .map_err(|error| Failure::msg(format!("setting `{}`: {error}", choice.option)))?;
        }
    }
    Ok(())
}

/// Why no handshake with this server can succeed; `None` if it is not over the algorithms.
pub(super) fn disagreement(resolved: &Resolved, offer: &Offer) -> Option<Failure> {
    let session = Session::new().ok()?;
    let mut without_mac = false;
    let offered = [&offer.host_keys, &offer.kex, &offer.ciphers, &offer.macs];
    for (choice, offered) in choices(resolved).iter().zip(offered) {
        let supported = supported(&session, choice.methods[0]).ok()?;
        let ours = choice.order(&supported, &[]);
        let agreed = ours.iter().find(|name| offered.iter().any(|offer| offer == **name));
        match agreed {
            Some(name) => without_mac |= name.contains("gcm") || name.contains("poly1305"),
            None if choice.option == "MACs" && without_mac => {}
            None => {
                let possible: Vec<_> = offered
                    .iter()
                    .map(String::as_str)
                    .filter(|name| supported.contains(name) && !name.contains("-cert-"))
                    .collect();
                return Some(choice.not_agreed(resolved, offered, &ours, &possible));
            }
        }
    }
    None
}

/// One kind of algorithm: what may be asked for.
struct Choice<'a> {
    /// As the ssh configuration calls it.
    option: &'static str,
    methods: &'static [MethodType],
    usual: &'static [&'static str],
    chosen: Option<&'a str>,
}

fn choices(resolved: &Resolved) -> [Choice<'_>; 4] {
    use MethodType::{CryptCs, CryptSc, HostKey, Kex, MacCs, MacSc};
    [
        Choice {
            option: "HostKeyAlgorithms",
            methods: &[HostKey],
            usual: HOST_KEYS,
            chosen: resolved.host_key_algorithms.as_deref(),
        },
        Choice {
            option: "KexAlgorithms",
            methods: &[Kex],
            usual: KEX,
            chosen: resolved.kex_algorithms.as_deref(),
        },
        Choice {
            option: "Ciphers",
            methods: &[CryptCs, CryptSc],
            usual: CIPHERS,
            chosen: resolved.ciphers.as_deref(),
        },
        Choice {
            option: "MACs",
            methods: &[MacCs, MacSc],
            usual: MACS,
            chosen: resolved.macs.as_deref(),
        },
    ]
}

impl Choice<'_> {
    fn order(&self, supported: &[&str], first: &[&str]) -> Vec<&str> {
        order(self.usual, self.chosen, supported, first)
    }

    fn not_agreed(
        &self,
        resolved: &Resolved,
        offered: &[String],
        ours: &[&str],
        possible: &[&str],
    ) -> Failure {
        let Resolved { name, host, .. } = resolved;
        let option = self.option;
        let (offered, ours) = (offered.join(","), ours.join(","));
        let failure = Failure::new(
            FailureKind::Refused,
            format!(
                "no algorithm in common: as `{option}` the server offers {offered}, and what is \
                 accepted here is {ours}"
            ),
        )
        .while_doing(format!("the handshake with {host}"));
        if possible.is_empty() {
            // libssh2 is built without the worst of them.
            failure.next("bring the server's software up to date: nothing here speaks its own")
        } else {
            failure.next(format!(
                "bring the server's software up to date; until then, allow its own in the ssh \
                 configuration of {name}: `{option} +{}`",
                possible.join(",")
            ))
        }
    }

    fn cannot_be_had(&self, supported: &[&str]) -> Failure {
        let (option, chosen) = (self.option, self.chosen.unwrap_or_default());
        Failure::new(
            FailureKind::Refused,
            format!(
                "the ssh configuration allows `{option} {chosen}` only, and none of them is among \
                 those that can be used here: {}",
                supported.join(",")
            ),
        )
        .next(format!("allow one of these in `{option}` for this host"))
    }
}

fn supported(session: &Session, method: MethodType) -> Result<Vec<&'static str>> {
    session
        .supported_algs(method)
        .map_err(|error| Failure::msg(format!("asking libssh2 for its algorithms: {error}")))
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
    use crate::ssh::auth::Auth;
    use crate::ssh::identity::Identity;
    use crate::ssh::login::Login as _;
    use crate::ssh::trust::HostKeys;

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

    /// What libssh2 and we say of a server with this configuration.
    fn refusal(config: &str) -> (bool, Option<String>) {
        let sshd = lab::Sshd::builder().host_keys([lab::KeyKind::Rsa]).config(config).start();
        let mut resolved = Resolved::explicit("127.0.0.1", sshd.port(), sshd.user());
        resolved.user_known_hosts = vec![];
        let identity = Identity::new(resolved, HostKeys::Strict, Auth::new());
        let connect = || std::net::TcpStream::connect(sshd.addr()).unwrap();
        let mut session = Session::new().unwrap();
        session.set_tcp_stream(connect());
        session.set_timeout(20_000);
        identity.prepare(&mut session).unwrap();
        let refused = session.handshake().is_err();
        let offer = Offer::read(&mut connect()).unwrap();
        (refused, identity.disagreement(&offer).map(|failure| format!("{failure:?}")))
    }

    #[test]
    fn a_server_without_an_algorithm_in_common_is_refused_with_both_lists() {
        for (option, offered, ours) in [
            ("HostKeyAlgorithms", "ssh-rsa", "ssh-ed25519,"),
            (
                "KexAlgorithms",
                "diffie-hellman-group14-sha1",
                "ecdh-sha2-nistp256,curve25519-sha256,",
            ),
            ("Ciphers", "aes256-cbc,3des-cbc", "aes128-gcm@openssh.com,"),
        ] {
            let (refused, said) = refusal(&format!("{option} {offered}"));
            let said = said.unwrap();
            assert!(refused, "{option}");
            assert!(said.contains(&format!("as `{option}` the server offers {offered}")), "{said}");
            let accepted = said.split_once("what is accepted here is ").unwrap().1;
            // Newer versions of OpenSSL have mlkem768x25519-sha256 as well, which comes first.
            let classical = accepted.trim_start_matches("mlkem768x25519-sha256,");
            assert!(classical.starts_with(ours), "{said}");
            assert!(said.contains("next: bring the server"), "{said}");
        }
        let (refused, said) = refusal("Ciphers aes256-ctr\nMACs hmac-md5");
        assert!(refused && said.unwrap().contains("as `MACs` the server offers hmac-md5"));
    }

    #[test]
    fn a_server_with_something_in_common_is_not_refused() {
        assert_eq!(refusal(""), (false, None));
        // A cipher that authenticates needs no MAC.
        assert_eq!(refusal("Ciphers aes256-gcm@openssh.com\nMACs hmac-md5"), (false, None));
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
