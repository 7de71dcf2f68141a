//! [`Login`]: who we are and whom we trust, asked for by every new connection.

use std::fmt::Debug;

use runbook_core::Failure;

use super::offer::Offer;

/// Proves who the server is, and then who we are.
///
/// Both calls are made on a thread that may block, on a session in blocking mode with a timeout.
/// The whole of it has one deadline: what a person must type is asked for before.
pub(crate) trait Login: Send + Sync + Debug {
    /// Before the handshake: orders the host-key algorithms by what is known of the server.
    fn prepare(&self, session: &mut ssh2::Session) -> Result<(), Failure>;

    /// After the handshake: verifies the host key, then authenticates.
    fn authenticate(&self, session: &mut ssh2::Session) -> Result<(), Failure>;

    /// Why a handshake with a server that makes this offer fails; `None` if it is not for that.
    fn disagreement(&self, _offer: &Offer) -> Option<Failure> {
        None
    }
}
