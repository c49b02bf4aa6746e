//! Keys that two hosts share, and proofs of having them.
//!
//! A key adds to verification, and never replaces it. A proof is good for one connection, one
//! direction and one service.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::exporter::Exporter;

/// Bytes that a key has at least.
const KEY_BYTES_LEAST: usize = 32;

/// What is derived from the connection.
const EXPORTED: &str = "EXPORTER-ipcd-key";

/// A key that two hosts share. The library keeps it; it is never shown.
#[derive(Clone)]
pub(crate) struct Key(hmac::Key);

/// Who proves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prover {
    Client,
    Server,
}

/// A text is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct KeyError;

impl Key {
    /// Reads base64 of at least [`KEY_BYTES_LEAST`] bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.trim_ascii()).map_err(|_| KeyError)?;
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < KEY_BYTES_LEAST {
            return Err(KeyError);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A key that nobody has.
    ///
    /// # Errors
    ///
    /// The kernel has no randomness, which does not happen.
    pub(crate) fn of_nobody() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES_LEAST]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| KeyError)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice())))
    }

    /// The proof that whoever has the key is at one end of this connection; nothing if the
    /// connection is not of a kind that can be told from others.
    pub(crate) fn prove(
        &self,
        prover: Prover,
        service: &str,
        connection: &Exporter,
    ) -> Option<String> {
        let message = message(prover, service, connection)?;
        Some(STANDARD.encode(hmac::sign(&self.0, &message)))
    }

    /// Whether `proof` is the far end's. It takes as long whatever is wrong with it.
    pub(crate) fn believes(
        &self,
        proof: &str,
        prover: Prover,
        service: &str,
        connection: &Exporter,
    ) -> bool {
        let Some(message) = message(prover, service, connection) else { return false };
        let Ok(proof) = STANDARD.decode(proof) else { return false };
        hmac::verify(&self.0, &message, &proof).is_ok()
    }
}

/// What a proof is about.
fn message(prover: Prover, service: &str, connection: &Exporter) -> Option<Zeroizing<Vec<u8>>> {
    let exported = connection.derive(EXPORTED)?;
    let label: &[u8] = match prover {
        Prover::Client => b"ipcd client 1",
        Prover::Server => b"ipcd server 1",
    };
    let parts = [label, b"\0", service.as_bytes(), b"\0", exported.as_slice()];
    Some(Zeroizing::new(parts.concat()))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wants base64 of at least {KEY_BYTES_LEAST} bytes, as `openssl rand -base64 32` makes"
        )
    }
}

impl std::error::Error for KeyError {}
