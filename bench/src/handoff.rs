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

/// Median time and time of all processes, of one contestant in one round.
#[derive(Clone, Copy, Default)]
struct Cost {
    median: Duration,
    cpu: Duration,
}

/// Two tables: an empty broker, and one with a crowd. A word chooses the contestants that have it
/// in their names.
pub(crate) fn run(word: Option<&str>) -> Outcome<()> {
    for crowd in [0, CROWD] {
        println!("\n{crowd} registered names and {crowd} clients that ask for nothing");
        let processes = Processes::start(crowd)?;
        let idle: Vec<_> = (0..crowd)
            .map(|_| UnixStream::connect(processes.directory.broker()))
            .collect::<Result<_, _>>()?;
        let round = || round(&processes, word.unwrap_or_default());
        let rounds = (0..ROUNDS).map(|_| round()).collect::<Outcome<Vec<_>>>()?;
        print(&rounds);
        drop(idle);
    }
    Ok(())
}

/// Connects, asks and is answered.
type Contestant<'a> = dyn FnMut() -> Outcome<()> + 'a;

/// For each contestant its name, its goal and its figures, as multiples of those of the reference
/// before it. References have no goal, and microseconds.
type Round = Vec<(&'static str, Option<f64>, [f64; 2])>;

fn print(rounds: &[Round]) {
    println!("{:40} {:>6} {:>6} {:>6}", "to a bare connect", "p50", "CPU", "goal");
    for (place, (name, goal, _)) in rounds[0].iter().enumerate() {
        let of = |figure: usize| {
            let mut all: Vec<f64> = rounds.iter().map(|round| round[place].2[figure]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        match goal {
            None => println!("{name:40} {:4.1}us {:4.1}us", of(0), of(1)),
            Some(goal) => println!("{name:40} {:5.2}x {:5.2}x {goal:5.2}x", of(0), of(1)),
        }
    }
}

/// Every contestant once.
fn round(processes: &Processes, word: &str) -> Outcome<Round> {
    let directory = &processes.directory;
    let own = ServiceName::new(WITH_SOCKET)?;
    let registered = ServiceName::new(REGISTERED)?;
    let patience = Duration::from_secs(600);
    let deadline = Instant::now() + patience;
    let path = directory.service(&own);
    let mut broker = Broker::open(directory, deadline)?;
    let mut bare = UnixStream::connect(&path)?;
    let mut handed = broker.connect(&own, None, deadline)?;
    let shared = UnixStream::connect(directory.broker())?;
    let environment = Environment { broker_fd: Some(shared.as_raw_fd()), ..Environment::default() };
    let connector = Connector::new(&environment, patience)?;

    let contestants: [(&str, Option<f64>, &mut Contestant<'_>); 8] = [
        ("bare connect", None, &mut || ask(&mut UnixStream::connect(&path)?)),
        ("new connection to the broker, a name", Some(3.0), &mut || {
            let deadline = Instant::now() + Duration::from_secs(5);
            ask(&mut Broker::open(directory, deadline)?.connect(&own, None, deadline)?)
        }),
        ("kept connection to the broker, a name", Some(2.1), &mut || {
            ask(&mut broker.connect(&own, None, deadline)?)
        }),
        ("front", Some(1.5), &mut || ask(&mut UnixStream::connect(&processes.front)?)),
        ("taken over, question sent along", Some(1.9), &mut || ask_at_once(directory.broker())),
        ("by a shared connection, taken over", Some(2.2), &mut || {
            ask(&mut connector.connect(&registered)?)
        }),
        ("bare question and answer", None, &mut || ask(&mut bare)),
        ("question and answer after the handoff", Some(1.02), &mut || ask(&mut handed)),
    ];
    let (mut reference, mut round) = (Cost::default(), Round::new());
    for (name, goal, once) in contestants {
        if goal.is_none() {
            reference = cost(processes, once)?;
            let micros = [reference.median, reference.cpu].map(|time| time.as_secs_f64() * 1e6);
            round.push((name, goal, micros));
        } else if name.contains(word) {
            let one = cost(processes, once)?;
            let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
            let figures = [ratio(one.median, reference.median), ratio(one.cpu, reference.cpu)];
            round.push((name, goal, figures));
        }
    }
    Ok(round)
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
