//! Keying material that both ends of a connection derive, and nobody else can.
//!
//! The library offers exporters on its buffered interface alone. Through the log of keys it tells
//! the secret that they are derived from; the derivation here is that of RFC 8446, section 7.5.

use std::fmt;
use std::sync::Mutex;

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::hkdf::{Algorithm, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::KeyLog;
use zeroize::Zeroizing;

/// Bytes of what is derived.
pub(crate) const LENGTH: usize = 32;

/// The label under which the library tells the secret.
const LOGGED: &str = "EXPORTER_SECRET";

/// The secret of one connection, wiped when it is dropped.
#[derive(Default)]
pub(crate) struct Exporter(Mutex<Option<Zeroizing<Vec<u8>>>>);

impl Exporter {
    /// What both ends derive under `label`, without a context; nothing before the handshake is
    /// over, or over TLS 1.2.
    pub(crate) fn derive(&self, label: &str) -> Option<Zeroizing<[u8; LENGTH]>> {
        let secret = self.0.lock().ok()?;
        let secret = secret.as_ref()?;
        let (hash, hkdf) = match secret.len() {
            32 => (&digest::SHA256, HKDF_SHA256),
            48 => (&digest::SHA384, HKDF_SHA384),
            _ => return None,
        };
        let nothing = digest(hash, &[]);
        let derived = expand(hkdf, secret, (label, nothing.as_ref()), secret.len())?;
        let material = expand(hkdf, &derived, ("exporter", nothing.as_ref()), LENGTH)?;
        let mut exact = Zeroizing::new([0; LENGTH]);
        exact.copy_from_slice(material.get(..LENGTH)?);
        Some(exact)
    }
}

/// HKDF-Expand-Label (RFC 8446, section 7.1).
fn expand(
    hkdf: Algorithm,
    secret: &[u8],
    (label, context): (&str, &[u8]),
    length: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    let full = ["tls13 ", label].concat();
    let count = |bytes: &[u8]| u8::try_from(bytes.len()).ok().map(|count| [count]);
    let size = u16::try_from(length).ok()?.to_be_bytes();
    let (before, behind) = (count(full.as_bytes())?, count(context)?);
    let prk = Prk::new_less_safe(hkdf, secret);
    let info = [&size[..], &before, full.as_bytes(), &behind, context];
    let mut bytes = Zeroizing::new(vec![0; length]);
    prk.expand(&info, Length(length)).ok()?.fill(&mut bytes).ok()?;
    Some(bytes)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl KeyLog for Exporter {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == LOGGED
            && let Ok(mut place) = self.0.lock()
        {
            *place = Some(Zeroizing::new(secret.to_vec()));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == LOGGED
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}
