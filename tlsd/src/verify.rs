//! Who is believed: chains up to authorities, lists of what is revoked, and pins.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder,
};

use crate::material::Trust;
use crate::pin::Pin;
use crate::validity::{Horizon, end_of_list};

/// id-kp-clientAuth (RFC 5280, section 4.2.1.12), as it is encoded.
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// What a trust makes of what a far end shows.
pub(crate) struct Verifier {
    trust: Arc<Trust>,
    /// For servers whose certificates come from authorities.
    servers: Option<Arc<WebPkiServerVerifier>>,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
    /// When each of the lists is out of date.
    list_ends: Vec<u64>,
    horizon: Arc<Horizon>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for what `trust` says, which tells `horizon` until when what it believes holds.
    ///
    /// # Errors
    ///
    /// A list of what is revoked cannot be used.
    pub(crate) fn new(
        trust: &Arc<Trust>,
        horizon: &Arc<Horizon>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let algorithms = provider.signature_verification_algorithms;
        let mut crls = Vec::new();
        for crl in &trust.crls {
            let owned = OwnedCertRevocationList::from_der(crl.as_ref());
            crls.push(owned.map_err(|_| Error::General("no valid list".to_owned()))?.into());
        }
        let servers = match &trust.authorities {
            None => None,
            Some(roots) => {
                let builder = WebPkiServerVerifier::builder_with_provider(
                    Arc::clone(roots),
                    Arc::clone(provider),
                )
                .with_crls(trust.crls.iter().cloned())
                .enforce_revocation_expiration();
                let built = builder.build();
                Some(built.map_err(|error| Error::General(error.to_string()))?)
            }
        };
        let hints = trust.authorities.as_ref().map(|roots| roots.subjects()).unwrap_or_default();
        let list_ends = trust.crls.iter().filter_map(|list| end_of_list(list)).collect();
        let (trust, horizon) = (Arc::clone(trust), Arc::clone(horizon));
        Ok(Self { trust, servers, crls, algorithms, hints, list_ends, horizon })
    }

    /// A chain was believed. Where pins alone count, nothing that ends was looked at.
    fn note_believed(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) {
        if self.trust.authorities.is_none() {
            return;
        }
        self.horizon.believed(std::iter::once(end_entity).chain(intermediates), now);
        for end in &self.list_ends {
            self.horizon.add(*end, now);
        }
    }

    fn check_pin(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        if self.trust.pins.is_empty() {
            return Ok(());
        }
        let pin = pin_of(end_entity, self.trust.is_raw)?;
        if self.trust.pins.contains(&pin) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_chain_of_client(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(roots) = &self.trust.authorities else { return Ok(()) };
        let certificate = EndEntityCert::try_from(end_entity).map_err(believed)?;
        let crls: Vec<_> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|builder| {
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &roots.roots,
                intermediates,
                now,
                KeyUsage::required(CLIENT_AUTH),
                revocation,
                None,
            )
            .map(drop)
            .map_err(believed)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.trust.is_raw {
            let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
            return verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms);
        }
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_old_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.trust.is_raw {
            return Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered));
        }
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }
}

/// The pin of the key of a certificate, or of the key itself if it is shown without one.
///
/// # Errors
///
/// The certificate cannot be read.
pub(crate) fn pin_of(end_entity: &CertificateDer<'_>, is_raw: bool) -> Result<Pin, Error> {
    if is_raw {
        return Ok(Pin::of(end_entity));
    }
    let certificate = EndEntityCert::try_from(end_entity).map_err(believed)?;
    Ok(Pin::of(&certificate.subject_public_key_info()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(servers) = &self.servers {
            servers.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )?;
        } else if self.trust.pins.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        self.check_pin(end_entity)?;
        self.note_believed(end_entity, intermediates, now);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_old_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.trust.is_raw
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.trust.authorities.is_none() && self.trust.pins.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        self.verify_chain_of_client(end_entity, intermediates, now)?;
        self.check_pin(end_entity)?;
        self.note_believed(end_entity, intermediates, now);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_old_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.trust.is_raw
    }
}

/// What the library that builds chains says, in the words of the one that speaks TLS.
fn believed(error: webpki::Error) -> Error {
    use webpki::Error as Chain;
    Error::InvalidCertificate(match error {
        Chain::BadDer | Chain::BadDerTime | Chain::TrailingData(_) => CertificateError::BadEncoding,
        Chain::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Chain::CertExpired { .. } | Chain::InvalidCertValidity => CertificateError::Expired,
        Chain::UnknownIssuer => CertificateError::UnknownIssuer,
        Chain::CertRevoked => CertificateError::Revoked,
        Chain::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Chain::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        Chain::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        Chain::InvalidSignatureForPublicKey | Chain::InvalidCrlSignatureForPublicKey => {
            CertificateError::BadSignature
        }
        error => CertificateError::Other(rustls::OtherError(Arc::new(error))),
    })
}
