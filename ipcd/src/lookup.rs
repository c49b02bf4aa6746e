//! The first libipc's request: one frame of `name;IPC_NETWORK`.
//!
//! Its bytes: u32 big-endian length, then the text. The answer is `ok` with the descriptor riding
//! on it, or the end of the connection. There are no errors in that protocol.

use libipc::secret::Secret;
use zeroize::Zeroizing;

/// Bytes of the longest text; the original's own limit.
pub(crate) const LOOKUP_BYTES_MOST: usize = 99_992;

/// The answer.
pub(crate) const OK: &[u8] = b"ok";

/// Collects the bytes of one request.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    buffer: Zeroizing<Vec<u8>>,
}

/// What a client of the first libipc wants.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// The name, not yet checked.
    pub(crate) name: String,
    /// Its `IPC_NETWORK`, whole.
    pub(crate) network: Secret,
}

/// The bytes are no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LookupError {
    /// The frame is longer than [`LOOKUP_BYTES_MOST`].
    TooLong,
    /// The text is not UTF-8, or something follows it.
    NotText,
}

impl Lookup {
    /// Adds what has come; the request, once it is whole.
    ///
    /// # Errors
    ///
    /// [`LookupError`]; close the connection.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Option<Wanted>, LookupError> {
        self.buffer.extend_from_slice(bytes);
        let Some((length, text)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > LOOKUP_BYTES_MOST {
            return Err(LookupError::TooLong);
        }
        if text.len() < length {
            return Ok(None);
        }
        if text.len() > length {
            return Err(LookupError::NotText);
        }
        let text = std::str::from_utf8(text).map_err(|_| LookupError::NotText)?;
        let (name, network) = text.split_once(';').unwrap_or((text, ""));
        Ok(Some(Wanted { name: name.trim().to_owned(), network: Secret::new(network.to_owned()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(text);
        bytes
    }

    #[test]
    fn the_originals_bytes_are_read_in_any_pieces() {
        let bytes = b"\x00\x00\x00\x0fp;p unix://pong";
        for size in 1..bytes.len() {
            let mut lookup = Lookup::default();
            let mut got = None;
            for piece in bytes.chunks(size) {
                assert!(got.is_none());
                got = lookup.push(piece).unwrap();
            }
            let got = got.unwrap();
            assert_eq!((got.name.as_str(), got.network.expose()), ("p", "p unix://pong"));
        }
    }

    #[test]
    fn a_name_alone_has_an_empty_network() {
        let got = Lookup::default().push(&frame(b"pong")).unwrap().unwrap();
        assert_eq!((got.name.as_str(), got.network.expose()), ("pong", ""));
    }

    #[test]
    fn the_limit_is_the_originals() {
        let mut text = vec![b'x'; LOOKUP_BYTES_MOST];
        assert!(Lookup::default().push(&frame(&text)).unwrap().is_some());
        text.push(b'x');
        assert_eq!(Lookup::default().push(&frame(&text)), Err(LookupError::TooLong));
        assert_eq!(Lookup::default().push(&[0xff; 4]), Err(LookupError::TooLong));
        assert_eq!(Lookup::default().push(&frame(b"\xff")), Err(LookupError::NotText));
        let mut more = frame(b"pong");
        more.push(b'!');
        assert_eq!(Lookup::default().push(&more), Err(LookupError::NotText));
    }
}
