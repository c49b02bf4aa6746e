use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal as Native;
use sys::socket::{SocketKind, bind_unix, unix_pair};

use super::*;
use crate::listener::Listener;
use crate::name::ServiceName;
use crate::patience::Patience;
use crate::rundir::{Instance, RunDirectory};

#[test]
fn what_is_ready_is_told_until_it_is_handled() {
    let mut poller = Poller::new().unwrap();
    let (left, right) = unix_pair(SocketKind::Stream).unwrap();
    poller.add(&right, Token(7), Interest::READ).unwrap();
    let mut ready = Vec::new();
    poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty());
    sys::ancillary::send(left.as_fd(), b"x", &[], sys::ancillary::Wait::Never).unwrap();
    for _ in 0..2 {
        poller.wait(&mut ready, None).unwrap();
        assert_eq!((ready[0].token, ready[0].readable, ready[0].hangup), (Token(7), true, false));
    }
    poller.change(&right, Token(8), Interest::WRITE).unwrap();
    drop(left);
    poller.wait(&mut ready, None).unwrap();
    assert_eq!((ready[0].token, ready[0].writable, ready[0].hangup), (Token(8), true, true));
    poller.remove(&right).unwrap();
    poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty());
}

#[test]
fn a_wake_up_before_the_wait_is_not_lost() {
    let mut poller = Poller::new().unwrap();
    let waker = Waker::new(&poller, Token(1)).unwrap();
    let from_elsewhere = waker.clone();
    std::thread::spawn(move || from_elsewhere.wake()).join().unwrap();
    let mut ready = Vec::new();
    poller.wait(&mut ready, None).unwrap();
    assert_eq!(ready[0].token, Token(1));
    waker.clear();
    poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty());
}

#[test]
fn a_wait_is_never_shorter_than_asked_for() {
    assert_eq!(whole_milliseconds(Some(Duration::from_micros(1))), EpollTimeout::from(1_u8));
    assert_eq!(whole_milliseconds(Some(Duration::ZERO)), EpollTimeout::ZERO);
    assert_eq!(whole_milliseconds(None), EpollTimeout::NONE);
}

#[test]
fn an_edge_is_told_once_for_each_thing_that_comes() {
    let mut poller = Poller::new().unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    poller.add_edge(&ours, Token(1), Interest::READ).unwrap();
    let mut ready = Vec::new();
    for _ in 0..2 {
        theirs.write_all(b"x").unwrap();
        poller.wait(&mut ready, None).unwrap();
        assert_eq!((ready.len(), ready[0].readable), (1, true));
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty(), "nothing came since");
    }
    // Changed to level, it is told again and again.
    poller.change(&ours, Token(1), Interest::READ).unwrap();
    for _ in 0..2 {
        poller.wait(&mut ready, None).unwrap();
        assert_eq!(ready.len(), 1);
    }
    ours.read_exact(&mut [0; 2]).unwrap();
}

#[test]
fn timers_are_told_once_in_order_beside_what_is_ready() {
    let mut poller = Poller::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    poller.add(&ours, Token(1), Interest::READ).unwrap();
    let start = Instant::now();
    let millisecond = Duration::from_millis(1);
    poller.set_timer(Token(1), start + 3 * millisecond);
    poller.set_timer(Token(2), start + millisecond);
    poller.set_timer(Token(3), start);
    assert!(poller.cancel_timer(Token(3)));
    let mut ready = Vec::new();
    let mut told = Vec::new();
    while told.len() < 2 {
        // The time-out is far longer: it is the timer that ends the wait.
        poller.wait(&mut ready, Some(Duration::from_secs(20))).unwrap();
        assert!(start.elapsed() >= millisecond);
        assert!(ready.iter().all(|ready| ready.due.is_some() && !ready.readable));
        told.extend(ready.iter().map(|ready| ready.token));
    }
    assert_eq!(told, [Token(2), Token(1)]);
    assert!(start.elapsed() >= 3 * millisecond);
    theirs.write_all(b"x").unwrap();
    poller.set_timer(Token(4), start);
    poller.wait(&mut ready, None).unwrap();
    let told: Vec<_> = ready.iter().map(|ready| (ready.token, ready.due)).collect();
    assert_eq!(told, [(Token(1), None), (Token(4), Some(start))]);
    poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(!ready.iter().any(|ready| ready.due.is_some()));
}

#[test]
fn a_source_is_watched_once_and_a_stranger_not_at_all() {
    let poller = Poller::new().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    poller.add(&ours, Token(1), Interest::READ).unwrap();
    let again = poller.add(&ours, Token(2), Interest::READ).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    poller.remove(&ours).unwrap();
    let gone = poller.change(&ours, Token(1), Interest::READ).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}

/// Connections to a listener that has accepted none of them yet.
fn connections(place: &Path, count: usize) -> (OwnedFd, Vec<UnixStream>) {
    let backlog = i32::try_from(count).unwrap();
    let listener = bind_unix(place, 0o600, SocketKind::Stream, backlog).unwrap();
    let connect = |_| UnixStream::connect(place).expect("10,100 descriptors: `ulimit -n` to that");
    (listener, (0..count).map(connect).collect())
}

#[test]
fn ten_thousand_connections_are_all_told_and_in_few_waits() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut poller = Poller::new().unwrap();
    let (listeners, connections): (Vec<_>, Vec<_>) = ["a", "b", "c", "d", "e"]
        .map(|name| connections(&place.path().join(name), 2_000))
        .into_iter()
        .unzip();
    let connections: Vec<_> = connections.into_iter().flatten().collect();
    for (connection, number) in connections.iter().zip(0..) {
        poller.add(connection, Token(number), Interest::READ).unwrap();
    }
    let mut ready = Vec::new();
    poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty());
    for listener in &listeners {
        while let Some(accepted) = sys::socket::accept(listener.as_fd()).unwrap() {
            UnixStream::from(accepted).write_all(b"x").unwrap();
        }
    }
    let (mut told, mut waits) = (vec![0_u32; connections.len()], 0);
    while told.contains(&0) {
        poller.wait(&mut ready, Some(Duration::from_secs(20))).unwrap();
        waits += 1;
        for Ready { token: Token(number), readable, .. } in &ready {
            let index = usize::try_from(*number).unwrap();
            assert!(*readable);
            poller.remove(&connections[index]).unwrap();
            told[index] += 1;
        }
    }
    assert!(told.len() == 10_000 && told.iter().all(|count| *count == 1));
    assert!(waits <= 6, "{waits} waits");
}

#[test]
fn listeners_streams_pollers_and_foreign_descriptors_are_watched_alike() {
    let place = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
    let name = ServiceName::new("echo").unwrap();
    let listener = Listener::bind_in(&directory, &name).unwrap();
    let (pipe, mut writer) = io::pipe().unwrap();
    let mut inner = Poller::new().unwrap();
    let waker = Waker::new(&inner, Token(0)).unwrap();
    let mut poller = Poller::new().unwrap();
    poller.add(&listener, Token(1), Interest::READ).unwrap();
    poller.add(&pipe, Token(2), Interest::READ).unwrap();
    poller.add(&inner, Token(3), Interest::READ).unwrap();
    let mut client = UnixStream::connect(directory.service(&name)).unwrap();
    let mut ready = Vec::new();
    poller.wait(&mut ready, None).unwrap();
    assert_eq!((ready.len(), ready[0].token), (1, Token(1)));
    let stream = listener.accept().unwrap();
    poller.add(&stream, Token(4), Interest::READ).unwrap();
    client.write_all(b"x").unwrap();
    writer.write_all(b"x").unwrap();
    waker.wake();
    poller.wait(&mut ready, None).unwrap();
    let mut told: Vec<_> = ready.iter().map(|ready| ready.token.0).collect();
    told.sort_unstable();
    assert_eq!(told, [2, 3, 4]);
    inner.wait(&mut ready, None).unwrap();
    assert_eq!(ready[0].token, Token(0));
}

/// Sends this thread a signal that it handles, a thousand times a second, until it is dropped.
struct Interruptions(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Interruptions {
    fn start() -> Self {
        let handled = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Native::SIGUSR2 as i32, handled).unwrap();
        let (stop, thread) = (Arc::new(AtomicBool::new(false)), pthread_self());
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                pthread_kill(thread, Native::SIGUSR2).unwrap();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self(stop, Some(sender))
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

#[test]
fn interruptions_lose_nothing_in_pollers_and_rings() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let (mut writer, mut reader) = crate::ring::pair(4096).unwrap();
    let interruptions = Interruptions::start();
    let other = std::thread::spawn(move || {
        // Slower than the signals: most waits here are interrupted several times.
        for number in 0..20_u8 {
            std::thread::park_timeout(Duration::from_millis(5));
            theirs.write_all(&[number]).unwrap();
            std::thread::park_timeout(Duration::from_millis(5));
            writer.send(&[number], Patience::Forever).unwrap();
        }
    });
    let mut poller = Poller::new().unwrap();
    poller.add(&ours, Token(1), Interest::READ).unwrap();
    let (mut ready, mut empty) = (Vec::new(), 0);
    for number in 0..20_u8 {
        poller.wait(&mut ready, None).unwrap();
        while ready.is_empty() {
            empty += 1;
            poller.wait(&mut ready, None).unwrap();
        }
        let mut byte = [0];
        ours.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number]);
        assert_eq!(reader.receive(Patience::Forever).unwrap().to_vec().unwrap(), [number]);
    }
    drop(interruptions);
    other.join().unwrap();
    assert!(empty > 0, "the signals did interrupt");
}
