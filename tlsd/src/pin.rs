//! Public keys, by their digests.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The SHA-256 digest of a public key, as `SubjectPublicKeyInfo` has it (RFC 7469, section 2.4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Pin([u8; 32]);

/// A text is no pin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PinError;

impl Pin {
    /// Reads `sha256-` and 44 characters of base64.
    ///
    /// # Errors
    ///
    /// [`PinError`].
    pub(crate) fn parse(text: &str) -> Result<Self, PinError> {
        let digest = text.strip_prefix("sha256-").ok_or(PinError)?;
        let bytes = STANDARD.decode(digest).map_err(|_| PinError)?;
        bytes.try_into().map(Self).map_err(|_| PinError)
    }

    /// The pin of a key.
    pub(crate) fn of(subject_public_key_info: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest(&SHA256, subject_public_key_info).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256-{}", STANDARD.encode(self.0))
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wants sha256- and 44 characters of base64")
    }
}

impl std::error::Error for PinError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_it_is_read() {
        let text = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(Pin::of(b"").to_string(), text);
        assert_eq!(Pin::parse(text), Ok(Pin::of(b"")));
        for wrong in ["", "sha256-", "sha512-47DE", "sha256-47DEQpj8", "sha256-????"] {
            let error = Pin::parse(wrong).unwrap_err().to_string();
            assert_eq!(error, "wants sha256- and 44 characters of base64", "{wrong}");
        }
    }
}
