//! Hashes of secrets: argon2id (RFC 9106), written as PHC strings.

use std::fmt;
use std::io;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use libipc::secret::Secret;

/// KiB of memory that one hash may want.
pub(crate) const MEMORY_KIB_MOST: u32 = 64 * 1024;

/// Passes over that memory at most.
pub(crate) const PASSES_MOST: u32 = 16;

/// Lanes at most; they are computed one after the other.
const LANES_MOST: u32 = 16;

/// Bytes of the shortest hash that is believed.
const OUTPUT_LEAST: usize = 16;

/// The hash of a secret, with all that is needed to compare another one.
///
/// The cost of a new one is what OWASP recommends at least: 19 MiB, 2 passes, 1 lane.
#[derive(Clone)]
pub(crate) struct Hash(PasswordHash);

/// Why a text is no hash that can be used. Never repeats it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HashError {
    /// It is no PHC string.
    Malformed,
    /// It is another algorithm, or another version of it.
    Algorithm,
    /// It would cost too much each time.
    Cost,
    /// It has no salt, or is too short.
    Incomplete,
}

/// There is no memory for a hash now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NoMemory;

impl Hash {
    /// Reads `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`.
    pub(crate) fn parse(text: &str) -> Result<Self, HashError> {
        let hash = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
        if hash.algorithm.as_str() != "argon2id" || hash.version != Some(19) {
            return Err(HashError::Algorithm);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
        let fits = params.m_cost() <= MEMORY_KIB_MOST
            && params.t_cost() <= PASSES_MOST
            && params.p_cost() <= LANES_MOST;
        if !fits {
            return Err(HashError::Cost);
        }
        let is_complete = hash.salt.is_some()
            && hash.hash.as_ref().is_some_and(|output| output.len() >= OUTPUT_LEAST);
        if is_complete { Ok(Self(hash)) } else { Err(HashError::Incomplete) }
    }

    /// The hash of a secret, with a salt of its own.
    pub(crate) fn of(secret: &Secret) -> io::Result<Self> {
        let mut salt = [0; 16];
        sys::random::fill(&mut salt)?;
        let made = Argon2::default().hash_password_with_salt(secret.expose().as_bytes(), &salt);
        made.map(Self).map_err(io::Error::other)
    }

    /// A hash that no secret has, and that costs as much as `like`, or as a new one.
    pub(crate) fn of_nobody(like: Option<&Self>) -> io::Result<Self> {
        let mut random = [0; 48];
        sys::random::fill(&mut random)?;
        let (salt, output) = random.split_at(16);
        let params = match like {
            Some(like) => like.0.params.clone(),
            None => (&Params::DEFAULT).try_into().map_err(io::Error::other)?,
        };
        let hash = PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(19),
            params,
            salt: Some(Salt::new(salt).map_err(io::Error::other)?),
            hash: Some(Output::new(output).map_err(io::Error::other)?),
        };
        Ok(Self(hash))
    }

    /// Whether it is the hash of `secret`. Takes memory and time as its cost says, whatever the
    /// answer.
    pub(crate) fn is_of(&self, secret: &Secret) -> Result<bool, NoMemory> {
        match Argon2::default().verify_password(secret.expose().as_bytes(), &self.0) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            // What else could be wrong with the hash was seen when it was read.
            Err(_) => Err(NoMemory),
        }
    }

    /// What it costs, to be compared with others.
    pub(crate) fn cost(&self) -> String {
        self.0.params.to_string()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("this is no hash in the form $argon2id$v=19$…"),
            Self::Algorithm => f.write_str("only hashes by argon2id, version 19, are read"),
            Self::Cost => write!(
                f,
                "a hash may cost {MEMORY_KIB_MOST} KiB, {PASSES_MOST} passes and {LANES_MOST} \
                 lanes at most"
            ),
            Self::Incomplete => {
                write!(f, "a hash has a salt and at least {OUTPUT_LEAST} bytes")
            }
        }
    }
}

impl std::error::Error for HashError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_secret_has_its_hash_and_no_other_one_has() {
        let hash = Hash::of(&secret("right")).unwrap();
        let read = Hash::parse(&hash.to_string()).unwrap();
        assert_eq!(read.is_of(&secret("right")), Ok(true));
        for wrong in ["", "righ", "right ", "Right"] {
            assert_eq!(read.is_of(&secret(wrong)), Ok(false), "{wrong}");
        }
        assert_eq!(format!("{hash:?}"), "***");
        assert_ne!(hash.to_string(), Hash::of(&secret("right")).unwrap().to_string());
        assert!(hash.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn what_others_have_made_is_read() {
        // printf password | argon2 somesalt -id -t 2 -m 16 -p 4 -e    (Debian's argon2)
        let theirs = "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$\
                      GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo";
        assert_eq!(Hash::parse(theirs).unwrap().is_of(&secret("password")), Ok(true));
    }

    #[test]
    fn nobodys_hash_costs_what_others_cost_and_fits_no_secret() {
        let cheap = Hash::parse("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA");
        let cheap = cheap.unwrap();
        let nobody = Hash::of_nobody(Some(&cheap)).unwrap();
        assert_eq!(nobody.cost(), "m=64,t=1,p=1");
        assert_eq!(nobody.is_of(&secret("")), Ok(false));
        assert_eq!(Hash::of_nobody(None).unwrap().cost(), "m=19456,t=2,p=1");
    }

    #[test]
    fn a_hash_that_is_dear_or_weak_is_refused_at_its_limit() {
        const TAIL: &str = "$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        let read = |text: &str| Hash::parse(text).map(|_| ());
        for (text, expected) in [
            (format!("$argon2id$v=19$m=65536,t=16,p=16{TAIL}"), Ok(())),
            (format!("$argon2id$v=19$m=65537,t=16,p=16{TAIL}"), Err(HashError::Cost)),
            (format!("$argon2id$v=19$m=65536,t=17,p=16{TAIL}"), Err(HashError::Cost)),
            (format!("$argon2id$v=19$m=65536,t=16,p=17{TAIL}"), Err(HashError::Cost)),
            (format!("$argon2i$v=19$m=64,t=1,p=1{TAIL}"), Err(HashError::Algorithm)),
            (format!("$argon2id$v=16$m=64,t=1,p=1{TAIL}"), Err(HashError::Algorithm)),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ".to_owned(), Err(HashError::Incomplete)),
            (
                "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAA".to_owned(),
                Err(HashError::Incomplete),
            ),
            ("$6$salt$hash".to_owned(), Err(HashError::Malformed)),
            ("secret".to_owned(), Err(HashError::Malformed)),
        ] {
            assert_eq!(read(&text), expected, "{text}");
        }
    }
}
