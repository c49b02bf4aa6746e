//! Calls of the kernel that a signal interrupts, a thousand times a second.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libipc::address::Address;
use libipc::session::{ClientOptions, ServerOptions, Session};
use libipc::{Channel, Connection, Patience, Stream};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;

/// Sends one thread a signal that it handles, a thousand times a second, until this is dropped.
struct Interruptions {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    sent: Arc<AtomicUsize>,
}

impl Interruptions {
    fn of(thread: Pthread) -> Self {
        let handled = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Signal::SIGUSR1 as i32, handled).unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let sender = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                pthread_kill(thread, Signal::SIGUSR1).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self { stop, sender: Some(sender), sent }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.take().unwrap().join().unwrap();
    }
}

/// How long the other side takes for an answer: several interruptions.
const SLOW: Duration = Duration::from_millis(4);

/// Questions of each kind.
const ROUNDS: u8 = 25;

fn soon() -> Patience {
    Patience::within(Duration::from_secs(60))
}

/// Bytes that no socket takes at once.
fn much(number: u8) -> Vec<u8> {
    vec![number; 1 << 20]
}

#[test]
fn connections_wait_on_with_a_deadline_and_without() {
    let (near, far) = Stream::pair().unwrap();
    let (mut near, mut far) = (Connection::new(near), Connection::new(far));
    let other = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            std::thread::park_timeout(SLOW);
            let message = far.receive().unwrap();
            std::thread::park_timeout(SLOW);
            far.send(message.channel, &message.payload).unwrap();
        }
    });
    let interruptions = Interruptions::of(pthread_self());
    for number in 0..ROUNDS {
        let patience = if number % 2 == 0 { Patience::Forever } else { soon() };
        // The first of both waits for room, the second one for an answer.
        near.send_within(Channel::DATA, &much(number), &[], patience).unwrap();
        assert!(near.receive_within(patience).unwrap().payload == much(number));
    }
    assert!(interruptions.sent() > usize::from(ROUNDS), "{}", interruptions.sent());
    drop(interruptions);
    other.join().unwrap();
}

#[test]
fn streams_listeners_and_sessions_wait_on() {
    let place = tempfile::tempdir().unwrap();
    let address: Address = place.path().join("socket").to_str().unwrap().parse().unwrap();
    let listener = address.listen().unwrap();
    let server = std::thread::spawn(move || {
        let _interruptions = Interruptions::of(pthread_self());
        for _ in 0..ROUNDS {
            let mut stream = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            stream.write_all(&word).unwrap();
            let mut session = Session::accept(stream, &ServerOptions::default(), "p").unwrap();
            while let Ok(question) = session.receive() {
                session.answer(question.request.unwrap(), &question.payload).unwrap();
            }
        }
    });
    let interruptions = Interruptions::of(pthread_self());
    for number in 0..ROUNDS {
        std::thread::park_timeout(SLOW);
        let mut stream = address.connect(Instant::now() + Duration::from_secs(60)).unwrap();
        std::thread::park_timeout(SLOW);
        stream.write_all(&[number; 4]).unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(word, [number; 4]);
        let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
        let mut session = Session::connect(stream, &options).unwrap();
        for question in 0..4 {
            std::thread::park_timeout(SLOW);
            assert_eq!(session.request(&[question], soon()).unwrap()[..], [question]);
        }
    }
    assert!(interruptions.sent() > usize::from(ROUNDS), "{}", interruptions.sent());
    drop(interruptions);
    server.join().unwrap();
}
