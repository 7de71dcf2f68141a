//! TLS over the streams that targets open, for the action crates.
//!
//! A server is reached through its host ([`HostView::connect`](runbook_core::HostView::connect)),
//! so the name that its certificate must carry is not the address that was dialled: it is always
//! given by hand. [`Tls::connect`] turns the plain stream into a private one and says who is at the
//! other end; [`Tls::look`] reads a certificate that may be bad, and carries no data.
//!
//! ```
//! use runbook_core::{Address, Host, Observer, Result};
//! use runbook_tls::{Secured, Tls, TlsError};
//!
//! async fn open(cx: &Observer, web: &Host) -> Result<Secured> {
//!     let tls = Tls::system().map_err(TlsError::into_failure)?;
//!     let plain = cx.on(web).connect(&Address::Tcp("127.0.0.1".into(), 443)).await?;
//!     tls.connect(plain, "shop.example.org").await.map_err(TlsError::into_failure)
//! }
//! ```
//!
//! What goes wrong is told apart: an expired certificate, a wrong name and an unknown issuer are
//! three [`TlsError`]s, each with what to do next.

mod certificate;
mod config;
mod connect;
mod error;
#[cfg(feature = "testing")]
pub mod testing;
mod verify;

pub use crate::certificate::{Certificate, Validity};
pub use crate::config::{Tls, TlsConfig};
pub use crate::connect::{Peer, Secured, Seen};
pub use crate::error::TlsError;
