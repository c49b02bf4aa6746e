//! What tests of TLS share: an authority with its certificates, and hosts with a tlsd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::{Daemon, Host, until};

/// An authority, and a directory with the files that it makes.
#[derive(Debug)]
pub struct Authority {
    place: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificates, its own first.
    pub chain: PathBuf,
    /// The key, which only we may read.
    pub key: PathBuf,
    /// The pin of the key.
    pub public_key: Vec<u8>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let place = tempfile::tempdir().expect("a directory");
        fs::write(place.path().join("ca.crt"), issuer.pem()).expect("the certificate");
        Self { place, issuer }
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.place.path().join("ca.crt")
    }

    /// The directory of its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.place.path()
    }

    /// Parameters of an ordinary certificate for these names, which may be addresses or URIs.
    #[must_use]
    pub fn ordinary(names: &[&str]) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    /// A certificate for these names, in files called after `file`.
    #[must_use]
    pub fn issue(&self, file: &str, names: &[&str]) -> Files {
        self.issue_with(file, &Self::ordinary(names))
    }

    /// A certificate with these parameters.
    #[must_use]
    pub fn issue_with(&self, file: &str, params: &CertificateParams) -> Files {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(file, &certificate.pem(), &key)
    }

    /// Writes a certificate and its key.
    #[must_use]
    pub fn write(&self, file: &str, chain: &str, key: &KeyPair) -> Files {
        let path = |ending: &str| self.place.path().join(format!("{file}.{ending}"));
        let files = Files {
            chain: path("crt"),
            key: path("key"),
            public_key: rcgen::PublicKeyData::subject_public_key_info(key),
        };
        fs::write(&files.chain, chain).expect("the certificate");
        fs::write(&files.key, key.serialize_pem()).expect("the key");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("its mode");
        files
    }

    /// The issuer, for certificates of special kinds.
    #[must_use]
    pub fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }
}

fn san(name: &str) -> SanType {
    if let Ok(address) = name.parse() {
        return SanType::IpAddress(address);
    }
    let text = name.try_into().expect("an ASCII name");
    if name.contains(':') { SanType::URI(text) } else { SanType::DnsName(text) }
}

impl Files {
    /// The table `[certificate.NAME]` of these files.
    #[must_use]
    pub fn table(&self, name: &str) -> String {
        let (chain, key) = (self.chain.display(), self.key.display());
        format!("[certificate.{name}]\nchain = \"{chain}\"\nkey = \"{key}\"\n")
    }
}

impl Host {
    /// With a tlsd of this configuration.
    #[must_use]
    pub fn with_tlsd(mut self, config: &str) -> Self {
        let tlsd = self.start_tlsd(config);
        self.others.push(tlsd);
        self
    }

    /// Starts a tlsd of this configuration.
    #[must_use]
    pub fn start_tlsd(&self, config: &str) -> Daemon {
        let file = self.place.path().join("tlsd.toml");
        fs::write(&file, config).expect("the configuration");
        let mut command = self.surroundings.daemon("tlsd", self.place.path());
        command.arg("--rundir").arg(self.rundir()).arg("--config").arg(&file);
        let tlsd = Daemon::start(&mut command);
        self.until_available("tls");
        tlsd
    }

    /// With a tcpd of this configuration.
    #[must_use]
    pub fn with_tcpd_of(mut self, config: &str) -> Self {
        let file = self.place.path().join("tcpd.toml");
        fs::write(&file, config).expect("the configuration");
        let mut command = self.surroundings.daemon("tcpd", self.place.path());
        command.arg("--rundir").arg(self.rundir()).arg("--config").arg(&file);
        self.others.push(Daemon::start(&mut command));
        self.until_available("tcp");
        self
    }

    fn until_available(&self, name: &str) {
        until(&format!("the broker knows {name}"), || {
            let status = self.ipc(&["--json", "status"]).output().expect("ipc runs");
            let status: serde_json::Value =
                serde_json::from_slice(&status.stdout).unwrap_or_default();
            status["transports"].as_array().is_some_and(|all| {
                all.iter().any(|one| one["name"] == name && one["available"] == true)
            })
        });
    }
}
