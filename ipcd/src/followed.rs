//! Whether anybody still has what was handed over.
//!
//! Nothing of it is kept here, and no byte of it is seen. A poller that nobody waits for watches
//! it: the kernel lets go of what is watched when the last descriptor of it is closed, whoever had
//! that (`epoll(7)`), and tells what is left (`proc_pid_fdinfo(5)`). So the broker needs neither a copy,
//! nor the network that the connection is of, nor a right over it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libipc::poller::{Interest, Poller, Token, Waker};

use crate::connections::ConnectionId;

/// Connections that are followed at one time. What is handed over beyond that is listed for as long
/// as it can last.
const FOLLOWED_MOST: usize = 32_768;

/// What is watched as long as this lives. A kernel that does not tell of it tells of nothing.
const MARK: Token = Token(u64::MAX);

/// Connections that were handed over, each for as long as anybody has it.
#[derive(Debug)]
pub(crate) struct Followed {
    poller: Poller,
    _mark: Waker,
    /// What the kernel says of the poller, if it does.
    told: Option<RefCell<File>>,
    known: RefCell<BTreeSet<ConnectionId>>,
    most: usize,
}

impl Followed {
    /// Follows nothing yet. Call it before the process is shut in.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        Self::of_most(FOLLOWED_MOST)
    }

    fn of_most(most: usize) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mark = Waker::new(&poller, MARK)?;
        let told = format!("/proc/self/fdinfo/{}", poller.as_fd().as_raw_fd());
        let told = File::open(told).ok().map(RefCell::new);
        Ok(Self { poller, _mark: mark, told, known: RefCell::default(), most })
    }

    /// Follows a connection that is about to be handed over.
    pub(crate) fn add(&self, id: ConnectionId, connection: BorrowedFd<'_>) {
        let mut known = self.known.borrow_mut();
        let may_be_added = self.told.is_some() && known.len() < self.most;
        // One that cannot be watched is listed for as long as it can last.
        if may_be_added && self.poller.add(connection, Token(id.0), Interest::NONE).is_ok() {
            known.insert(id);
        }
    }

    /// Those that nobody has any more. Each is told once.
    pub(crate) fn over(&self) -> BTreeSet<ConnectionId> {
        let mut known = self.known.borrow_mut();
        if known.is_empty() {
            return BTreeSet::new();
        }
        let Some(held) = self.held() else { return BTreeSet::new() };
        let over: BTreeSet<_> = known.iter().filter(|id| !held.contains(&id.0)).copied().collect();
        known.retain(|id| !over.contains(id));
        over
    }

    /// What the poller watches; `None` if the kernel does not tell.
    fn held(&self) -> Option<BTreeSet<u64>> {
        let mut told = self.told.as_ref()?.borrow_mut();
        let mut text = String::new();
        told.rewind().and_then(|()| told.read_to_string(&mut text)).ok()?;
        let held: BTreeSet<_> = text.lines().filter_map(token).collect();
        held.contains(&MARK.0).then_some(held)
    }
}

/// What is watched under, in a line about it: `tfd: 9 events: 18 data: 2a pos:0 ino:5 sdev:8`.
fn token(line: &str) -> Option<u64> {
    let (_, behind) = line.strip_prefix("tfd:")?.split_once("data:")?;
    u64::from_str_radix(behind.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn over(followed: &Followed) -> Vec<u64> {
        followed.over().into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_connection_is_over_when_its_last_copy_is_closed() {
        let followed = Followed::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (listener.accept().unwrap().0, far)
        };
        let ((first, mut far), (second, _other_far)) = (connect(), connect());
        followed.add(ConnectionId(7), first.as_fd());
        followed.add(ConnectionId(0x2a), second.as_fd());
        // What follows gets the number of a descriptor that is closed, as the broker's do.
        let copy = first.try_clone().unwrap();
        drop(first);
        let (third, _third_far) = connect();
        followed.add(ConnectionId(9), third.as_fd());
        far.write_all(b"x").unwrap();
        drop(far);
        assert!(over(&followed).is_empty(), "somebody has each of them");
        drop(copy);
        assert_eq!(over(&followed), [7]);
        assert!(over(&followed).is_empty(), "each is told once");
        drop((second, third));
        assert_eq!(over(&followed), [9, 0x2a]);
    }

    #[test]
    fn no_more_than_the_limit_are_followed_and_the_others_are_not_taken_for_ended() {
        let followed = Followed::of_most(2).unwrap();
        let pairs = [1, 2, 3].map(|id| {
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            followed.add(ConnectionId(id), one.as_fd());
            (one, other)
        });
        drop(pairs);
        assert_eq!(over(&followed), [1, 2]);
    }

    #[test]
    fn a_kernel_that_does_not_tell_is_not_taken_for_one_that_tells_of_nothing() {
        let mut followed = Followed::new().unwrap();
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        followed.add(ConnectionId(1), one.as_fd());
        drop(one);
        let told = followed.told.replace(RefCell::new(File::open("/dev/null").unwrap()));
        assert!(over(&followed).is_empty());
        followed.told = told;
        assert_eq!(over(&followed), [1]);
        followed.told = None;
        let (two, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        followed.add(ConnectionId(2), two.as_fd());
        assert!(followed.known.borrow().is_empty());
    }
}
