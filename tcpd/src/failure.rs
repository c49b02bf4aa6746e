//! What the resolver says, in the words of the interface.

use std::io;

use libipc::interface::transport::TransportError;

/// Why a name has no addresses.
pub(crate) fn unresolved(error: &io::Error) -> TransportError {
    let reason = format!("its name cannot be resolved: {error}");
    TransportError::Unreachable { reason, retry: true }
}
