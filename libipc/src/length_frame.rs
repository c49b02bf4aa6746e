//! Messages of the first libipc: a length (`u32`, big-endian) and the payload.
//!
//! There are no channels. The first libipc carried at most [`FIRST_LIBIPC_MOST`] bytes and took an
//! empty message for the end of the connection: whoever talks to one keeps to that.

use crate::frame::FrameError;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 4;

/// Bytes that a program of the first libipc sends or takes at most.
pub const FIRST_LIBIPC_MOST: usize = 99_992;

/// The bytes that go before a payload of `length` bytes.
///
/// # Errors
///
/// [`FrameError::TooLong`] for a length that the header cannot say.
pub fn header(length: usize) -> Result<[u8; HEADER_BYTES], FrameError> {
    let most = u32::MAX as usize;
    let number = u32::try_from(length).map_err(|_| FrameError::TooLong { length, most })?;
    Ok(number.to_be_bytes())
}

/// The length of the payload of the message that `bytes` begin with; `None` if the header is not
/// whole yet.
///
/// # Errors
///
/// [`FrameError::TooLong`] above `most`.
pub fn read_header(bytes: &[u8], most: usize) -> Result<Option<usize>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*header) as usize;
    if length > most {
        return Err(FrameError::TooLong { length, most });
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_four_bytes_the_highest_first() {
        let header = header(0x0102).unwrap();
        assert_eq!(header, [0, 0, 1, 2]);
        for whole in 0..HEADER_BYTES {
            assert_eq!(read_header(&header[..whole], 0x0102), Ok(None));
        }
        assert_eq!(read_header(&header, 0x0102), Ok(Some(0x0102)));
        assert_eq!(
            read_header(&header, 0x0101),
            Err(FrameError::TooLong { length: 0x0102, most: 0x0101 })
        );
    }

    #[test]
    fn a_program_of_the_first_libipc_has_99_992_bytes_and_no_more() {
        let read = |length| read_header(&header(length).unwrap(), FIRST_LIBIPC_MOST);
        assert_eq!(read(99_992), Ok(Some(99_992)));
        let error = read(99_993).unwrap_err();
        assert_eq!(error, FrameError::TooLong { length: 99_993, most: 99_992 });
        let said = error.to_string();
        assert!(said.contains("99993") && said.contains("99992"), "{said}");
    }
}
