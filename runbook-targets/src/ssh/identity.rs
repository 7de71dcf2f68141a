//! [`Identity`]: one host's way in, for the driver.

use runbook_core::{Failure, Result};

use super::algorithms;
use super::auth::Auth;
use super::config::Resolved;
use super::login::Login;
use super::offer::Offer;
use super::trust::{HostKeys, Trust};

/// Whom we expect on a host, and who we are there.
#[derive(Debug)]
pub(crate) struct Identity {
    resolved: Resolved,
    trust: Trust,
    auth: Auth,
}

impl Identity {
    pub(crate) fn new(resolved: Resolved, host_keys: HostKeys, auth: Auth) -> Self {
        let trust = Trust::new(&resolved, host_keys);
        Self { resolved, trust, auth }
    }
}

impl Login for Identity {
    fn prepare(&self, session: &mut ssh2::Session) -> Result<(), Failure> {
        algorithms::prefer(session, &self.resolved, &self.trust.kinds()?)
    }

    fn authenticate(&self, session: &mut ssh2::Session) -> Result<(), Failure> {
        let key = session.host_key().map(|(blob, _)| blob.to_vec()).unwrap_or_default();
        self.trust.verify(&key)?;
        self.auth.sign_in(session, &self.resolved)
    }

    fn disagreement(&self, offer: &Offer) -> Option<Failure> {
        algorithms::disagreement(&self.resolved, offer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpStream;

    use lab::{KeyKind, Sshd};
    use runbook_core::Target as _;
    use ssh2::{MethodType, Session};

    use super::*;
    use crate::ssh::Ssh;
    use crate::ssh::config::Lookup;

    /// Signs in to the alias `web` of a configuration that has these lines as well.
    async fn enter(sshd: &Sshd, lines: &str) -> Result<Session> {
        let dir = tempfile::tempdir().unwrap();
        let known = dir.path().join("known");
        fs::write(&known, sshd.known_hosts()).unwrap();
        let config = dir.path().join("config");
        let text = format!(
            "Host web\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n \
             IdentityAgent none\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n {lines}\n",
            sshd.port(),
            sshd.user(),
            sshd.client_key().display(),
            known.display(),
        );
        fs::write(&config, text).unwrap();
        let lookup = Lookup { name: "web".into(), config: Some(config), user: None, port: None };
        let identity = Identity::new(lookup.resolve().await?, HostKeys::Strict, Auth::new());
        let mut session = Session::new().unwrap();
        session.set_tcp_stream(TcpStream::connect(sshd.addr()).unwrap());
        session.set_timeout(20_000);
        identity.prepare(&mut session)?;
        session.handshake().unwrap();
        identity.authenticate(&mut session)?;
        assert!(session.authenticated());
        Ok(session)
    }

    #[tokio::test]
    async fn an_alias_of_the_ssh_configuration_is_all_that_is_needed() {
        let session = enter(&Sshd::start(), "").await.unwrap();
        assert_eq!(session.methods(MethodType::CryptCs), Some("aes128-gcm@openssh.com"));
        assert_eq!(session.methods(MethodType::HostKey), Some("ssh-ed25519"));
    }

    #[tokio::test]
    async fn algorithms_are_those_that_the_configuration_chose() {
        let sshd = Sshd::builder().host_keys([KeyKind::Rsa, KeyKind::Ed25519]).start();
        let lines = "HostKeyAlgorithms rsa-sha2-256\n Ciphers aes256-ctr\n MACs hmac-sha2-512\n \
                     KexAlgorithms ecdh-sha2-nistp521";
        let session = enter(&sshd, lines).await.unwrap();
        let methods = |method| session.methods(method).unwrap();
        assert_eq!(methods(MethodType::HostKey), "rsa-sha2-256");
        assert_eq!(methods(MethodType::CryptCs), "aes256-ctr");
        assert_eq!(methods(MethodType::CryptSc), "aes256-ctr");
        assert_eq!(methods(MethodType::MacSc), "hmac-sha2-512");
        assert_eq!(methods(MethodType::Kex), "ecdh-sha2-nistp521");
    }

    #[tokio::test]
    async fn an_old_algorithm_is_used_where_the_configuration_allows_it() {
        let sshd = Sshd::builder().config("Ciphers aes256-cbc").start();
        let offer = Offer::read(&mut TcpStream::connect(sshd.addr()).unwrap()).unwrap();
        let resolved = Resolved::explicit("127.0.0.1", sshd.port(), sshd.user());
        let identity = Identity::new(resolved, HostKeys::Strict, Auth::new());
        let advice = format!("{:?}", identity.disagreement(&offer).unwrap());
        assert!(advice.ends_with("configuration of 127.0.0.1: `Ciphers +aes256-cbc`"), "{advice}");
        let session = enter(&sshd, "Ciphers +aes256-cbc").await.unwrap();
        assert_eq!(session.methods(MethodType::CryptCs), Some("aes256-cbc"));
    }

    #[tokio::test]
    async fn a_target_says_over_which_algorithms_a_handshake_failed() {
        let sshd = Sshd::builder().config("KexAlgorithms diffie-hellman-group14-sha1").start();
        let host = Ssh::at("127.0.0.1")
            .port(sshd.port())
            .user(sshd.user())
            .known_hosts(sshd.dir().join("none"));
        let failure = host.stat(std::path::Path::new("/")).await.unwrap_err();
        let said = failure.to_string();
        assert!(
            said.contains("the server offers diffie-hellman-group14-sha1, and what is"),
            "{said}"
        );
    }

    #[test]
    fn a_jump_host_is_neither_pinned_by_another_key_nor_told_the_password() {
        let policies = [HostKeys::Strict, HostKeys::AcceptNew, HostKeys::Pinned("x".into())];
        assert_eq!(
            policies.map(|policy| policy.of_jump_host()),
            [HostKeys::Strict, HostKeys::AcceptNew, HostKeys::Strict]
        );
        let auth = Auth::new().key_file("/key").password("correct horse".into());
        assert_eq!(format!("{:?}", auth.of_jump_host()), r#"Auth { keys: ["/key"], .. }"#);
    }
}
