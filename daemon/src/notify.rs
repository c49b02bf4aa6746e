//! What the service manager is told: that the daemon is ready, that it reads its configuration
//! again, how it is, and that its loop still turns.
//!
//! The protocol is that of `sd_notify(3)`: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. Without
//! a service manager all of it does nothing.

use std::env;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::time::{ClockId, clock_gettime};

use crate::generations::BEAT;

/// Milliseconds that a service manager may take to have room for a change of state. A status, and
/// a sign of life, are left out at once where there is none.
const ROOM_MS: u16 = 1000;

/// Descriptors that one message carries.
const CARRIED_MOST: usize = 128;

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    beat: Option<Beat>,
    is_vouched_for: bool,
}

/// Signs of life: how often one is due, and when the next.
#[derive(Clone, Copy, Debug)]
struct Beat {
    every: Duration,
    next: Instant,
}

impl Notifier {
    /// The service manager that the environment names, if any. To be called after the log is
    /// started, for a socket that cannot be reached is a warning.
    #[must_use]
    pub fn of_process(now: Instant) -> Self {
        let read = |name| env::var(name).ok();
        let Some(place) = env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else {
            return Self::default();
        };
        let every = beat_interval(read("WATCHDOG_USEC"), read("WATCHDOG_PID"), std::process::id());
        match open(place.as_bytes()) {
            Ok(socket) => {
                let beat = every.map(|every| Beat { every, next: now });
                Self { socket: Some(socket), beat, is_vouched_for: false }
            }
            Err(error) => {
                tracing::warn!(event = "no-service-manager", socket = ?place, %error);
                Self::default()
            }
        }
    }

    /// The daemon answers from now on, or again. `status` is for people.
    pub fn ready(&self, status: &str) {
        self.tell_surely(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The daemon reads its configuration again; [`Notifier::ready`] follows.
    pub fn reloading(&self) {
        // The clock of sd_notify(3); where it cannot be read, older service managers do without.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let now = now.map(|now| now.as_micros()).unwrap_or_default();
        self.tell_surely(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        self.tell_surely("STOPPING=1");
    }

    /// Has the service manager hold copies of these sockets, which whoever follows this process
    /// inherits under that name. A copy goes by itself when the peer's end of it is closed. A
    /// service manager that holds none, or no more, takes no notice.
    pub fn keep(&self, name: &str, sockets: &[BorrowedFd<'_>]) {
        for some in sockets.chunks(CARRIED_MOST) {
            self.tell_surely_with(&format!("FDSTORE=1\nFDNAME={}", one_line(name)), some);
        }
    }

    /// Has it hold nothing of that name any more.
    pub fn keep_no_more(&self, name: &str) {
        self.tell_surely(&format!("FDSTOREREMOVE=1\nFDNAME={}", one_line(name)));
    }

    /// Whether there is a service manager.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// How the daemon is, for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// When the loop has to show that it turns; nothing if nobody watches.
    #[must_use]
    pub fn next_beat(&self) -> Option<Instant> {
        self.beat.map(|beat| beat.next)
    }

    /// Another process shows from now on that the daemon lives.
    pub fn retire(&mut self) {
        self.beat = None;
    }

    /// Shows from now on to the process that has started this one that the loop turns. Whoever
    /// started it passes that on, and so shows that it turns itself.
    pub fn beat_to_parent(&mut self) {
        self.is_vouched_for = true;
    }

    /// Shows that the loop turns, if that is due.
    pub fn beat(&mut self, now: Instant) {
        if self.next_beat().is_some_and(|next| next <= now) {
            self.beat_now(now);
        }
    }

    /// Shows that the loop turns, or that another one does for which this process answers.
    pub fn beat_now(&mut self, now: Instant) {
        let Some(beat) = &mut self.beat else { return };
        beat.next = now + beat.every;
        if self.is_vouched_for {
            // A parent that has ended takes this process along.
            let _ended = io::stdout().write_all(BEAT).is_err();
        } else {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, message: &str) -> bool {
        self.tell_with(message, &[])
    }

    fn tell_with(&self, message: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
        let Some(socket) = &self.socket else { return true };
        let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[][..] } else { &rights[..] };
        let bytes = [IoSlice::new(message.as_bytes())];
        sendmsg::<()>(socket.as_raw_fd(), &bytes, rights, MsgFlags::MSG_NOSIGNAL, None).is_ok()
    }

    fn tell_surely(&self, message: &str) {
        self.tell_surely_with(message, &[]);
    }

    fn tell_surely_with(&self, message: &str, descriptors: &[BorrowedFd<'_>]) {
        let Some(socket) = &self.socket else { return };
        if self.tell_with(message, descriptors) {
            return;
        }
        let mut room = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        // A service manager that is not there any more is told of nothing.
        let _waited = poll(&mut room, PollTimeout::from(ROOM_MS)).is_ok();
        if !self.tell_with(message, descriptors) {
            tracing::warn!(event = "service-manager-not-told", message = ?message);
        }
    }
}

fn open(place: &[u8]) -> io::Result<UnixDatagram> {
    let address = match place.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Half of the time after which the service manager takes a daemon for dead, as
/// `sd_watchdog_enabled(3)` advises.
fn beat_interval(usec: Option<String>, pid: Option<String>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec) / 2)
}

/// A status has one line: a second one would be another assignment.
fn one_line(status: &str) -> String {
    status.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = open(path.as_os_str().as_bytes()).unwrap();
        (place, manager, Notifier { socket: Some(socket), ..Notifier::default() })
    }

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 512];
        let size = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..size]).into_owned())
    }

    #[test]
    fn states_are_told_in_the_words_of_sd_notify() {
        let (_place, manager, notifier) = manager();
        notifier.ready("one\nREADY=0");
        assert_eq!(heard(&manager).unwrap(), "READY=1\nSTATUS=one READY=0");
        notifier.reloading();
        let said = heard(&manager).unwrap();
        assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
        assert!(!said.ends_with("USEC=0"), "{said}");
        notifier.status("all is well");
        notifier.stopping();
        assert_eq!(heard(&manager).unwrap(), "STATUS=all is well");
        assert_eq!(heard(&manager).unwrap(), "STOPPING=1");
    }

    /// A message with descriptors: how many, and its text.
    fn handed(manager: &UnixDatagram) -> (usize, String) {
        let mut buffer = [0; 512];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 253]);
        let mut bytes = [io::IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = nix::sys::socket::recvmsg::<()>(
            manager.as_raw_fd(),
            &mut bytes,
            Some(&mut space),
            flags,
        );
        let message = message.unwrap();
        let rights = message.cmsgs().unwrap().next().unwrap();
        let nix::sys::socket::ControlMessageOwned::ScmRights(numbers) = rights else {
            panic!("{rights:?}")
        };
        let length = message.bytes;
        (numbers.len(), String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn sockets_are_kept_and_kept_no_more_by_their_name() {
        let (_place, manager, notifier) = manager();
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        notifier.keep("kept.x\nREADY=1", &[one.as_fd(), other.as_fd()]);
        assert_eq!(handed(&manager), (2, "FDSTORE=1\nFDNAME=kept.x READY=1".to_owned()));
        notifier.keep_no_more("kept.x");
        assert_eq!(heard(&manager).unwrap(), "FDSTOREREMOVE=1\nFDNAME=kept.x");
    }

    #[test]
    fn a_message_has_128_sockets_and_more_come_in_further_ones() {
        let (_place, manager, notifier) = manager();
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let told = |count: usize| {
            notifier.keep("kept.clients", &vec![one.as_fd(); count]);
            let mut counts = Vec::new();
            while counts.iter().sum::<usize>() < count {
                let (carried, text) = handed(&manager);
                assert_eq!(text, "FDSTORE=1\nFDNAME=kept.clients");
                counts.push(carried);
            }
            assert_eq!(heard(&manager), None, "all have come");
            counts
        };
        assert_eq!(told(128), [128]);
        assert_eq!(told(129), [128, 1]);
        assert_eq!(told(500), [128, 128, 128, 116]);
    }

    #[test]
    fn a_beat_is_due_every_half_of_the_watchdogs_time_and_told_when_due() {
        let (_place, manager, mut notifier) = manager();
        let start = Instant::now();
        let every = Duration::from_secs(5);
        notifier.beat = Some(Beat { every, next: start });
        notifier.beat(start);
        assert_eq!(heard(&manager).unwrap(), "WATCHDOG=1");
        assert_eq!(notifier.next_beat(), Some(start + every));
        notifier.beat(start + Duration::from_millis(4999));
        assert_eq!(heard(&manager), None);
        notifier.beat(start + every);
        assert_eq!(heard(&manager).unwrap(), "WATCHDOG=1");
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let interval = |usec: &str, pid: Option<&str>| {
            beat_interval(Some(usec.to_owned()), pid.map(str::to_owned), 7)
        };
        assert_eq!(interval("10000000", None), Some(Duration::from_secs(5)));
        assert_eq!(interval("10000000", Some("7")), Some(Duration::from_secs(5)));
        assert_eq!(interval("10000000", Some("8")), None);
        assert_eq!(interval("0", None), None);
        assert_eq!(interval("soon", None), None);
        assert_eq!(beat_interval(None, None, 7), None);
    }

    #[test]
    fn a_service_manager_that_does_not_read_holds_no_loop_up() {
        let (_place, manager, mut notifier) = manager();
        while notifier.tell("STATUS=more") {}
        let now = Instant::now();
        notifier.beat = Some(Beat { every: Duration::from_secs(1), next: now });
        notifier.beat(now);
        notifier.status("left out");
        assert!(now.elapsed() < Duration::from_millis(500));
        while let Some(text) = heard(&manager) {
            assert_eq!(text, "STATUS=more");
        }
        drop(manager);
        notifier.beat(now + Duration::from_secs(1));
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        let name = format!("ipcd-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = open(format!("@{name}").as_bytes()).unwrap();
        socket.send(b"READY=1").unwrap();
        assert_eq!(heard(&manager).unwrap(), "READY=1");
    }
}
