//! `tlsd.toml`: who we are, whom we believe, and what we offer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use libipc::name::ServiceName;
use settings::{Problem, Section, Text, Value};

use crate::pin::Pin;

mod references;

/// The trust that there is without a table: what this system trusts.
pub(crate) const SYSTEM: &str = "system";

/// The trust that an option of a target names if its pin is all that counts.
pub(crate) const PIN: &str = "pin";

/// How long connections go on after a stop, if the file says nothing.
const DRAIN_DEFAULT: Duration = Duration::from_secs(30);

/// What the file says. Holding one is the proof that it was valid, and that what it refers to is
/// in it; the files that it names have not been read.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Config {
    /// The tables `[listen.NAME]`.
    pub(crate) listen: BTreeMap<String, Listen>,
    /// The tables `[certificate.NAME]`.
    pub(crate) certificates: BTreeMap<String, CertificateFiles>,
    /// The tables `[trust.NAME]`.
    pub(crate) trusts: BTreeMap<String, TrustFiles>,
    /// The tables `[key.NAME]`.
    pub(crate) keys: BTreeMap<String, SecretPlace>,
    /// The table `[dial]`.
    pub(crate) dial: Dial,
    /// How long connections go on after a stop.
    pub(crate) drain: Duration,
}

/// One table `[listen.NAME]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listen {
    /// What is shown to peers.
    pub(crate) certificate: String,
    /// The trust for certificates of peers; nothing if they need none.
    pub(crate) clients: Option<String>,
    /// What is offered to plain clients of a protocol, who say no hello.
    pub(crate) service: Option<ServiceName>,
    /// Whether peers may speak TLS 1.2.
    pub(crate) tls12: bool,
    /// Keys that peers may prove besides.
    pub(crate) keys: Vec<String>,
}

/// One table `[certificate.NAME]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CertificateFiles {
    /// The certificates, our own first; nothing if the key alone is shown.
    pub(crate) chain: Option<PathBuf>,
    /// Their key.
    pub(crate) key: SecretPlace,
}

/// Where something is that only this daemon may read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SecretPlace {
    /// A file.
    File(PathBuf),
    /// What the service manager passes under this name.
    Credential(String),
}

/// One table `[trust.NAME]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TrustFiles {
    /// Whose certificates are believed; nothing if pins are all that counts.
    pub(crate) authorities: Option<Authorities>,
    /// Lists of certificates that are believed no more.
    pub(crate) crls: Vec<PathBuf>,
    /// Keys that are believed: those alone.
    pub(crate) pins: Vec<Pin>,
    /// Whether peers show a key and no certificate.
    pub(crate) is_raw: bool,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Authorities {
    /// Those that this system trusts.
    System,
    /// Those in a file.
    File(PathBuf),
}

/// The table `[dial]`: what holds where a target says nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dial {
    /// What is shown to servers that ask.
    pub(crate) certificate: Option<String>,
    /// Whom we believe; the system's if nothing is said.
    pub(crate) trust: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: BTreeMap::new(),
            certificates: BTreeMap::new(),
            trusts: BTreeMap::new(),
            keys: BTreeMap::new(),
            dial: Dial::default(),
            drain: DRAIN_DEFAULT,
        }
    }
}

impl Config {
    /// Reads the text of the file that people know as `file`.
    ///
    /// # Errors
    ///
    /// All problems of the file.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        settings::read(file, text, |mut root| {
            let certificates = tables(root.section("certificate"), read_certificate);
            let trusts =
                tables(root.section("trust"), |name, section| Some(read_trust(name, section)));
            let keys = tables(root.section("key"), |_name, mut section| {
                let secret = section.required("secret").and_then(|value| value.text());
                secret.and_then(|text| secret_place(&section, &text))
            });
            let known = references::Known::new(&certificates, &trusts, &keys);
            let listen =
                tables(root.section("listen"), |name, section| read_listen(name, section, &known));
            let dial = root.section("dial").map(|section| read_dial(section, &known));
            let drain = root.integer("drain-seconds", 0..=86400).map(Duration::from_secs);
            Self {
                listen,
                certificates,
                trusts,
                keys,
                dial: dial.unwrap_or_default(),
                drain: drain.unwrap_or(DRAIN_DEFAULT),
            }
        })
    }
}

/// All tables `[KIND.NAME]` of one kind.
fn tables<T>(
    section: Option<Section<'_>>,
    mut read: impl FnMut(&Text, Section<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let entries = section.map(|mut section| section.entries()).unwrap_or_default();
    let read_one = |(name, value): (Text, Value<'_>)| {
        Some((name.as_str().to_owned(), read(&name, value.section()?)?))
    };
    entries.into_iter().filter_map(read_one).collect()
}

fn read_listen(
    _name: &Text,
    mut section: Section<'_>,
    known: &references::Known,
) -> Option<Listen> {
    let certificate = section.required("certificate").and_then(|value| value.text());
    let certificate = certificate.and_then(|text| known.certificate(&section, &text));
    let clients = section.required("clients").and_then(|value| value.text());
    let clients = match clients {
        Some(text) if text.as_str() == "none" => Some(None),
        Some(text) => known.clients(&section, &text).map(Some),
        None => None,
    };
    let service = section.text("service").and_then(|text| {
        let service = ServiceName::new(text.as_str());
        service.map_err(|error| section.report(text.problem(error))).ok()
    });
    let tls12 = section.flag("tls12").unwrap_or(false);
    let keys = section.texts("keys");
    let keys: Vec<_> = keys.iter().filter_map(|text| known.key(&section, text)).collect();
    if !keys.is_empty() && service.is_some() {
        section.problem(
            "plain clients of `service` are not asked for a key, and so prove none of `keys`",
        );
    }
    Some(Listen { certificate: certificate?, clients: clients?, service, tls12, keys })
}

fn read_certificate(_name: &Text, mut section: Section<'_>) -> Option<CertificateFiles> {
    let chain = section.text("chain").and_then(|text| absolute(&section, &text));
    let key = section.required("key").and_then(|value| value.text());
    let key = key.and_then(|text| secret_place(&section, &text));
    Some(CertificateFiles { chain, key: key? })
}

fn read_trust(name: &Text, mut section: Section<'_>) -> TrustFiles {
    if [SYSTEM, PIN, "none"].contains(&name.as_str()) {
        section.report(name.problem("this name has a meaning of its own: choose another"));
    }
    let authorities = section.text("ca").and_then(|text| match text.as_str() {
        SYSTEM => Some(Authorities::System),
        _ => absolute(&section, &text).map(Authorities::File),
    });
    let crls = section.texts("crl");
    let crls: Vec<_> = crls.iter().filter_map(|text| absolute(&section, text)).collect();
    let pins = section.texts("pins");
    let pins: Vec<_> = pins.iter().filter_map(|text| read_pin(&section, text)).collect();
    let is_raw = section.flag("raw-public-keys").unwrap_or(false);
    if authorities.is_none() && pins.is_empty() {
        section.problem("needs `ca`, `pins`, or both: it believes nobody");
    }
    if is_raw && authorities.is_some() {
        section
            .problem("a key without a certificate has no `ca`: `pins` alone say whom to believe");
    }
    if !crls.is_empty() && authorities.is_none() {
        section.problem("`crl` means nothing without `ca`");
    }
    TrustFiles { authorities, crls, pins, is_raw }
}

fn read_dial(mut section: Section<'_>, known: &references::Known) -> Dial {
    let certificate = section.text("certificate");
    let certificate = certificate.and_then(|text| known.certificate(&section, &text));
    let trust = section.text("trust").and_then(|text| known.trust(&section, &text));
    Dial { certificate, trust }
}

fn read_pin(section: &Section<'_>, text: &Text) -> Option<Pin> {
    Pin::parse(text.as_str()).map_err(|error| section.report(text.problem(error))).ok()
}

fn absolute(section: &Section<'_>, text: &Text) -> Option<PathBuf> {
    let path = PathBuf::from(text.as_str());
    if path.is_absolute() {
        return Some(path);
    }
    section.report(text.problem("wants an absolute path"));
    None
}

fn secret_place(section: &Section<'_>, text: &Text) -> Option<SecretPlace> {
    let Some(name) = text.as_str().strip_prefix("credential:") else {
        return absolute(section, text).map(SecretPlace::File);
    };
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        section.report(text.problem("wants credential:NAME, as the service manager has it"));
        return None;
    }
    Some(SecretPlace::Credential(name.to_owned()))
}

#[cfg(test)]
mod tests;
