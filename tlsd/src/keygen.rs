//! A key of our own: made where there is none, and known to others by its pin.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daemon::exit::Failure;
use nix::libc;
use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use crate::config::SecretPlace;
use crate::files::account;
use crate::material::load_key;
use crate::pin::Pin;

/// Characters of one line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// The pin of the key in the file at `path`. Where there is no file, it is made, with a key for
/// ECDSA on P-256, readable for the daemon alone: its account's if there is one and this is root.
///
/// # Errors
///
/// [`Failure`]; in particular if there is a file that is no key, or one that others may read.
pub(crate) fn pin_of(path: &Path, provider: &CryptoProvider) -> Result<Pin, Failure> {
    match make(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::system(&path.display().to_string(), &error));
        }
        _ => {}
    }
    let key = load_key(&SecretPlace::File(path.to_owned()), provider)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let public = key.public_key();
    let none = || Failure::Config(format!("{}: has no public key", path.display()));
    public.map(|public| Pin::of(&public)).ok_or_else(none)
}

fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let owner = account();
    if let Some(directory) = path.parent() {
        let mode = if owner.is_some() { 0o755 } else { 0o700 };
        fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    }
    let text = pem()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    if let Some((user, group)) = owner {
        fchown(&file, Some(user), Some(group))?;
    }
    file.write_all(&text)?;
    file.sync_all()
}

/// A new key in PEM form.
fn pem() -> io::Result<Zeroizing<Vec<u8>>> {
    let made = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
    let document = made.and_then(|key| key.to_pkcs8v1()).map_err(io::Error::other)?;
    let text = Zeroizing::new(STANDARD.encode(document.as_ref()));
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut pem = Zeroizing::new(Vec::with_capacity(2 * text.len() + 128));
    pem.extend_from_slice(b"-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(LINE) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(b"-----END PRIVATE KEY-----\n");
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_us_alone_and_keeps_its_pin() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tls/host.key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let pin = pin_of(&path, &provider).unwrap();
        assert_eq!(pin_of(&path, &provider).unwrap(), pin);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let other = pin_of(&place.path().join("other.key"), &provider).unwrap();
        assert_ne!(other, pin);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let said = pin_of(&path, &provider).unwrap_err().to_string();
        assert!(said.contains("others may read it (mode 0644): chmod 0600"), "{said}");
        fs::write(place.path().join("no.key"), "no key").unwrap();
        fs::set_permissions(place.path().join("no.key"), fs::Permissions::from_mode(0o600))
            .unwrap();
        let said = pin_of(&place.path().join("no.key"), &provider).unwrap_err().to_string();
        assert!(said.contains("has no private key in PEM form"), "{said}");
    }
}
