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

    /// Why a handshake with a server that makes this offer fails; `None` if it is not for that.
    pub(crate) fn disagreement(&self, offer: &Offer) -> Option<Failure> {
        algorithms::disagreement(&self.resolved, offer)
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
}
