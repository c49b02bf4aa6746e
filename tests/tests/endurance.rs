//! A user who floods the broker, and all that goes on for a long time: nobody else notices, and
//! nothing grows.
//!
//! A few seconds of each; `cargo xtask soak SECONDS` and `cargo xtask flood SECONDS` for more.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipcd_tests::machine::Watch;
use ipcd_tests::{Daemon, Host, PATIENCE, Setup, has, installed, is_root, plain_servers};
use nix::sys::signal::Signal;

/// How long each goes on.
fn span() -> Duration {
    let seconds = std::env::var("IPCD_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// What a daemon holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Held {
    descriptors: usize,
    threads: usize,
}

fn held(daemon: &Daemon) -> Held {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    Held { descriptors: daemon.descriptors(), threads }
}

/// Memory of a daemon, in KiB.
fn memory(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// KiB that a daemon may have taken meanwhile, whatever the time: the table of connections that are
/// listed, when it is as full as it gets.
const GROWTH_MOST: usize = 16 * 1024;

#[test]
fn what_goes_on_for_long_leaves_nothing_open_and_nothing_grows() {
    let port = plain_servers::echo();
    let rule = format!("allow out plain tcp:127.0.0.1:{port}");
    let host = Host::new(&["--rule", &rule]).with_tcpd(None).with_pongd("pongd");
    let host = host.with_registered_pongd("registered");
    let plain = format!("plain tcp://127.0.0.1:{port}");
    let all = [("pongd", ""), ("registered", ""), ("plain", plain.as_str())];
    let round =
        || all.iter().for_each(|(name, network)| assert_eq!(host.ping(name, network), "ping"));
    // Whatever is made once is made.
    (0..50).for_each(|_| round());
    let daemons = [&host.broker, &host.others[0]];
    let settled = || daemons.map(held);
    let (before, memory_before) = (settled(), daemons.map(memory));
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let end = Instant::now() + span();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    round();
                    made.fetch_add(all.len(), Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < end {
            host.broker.signal(Signal::SIGHUP);
            // A client that ends in the middle of something.
            let mut client = host.ipc(&["connect", "pongd"]);
            let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            std::thread::park_timeout(Duration::from_millis(20));
            client.kill().unwrap();
            client.wait().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    let is_more = |(after, before): (Held, Held)| {
        after.descriptors > before.descriptors || after.threads > before.threads
    };
    let wait_until = Instant::now() + PATIENCE;
    while settled().into_iter().zip(before).any(is_more) {
        assert!(Instant::now() < wait_until, "{before:?} became {:?}", settled());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let grown: Vec<_> = daemons
        .map(memory)
        .iter()
        .zip(memory_before)
        .map(|(after, before)| after.saturating_sub(before))
        .collect();
    let made = made.load(Ordering::Relaxed);
    eprintln!("soak: {made} connections, ipcd and tcpd have grown by {grown:?} KiB");
    assert!(grown.iter().all(|grown| *grown <= GROWTH_MOST), "{grown:?} KiB");
}

/// Times in microseconds: how many, the middle one, and the one that 99 of 100 keep below.
fn times(host: &Host, span: Duration, once: impl Fn()) -> (usize, u128, u128) {
    let (mut times, end) = (Vec::new(), Instant::now() + span);
    while Instant::now() < end {
        let began = Watch::of(host);
        once();
        times.push(began.elapsed(host).as_micros());
    }
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap();
    (times.len(), at(50), at(99))
}

/// Connects to whoever listens there, without a broker, and is answered.
fn ask_directly(place: &Path) {
    let mut stream = UnixStream::connect(place).unwrap();
    let mut bytes = *b"ping";
    stream.write_all(&bytes).unwrap();
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ping");
}

/// Answers whoever connects there, one after the other, until the test ends.
fn answer_directly(place: &Path) {
    let listener = UnixListener::bind(place).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut bytes) = (stream.unwrap(), [0; 4]);
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
}

/// Microseconds that 99 of 100 requests take at most. Whoever comes stands in one queue, which the
/// kernel keeps: it is as long as the flood can make it, and as short as the broker makes it again.
const SLOW: u128 = 1_000_000;

#[test]
fn a_user_who_floods_the_broker_fails_nobody_else_and_delays_nobody_by_a_second() {
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let arguments = ["--instance", "system", "--rule", "allow local *"];
    let host = Host::of(&Setup { arguments: &arguments, ..Setup::default() }).with_pongd("pongd");
    let ask = || assert_eq!(host.ping("pongd", ""), "ping");
    // What the machine does to a program that has nothing to do with the broker.
    let place = host.place("direct");
    answer_directly(&place);
    let direct = || ask_directly(&place);
    let quiet = [times(&host, span() / 4, ask), times(&host, span() / 4, direct)];
    let end = host.place("end");
    let mut flood = Command::new("setpriv");
    flood.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    flood.arg(env!("CARGO_BIN_EXE_flood")).arg(host.rundir()).arg(&end);
    let mut flood = flood.stdout(Stdio::piped()).spawn().unwrap();
    let loud = [times(&host, span(), ask), times(&host, span() / 2, direct)];
    fs::write(&end, "").unwrap();
    let wait_until = Instant::now() + PATIENCE;
    while flood.try_wait().unwrap().is_none() {
        assert!(Instant::now() < wait_until, "the flood does not end");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let mut made = String::new();
    flood.stdout.take().unwrap().read_to_string(&mut made).unwrap();
    eprintln!(
        "flood: {} connections by one user; another one's requests, and connections without a \
         broker (count, half, 99 % within us): {quiet:?} before, {loud:?} meanwhile",
        made.trim()
    );
    assert!(made.trim().parse::<usize>().unwrap() > 1_000, "{made}");
    assert!(loud[0].2 <= SLOW, "{quiet:?} became {loud:?}");
}
