//! The process that waits.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::socket::SocketKind;
use sys::wiped::Wiped;

use super::exchange::{Exchange, KEY_BYTES, Key};
use super::name::MeetingName;
use super::step::{self, Progress};
use super::ticket::{self, Left};
use super::{PLACE, RendezvousError, as_stream};
use crate::identity::LocalIdentity;
use crate::patience::Patience;
use crate::poller::{Interest, Poller, Ready, Token};
use crate::private_place::PrivatePlace;
use crate::stream::Stream;

/// How long a guest may take to prove itself.
const GUEST_PATIENCE: Duration = Duration::from_secs(2);

/// Guests that may be about to prove themselves at one time. One more, and the first is sent away.
pub(super) const GUESTS_MOST: usize = 64;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

const LISTENER: Token = Token(0);

/// A name under which this process waits for others of its user. Dropping it ends that.
///
/// ```
/// use libipc::Patience;
/// use libipc::private_place::PrivatePlace;
/// use libipc::rendezvous::{self, Meeting};
/// # use libipc::rundir::{Instance, RunDirectory};
/// # let path = std::env::temp_dir().join(format!("libipc-meeting-{}", std::process::id()));
/// # let directory = RunDirectory::new(path.clone(), Instance::Private);
/// # let place = PrivatePlace::in_directory(&directory, rendezvous::PLACE)?;
///
/// // A program writes `Meeting::open`, `rendezvous::connect`: this one has a place of its own.
/// let mut meeting = Meeting::open_in(&place, "debugger")?;
/// let pid = std::process::id();
/// # let there = place.clone();
/// let guest = std::thread::spawn(move || {
///     rendezvous::connect_in(&there, pid, "debugger", Patience::Forever)
/// });
/// let stream = meeting.accept(Patience::Forever)?;
/// assert!(stream.peer().is_some());
/// # guest.join().unwrap()?;
/// # drop(meeting);
/// # std::fs::remove_dir_all(path).unwrap();
/// # Ok::<(), rendezvous::RendezvousError>(())
/// ```
#[derive(Debug)]
pub struct Meeting {
    pub(super) poller: Poller,
    listener: OwnedFd,
    pub(super) path: PathBuf,
    key: Key,
    pub(super) guests: BTreeMap<u64, Guest>,
    last_guest: u64,
    ready: Vec<Ready>,
    _left: Left,
}

#[derive(Debug)]
pub(super) struct Guest {
    socket: OwnedFd,
    peer: LocalIdentity,
    exchange: Exchange,
}

impl Meeting {
    /// Waits under `name` from now on. What other processes left that are gone is removed.
    ///
    /// # Errors
    ///
    /// [`RendezvousError::InUse`] if this process does so already; [`RendezvousError::Name`],
    /// [`RendezvousError::Place`], the kernel's.
    pub fn open(name: &str) -> Result<Self, RendezvousError> {
        Self::open_in(&PrivatePlace::of_process(PLACE)?, name)
    }

    /// As [`Meeting::open`], in a place of the caller's choice.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_in(place: &PrivatePlace, name: &str) -> Result<Self, RendezvousError> {
        let name = MeetingName::new(name)?;
        let system = |error| step::system(place.path(), error);
        let _lock = place.lock()?;
        ticket::sweep(place).map_err(system)?;
        let mut key = Wiped::new([0; KEY_BYTES]);
        sys::random::fill(key.as_mut_slice()).map_err(system)?;
        let socket = ticket::new_socket_name().map_err(system)?;
        let path = place.path().join(&socket);
        let listener = sys::socket::bind_unix(&path, 0o600, SocketKind::Stream, BACKLOG)
            .map_err(|error| step::system(&path, error))?;
        // The socket first: who finds the ticket finds a socket that answers.
        let left = Left::write(place, &name, &key, &socket).inspect_err(|_| {
            let _gone = std::fs::remove_file(&path).is_err();
        })?;
        let poller = Poller::new().map_err(system)?;
        poller.add(&listener, LISTENER, Interest::READ).map_err(system)?;
        let guests = BTreeMap::new();
        Ok(Self { poller, listener, path, key, guests, last_guest: 0, ready: vec![], _left: left })
    }

    /// Waits for a guest that proves itself. Others are sent away, and do not end the wait or delay
    /// anybody.
    ///
    /// # Errors
    ///
    /// [`RendezvousError::TimedOut`], the kernel's. None ends the meeting: out of descriptors, close
    /// something before calling again.
    pub fn accept(&mut self, patience: Patience) -> Result<Stream, RendezvousError> {
        loop {
            let limit = match patience {
                Patience::Forever => None,
                Patience::Until(end) => Some(end.saturating_duration_since(Instant::now())),
                Patience::Never => Some(Duration::ZERO),
            };
            if let Some(stream) = self.turn(limit)? {
                return Ok(stream);
            }
            if patience.is_over(Instant::now()) {
                return Err(RendezvousError::TimedOut);
            }
        }
    }

    /// A guest that has proven itself, if there is one; never waits. To be called when [`AsFd`] is
    /// readable.
    ///
    /// # Errors
    ///
    /// As [`Meeting::accept`].
    pub fn try_accept(&mut self) -> Result<Option<Stream>, RendezvousError> {
        self.turn(Some(Duration::ZERO))
    }

    /// Waits once, and deals with what has come until a guest is there.
    fn turn(&mut self, limit: Option<Duration>) -> Result<Option<Stream>, RendezvousError> {
        let mut ready = std::mem::take(&mut self.ready);
        let waited = self.poller.wait(&mut ready, limit);
        waited.map_err(|error| step::system(&self.path, error))?;
        // A timer is told once. What else is ready and not dealt with now is ready the next time.
        let (due, able): (Vec<Ready>, Vec<Ready>) =
            ready.iter().partition(|ready| ready.due.is_some());
        for Ready { token: Token(number), .. } in due {
            self.forget(number);
        }
        let result = able.into_iter().find_map(|ready| self.handle(ready).transpose()).transpose();
        self.ready = ready;
        result
    }

    fn handle(&mut self, ready: Ready) -> Result<Option<Stream>, RendezvousError> {
        if ready.token == LISTENER {
            self.admit()?;
            return Ok(None);
        }
        let Token(number) = ready.token;
        let Some(guest) = self.guests.get_mut(&number) else { return Ok(None) };
        let interest = match step::advance(guest.socket.as_fd(), &mut guest.exchange) {
            Ok(Progress::Done) => {
                let guest = self.forget(number);
                return Ok(guest.map(|guest| as_stream(guest.socket, guest.peer)));
            }
            Ok(Progress::Reading) => Interest::READ,
            Ok(Progress::Writing) => Interest::WRITE,
            Err(_) => {
                self.forget(number);
                return Ok(None);
            }
        };
        let changed = self.poller.change(&guest.socket, ready.token, interest);
        changed.map_err(|error| step::system(&self.path, error))?;
        Ok(None)
    }

    /// Lets one guest in, to prove itself. A process of another user is not heard.
    fn admit(&mut self) -> Result<(), RendezvousError> {
        let accepted = sys::socket::accept(self.listener.as_fd());
        let accepted = accepted.map_err(|error| step::system(&self.path, error))?;
        let Some(socket) = accepted else { return Ok(()) };
        let Some(peer) = step::same_user(socket.as_fd(), &self.path)? else { return Ok(()) };
        let exchange = Exchange::host(self.key.clone(), step::number(&self.path)?);
        if self.guests.len() == GUESTS_MOST
            && let Some(first) = self.guests.keys().next().copied()
        {
            self.forget(first);
        }
        self.last_guest += 1;
        let token = Token(self.last_guest);
        let added = self.poller.add(&socket, token, Interest::READ);
        added.map_err(|error| step::system(&self.path, error))?;
        self.poller.set_timer(token, Instant::now() + GUEST_PATIENCE);
        self.guests.insert(token.0, Guest { socket, peer, exchange });
        Ok(())
    }

    fn forget(&mut self, number: u64) -> Option<Guest> {
        self.poller.cancel_timer(Token(number));
        let guest = self.guests.remove(&number)?;
        // The socket may live on, as a stream: it is no longer watched here.
        let _watched = self.poller.remove(&guest.socket).is_ok();
        Some(guest)
    }
}

impl AsFd for Meeting {
    /// Readable when [`Meeting::try_accept`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
