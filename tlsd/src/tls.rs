//! The daemon's own part of the contract: ends of TLS, made as the configuration says.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::exit::Failure;
use daemon::start::read_config;
use libipc::interface::transport::{Serve, TransportError, Wrap};
use libipc::name::ServiceName;
use relay::wrapping::{Make, Wrapping};
use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;

use crate::checkup::{self, Remark};
use crate::config::Config;
use crate::dial::Dialer;
use crate::listeners::{Listeners, ListenersError};
use crate::login;
use crate::material::{Material, MaterialError};
use crate::session::Session;

/// One generation of the configuration, with everything that its files contain.
pub(crate) struct Tls {
    place: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    live: Live,
}

struct Live {
    config: Config,
    material: Material,
    listeners: Listeners,
    dialer: Dialer,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file itself.
    File(Failure),
    /// A file that it names.
    Material(MaterialError),
    /// What they contain together.
    Listeners(ListenersError),
}

impl Tls {
    /// Reads the configuration, and all files that it names.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) fn load(place: Option<PathBuf>) -> Result<Self, LoadError> {
        let provider = Arc::new(provider());
        let live = Live::load(place.as_deref(), &provider)?;
        Ok(Self { place, provider, live })
    }
}

/// What encrypts. AES with 128 bits goes first: nobody breaks it, and processors have its hash,
/// too, which they mostly have not for the hash of that with 256.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    provider
}

impl Live {
    fn load(
        place: Option<&std::path::Path>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, LoadError> {
        let config = read_config(place, Config::parse).map_err(LoadError::File)?;
        let material = Material::load(&config, provider).map_err(LoadError::Material)?;
        let listeners =
            Listeners::prepare(&config, &material, provider).map_err(LoadError::Listeners)?;
        Ok(Self { config, material, listeners, dialer: Dialer::default() })
    }
}

impl Tls {
    /// What is wrong with certificates that can be read, or will be soon.
    pub(crate) fn remarks(&self) -> Vec<Remark> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let Live { config, material, .. } = &self.live;
        checkup::remarks(config, material, host.as_deref().map(str::trim), SystemTime::now())
    }
}

impl Wrapping for Tls {
    type Codec = Session;

    fn wrap(&mut self, wanted: &mut Wrap) -> Result<Make<Session>, TransportError> {
        login::fill_in(wanted)?;
        let Live { config, material, dialer, .. } = &mut self.live;
        dialer.begin(wanted, config, material, (&self.provider, UnixTime::now()))
    }

    fn serve(
        &mut self,
        wanted: &Serve,
    ) -> Result<(Make<Session>, Option<ServiceName>), TransportError> {
        let Live { config, material, listeners, .. } = &mut self.live;
        listeners.begin(wanted, config, material, (&self.provider, UnixTime::now()))
    }

    fn scheme(&self) -> &'static str {
        "tls"
    }

    fn reload(&mut self) {
        match Live::load(self.place.as_deref(), &self.provider) {
            Ok(live) => {
                self.live = live;
                tracing::info!(event = "reloaded");
            }
            Err(error) => {
                let why = error.to_string();
                tracing::error!(event = "not-reloaded", ?why, "the configuration of before stays");
            }
        }
    }

    fn drain_time(&self) -> Duration {
        self.live.config.drain
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::File(failure) => failure,
            other => Self::Config(other.to_string()),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(failure) => write!(f, "{failure}"),
            Self::Material(error) => write!(f, "{error}"),
            Self::Listeners(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LoadError {}
