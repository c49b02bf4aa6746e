//! Values of ASN.1 as they are encoded (X.690): a tag, a length, and so many bytes.

/// A value, and what is behind it.
#[derive(Debug)]
pub(crate) struct Value<'d> {
    pub(crate) tag: u8,
    pub(crate) content: &'d [u8],
    pub(crate) behind: &'d [u8],
}

/// A length that these bytes do not begin with, however many more come: an endless value, or one
/// of more than four bytes' worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NoLength;

impl<'d> Value<'d> {
    /// The first value of these bytes; nothing if it is not whole, or none.
    pub(crate) fn first(bytes: &'d [u8]) -> Option<Self> {
        Self::arriving(bytes).ok().flatten()
    }

    /// The first value of bytes of which more may come; nothing as long as it is not whole.
    ///
    /// # Errors
    ///
    /// [`NoLength`].
    pub(crate) fn arriving(bytes: &'d [u8]) -> Result<Option<Self>, NoLength> {
        let Some((&[tag, short], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x84 => {
                let Some((digits, rest)) = rest.split_at_checked(usize::from(short & 0x7f)) else {
                    return Ok(None);
                };
                (digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit)), rest)
            }
            _ => return Err(NoLength),
        };
        let whole = rest.split_at_checked(length);
        Ok(whole.map(|(content, behind)| Self { tag, content, behind }))
    }

    /// What is inside, if it has this tag.
    pub(crate) fn inside(&self, tag: u8) -> Option<&'d [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, NoLength> {
        let read = Value::arriving(bytes)?;
        Ok(read.map(|value| (value.tag, value.content.len(), value.behind.len())))
    }

    #[test]
    fn lengths_are_read_in_every_form_and_what_is_cut_is_not_whole_yet() {
        for (head, length) in [
            (&[0x30, 3][..], 3),
            (&[0x30, 0x81, 3], 3),
            (&[0x30, 0x82, 1, 0], 256),
            (&[0x30, 0x84, 0, 0, 0, 5], 5),
        ] {
            let whole = [head, &vec![7; length], &[9]].concat();
            assert_eq!(read(&whole), Ok(Some((0x30, length, 1))), "{head:?}");
            for end in 0..whole.len() - 1 {
                assert_eq!(read(whole.get(..end).unwrap()), Ok(None), "{head:?} {end}");
            }
        }
        for head in [0x80, 0x85, 0xff] {
            assert_eq!(read(&[0x30, head, 0, 0, 0, 0, 0, 0]), Err(NoLength), "{head:x}");
        }
    }
}
