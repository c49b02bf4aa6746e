//! The plain side of a link.
//!
//! A Unix stream knows an end, and no reset, but for one case: a socket that is closed while
//! something lies unread in it. So the last byte that came is always left there, though it has gone
//! on to the network already, until the connection ends as it should. Then whatever ends it
//! otherwise (a far end that breaks off, this process being killed) is an error for the program
//! on the plain side, and never looks like the end of what it was reading.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::ancillary::{Wait, peek};
use sys::unread::{set_peek_offset, unread};

use super::{read, read_two, write};

/// Bytes that are peeked at, and then taken again; more is taken at once but for its last byte.
const PEEK_BYTES: usize = 4096;

/// A connected plain side.
pub(crate) struct Plain {
    socket: OwnedFd,
    keeping: Keeping,
    /// Something may have come since it was last read to the end.
    is_ready: bool,
    /// The last read brought much, and so the next one may.
    is_busy: bool,
}

/// Whether a byte is left unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Keeping {
    /// The socket is not of a kind that this works with.
    Impossible,
    /// Nothing has come yet.
    Nothing,
    /// One byte, which has gone on already.
    Byte,
}

/// What reading brought.
pub(super) enum Got {
    /// So many bytes, from the front of the buffer.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end.
    End,
}

impl Plain {
    /// Takes a socket over. `is_marked`: one byte lies unread in it that is for nobody.
    pub(super) fn new(socket: OwnedFd, is_marked: bool) -> Self {
        let keeping = match set_peek_offset(socket.as_fd(), i32::from(is_marked)) {
            Ok(()) if is_marked => Keeping::Byte,
            Ok(()) => Keeping::Nothing,
            Err(_) => {
                if is_marked {
                    // It would be taken for the program's. Nothing else is there yet to be lost.
                    let _gone = read(socket.as_fd(), &mut [0]).is_err();
                }
                Keeping::Impossible
            }
        };
        Self { socket, keeping, is_ready: true, is_busy: false }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Something has come, or the end.
    pub(super) fn wake(&mut self) {
        self.is_ready = true;
    }

    /// Reads what has come.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        if !self.is_ready {
            return Ok(Got::Nothing);
        }
        let count = match self.keeping {
            Keeping::Impossible => read(self.socket.as_fd(), buffer),
            Keeping::Nothing | Keeping::Byte => self.read_keeping(buffer),
        };
        match count {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_ready = false;
                Ok(Got::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    fn read_keeping(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kept = usize::from(self.keeping == Keeping::Byte);
        if self.is_busy {
            let count = self.read_busy(kept, buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.is_busy = false;
        }
        let most = buffer.len().min(PEEK_BYTES);
        let first = buffer.get_mut(..most).unwrap_or_default();
        let count = peek(self.socket.as_fd(), first, Wait::Never)?;
        if count == 0 {
            return Ok(0);
        }
        let count = if count < most {
            // An end that came with these bytes is told by no event of its own: look again.
            self.discard(kept + count - 1)?;
            count
        } else {
            self.is_busy = true;
            self.read_much(kept, buffer)?
        };
        self.keeping = Keeping::Byte;
        Ok(count)
    }

    /// Takes the byte from before with all that has come but for its last byte, and looks at that.
    /// Nothing, if nothing or a single byte has come, or the end.
    fn read_busy(&self, kept: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = self.socket.as_fd();
        let fresh = unread(socket)?.saturating_sub(kept).min(buffer.len());
        let Some(wanted) = fresh.checked_sub(1).filter(|wanted| *wanted > 0) else { return Ok(0) };
        let mut waste = [0];
        let before = waste.get_mut(..kept).unwrap_or_default();
        let count = read_two(socket, before, buffer.get_mut(..wanted).unwrap_or_default())?;
        let count = count.saturating_sub(kept);
        // What was taken has moved the place to look at to the front.
        let last = buffer.get_mut(count..=count).unwrap_or_default();
        Ok(count + peek(socket, last, Wait::Never)?)
    }

    /// Takes all that has come but for its last byte, and looks at that.
    fn read_much(&self, kept: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = self.socket.as_fd();
        // What was peeked at is taken now, and the byte from before goes with it.
        self.discard(kept)?;
        let wanted = unread(socket)?.min(buffer.len());
        let body = buffer.get_mut(..wanted.saturating_sub(1)).unwrap_or_default();
        let count = if body.is_empty() { 0 } else { read(socket, body)? };
        let last = buffer.get_mut(count..=count).unwrap_or_default();
        set_peek_offset(socket, 0)?;
        Ok(count + peek(socket, last, Wait::Never)?)
    }

    /// Takes `count` bytes that have gone on already.
    fn discard(&self, count: usize) -> io::Result<()> {
        let mut waste = [0; PEEK_BYTES + 1];
        let mut left = count;
        while left > 0 {
            let most = left.min(waste.len());
            let taken = read(self.socket.as_fd(), waste.get_mut(..most).unwrap_or_default())?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(taken);
        }
        Ok(())
    }

    /// Writes as much as it takes.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        write(self.socket.as_fd(), bytes)
    }

    /// Tells the program that nothing more comes.
    pub(super) fn end(&self) -> io::Result<()> {
        sys::socket::end_sending(self.socket.as_fd())
    }

    /// The connection ends as it should: closing tells no reset.
    pub(super) fn settle(&mut self) {
        if self.keeping == Keeping::Byte {
            // Without it the program sees a reset where there was none.
            let _lost = self.discard(1).is_err();
            self.keeping = Keeping::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair(is_marked: bool) -> (UnixStream, Plain) {
        let (mut program, ours) = UnixStream::pair().unwrap();
        if is_marked {
            program.write_all(b"!").unwrap();
        }
        (program, Plain::new(ours.into(), is_marked))
    }

    fn got(plain: &mut Plain) -> Vec<u8> {
        let mut buffer = vec![0; 60 * 1024];
        let mut all = Vec::new();
        plain.wake();
        while let Got::Bytes(count) = plain.read(&mut buffer).unwrap() {
            all.extend_from_slice(&buffer[..count]);
            plain.wake();
        }
        all
    }

    #[test]
    fn every_byte_comes_once_whatever_the_pieces() {
        for is_marked in [true, false] {
            let (mut program, mut plain) = pair(is_marked);
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            let sizes = [1, 1, 2, 4095, 1, 4096, 4097, 70_000, 3, 61_440, 61_439, 61_441, 1, 2];
            for (index, size) in sizes.into_iter().enumerate() {
                let pattern: Vec<u8> = (0..=250).collect();
                let piece: Vec<_> = pattern.into_iter().cycle().skip(index).take(size).collect();
                program.write_all(&piece).unwrap();
                sent.extend_from_slice(&piece);
                received.extend(got(&mut plain));
            }
            assert!(sent == received);
            program.shutdown(Shutdown::Write).unwrap();
            plain.wake();
            assert!(matches!(plain.read(&mut [0; 16]).unwrap(), Got::End));
        }
    }

    #[test]
    fn whoever_is_closed_before_the_end_sees_a_reset() {
        for is_marked in [true, false] {
            let (mut program, mut plain) = pair(is_marked);
            if !is_marked {
                program.write_all(b"x").unwrap();
                assert_eq!(got(&mut plain), b"x");
            }
            plain.write(b"y").unwrap();
            drop(plain);
            program.read_exact(&mut [0]).unwrap();
            let error = program.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_proper_end_is_an_end() {
        let (mut program, mut plain) = pair(true);
        program.write_all(b"x").unwrap();
        assert_eq!(got(&mut plain), b"x");
        plain.end().unwrap();
        plain.settle();
        drop(plain);
        assert_eq!(program.read(&mut [0]).unwrap(), 0);
        assert_eq!(program.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_is_no_unix_socket_is_read_as_it_comes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut program = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut plain = Plain::new(listener.accept().unwrap().0.into(), false);
        if plain.keeping != Keeping::Impossible {
            return;
        }
        program.write_all(b"x").unwrap();
        drop(program);
        let mut all = Vec::new();
        let mut byte = [0; 1];
        loop {
            plain.wake();
            match plain.read(&mut byte).unwrap() {
                Got::Bytes(_) => all.push(byte[0]),
                Got::Nothing => {}
                Got::End => break,
            }
        }
        assert_eq!(all, b"x");
    }
}
