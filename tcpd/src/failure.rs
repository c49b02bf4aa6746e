//! What the kernel and the resolver say, in the words of the interface.

use std::io;

use libipc::interface::transport::TransportError;

/// Why a host cannot be reached. `retry`: the same may work later without anybody's doing.
pub(crate) fn unreachable(error: &io::Error) -> TransportError {
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

/// Why a name has no addresses.
pub(crate) fn unresolved(error: &io::Error) -> TransportError {
    let reason = format!("its name cannot be resolved: {error}");
    TransportError::Unreachable { reason, retry: true }
}

/// A limit that is reached.
pub(crate) fn busy(limit: &str, most: usize) -> TransportError {
    TransportError::Busy { limit: limit.to_owned(), most: u64::try_from(most).unwrap_or(u64::MAX) }
}

/// A parameter that cannot be used.
pub(crate) fn invalid(field: &str, reason: &str) -> TransportError {
    TransportError::InvalidRequest { field: field.to_owned(), reason: reason.to_owned() }
}
