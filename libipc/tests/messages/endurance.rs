//! Many messages, in any pieces, from many threads, and ends at any moment.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use libipc::connection::{Carrier, ConnectionError, Options};
use libipc::decoder::Framing;
use libipc::frame::FrameError;
use libipc::poller::{Interest, Poller, Token};
use libipc::session::{ClientOptions, ServerOptions, Session};
use libipc::{Channel, Connection, Patience, Shm, Stream, ring};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A generator of numbers that look random, the same ones every time (xorshift64*, Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % most.max(1)
    }

    /// Mostly short, sometimes nothing, rarely more than any buffer.
    fn length(&mut self) -> usize {
        match self.below(1_000) {
            0 => self.below(300_000),
            1..20 => self.below(20_000),
            20..60 => 0,
            _ => self.below(300),
        }
    }
}

/// Passes bytes on in pieces of any length.
fn cut(mut from: Stream, mut to: Stream, mut numbers: Numbers) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut piece = vec![0; 100_000];
        loop {
            let most = match numbers.below(8) {
                0 => 1 + numbers.below(10),
                1 => piece.len(),
                _ => 1 + numbers.below(5_000),
            };
            match from.read(&mut piece[..most]).unwrap() {
                0 => return to.shutdown(std::net::Shutdown::Write).unwrap(),
                count => to.write_all(&piece[..count]).unwrap(),
            }
        }
    })
}

fn sum(hasher: &mut DefaultHasher, channel: Channel, payload: &[u8]) {
    channel.hash(hasher);
    payload.hash(hasher);
}

/// Sends `count` messages in every way that there is, and takes them again behind somebody who cuts
/// the bytes into pieces; both sides come to the same sum.
fn arrive_as_they_were_sent(count: u64, seed: u64, framing: Framing) {
    let ((near, middle), (other, far)) = (Stream::pair().unwrap(), Stream::pair().unwrap());
    let cutter = cut(middle, other, Numbers(seed ^ 0x5EED));
    let options = Options::of(Carrier::Stream(framing));
    let receiver = std::thread::spawn(move || {
        let mut far = Connection::with(far, options).unwrap();
        let (mut hasher, mut came) = (DefaultHasher::new(), 0_u64);
        loop {
            match far.receive() {
                Ok(message) => sum(&mut hasher, message.channel, &message.payload),
                Err(ConnectionError::Ended) => return (came, hasher.finish()),
                Err(error) => panic!("after {came}: {error}"),
            }
            came += 1;
        }
    });
    let mut near = Connection::with(near, options).unwrap();
    let (mut numbers, mut hasher) = (Numbers(seed), DefaultHasher::new());
    let noise: Vec<u8> = (0..310_000).map(|_| numbers.next().to_le_bytes()[3]).collect();
    for _ in 0..count {
        let number = u16::try_from(numbers.below(1 << 16)).unwrap();
        let channel = if framing == Framing::Frames { Channel(number) } else { Channel(0) };
        let (start, length) = (numbers.below(10_000), numbers.length());
        let payload = &noise[start..start + length];
        sum(&mut hasher, channel, payload);
        match numbers.below(4) {
            0 => near.send(channel, payload).unwrap(),
            1 => {
                let patience = Patience::within(Duration::from_secs(60));
                near.send_within(channel, payload, &[], patience).unwrap();
            }
            _ => {
                while let Err(error) = near.queue(channel, payload) {
                    assert!(matches!(error, ConnectionError::QueueFull { .. }), "{error}");
                    near.flush(Patience::Forever).unwrap();
                }
            }
        }
    }
    near.end_sending().unwrap();
    assert_eq!(receiver.join().unwrap(), (count, hasher.finish()));
    cutter.join().unwrap();
}

#[test]
fn many_messages_in_any_pieces_arrive_as_they_were_sent() {
    for seed in 1..=2 {
        arrive_as_they_were_sent(60_000, seed, Framing::Frames);
        arrive_as_they_were_sent(60_000, seed, Framing::LengthFrames);
    }
}

#[test]
#[ignore = "the whole number: ten million; optimised, a minute"]
fn millions_of_messages_in_any_pieces_arrive_as_they_were_sent() {
    arrive_as_they_were_sent(5_000_000, 3, Framing::Frames);
    arrive_as_they_were_sent(5_000_000, 4, Framing::LengthFrames);
}

#[test]
fn a_connection_ends_at_any_byte_without_harm() {
    for framing in [Framing::Frames, Framing::LengthFrames] {
        let options = Options::of(Carrier::Stream(framing));
        let header = framing.header(Channel(0), 40).unwrap();
        let whole = [header.bytes(), &[7; 40]].concat();
        for place in 0..=whole.len() {
            let (mut near, far) = Stream::pair().unwrap();
            near.write_all(&whole[..place]).unwrap();
            drop(near);
            let mut far = Connection::with(far, options).unwrap();
            if place == whole.len() {
                assert_eq!(far.receive().unwrap().payload, [7; 40][..]);
            }
            let error = far.receive().unwrap_err();
            let is_between = place == 0 || place == whole.len();
            match error {
                ConnectionError::Ended => assert!(is_between, "at {place}"),
                ConnectionError::Truncated => assert!(!is_between, "at {place}"),
                error => panic!("at {place}: {error}"),
            }
        }
    }
}

#[test]
fn a_client_of_a_session_survives_its_server_at_any_byte() {
    let hello = br#"{"protocol":"ipcprims","version":"1.0","channels":[1],"peer_id":"p"}"#;
    let header = |channel, length| Framing::Frames.header(channel, length).unwrap();
    let whole = [
        header(Channel::CONTROL, hello.len()).bytes(),
        hello,
        header(Channel::COMMAND, 6).bytes(),
        b"answer",
    ]
    .concat();
    for place in 0..whole.len() {
        let (near, mut far) = Stream::pair().unwrap();
        far.write_all(&whole[..place]).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let result = Session::connect(near, &ClientOptions::default())
            .and_then(|mut session| session.request(b"?", Patience::Forever));
        assert!(result.is_err(), "at {place}");
    }
}

#[test]
fn an_answer_is_whole_though_its_sender_closes_with_something_unread() {
    let answer: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    for round in 0..50 {
        let (near, far) = Stream::pair().unwrap();
        let (mut asks, mut answers) = (Connection::new(near), Connection::new(far));
        asks.send(Channel::COMMAND, b"?").unwrap();
        // Nobody will read this.
        for _ in 0..round % 3 {
            asks.send(Channel::DATA, b"and?").unwrap();
        }
        let whole = answer.clone();
        let server = std::thread::spawn(move || {
            answers.receive().unwrap();
            answers.send(Channel::COMMAND, &whole).unwrap();
        });
        assert!(asks.receive().unwrap().payload == answer, "in round {round}");
        let end = asks.receive().unwrap_err();
        let is_reset = matches!(&end, ConnectionError::System(error)
            if error.kind() == ErrorKind::ConnectionReset);
        assert!(is_reset || matches!(end, ConnectionError::Ended), "{end}");
        server.join().unwrap();
    }
}

#[test]
fn eight_threads_share_a_session_behind_a_mutex() {
    let (near, far) = Stream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut session = Session::accept(far, &ServerOptions::default(), "p").unwrap();
        while let Ok(question) = session.receive() {
            session.answer(question.request.unwrap(), &question.payload).unwrap();
        }
    });
    let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
    let session = Arc::new(Mutex::new(Session::connect(near, &options).unwrap()));
    let threads: Vec<_> = (0..8_u8)
        .map(|number| {
            let session = Arc::clone(&session);
            std::thread::spawn(move || {
                for count in 0..200_u8 {
                    let patience = Patience::within(Duration::from_secs(60));
                    let asked = [number, count];
                    let answer = session.lock().unwrap().request(&asked, patience).unwrap();
                    assert_eq!(answer[..], asked);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    drop(session);
    server.join().unwrap();
}

#[test]
fn a_program_that_is_started_meanwhile_inherits_nothing() {
    let (near, far) = Stream::pair().unwrap();
    let (mut near, mut far) = (Connection::new(near), Connection::new(far));
    let memory = Shm::new(NonZero::new(4_096).unwrap()).unwrap();
    near.send_within(Channel::DATA, b"", &[memory.as_fd()], Patience::Forever).unwrap();
    let message = far.receive().unwrap();
    let (_writer, _reader) = ring::pair(4_096).unwrap();
    let poller = Poller::new().unwrap();
    poller.add(&far, Token(1), Interest::READ).unwrap();
    assert_eq!(message.descriptors.len(), 1);
    // What the process that started this one left open is not ours to close.
    let ours = ["socket:", "memfd", "eventpoll", "eventfd"];
    let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let listed: Vec<&str> = listed
        .lines()
        .filter(|line| !line.contains(" 0 -> ") && ours.iter().any(|kind| line.contains(kind)))
        .collect();
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
#[ignore = "run by the test below: its limit is the whole process's"]
fn runs_out_of_memory() {
    let (mut far, near) = Stream::pair().unwrap();
    let options = Options { payload_most: 1 << 30, ..Options::default() };
    let mut near = Connection::with(near, options).unwrap();
    let (mut left, mut right) = Connection::pair(Options::default()).unwrap();
    let header = Framing::Frames.header(Channel::DATA, 1 << 30).unwrap();
    far.write_all(header.bytes()).unwrap();
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    setrlimit(Resource::RLIMIT_AS, pages * 4_096 + (64 << 20), hard).unwrap();
    let error = loop {
        far.write_all(&vec![7; 65_536]).unwrap();
        match near.try_receive() {
            Ok(message) => assert!(message.is_none()),
            Err(error) => break error,
        }
    };
    drop(near);
    left.send(Channel::DATA, &vec![7; 100_000]).unwrap();
    let came = right.receive().unwrap().payload.len();
    setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
    assert!(matches!(error, ConnectionError::Frame(FrameError::NoMemory { .. })), "{error}");
    assert_eq!(came, 100_000, "the others go on");
}

#[test]
fn a_message_for_which_there_is_no_memory_ends_its_connection_alone() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "endurance::runs_out_of_memory"])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
}
