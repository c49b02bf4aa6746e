//! Contents of messages as values: JSON, and CBOR with the feature `cbor`.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a value is written into a message.
///
/// ```
/// use libipc::typed::Encoding;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// struct Order { article: String, count: u32 }
///
/// let order = Order { article: "tea".to_owned(), count: 2 };
/// let bytes = Encoding::Json.write(&order)?;
/// assert_eq!(bytes, br#"{"article":"tea","count":2}"#);
/// assert_eq!(Encoding::Json.read::<Order>(&bytes)?, order);
/// # Ok::<(), libipc::typed::ContentError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Encoding {
    /// Text, for everybody.
    #[default]
    Json,
    /// Bytes, smaller, and with byte strings.
    #[cfg(feature = "cbor")]
    Cbor,
}

/// Why a value has no bytes, or bytes are not the value that was wanted.
///
/// ```
/// use libipc::typed::{ContentError, Encoding};
///
/// let error: ContentError = Encoding::Json.read::<u32>(b"many").unwrap_err();
/// assert!(error.to_string().starts_with("the content of the message: "));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ContentError {
    /// Of JSON: where and why.
    Json(serde_json::Error),
    /// Of CBOR: a value that cannot be written.
    #[cfg(feature = "cbor")]
    CborWrite(ciborium::ser::Error<std::io::Error>),
    /// Of CBOR: where and why.
    #[cfg(feature = "cbor")]
    CborRead(ciborium::de::Error<std::io::Error>),
    /// Something stands behind the value.
    #[cfg(feature = "cbor")]
    Trailing {
        /// Bytes of it.
        bytes: usize,
    },
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the content of the message: {error}"),
            #[cfg(feature = "cbor")]
            Self::CborWrite(error) => write!(f, "the content of the message: {error}"),
            #[cfg(feature = "cbor")]
            Self::CborRead(error) => write!(f, "the content of the message: {error}"),
            #[cfg(feature = "cbor")]
            Self::Trailing { bytes } => {
                write!(f, "the content of the message: {bytes} bytes behind its end")
            }
        }
    }
}

impl std::error::Error for ContentError {}

/// Levels of a CBOR value at most, as of a JSON one.
#[cfg(feature = "cbor")]
const DEPTH_MOST: usize = 128;

impl Encoding {
    /// The bytes of a value.
    ///
    /// # Errors
    ///
    /// [`ContentError`]: the value cannot be written so, for example a map with keys that are no
    /// texts as JSON.
    pub fn write<T: Serialize>(self, value: &T) -> Result<Vec<u8>, ContentError> {
        match self {
            Self::Json => serde_json::to_vec(value).map_err(ContentError::Json),
            #[cfg(feature = "cbor")]
            Self::Cbor => {
                let mut bytes = Vec::new();
                ciborium::into_writer(value, &mut bytes).map_err(ContentError::CborWrite)?;
                Ok(bytes)
            }
        }
    }

    /// The value of exactly these bytes, at most 128 levels deep.
    ///
    /// # Errors
    ///
    /// [`ContentError`]: what is wrong, and where.
    pub fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, ContentError> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(ContentError::Json),
            #[cfg(feature = "cbor")]
            Self::Cbor => {
                let mut rest = bytes;
                let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MOST)
                    .map_err(ContentError::CborRead)?;
                match rest.len() {
                    0 => Ok(value),
                    bytes => Err(ContentError::Trailing { bytes }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Login {
        id: Option<u32>,
        name: String,
    }

    fn login() -> Login {
        Login { id: Some(7), name: "karl".to_owned() }
    }

    #[test]
    fn json_is_compact_and_errors_say_where() {
        let bytes = Encoding::Json.write(&login()).unwrap();
        assert_eq!(bytes, br#"{"id":7,"name":"karl"}"#);
        assert_eq!(Encoding::Json.read::<Login>(&bytes).unwrap(), login());
        let said = Encoding::Json.read::<Login>(b"{\"id\":7}").unwrap_err().to_string();
        assert_eq!(said, "the content of the message: missing field `name` at line 1 column 8");
        assert!(Encoding::Json.read::<Login>(&[&bytes[..], b"x"].concat()).is_err());
        let odd = BTreeMap::from([(vec![1], 2)]);
        assert!(Encoding::Json.write(&odd).is_err(), "keys are texts");
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn cbor_is_that_of_the_standard() {
        // RFC 8949, appendix A: a map {"a": 1}.
        let bytes = Encoding::Cbor.write(&BTreeMap::from([("a", 1)])).unwrap();
        assert_eq!(bytes, [0xa1, 0x61, 0x61, 0x01]);
        let bytes = Encoding::Cbor.write(&login()).unwrap();
        assert_eq!(Encoding::Cbor.read::<Login>(&bytes).unwrap(), login());
        let more = [&bytes[..], &[0]].concat();
        let said = Encoding::Cbor.read::<Login>(&more).unwrap_err().to_string();
        assert_eq!(said, "the content of the message: 1 bytes behind its end");
        assert!(Encoding::Cbor.read::<Login>(b"\xff").is_err());
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn cbor_has_128_levels_and_no_more() {
        let deep = |levels: usize| [vec![0x81; levels], vec![0x80]].concat();
        let read = |bytes: &[u8]| Encoding::Cbor.read::<serde_json::Value>(bytes);
        let value = read(&deep(127)).unwrap();
        let mut levels = 1;
        let mut inner = &value;
        while let Some(next) = inner.get(0) {
            (levels, inner) = (levels + 1, next);
        }
        assert_eq!(levels, 128);
        let said = read(&deep(128)).unwrap_err().to_string();
        assert!(said.starts_with("the content of the message: "), "{said}");
    }

    #[cfg(feature = "cbor")]
    #[test]
    fn deep_or_boastful_cbor_harms_nobody() {
        let deep = vec![0x81; 100_000];
        assert!(Encoding::Cbor.read::<serde_json::Value>(&deep).is_err());
        // An array of 2^63 elements, and a text of as many bytes, with nothing behind.
        for boast in
            [&b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"[..], b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(Encoding::Cbor.read::<serde_json::Value>(boast).is_err());
        }
    }
}
