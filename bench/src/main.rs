//! Lookup, handoff and first reply beside a bare connect and reply, in one run, on one CPU.
//!
//! `cargo run --release -p ipcd-bench`: five rounds, each with every contestant, the reference
//! first; a ratio is contestant to reference of the same round. The program, the service and the
//! broker share one CPU, so what is compared is the length of the path.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libipc::rundir::{Instance, RunDirectory};
use libipc::{Broker, Listener, ServiceName, Stream};

mod messages;

/// Rounds.
const ROUNDS: usize = 5;

/// Connections of one contestant in one round.
const CONNECTIONS: usize = 3_000;

/// Bytes of question and answer.
const BYTES: usize = 64;

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.0.kill().is_err();
        let _status = self.0.wait().is_ok();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut one = nix::sched::CpuSet::new();
    one.set(0)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one)?;
    if std::env::args().nth(1).as_deref() == Some("messages") {
        return messages::run();
    }
    let place = tempfile::tempdir()?;
    let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
    let name = ServiceName::new("bench")?;
    let _broker = start_broker(&directory)?;
    // A service with a socket of its own: its clients get a door.
    let listener = Listener::own_socket_in(&directory, &name)?;
    std::thread::spawn(move || serve(&listener));

    let path = directory.service(&name);
    let mut ratios: [Vec<f64>; 3] = Default::default();
    println!("round  direct   fresh    kept     after the handoff (to direct)");
    for round in 1..=ROUNDS {
        let direct = median(|| Ok(UnixStream::connect(&path)?))?;
        let fresh = median(|| {
            let deadline = Instant::now() + Duration::from_secs(5);
            Ok(Broker::open(&directory, deadline)?.connect(&name, None, deadline)?)
        })?;
        let deadline = Instant::now() + Duration::from_secs(600);
        let mut broker = Broker::open(&directory, deadline)?;
        let kept = median(|| Ok(broker.connect(&name, None, deadline)?))?;
        let bare = round_trip(UnixStream::connect(&path)?)?;
        let handed: Stream = broker.connect(&name, None, deadline)?;
        let after = round_trip(handed)?;
        let row = [ratio(fresh, direct), ratio(kept, direct), ratio(after, bare)];
        println!(
            "{round:5} {:6.1}us  x{:.2}    x{:.2}    x{:.2}",
            direct.as_secs_f64() * 1e6,
            row[0],
            row[1],
            row[2]
        );
        for (all, one) in ratios.iter_mut().zip(row) {
            all.push(one);
        }
    }
    let middle = ratios.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all.get(ROUNDS / 2).copied().unwrap_or_default()
    });
    println!("median          x{:.2}    x{:.2}    x{:.2}", middle[0], middle[1], middle[2]);
    println!("goal            x3.00    x2.10    x1.02");
    Ok(())
}

fn start_broker(directory: &RunDirectory) -> Result<Daemon, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("ipcd");
    if !program.exists() {
        return Err("build ipcd first: cargo build --release -p ipcd".into());
    }
    let child = Command::new(program)
        .arg("--rundir")
        .arg(directory.path())
        .args(["--log-level", "warn"])
        .stdin(Stdio::null())
        .spawn()?;
    let daemon = Daemon(child);
    let end = Instant::now() + Duration::from_secs(5);
    while !directory.has_broker() {
        if Instant::now() > end {
            return Err("the broker does not start".into());
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(daemon)
}

/// Answers until the end of the process: each client on this one thread, one after the other.
fn serve(listener: &Listener) {
    while let Ok(mut stream) = listener.accept() {
        let mut buffer = [0; BYTES];
        while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
    }
}

/// The median time to connect, ask and be answered.
fn median<S: Read + Write>(
    mut connect: impl FnMut() -> Result<S, Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let start = Instant::now();
        let mut stream = connect()?;
        ask(&mut stream)?;
        times.push(start.elapsed());
    }
    Ok(middle(times))
}

/// The median time of a question and its answer on a connection that is there.
fn round_trip(mut stream: impl Read + Write) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let start = Instant::now();
        ask(&mut stream)?;
        times.push(start.elapsed());
    }
    Ok(middle(times))
}

fn ask(stream: &mut (impl Read + Write)) -> Result<(), Box<dyn Error>> {
    let mut buffer = [7; BYTES];
    stream.write_all(&buffer)?;
    stream.read_exact(&mut buffer)?;
    Ok(())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
