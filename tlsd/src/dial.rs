//! The client end: what the options of a target and the configuration say together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use libipc::interface::transport::{TransportError, Wrap};
use relay::failure;
use relay::wrapping::Make;
use rustls::client::{
    AlwaysResolvesClientRawPublicKeys, ClientSessionMemoryCache, ClientSessionStore,
    ResolvesClientCert, Resumption, UnbufferedClientConnection,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, KeyLog, version};

use crate::config::{Config, PIN, SYSTEM};
use crate::exporter::Exporter;
use crate::material::{Certificate, Material, Proves, Trust};
use crate::pin::Pin;
use crate::proving::Proving;
use crate::reception::{Asked, Reception};
use crate::session::{Expected, Observed, Session};
use crate::starttls::Dialogue;
use crate::validity::Horizon;
use crate::verify::Verifier;

/// The protocol that our daemons speak inside TLS (RFC 7301).
pub(crate) const PROTOCOL: &[u8] = b"ipc/1";

/// Servers whose tickets are kept at most, in one manner. With each lies the server's chain of
/// certificates, 64 KiB at most, and a server chooses how long that is.
const SERVERS_REMEMBERED_MOST: usize = 64;

/// Those in a manner in which one key is all that counts: its server may go by a few names. Who asks
/// for a connection may name any key, so there are as many of these manners as there may be.
const NAMES_OF_A_KEY_MOST: usize = 4;

/// Tickets of one server, as the library counts its memory.
const TICKETS_OF_A_SERVER: usize = 8;

/// Manners that are kept ready at most; then all are made anew.
const PREPARED_MOST: usize = 256;

/// Everything that decides how a server is met. Sessions are resumed only within one of these.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Manner {
    certificate: Option<String>,
    trust: String,
    /// The pin, where it is all that counts.
    sole_pin: Option<Pin>,
    protocol: Option<Vec<u8>>,
    tls12: bool,
}

/// What the options of one target say.
struct Options {
    manner: Manner,
    /// A pin that holds besides the trust.
    pin: Option<Pin>,
    /// The name of a key that both hosts have.
    key: Option<String>,
    greeting: Option<Dialogue>,
}

#[derive(Clone, Debug)]
struct Prepared {
    config: Arc<ClientConfig>,
    tickets: Arc<dyn ClientSessionStore>,
    proves: Proves,
    /// Until when the tickets may stand for what was believed.
    horizon: Arc<Horizon>,
}

/// The client ends of connections to be.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    prepared: HashMap<Manner, Prepared>,
}

impl Dialer {
    /// What makes the client end of a connection.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidRequest`]: an option cannot be used, or names what is not in the
    /// configuration; [`TransportError::Unreachable`]: what it names cannot be used.
    pub(crate) fn begin(
        &mut self,
        wanted: &Wrap,
        config: &Config,
        material: &mut Material,
        (provider, now): (&Arc<CryptoProvider>, UnixTime),
    ) -> Result<Make<Session>, TransportError> {
        let Options { manner, pin, key, greeting } = read(wanted, config)?;
        let name = server_name(&wanted.host)?;
        let protocol = manner.protocol.clone();
        let prepared = self.prepare(manner, material, (provider, now))?;
        let Prepared { mut config, tickets, proves, .. } = prepared;
        let mut proving = Proving::Nothing;
        if let Some(name) = key {
            let key = material.keys.get(&name).cloned().ok_or_else(|| no_table("key", &name))?;
            let exporter = Arc::new(Exporter::default());
            let mut own = ClientConfig::clone(&config);
            own.key_log = Arc::clone(&exporter) as Arc<dyn KeyLog>;
            config = Arc::new(own);
            proving = Proving::client(name, key, exporter);
        }
        // A daemon of ours says yes or no.
        let reception = wanted.hello.is_none().then(|| observe(&mut config, tickets));
        let expected = Expected { protocol, pin, proves };
        let observed = Observed { greeting, reception };
        Ok(Box::new(move || {
            let connection = UnbufferedClientConnection::new(config, name);
            let connection = connection.map_err(|error| unusable(&error))?;
            Ok(Session::client(connection, expected, proving, observed))
        }))
    }

    fn prepare(
        &mut self,
        manner: Manner,
        material: &mut Material,
        (provider, now): (&Arc<CryptoProvider>, UnixTime),
    ) -> Result<Prepared, TransportError> {
        let known = self.prepared.get(&manner);
        if let Some(prepared) = known.filter(|prepared| !prepared.horizon.has_passed(now)) {
            return Ok(prepared.clone());
        }
        let made = prepare(&manner, material, provider)?;
        if self.prepared.len() >= PREPARED_MOST {
            self.prepared.clear();
        }
        self.prepared.insert(manner, made.clone());
        Ok(made)
    }
}

fn read(wanted: &Wrap, config: &Config) -> Result<Options, TransportError> {
    let mut manner = Manner {
        certificate: config.dial.certificate.clone(),
        trust: config.dial.trust.clone().unwrap_or_else(|| SYSTEM.to_owned()),
        sole_pin: None,
        protocol: wanted.hello.as_ref().map(|_| PROTOCOL.to_vec()),
        tls12: false,
    };
    let (mut pin, mut key, mut greeting) = (None, None, None);
    for (name, value) in &wanted.options {
        let value = value.expose();
        match name.as_str() {
            "certificate" => manner.certificate = Some(value.to_owned()),
            "trust" => value.clone_into(&mut manner.trust),
            "tls12" => manner.tls12 = value == "true",
            "pin" => {
                let read = Pin::parse(value);
                pin = Some(read.map_err(|error| invalid(&format!("pin {error}")))?);
            }
            "psk" if wanted.hello.is_some() => key = Some(value.to_owned()),
            "alpn" if wanted.hello.is_none() => manner.protocol = Some(value.as_bytes().to_vec()),
            "starttls" if wanted.hello.is_none() => {
                greeting = Some(Dialogue::new(value, &wanted.host)?);
            }
            "psk" => return Err(invalid("psk is between two daemons of ipcd: name a service")),
            "alpn" | "starttls" => {
                return Err(invalid(&format!("{name} means nothing between two daemons of ipcd")));
            }
            // The hello has what is there.
            "secret-file" | "credential" => {}
            other => return Err(invalid(&format!("{other} is not an option of tls"))),
        }
    }
    if manner.trust == PIN {
        manner.sole_pin = pin.take();
        if manner.sole_pin.is_none() {
            return Err(invalid("trust=pin needs a pin"));
        }
    }
    Ok(Options { manner, pin, key, greeting })
}

fn prepare(
    manner: &Manner,
    material: &mut Material,
    provider: &Arc<CryptoProvider>,
) -> Result<Prepared, TransportError> {
    let trust = match manner.sole_pin {
        Some(pin) => Arc::new(Trust { pins: vec![pin], ..Trust::default() }),
        None => material
            .trust(&manner.trust)
            .map_err(|error| unreachable(error.to_string()))?
            .ok_or_else(|| no_table("trust", &manner.trust))?,
    };
    let certificate = match &manner.certificate {
        Some(name) => {
            let known = material.certificates.get(name).cloned();
            Some(known.ok_or_else(|| no_table("certificate", name))?)
        }
        None => None,
    };
    let versions: &[_] =
        if manner.tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let horizon = Arc::new(Horizon::default());
    let verifier = Verifier::new(&trust, &horizon, provider).map_err(|error| unusable(&error))?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut made = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(resolver(certificate)),
        None => builder.with_no_client_auth(),
    };
    made.client_auth_cert_resolver = Arc::new(Asked(made.client_auth_cert_resolver));
    made.alpn_protocols = manner.protocol.iter().cloned().collect();
    made.require_ems = true;
    let tickets = Arc::new(remembering(manner));
    made.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
    Ok(Prepared { config: Arc::new(made), tickets, proves: trust.proves(), horizon })
}

/// Where the tickets of servers are kept that are met in that manner.
fn remembering(manner: &Manner) -> ClientSessionMemoryCache {
    let servers =
        if manner.sole_pin.is_some() { NAMES_OF_A_KEY_MOST } else { SERVERS_REMEMBERED_MOST };
    ClientSessionMemoryCache::new(servers * TICKETS_OF_A_SERVER)
}

/// Has one connection tell how the server receives us.
fn observe(config: &mut Arc<ClientConfig>, tickets: Arc<dyn ClientSessionStore>) -> Arc<Reception> {
    let reception = Arc::new(Reception::new(tickets));
    let mut own = ClientConfig::clone(config);
    own.resumption = Resumption::store(Arc::clone(&reception) as Arc<dyn ClientSessionStore>);
    *config = Arc::new(own);
    reception
}

fn resolver(certificate: Certificate) -> Arc<dyn ResolvesClientCert> {
    if certificate.is_raw {
        Arc::new(AlwaysResolvesClientRawPublicKeys::new(certificate.certified))
    } else {
        Arc::new(SingleCertAndKey::from(certificate.certified))
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TransportError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(host.to_owned())
        .map_err(|_| failure::invalid("host", "no certificate can be for this name"))
}

fn invalid(reason: &str) -> TransportError {
    failure::invalid("options", reason)
}

fn no_table(kind: &str, name: &str) -> TransportError {
    let name = name.escape_debug();
    invalid(&format!("tlsd.toml has no table [{kind}.{name}]"))
}

fn unusable(error: &rustls::Error) -> TransportError {
    unreachable(format!("the configuration of tls cannot be used: {error}"))
}

fn unreachable(reason: String) -> TransportError {
    TransportError::Unreachable { reason, retry: false }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustls::NamedGroup;
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    /// A manner that has its own pin, so that it needs no files.
    fn manner(number: usize) -> Manner {
        Manner {
            certificate: None,
            trust: PIN.to_owned(),
            sole_pin: Some(Pin::of(&number.to_be_bytes())),
            protocol: None,
            tls12: false,
        }
    }

    fn preparing() -> impl FnMut(&mut Dialer, usize) -> Prepared {
        let provider = Arc::new(default_provider());
        let (certificates, trusts) = (BTreeMap::new(), BTreeMap::new());
        let mut material = Material { certificates, trusts, keys: BTreeMap::new() };
        let now = UnixTime::now();
        move |dialer, number| {
            dialer.prepare(manner(number), &mut material, (&provider, now)).unwrap()
        }
    }

    #[test]
    fn as_many_manners_are_kept_ready_as_the_limit_and_one_more_begins_anew() {
        let (mut dialer, mut prepare) = (Dialer::default(), preparing());
        let first = prepare(&mut dialer, 0);
        for number in 1..256 {
            prepare(&mut dialer, number);
        }
        assert_eq!(dialer.prepared.len(), 256);
        assert!(Arc::ptr_eq(&prepare(&mut dialer, 0).config, &first.config), "it is ready");
        prepare(&mut dialer, 256);
        assert_eq!(dialer.prepared.len(), 1);
        assert!(!Arc::ptr_eq(&prepare(&mut dialer, 0).config, &first.config), "it is made anew");
        assert_eq!(dialer.prepared.len(), 2);
    }

    #[test]
    fn as_many_servers_are_remembered_as_the_limit_and_one_more_takes_the_place_of_the_first() {
        let server =
            |number: usize| ServerName::try_from(format!("s{number}.example.com")).unwrap();
        let by_authority = Manner { sole_pin: None, ..manner(0) };
        for (manner, most) in [(by_authority, 64), (manner(0), 4)] {
            let tickets = remembering(&manner);
            let knows = |number| tickets.kx_hint(&server(number)).is_some();
            for number in 0..most {
                tickets.set_kx_hint(server(number), NamedGroup::X25519);
            }
            assert!((0..most).all(knows));
            tickets.set_kx_hint(server(most), NamedGroup::X25519);
            assert!(!knows(0) && (1..=most).all(knows));
        }
    }
}
