//! One step of the library's own state machine, the same for both ends.

use libipc::interface::transport::TransportError;
use relay::codec::Outgoing;
use rustls::Error;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};

use crate::failure;

/// What one step brought.
pub(super) enum Step {
    /// Go on.
    Next,
    /// Nothing more can be done with what has come.
    Blocked,
    /// The far end has said that nothing more comes.
    End,
}

/// What can be written, whichever end we are.
pub(super) trait Writing {
    fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, EncryptError>;
    fn close(&mut self, room: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Writing for WriteTraffic<'_, D> {
    fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, plain, room)
    }

    fn close(&mut self, room: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(room)
    }
}

/// Handles one state. The bytes used, and what it came to.
pub(super) fn take<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    outgoing: &mut Outgoing,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Step::Next),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, |room| data.encode(room)),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // Everything goes out in the order in which it was added.
            data.done();
            Ok(Step::Next)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::End),
        Ok(_) => Ok(Step::Blocked),
    };
    (discard, step)
}

fn encode(
    outgoing: &mut Outgoing,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<Step, Error> {
    let mut least = 1024;
    loop {
        match write(outgoing.room(least)) {
            Ok(count) => {
                outgoing.fill(count);
                return Ok(Step::Next);
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                least = required_size;
            }
            Err(EncodeError::AlreadyEncoded) => return Ok(Step::Next),
        }
    }
}

/// Writes, if this is the state for it; false if there was something else to do first.
pub(super) fn write_one<D>(
    status: UnbufferedStatus<'_, '_, D>,
    outgoing: &mut Outgoing,
    write: &mut impl FnMut(&mut dyn Writing, &mut Outgoing) -> Result<(), EncryptError>,
) -> Result<bool, TransportError> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            write(&mut traffic, outgoing).map(|()| true).map_err(|_| failure::exhausted())
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(outgoing, |room| data.encode(room)).map(|_| false).map_err(|_| failure::over())
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(false)
        }
        Ok(ConnectionState::PeerClosed) => Ok(false),
        Ok(_) | Err(_) => Err(failure::over()),
    }
}
