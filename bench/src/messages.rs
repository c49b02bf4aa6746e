//! Messages beside raw sockets: there and back, one way, and how long a beginning takes.

use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use libipc::connection::{Carrier, Options};
use libipc::poller::{Interest, Poller, Token};
use libipc::session::{ClientOptions, ServerOptions, Session};
use libipc::{Address, Channel, Connection, Patience, Stream};
use sys::socket::{SocketKind, unix_pair};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rounds; a ratio is contestant to reference of the same round.
const ROUNDS: usize = 7;

/// How long each contestant of a round runs.
const SPAN: Duration = Duration::from_millis(250);

/// A way of sending a payload there and back.
trait Contestant {
    fn round_trip(&mut self, payload: &mut [u8]) -> Outcome<()>;
}

struct Raw(Stream);

impl Contestant for Raw {
    fn round_trip(&mut self, payload: &mut [u8]) -> Outcome<()> {
        self.0.write_all(payload)?;
        Ok(self.0.read_exact(payload)?)
    }
}

struct Packets(OwnedFd);

impl Contestant for Packets {
    fn round_trip(&mut self, payload: &mut [u8]) -> Outcome<()> {
        use sys::ancillary::{Wait, receive, send};
        send(self.0.as_fd(), payload, &[], Wait::Block)?;
        receive(self.0.as_fd(), payload, 0, Wait::Block)?;
        Ok(())
    }
}

struct Blocking(Connection);

impl Contestant for Blocking {
    fn round_trip(&mut self, payload: &mut [u8]) -> Outcome<()> {
        self.0.send(channel(&self.0), payload)?;
        self.0.receive()?;
        Ok(())
    }
}

/// Frames have channels; packets have none.
fn channel(_: &Connection) -> Channel {
    Channel(0)
}

struct Polled(Connection, Poller);

impl Contestant for Polled {
    fn round_trip(&mut self, payload: &mut [u8]) -> Outcome<()> {
        self.0.send(Channel(0), payload)?;
        let mut ready = Vec::new();
        while self.0.try_receive()?.is_none() {
            self.1.wait(&mut ready, None)?;
        }
        Ok(())
    }
}

struct Sessions(Session);

impl Contestant for Sessions {
    fn round_trip(&mut self, payload: &mut [u8]) -> Outcome<()> {
        self.0.send(Channel::DATA, payload)?;
        self.0.receive()?;
        Ok(())
    }
}

fn raw(size: usize) -> Outcome<Box<dyn Contestant>> {
    let (near, far) = Stream::pair()?;
    std::thread::spawn(move || {
        let (mut far, mut buffer) = (far, vec![0; size]);
        // All of it before any goes back: otherwise both could wait for each other to read.
        while far.read_exact(&mut buffer).is_ok() && far.write_all(&buffer).is_ok() {}
    });
    Ok(Box::new(Raw(near)))
}

fn raw_packets(_: usize) -> Outcome<Box<dyn Contestant>> {
    let (near, far) = unix_pair(SocketKind::SeqPacket)?;
    std::thread::spawn(move || {
        use sys::ancillary::{Wait, receive, send};
        let mut buffer = vec![0; 1 << 20];
        while let Ok(received) = receive(far.as_fd(), &mut buffer, 0, Wait::Block) {
            let bytes = buffer.get(..received.bytes).unwrap_or_default();
            if bytes.is_empty() || send(far.as_fd(), bytes, &[], Wait::Block).is_err() {
                return;
            }
        }
    });
    Ok(Box::new(Packets(near)))
}

/// A connection whose other end echoes, waiting in a poller if that is wanted.
fn echoing(carrier: Carrier, polls: bool) -> Outcome<Connection> {
    let (near, far) = unix_pair(carrier.socket_kind())?;
    let with = |socket| Connection::with(Stream::new(socket, None), Options::of(carrier));
    let mut far = with(far)?;
    std::thread::spawn(move || -> Option<()> {
        let mut poller = Poller::new().ok()?;
        poller.add(&far, Token(0), Interest::READ).ok()?;
        let mut ready = Vec::new();
        loop {
            let message = match far.receive_within(patience(polls)) {
                Ok(message) => message,
                Err(libipc::ConnectionError::TimedOut) => {
                    poller.wait(&mut ready, None).ok()?;
                    continue;
                }
                Err(_) => return None,
            };
            far.send(message.channel, &message.payload).ok()?;
        }
    });
    Ok(with(near)?)
}

fn patience(polls: bool) -> Patience {
    if polls { Patience::Never } else { Patience::Forever }
}

const FRAMES: Carrier = Carrier::Stream(libipc::decoder::Framing::Frames);

fn frames(_: usize) -> Outcome<Box<dyn Contestant>> {
    Ok(Box::new(Blocking(echoing(FRAMES, false)?)))
}

fn packets(_: usize) -> Outcome<Box<dyn Contestant>> {
    Ok(Box::new(Blocking(echoing(Carrier::Packets, false)?)))
}

fn polled(_: usize) -> Outcome<Box<dyn Contestant>> {
    let connection = echoing(FRAMES, true)?;
    let poller = Poller::new()?;
    poller.add(&connection, Token(0), Interest::READ)?;
    Ok(Box::new(Polled(connection, poller)))
}

fn sessions(_: usize) -> Outcome<Box<dyn Contestant>> {
    let (near, far) = Stream::pair()?;
    std::thread::spawn(move || {
        let Ok(mut session) = Session::accept(far, &ServerOptions::default(), "bench") else {
            return;
        };
        while let Ok(message) = session.receive() {
            if session.send(message.channel, &message.payload).is_err() {
                return;
            }
        }
    });
    Ok(Box::new(Sessions(Session::connect(near, &ClientOptions::default())?)))
}

/// Starts a contestant for messages of so many bytes.
type Start = fn(usize) -> Outcome<Box<dyn Contestant>>;

/// What is compared, the reference first.
const CONTESTANTS: [(&str, Start); 6] = [
    ("raw stream", raw),
    ("raw packets", raw_packets),
    ("frames", frames),
    ("frames in a poller", polled),
    ("packets", packets),
    ("session", sessions),
];

/// Everything, as a table, or one part of it: `trips`, `one-way` or `beginnings`.
pub(crate) fn run(part: Option<&str>) -> Outcome<()> {
    let wanted = |name| part.is_none_or(|part| part == name);
    if wanted("trips") {
        round_trips()?;
    }
    if wanted("one-way") {
        one_way()?;
    }
    if wanted("beginnings") {
        beginnings()?;
    }
    Ok(())
}

fn round_trips() -> Outcome<()> {
    println!("there and back, median of {ROUNDS} rounds, beside the raw stream of the same round");
    for size in [64, 1 << 10, 64 << 10, 1 << 20] {
        let mut ratios = vec![Vec::new(); CONTESTANTS.len()];
        let mut times = ratios.clone();
        for _ in 0..ROUNDS {
            let mut reference = None;
            for (place, (name, start)) in CONTESTANTS.iter().enumerate() {
                // The kernel takes no such packet.
                if size > 128 << 10 && name.ends_with("packets") {
                    continue;
                }
                let time = median_round_trip(*start, size)?;
                let reference = *reference.get_or_insert(time);
                if let (Some(ratios), Some(times)) = (ratios.get_mut(place), times.get_mut(place)) {
                    ratios.push(time / reference);
                    times.push(time);
                }
            }
        }
        println!("{size} bytes");
        for ((name, _), (ratios, times)) in CONTESTANTS.iter().zip(ratios.into_iter().zip(times)) {
            if !ratios.is_empty() {
                println!("  {name:20} {:8.1} us  x{:.2}", middle(times) * 1e6, middle(ratios));
            }
        }
    }
    Ok(())
}

fn median_round_trip(start: Start, size: usize) -> Outcome<f64> {
    let mut contestant = start(size)?;
    let mut payload = vec![7; size];
    for _ in 0..20 {
        contestant.round_trip(&mut payload)?;
    }
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < SPAN {
        let start = Instant::now();
        contestant.round_trip(&mut payload)?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(middle(times))
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Messages of 64 bytes in one direction: one call for each, and gathered.
fn one_way() -> Outcome<()> {
    const COUNT: u32 = 300_000;
    println!("one way, 64 bytes, {COUNT} messages");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (near, far) = Stream::pair()?;
        let reader = std::thread::spawn(move || {
            let (mut far, mut buffer) = (far, [0; 64]);
            (0..COUNT).filter(|_| far.read_exact(&mut buffer).is_ok()).count()
        });
        let start = Instant::now();
        for _ in 0..COUNT {
            (&near).write_all(&[7; 64])?;
        }
        let raw = (reader.join().unwrap_or(0), start.elapsed().as_secs_f64());
        let (near, far) = Stream::pair()?;
        let (mut near, mut far) = (Connection::new(near), Connection::new(far));
        let reader =
            std::thread::spawn(move || (0..COUNT).filter(|_| far.receive().is_ok()).count());
        let start = Instant::now();
        for _ in 0..COUNT {
            while let Err(error) = near.queue(Channel::DATA, &[7; 64]) {
                match error {
                    libipc::ConnectionError::QueueFull { .. } => {
                        near.flush(Patience::Forever)?;
                    }
                    error => return Err(error.into()),
                }
            }
        }
        near.flush(Patience::Forever)?;
        let gathered = (reader.join().unwrap_or(0), start.elapsed().as_secs_f64());
        if raw.0 != COUNT as usize || gathered.0 != COUNT as usize {
            return Err("messages are missing".into());
        }
        ratios.push(raw.1 / gathered.1);
        println!(
            "  raw {:6.3} us  gathered {:6.3} us  {:.1} times as many",
            raw.1 / f64::from(COUNT) * 1e6,
            gathered.1 / f64::from(COUNT) * 1e6,
            raw.1 / gathered.1
        );
    }
    println!("  median {:.1} times", middle(ratios));
    Ok(())
}

/// A connection, its channels and the first answer, beside a raw one.
fn beginnings() -> Outcome<()> {
    const COUNT: usize = 2_000;
    println!("connect and first answer, 64 bytes, {COUNT} each");
    let place = tempfile::tempdir()?;
    let raw = place.path().join("raw");
    let sessions = Address::Path(place.path().join("sessions"));
    serve_beginnings(&raw, &sessions)?;
    let deadline = || Instant::now() + Duration::from_secs(5);
    let mut ratios = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let time = |work: &mut dyn FnMut() -> Outcome<()>| -> Outcome<f64> {
            let mut times = Vec::new();
            for _ in 0..COUNT {
                let start = Instant::now();
                work()?;
                times.push(start.elapsed().as_secs_f64());
            }
            Ok(middle(times))
        };
        let reference = time(&mut || {
            let mut stream = UnixStream::connect(&raw)?;
            stream.write_all(&[7; 64])?;
            Ok(stream.read_exact(&mut [0; 64])?)
        })?;
        let agreed = time(&mut || {
            let stream = sessions.connect(deadline())?;
            let mut session = Session::connect(stream, &ClientOptions::default())?;
            session.send(Channel::DATA, &[7; 64])?;
            session.receive()?;
            Ok(())
        })?;
        let early = time(&mut || {
            let stream = sessions.connect(deadline())?;
            let mut session = Session::start(stream, &ClientOptions::default())?;
            session.queue(Channel::DATA, &[7; 64])?;
            session.receive()?;
            Ok(())
        })?;
        ratios.0.push(agreed / reference);
        ratios.1.push(early / reference);
        println!(
            "  raw {:6.1} us  session x{:.2}  with an early message x{:.2}",
            reference * 1e6,
            agreed / reference,
            early / reference
        );
    }
    println!("  median x{:.2} and x{:.2}", middle(ratios.0), middle(ratios.1));
    Ok(())
}

/// Answers one message of each client: raw, and in a session.
fn serve_beginnings(raw: &Path, sessions: &Address) -> Outcome<()> {
    let (raw_listener, session_listener) = (UnixListener::bind(raw)?, sessions.listen()?);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = raw_listener.accept() {
            let mut buffer = [0; 64];
            if stream.read_exact(&mut buffer).is_ok() {
                let _gone = stream.write_all(&buffer).is_err();
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok(stream) = session_listener.accept() {
            let begun = Session::accept(stream, &ServerOptions::default(), "bench");
            let _gone = begun.and_then(|mut session| {
                let message = session.receive()?;
                session.send(message.channel, &message.payload)
            });
        }
    });
    Ok(())
}
