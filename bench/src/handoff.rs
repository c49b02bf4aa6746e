//! A name becomes a connection, in each way that there is, beside a bare connect.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::{Broker, ServiceName};

use crate::processes::Processes;
use crate::service::{BYTES, REGISTERED, WITH_SOCKET};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rounds.
const ROUNDS: usize = 5;

/// Connections of one contestant in one round.
const CONNECTIONS: u32 = 2_000;

/// Names that nobody asks for, and clients that ask for nothing, in the second table.
const CROWD: usize = 1_000;

/// Each contestant, and what it is to take at most, as a multiple of the first one.
const CONTESTANTS: [(&str, f64); 7] = [
    ("bare connect", 1.0),
    ("new connection to the broker, a name", 3.0),
    ("kept connection to the broker, a name", 2.1),
    ("front", 1.5),
    ("taken over, question sent along", 1.9),
    ("by a shared connection, taken over", 2.2),
    ("question and answer after the handoff", 1.02),
];

/// Median time and time of all processes, of one contestant in one round.
#[derive(Clone, Copy, Default)]
struct Cost {
    median: Duration,
    cpu: Duration,
}

/// Two tables: an empty broker, and one with a crowd.
pub(crate) fn run() -> Outcome<()> {
    for crowd in [0, CROWD] {
        println!("\n{crowd} registered names and {crowd} clients that ask for nothing");
        let processes = Processes::start(crowd)?;
        let idle: Vec<_> = (0..crowd)
            .map(|_| UnixStream::connect(processes.directory.broker()))
            .collect::<Result<_, _>>()?;
        let rounds = (0..ROUNDS).map(|_| round(&processes)).collect::<Outcome<Vec<_>>>()?;
        print(&rounds);
        drop(idle);
    }
    Ok(())
}

fn print(rounds: &[Vec<[f64; 2]>]) {
    println!("{:40} {:>6} {:>6} {:>6}", "to a bare connect", "p50", "CPU", "goal");
    for (place, (name, goal)) in CONTESTANTS.iter().enumerate() {
        let of = |figure: usize| {
            let mut all: Vec<f64> = rounds.iter().map(|round| round[place][figure]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        if place == 0 {
            println!("{name:40} {:4.1}us {:4.1}us", of(0), of(1));
        } else {
            println!("{name:40} {:5.2}x {:5.2}x {goal:5.2}x", of(0), of(1));
        }
    }
}

/// One round: microseconds of the first contestant, and multiples of it of the others.
fn round(processes: &Processes) -> Outcome<Vec<[f64; 2]>> {
    let directory = &processes.directory;
    let own = ServiceName::new(WITH_SOCKET)?;
    let registered = ServiceName::new(REGISTERED)?;
    let patience = Duration::from_secs(600);
    let deadline = Instant::now() + patience;
    let path = directory.service(&own);

    let direct = measure(processes, || Ok(UnixStream::connect(&path)?))?;
    let fresh = measure(processes, || {
        let deadline = Instant::now() + Duration::from_secs(5);
        Ok(Broker::open(directory, deadline)?.connect(&own, None, deadline)?)
    })?;
    let mut broker = Broker::open(directory, deadline)?;
    let kept = measure(processes, || Ok(broker.connect(&own, None, deadline)?))?;
    let front = measure(processes, || Ok(UnixStream::connect(&processes.front)?))?;
    let early = cost(processes, || ask_at_once(directory.broker()))?;
    let shared = UnixStream::connect(directory.broker())?;
    let environment = Environment { broker_fd: Some(shared.as_raw_fd()), ..Environment::default() };
    let connector = Connector::new(&environment, patience)?;
    let adopted = measure(processes, || Ok(connector.connect(&registered)?))?;

    let mut bare = UnixStream::connect(&path)?;
    let before = cost(processes, || ask(&mut bare))?;
    let mut handed = broker.connect(&own, None, deadline)?;
    let after = cost(processes, || ask(&mut handed))?;

    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let to = |one: Cost, other: Cost| {
        [
            one.median.as_secs_f64() / other.median.as_secs_f64(),
            one.cpu.as_secs_f64() / other.cpu.as_secs_f64(),
        ]
    };
    let mut row = vec![[micros(direct.median), micros(direct.cpu)]];
    row.extend([fresh, kept, front, early, adopted].map(|one| to(one, direct)));
    row.push(to(after, before));
    Ok(row)
}

/// What it costs to connect, ask and be answered.
fn measure<S: Read + Write>(
    processes: &Processes,
    mut connect: impl FnMut() -> Outcome<S>,
) -> Outcome<Cost> {
    cost(processes, || ask(&mut connect()?))
}

fn cost(processes: &Processes, mut once: impl FnMut() -> Outcome<()>) -> Outcome<Cost> {
    let mut times = Vec::new();
    let busy = processes.busy()?;
    for _ in 0..CONNECTIONS {
        let start = Instant::now();
        once()?;
        times.push(start.elapsed());
    }
    let cpu = processes.busy()?.saturating_sub(busy) / CONNECTIONS;
    times.sort();
    Ok(Cost { median: times[times.len() / 2], cpu })
}

fn ask(stream: &mut (impl Read + Write)) -> Outcome<()> {
    let mut buffer = [7; BYTES];
    stream.write_all(&buffer)?;
    Ok(stream.read_exact(&mut buffer)?)
}

/// The request and the first bytes for the service in one message, by hand: what the protocol
/// permits to who knows that the service takes connections over.
fn ask_at_once(broker: PathBuf) -> Outcome<()> {
    let mut message = format!(
        r#"{{"method":"org.ipcd.Broker.Connect","parameters":{{"service":"{REGISTERED}","take":["upgrade"]}},"upgrade":true}}"#
    )
    .into_bytes();
    message.push(0);
    message.extend([7; BYTES]);
    let mut stream = UnixStream::connect(broker)?;
    stream.write_all(&message)?;
    let (mut buffer, mut got) = ([0; 4096], 0);
    loop {
        let read = stream.read(&mut buffer[got..])?;
        if read == 0 {
            return Err(String::from_utf8_lossy(&buffer[..got]).into());
        }
        got += read;
        let answer = buffer[..got].iter().position(|byte| *byte == 0);
        if answer.is_some_and(|end| got >= end + 1 + BYTES) {
            return Ok(());
        }
    }
}

/// The time that the threads of a process have run, by the kernel's own account.
pub(crate) fn busy(pid: u32) -> Outcome<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let line = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += line.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}
