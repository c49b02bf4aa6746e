//! The server end: what a listener shows, and whom it lets in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use libipc::interface::transport::{Serve, TransportError};
use libipc::name::ServiceName;
use relay::failure;
use relay::wrapping::Make;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    AlwaysResolvesServerRawPublicKeys, NoClientAuth, ResolvesServerCert, UnbufferedServerConnection,
};
use rustls::sign::SingleCertAndKey;
use rustls::{Error, KeyLog, ServerConfig, version};

use crate::config::{Config, Listen};
use crate::dial::PROTOCOL;
use crate::exporter::Exporter;
use crate::material::{Certificate, Material, Proves};
use crate::proving::{Keys, Proving};
use crate::session::{Expected, Session};
use crate::validity::Horizon;
use crate::verify::Verifier;

/// Tickets for later connections that a peer gets. Each is good for one, and brings the next.
const TICKETS: usize = 1;

/// All listeners, ready.
#[derive(Debug)]
pub(crate) struct Listeners(BTreeMap<String, Prepared>);

#[derive(Debug)]
struct Prepared {
    config: Arc<ServerConfig>,
    service: Option<ServiceName>,
    proves: Proves,
    keys: Arc<Keys>,
    /// Until when tickets may stand for what was believed.
    horizon: Arc<Horizon>,
}

/// A listener cannot be made ready.
#[derive(Debug)]
pub(crate) struct ListenersError {
    name: String,
    error: Error,
}

impl Listeners {
    /// Makes all listeners of the configuration ready. Each has its own tickets, so that none can
    /// be used at another, nor after what decides has changed.
    ///
    /// # Errors
    ///
    /// [`ListenersError`].
    pub(crate) fn prepare(
        config: &Config,
        material: &Material,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, ListenersError> {
        let mut all = BTreeMap::new();
        for (name, listen) in &config.listen {
            let prepared = prepare(listen, material, provider)
                .map_err(|error| ListenersError { name: name.clone(), error })?;
            all.insert(name.clone(), prepared);
        }
        Ok(Self(all))
    }

    /// What makes the server end of a connection, and the service that is offered there to plain clients.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidRequest`]: there is no such listener.
    pub(crate) fn begin(
        &mut self,
        wanted: &Serve,
        config: &Config,
        material: &Material,
        (provider, now): (&Arc<CryptoProvider>, UnixTime),
    ) -> Result<(Make<Session>, Option<ServiceName>), TransportError> {
        let name = &wanted.listener;
        let (Some(prepared), Some(listen)) = (self.0.get_mut(name), config.listen.get(name)) else {
            let reason = format!("tlsd.toml has no table [listen.{}]", name.escape_debug());
            return Err(failure::invalid("listener", &reason));
        };
        if prepared.horizon.has_passed(now) {
            // Tickets of before are of no use from now on, and certificates are looked at again.
            *prepared = prepare(listen, material, provider)
                .map_err(|error| failure::invalid("listener", &error.to_string()))?;
        }
        let is_plain = prepared.service.is_some() || wanted.service.is_some();
        let protocol = (!is_plain).then(|| PROTOCOL.to_vec());
        let (mut config, mut proving) = (Arc::clone(&prepared.config), Proving::Nothing);
        if !prepared.keys.is_empty() {
            let exporter = Arc::new(Exporter::default());
            let mut own = ServerConfig::clone(&config);
            own.key_log = Arc::clone(&exporter) as Arc<dyn KeyLog>;
            config = Arc::new(own);
            proving = Proving::server(Arc::clone(&prepared.keys), exporter);
        }
        let expected = Expected { protocol, pin: None, proves: prepared.proves };
        let make: Make<Session> = Box::new(move || {
            let connection = UnbufferedServerConnection::new(config)
                .map_err(|error| failure::invalid("listener", &error.to_string()))?;
            Ok(Session::server(connection, expected, proving))
        });
        Ok((make, prepared.service.clone()))
    }
}

fn prepare(
    listen: &Listen,
    material: &Material,
    provider: &Arc<CryptoProvider>,
) -> Result<Prepared, Error> {
    let versions: &[_] =
        if listen.tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let missing = || Error::General("what it refers to is missing".to_owned());
    let trust = listen.clients.as_ref().map(|name| material.trusts.get(name).ok_or_else(missing));
    let trust = trust.transpose()?;
    let proves = trust.map(|trust| trust.proves()).unwrap_or_default();
    let horizon = Arc::new(Horizon::default());
    let verifier: Arc<dyn ClientCertVerifier> = match trust {
        Some(trust) => Arc::new(Verifier::new(trust, &horizon, provider)?),
        None => Arc::new(NoClientAuth),
    };
    let certificate = material.certificates.get(&listen.certificate).ok_or_else(missing)?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver(certificate));
    if listen.service.is_none() {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
    }
    config.require_ems = true;
    config.send_tls13_tickets = TICKETS;
    config.ticketer = Ticketer::new()?;
    let keys = listen.keys.iter().map(|name| {
        let key = material.keys.get(name).cloned().ok_or_else(missing)?;
        Ok((name.clone(), key))
    });
    let keys = Arc::new(keys.collect::<Result<Keys, Error>>()?);
    let service = listen.service.clone();
    Ok(Prepared { config: Arc::new(config), service, proves, keys, horizon })
}

fn resolver(certificate: &Certificate) -> Arc<dyn ResolvesServerCert> {
    let certified = Arc::clone(&certificate.certified);
    if certificate.is_raw {
        Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified))
    } else {
        Arc::new(SingleCertAndKey::from(certified))
    }
}

impl fmt::Display for ListenersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[listen.{}]: cannot be used: {}", self.name, self.error)
    }
}

impl std::error::Error for ListenersError {}
