//! What stands between a connection and its use: [`Login`].

use runbook_core::Failure;

/// Who the other side must be, and who we are there.
pub(crate) trait Login: Send + Sync + std::fmt::Debug {
    /// Before the handshake: the algorithms to ask for, those of the known host keys first.
    fn prepare(&self, session: &mut ssh2::Session) -> Result<(), Failure>;

    /// After the handshake: verifies the host key, then authenticates. Blocks.
    fn authenticate(&self, session: &mut ssh2::Session) -> Result<(), Failure>;
}
