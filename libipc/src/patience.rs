//! How long a call waits.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::ancillary::Wait;

/// How long a call waits for the peer.
///
/// ```
/// use std::time::Duration;
/// use libipc::{Connection, ConnectionError, Patience, Stream};
///
/// let (near, _far) = Stream::pair()?;
/// let mut connection = Connection::new(near);
/// let nothing = connection.receive_within(Patience::within(Duration::from_millis(1)));
/// assert!(matches!(nothing, Err(ConnectionError::TimedOut)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Patience {
    /// Until there is an answer, or an end.
    #[default]
    Forever,
    /// Until then.
    Until(Instant),
    /// Not at all.
    Never,
}

impl Patience {
    /// That long from now on.
    #[must_use]
    pub fn within(span: Duration) -> Self {
        // A time that no clock will ever show.
        Instant::now().checked_add(span).map_or(Self::Forever, Self::Until)
    }

    /// The shorter of the two.
    #[must_use]
    pub fn at_most(self, moment: Option<Instant>) -> Self {
        match (self, moment) {
            (Self::Never, _) | (_, None) => self,
            (Self::Forever, Some(moment)) => Self::Until(moment),
            (Self::Until(until), Some(moment)) => Self::Until(until.min(moment)),
        }
    }

    /// Whether it is at its end.
    #[must_use]
    pub fn is_over(self, now: Instant) -> bool {
        match self {
            Self::Forever => false,
            Self::Until(moment) => now >= moment,
            Self::Never => true,
        }
    }

    /// Whether the kernel may wait within a call: only where no time ends that.
    pub(crate) fn in_call(self) -> Wait {
        if self == Self::Forever { Wait::Block } else { Wait::Never }
    }

    /// Waits until the descriptor is ready for one of `events`; false if that took too long.
    pub(crate) fn wait(self, descriptor: BorrowedFd<'_>, events: PollFlags) -> io::Result<bool> {
        loop {
            let left = match self {
                Self::Forever => PollTimeout::NONE,
                Self::Never => return Ok(false),
                Self::Until(moment) => {
                    let left = moment.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    // Rounded up: a wait that ends early would be repeated without waiting.
                    PollTimeout::try_from(left + Duration::from_micros(999))
                        .unwrap_or(PollTimeout::MAX)
                }
            };
            match poll(&mut [PollFd::new(descriptor, events)], left) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use sys::socket::{SocketKind, unix_pair};

    use super::*;

    #[test]
    fn the_shorter_patience_holds() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert_eq!(Patience::Forever.at_most(Some(now)), Patience::Until(now));
        assert_eq!(Patience::Until(later).at_most(Some(now)), Patience::Until(now));
        assert_eq!(Patience::Until(now).at_most(Some(later)), Patience::Until(now));
        assert_eq!(Patience::Until(now).at_most(None), Patience::Until(now));
        assert_eq!(Patience::Never.at_most(Some(later)), Patience::Never);
        assert_eq!(Patience::within(Duration::MAX), Patience::Forever);
    }

    #[test]
    fn a_wait_ends_at_its_moment_and_not_before() {
        let (left, _right) = unix_pair(SocketKind::Stream).unwrap();
        let start = Instant::now();
        let patience = Patience::within(Duration::from_millis(30));
        assert!(!patience.wait(left.as_fd(), PollFlags::POLLIN).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(patience.wait(left.as_fd(), PollFlags::POLLOUT).is_ok_and(|ready| !ready));
        assert!(Patience::Forever.wait(left.as_fd(), PollFlags::POLLOUT).unwrap());
        assert!(!Patience::Never.wait(left.as_fd(), PollFlags::POLLOUT).unwrap());
    }
}
