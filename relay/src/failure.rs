//! What the kernel and far ends say, in the words of the interface.

use std::io;

use libipc::interface::transport::{TransportError, refusal};
use libipc::interface::tunnel::TunnelError;

/// Why a host or a service cannot be reached. `retry`: the same may work later without anybody's
/// doing.
#[must_use]
pub fn unreachable(error: &io::Error) -> TransportError {
    let (reason, retry) = match error.kind() {
        io::ErrorKind::ConnectionRefused => ("nobody listens there", true),
        io::ErrorKind::NetworkUnreachable => ("there is no way to that network", true),
        io::ErrorKind::HostUnreachable => ("the host does not answer", true),
        io::ErrorKind::ConnectionReset => ("the far end closed the connection", true),
        io::ErrorKind::WouldBlock => ("the service has no room for another connection", true),
        io::ErrorKind::TimedOut => return TransportError::TimedOut {},
        _ => return TransportError::Unreachable { reason: error.to_string(), retry: true },
    };
    TransportError::Unreachable { reason: reason.to_owned(), retry }
}

/// The far daemon said no.
#[must_use]
pub fn refused(refused: &TunnelError) -> TransportError {
    let TunnelError::Refused { retry, login } = *refused;
    let reason = match (login, retry) {
        (Some(true), false) => refusal::LOGIN,
        (Some(true), true) => refusal::LOGIN_LATER,
        _ => refusal::RULES,
    };
    TransportError::Refused { reason: reason.to_owned(), retry }
}

/// The far end went away instead of answering.
#[must_use]
pub fn silent() -> TransportError {
    let reason = "the far end closed the connection instead of answering".to_owned();
    TransportError::Protocol { reason }
}

/// A limit that is reached.
#[must_use]
pub fn busy(limit: &str, most: usize) -> TransportError {
    TransportError::Busy { limit: limit.to_owned(), most: u64::try_from(most).unwrap_or(u64::MAX) }
}

/// A parameter that cannot be used.
#[must_use]
pub fn invalid(field: &str, reason: &str) -> TransportError {
    TransportError::InvalidRequest { field: field.to_owned(), reason: reason.to_owned() }
}
