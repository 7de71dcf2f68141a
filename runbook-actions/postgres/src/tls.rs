//! TLS below the protocol, where it is asked for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use runbook_core::{BoxStream, Failure, Result};
use runbook_tls::{Tls, TlsError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::config::Config;

/// Makes a stream private once the server has said that it will.
pub(crate) struct Connector {
    tls: Tls,
    server: String,
}

impl Connector {
    /// What a configuration asks for.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>> {
        let Some(tls) = &config.tls else { return Ok(None) };
        if config.host.starts_with('/') {
            return Err(Failure::msg("TLS is not spoken over a unix socket")
                .next("leave `tls` out, or configure an address as `host`"));
        }
        let tls = tls.build().map_err(TlsError::into_failure)?;
        Ok(Some(Self { tls, server: config.host.clone() }))
    }
}

impl TlsConnect<Wire> for Connector {
    type Stream = Wire;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, TlsError>> + Send>>;

    fn connect(self, plain: Wire) -> Self::Future {
        Box::pin(async move { Ok(Wire(self.tls.connect(plain.0, &self.server).await?.stream)) })
    }
}

/// A stream, plain or private.
pub(crate) struct Wire(pub(crate) BoxStream);

impl TlsStream for Wire {
    /// None: which hash it takes depends on how the certificate is signed, and a server that was
    /// verified by its name needs no second proof.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
