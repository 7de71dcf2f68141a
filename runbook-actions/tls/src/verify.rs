//! A verifier that keeps what it saw, so that an error can say what the certificate says.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// Checks one server's certificate, and keeps it.
#[derive(Debug)]
pub(crate) struct Watching {
    inner: Arc<WebPkiServerVerifier>,
    /// Whether a certificate that is refused ends the handshake.
    strict: bool,
    sight: Mutex<Sight>,
}

/// What came by.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// The chain, the server's own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Why it is not acceptable.
    pub(crate) refused: Option<Error>,
}

impl Watching {
    pub(crate) fn new(inner: Arc<WebPkiServerVerifier>, strict: bool) -> Self {
        Self { inner, strict, sight: Mutex::default() }
    }

    pub(crate) fn take(&self) -> Sight {
        std::mem::take(&mut self.sight.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = Sight {
            chain: chain.map(|one| one.clone().into_owned()).collect(),
            refused: judged.as_ref().err().cloned(),
        };
        if self.strict { judged } else { Ok(ServerCertVerified::assertion()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
