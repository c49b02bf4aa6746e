//! What the configuration's files contain: certificates with their keys, and whom we believe.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroize;

use crate::config::{Authorities, CertificateFiles, Config, SYSTEM, SecretPlace, TrustFiles};
use crate::files::{self, FileError};
use crate::key::{Key, KeyError};
use crate::pin::Pin;
use crate::proving::Keys;

/// What is shown to far ends.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// The chain and its key; of a raw public key, the key alone.
    pub(crate) certified: Arc<CertifiedKey>,
    /// Whether it is a key without certificates.
    pub(crate) is_raw: bool,
}

/// Whom we believe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Whose certificates are believed; nothing if pins are all that counts.
    pub(crate) authorities: Option<Arc<RootCertStore>>,
    /// Lists of certificates that are believed no more.
    pub(crate) crls: Vec<CertificateRevocationListDer<'static>>,
    /// Keys that are believed, those alone; all if there are none.
    pub(crate) pins: Vec<Pin>,
    /// Whether far ends show a key and no certificate.
    pub(crate) is_raw: bool,
}

/// What far ends prove by what they show, if a trust believes it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Proves {
    /// The names in a certificate, which an authority vouches for, and its key.
    Names,
    /// A key alone: what else is in the certificate around it, its owner has written himself.
    #[default]
    Key,
    /// A key alone, which is shown without a certificate.
    BareKey,
}

impl Trust {
    /// What far ends prove that it believes.
    pub(crate) fn proves(&self) -> Proves {
        match self.authorities {
            _ if self.is_raw => Proves::BareKey,
            Some(_) => Proves::Names,
            None => Proves::Key,
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) certificates: BTreeMap<String, Certificate>,
    pub(crate) trusts: BTreeMap<String, Arc<Trust>>,
    pub(crate) keys: Keys,
}

/// Why the configuration's files cannot be used.
#[derive(Debug)]
pub(crate) enum MaterialError {
    /// A file cannot be read, or must not be.
    File(FileError),
    /// It has nothing of what it should have.
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should have.
        wanted: &'static str,
    },
    /// What it has cannot be used.
    Unusable {
        /// The file, or the table that names it.
        place: String,
        /// What is wrong.
        error: rustls::Error,
    },
    /// The key is not that of the certificate.
    Mismatch {
        /// The table.
        name: String,
        /// The key was passed by the service manager, when the daemon was started.
        is_passed: bool,
    },
    /// A key that two hosts share cannot be used.
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The system trusts nobody.
    NoSystemTrust,
}

impl From<FileError> for MaterialError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Material {
    /// Reads all files of the configuration.
    ///
    /// # Errors
    ///
    /// [`MaterialError`] about the first file that cannot be used.
    pub(crate) fn load(config: &Config, provider: &CryptoProvider) -> Result<Self, MaterialError> {
        let mut certificates = BTreeMap::new();
        for (name, files) in &config.certificates {
            certificates.insert(name.clone(), load_certificate(name, files, provider)?);
        }
        let mut trusts = BTreeMap::new();
        for (name, files) in &config.trusts {
            trusts.insert(name.clone(), Arc::new(load_trust(files)?));
        }
        let mut keys = BTreeMap::new();
        for (name, place) in &config.keys {
            let text = files::read_secret(place)?;
            let key = Key::parse(&text)
                .map_err(|error| MaterialError::Key { path: path_of(place), error })?;
            keys.insert(name.clone(), Arc::new(key));
        }
        Ok(Self { certificates, trusts, keys })
    }

    /// The trust `name`. The system's is read when it is first asked for.
    ///
    /// # Errors
    ///
    /// [`MaterialError::NoSystemTrust`]; nothing, if there is no such trust.
    pub(crate) fn trust(&mut self, name: &str) -> Result<Option<Arc<Trust>>, MaterialError> {
        if name == SYSTEM && !self.trusts.contains_key(name) {
            let authorities = Some(load_system()?);
            let trust = Trust { authorities, ..Trust::default() };
            self.trusts.insert(name.to_owned(), Arc::new(trust));
        }
        Ok(self.trusts.get(name).cloned())
    }
}

fn load_certificate(
    name: &str,
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Certificate, MaterialError> {
    let key = load_key(&files.key, provider)?;
    let is_passed = matches!(files.key, SecretPlace::Credential(_));
    let mismatch = || MaterialError::Mismatch { name: name.to_owned(), is_passed };
    let unusable =
        |error| MaterialError::Unusable { place: format!("[certificate.{name}]"), error };
    let Some(path) = &files.chain else {
        let public = key.public_key().ok_or_else(mismatch)?;
        let certified = CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key);
        return Ok(Certificate { certified: Arc::new(certified), is_raw: true });
    };
    let chain = load_certificates(path)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Certificate { certified: Arc::new(certified), is_raw: false }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(mismatch()),
        Err(error) => Err(unusable(error)),
    }
}

/// Reads a private key.
///
/// # Errors
///
/// [`MaterialError`].
pub(crate) fn load_key(
    place: &SecretPlace,
    provider: &CryptoProvider,
) -> Result<Arc<dyn rustls::sign::SigningKey>, MaterialError> {
    let text = files::read_secret(place)?;
    let path = path_of(place);
    let Ok(mut key) = PrivateKeyDer::from_pem_slice(&text) else {
        return Err(MaterialError::Empty { path, wanted: "private key in PEM form" });
    };
    let loaded = provider.key_provider.load_private_key(key.clone_key());
    key.zeroize();
    let place = path.display().to_string();
    loaded.map_err(|error| MaterialError::Unusable { place, error })
}

/// The file as people know it.
fn path_of(place: &SecretPlace) -> PathBuf {
    match place {
        SecretPlace::File(path) => path.clone(),
        SecretPlace::Credential(name) => PathBuf::from(format!("credential:{name}")),
    }
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let text = files::read_public(path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    if all.is_empty() {
        let wanted = "certificate in PEM form";
        return Err(MaterialError::Empty { path: path.to_owned(), wanted });
    }
    Ok(all)
}

fn load_trust(files: &TrustFiles) -> Result<Trust, MaterialError> {
    let authorities = match &files.authorities {
        None => None,
        Some(Authorities::System) => Some(load_system()?),
        Some(Authorities::File(path)) => {
            let mut store = RootCertStore::empty();
            for certificate in load_certificates(path)? {
                store.add(certificate).map_err(|error| MaterialError::Unusable {
                    place: path.display().to_string(),
                    error,
                })?;
            }
            Some(Arc::new(store))
        }
    };
    let mut crls = Vec::new();
    for path in &files.crls {
        let text = files::read_public(path)?;
        let before = crls.len();
        crls.extend(CertificateRevocationListDer::pem_slice_iter(&text).filter_map(Result::ok));
        if crls.len() == before {
            let wanted = "list of revoked certificates in PEM form";
            return Err(MaterialError::Empty { path: path.clone(), wanted });
        }
    }
    Ok(Trust { authorities, crls, pins: files.pins.clone(), is_raw: files.is_raw })
}

fn load_system() -> Result<Arc<RootCertStore>, MaterialError> {
    let mut store = RootCertStore::empty();
    // A system may have a root that cannot be read; what it certifies is then not believed.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(MaterialError::NoSystemTrust);
    }
    Ok(Arc::new(store))
}

impl fmt::Display for MaterialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(f, "{error}"),
            Self::Empty { path, wanted } => write!(f, "{}: has no {wanted}", path.display()),
            Self::Unusable { place, error } => write!(f, "{place}: cannot be used: {error}"),
            Self::Mismatch { name, is_passed } => {
                write!(f, "[certificate.{name}]: the key is not that of the certificate")?;
                if *is_passed {
                    f.write_str(
                        "; a credential is as it was when the unit was started: a new one takes a \
                         restart, and a key in a file of this daemon's a reload",
                    )?;
                }
                Ok(())
            }
            Self::Key { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NoSystemTrust => {
                f.write_str("this system trusts nobody: install ca-certificates, or name a trust")
            }
        }
    }
}

impl std::error::Error for MaterialError {}
