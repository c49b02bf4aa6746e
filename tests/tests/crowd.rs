//! Everything at its limit at once, under the limits of the units: what the daemons hold stays below
//! what the units allow, and whoever comes is served or told.
//!
//! An eighth of it; `cargo xtask crowd` for all, as far as this machine has descriptors.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a broken premise ends them"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipcd_tests::black_hole::BlackHole;
use ipcd_tests::raw::Raw;
use ipcd_tests::tls::Authority;
use ipcd_tests::tls_servers::talker;
use ipcd_tests::users::{as_user, has_users};
use ipcd_tests::{Daemon, Host, Setup, has, installed, until};
use libipc::Stream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, send};
use serde_json::{Value, json};

/// Which part of the whole, by its denominator.
fn part() -> usize {
    std::env::var("IPCD_PART").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// Users that are at it, each with as many connections.
const USERS: usize = 64;

/// What the clients of one user are busy with. Dials are as many as one user may have.
const OF_ONE: [&str; 4] = ["dialling=64", "waiting=64", "watching=20", "narrowed=104"];

/// Connections that these keep.
const KEPT_OF_ONE: usize = 64 + 64 + 20 + 104;

/// What root's are busy with.
const OF_ROOT: [&str; 3] = ["gone=1024", "monitoring=64", "serving=32"];

/// Memory in KiB, as the kernel has it in that line of a daemon's status.
fn memory(daemon: &Daemon, line: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|one| one.strip_prefix(line)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// `MemoryMax` of a unit, in KiB.
fn memory_most(unit: &str) -> usize {
    let path = format!("{}/../systemd/system/{unit}.service", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let most = text.lines().find_map(|line| line.strip_prefix("MemoryMax=")).unwrap();
    let (number, unit) = most.split_at(most.len() - 1);
    number.parse::<usize>().unwrap() * if unit == "G" { 1024 * 1024 } else { 1024 }
}

/// As many descriptors as this process may have at all; how many those are.
fn raise_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap()
}

/// Clients of one user, in a process of their own, once they are all where they want to be.
struct Crowd {
    _process: Daemon,
    output: BufReader<std::process::ChildStdout>,
}

impl Crowd {
    fn start(mut command: Command, host: &Host, kinds: &[&str]) -> Self {
        command.arg(env!("CARGO_BIN_EXE_crowd")).arg(host.rundir()).arg(host.place("end"));
        let mut child = command.args(kinds).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { _process: Daemon(child), output }
    }

    fn of_root(host: &Host, kinds: &[&str]) -> Self {
        Self::start(Command::new("env"), host, kinds)
    }

    fn is_there(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
    }
}

fn status(host: &Host) -> Value {
    let output = host.ipc(&["--json", "status"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn clients(host: &Host) -> usize {
    status(host)["clients"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// Processor time of a daemon so far.
fn cpu_time(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    // Fields 14 and 15 count from 1, behind the name in parentheses; 100 ticks are a second.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
}

/// How much longer than usual a whole crowd may take.
const LONG: Duration = Duration::from_secs(600);

fn within(limit: Duration, what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn every_table_filled_at_once_stays_below_what_the_units_allow() {
    if !has_users() {
        return;
    }
    // Each dial takes a descriptor of the broker besides its client's.
    let places = raise_limit() * 7 / 8 / (KEPT_OF_ONE + 64);
    let users = USERS.min(places) / part();
    let limits = format!(
        "rules = '''\nallow local *\nallow out hole tcp:127.0.0.1:*\n'''\n[limits]\nclients = {}\n\
         dials = {}\nconnections-listed = {}\n[services.pongd]\n",
        16_384 / part(),
        4_096 / part(),
        16_384 / part(),
    );
    let setup = Setup {
        config: &limits,
        arguments: &["--instance", "system"],
        descriptors: Some(u32::try_from(raise_limit()).unwrap()),
        ..Setup::default()
    };
    let host = Host::of(&setup).with_pongd("pongd").with_tcpd(None);
    let before = host.broker.descriptors();
    let hole = BlackHole::new();
    let mut root = Crowd::of_root(&host, &OF_ROOT);
    root.is_there();
    let crowd_of = |user: usize| {
        let mut command = as_user(60_000 + u32::try_from(user).unwrap(), &[]);
        command.arg("env").arg(format!("CROWD_HOLE={}", hole.address));
        Crowd::start(command, &host, &OF_ONE)
    };
    let mut crowds: Vec<_> = (0..users).map(crowd_of).collect();
    crowds.iter_mut().for_each(Crowd::is_there);
    let kept = users * KEPT_OF_ONE + 64 + 32;
    within(LONG, "all have asked", || clients(&host) > kept);
    let taken = status(&host)["taken"].clone();
    eprintln!("{users} users, {} descriptors: {taken}", host.broker.descriptors());
    let used = |limit: &str| {
        let all = taken.as_array().unwrap();
        all.iter().find(|one| one["limit"] == limit).unwrap()["used"].as_u64().unwrap()
    };
    assert_eq!(used("dials"), u64::try_from(users * 64).unwrap());
    assert_eq!(used("monitors"), 64);
    // A second is what each has for this, and after ten the services lose their names.
    fs::write(host.place("end.more"), "").unwrap();
    let mut last = Crowd::of_root(&host, &["uncollected=2048"]);
    last.is_there();
    assert_eq!(host.ping("pongd", ""), "ping", "whoever comes is served");
    for (daemon, unit) in [(&host.broker, "ipcd"), (&host.others[1], "ipcd-tcpd")] {
        stays_below(daemon, unit, part());
    }
    fs::write(host.place("end"), "").unwrap();
    drop((crowds, root, last));
    within(LONG, "all are gone", || clients(&host) == 1);
    until("and their descriptors", || host.broker.descriptors() <= before + 2);
    assert_eq!(host.ping("pongd", ""), "ping");
}

/// What is the most that a daemon ever held, beside what a part of its unit's memory allows.
fn stays_below(daemon: &Daemon, unit: &str, part: usize) {
    let (peak, most) = (memory(daemon, "VmHWM"), memory_most(unit) / part);
    eprintln!("{unit}: {} MiB at most, {} allowed", peak / 1024, most / 1024);
    assert!(peak < most, "{unit}: {peak} KiB of {most}");
}

/// Clients of authd of one user; two users have all places.
const LOGGING_IN: usize = 128;

/// Entries of each of authd's tables, and bytes of the longest file of users.
const REMEMBERED: usize = 65_536;
const FILE_BYTES: usize = 16 * 1024 * 1024;

/// The hash of `right` that costs least, and one of no secret that costs most in memory.
const CHEAP: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$/rlPheEuIOPjYHKhaPJaJGV9XBSrUYzuHgudziGWdAc";
const DEAR: &str = "$argon2id$v=19$m=65536,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$/rlPheEuIOPjYHKhaPJaJGV9XBSrUYzuHgudziGWdAc";

/// A file with so many users that is as long as it may be for those. The crowd's are dear.
fn users(count: usize) -> String {
    let dear = (0..LOGGING_IN).map(|number| format!("user-{number}:{DEAR}\n"));
    let cheap = (LOGGING_IN..count).map(|number| {
        let line = format!("{number:064}:{CHEAP}:");
        let groups = FILE_BYTES / REMEMBERED - line.len() - 2;
        format!("{line}{}\n", "group,".repeat(groups / 6) + &"g".repeat(groups % 6 + 1))
    });
    dear.chain(cheap).collect()
}

/// Logs in as one after the other, each from a place of its own; how many were let in.
fn log_in(host: &Host, numbers: std::ops::Range<usize>, secret: &str) -> usize {
    let mut authd = host.connect("authd", "").unwrap();
    authd.set_read_timeout(Some(LONG)).unwrap();
    let mut answers = BufReader::new(authd.try_clone().unwrap());
    let accepted = |number| {
        let login = json!({"user": format!("{number:064}"), "secret": secret,
                           "peer": format!("{secret}-{number}")});
        let call = json!({"method": "org.ipcd.Authenticator.Verify", "parameters": login});
        authd.write_all(format!("{call}\0").as_bytes()).unwrap();
        let mut answer = Vec::new();
        answers.read_until(0, &mut answer).unwrap();
        answer.pop();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let error = answer["error"].as_str();
        assert!(error.is_none_or(|error| error.ends_with(".Rejected")), "{answer}");
        error.is_none()
    };
    numbers.map(accepted).filter(|is_accepted| *is_accepted).count()
}

#[test]
fn every_table_of_authd_and_a_crowd_that_logs_in_stay_below_what_its_unit_allows() {
    if !has_users() {
        return;
    }
    let setup = Setup {
        config: "rules = 'allow local authd'\n",
        arguments: &["--instance", "system"],
        ..Setup::default()
    };
    let mut host = Host::of(&setup);
    assert_eq!(host.authd_told(&["add", "somebody"], "right").0, 0);
    let count = REMEMBERED / part();
    fs::write(host.users(), users(count)).unwrap();
    let authd = host.start_authd();
    host.others.push(authd);
    let authd = host.others.last().unwrap();
    // A failure is remembered of its user and of where it came from.
    let (half, most) = (LOGGING_IN + (count - LOGGING_IN) / 2, count);
    let fill = |numbers, secret| log_in(&host, numbers, secret);
    let accepted = std::thread::scope(|scope| {
        let wrong = scope.spawn(|| fill(LOGGING_IN..half, "wrong"));
        let right = [half..most, LOGGING_IN..half].map(|numbers| fill(numbers, "right"));
        assert_eq!(wrong.join().unwrap(), 0);
        right
    });
    assert_eq!(accepted.iter().sum::<usize>(), most - LOGGING_IN);
    eprintln!(
        "{count} users, {} who failed, {} who have proven themselves",
        half - LOGGING_IN,
        most - LOGGING_IN
    );
    let threads = || fs::read_dir(format!("/proc/{}/task", authd.pid())).unwrap().count();
    let before = threads();
    let crowd_of = |user: u32| {
        let mut command = as_user(60_000 + user, &[]);
        command.arg("env");
        Crowd::start(command, &host, &[&format!("logging-in={LOGGING_IN}")])
    };
    let mut crowds = [0, 1].map(crowd_of);
    within(LONG, "all places are taken", || threads() >= before + 2 * LOGGING_IN - 2);
    // All users once more, beside those of before.
    authd.signal(nix::sys::signal::Signal::SIGHUP);
    until("it has read them", || host.authd_log().contains("event=\"reloaded\""));
    crowds.iter_mut().for_each(Crowd::is_there);
    // All of them have had their turn, or have waited for it in vain.
    fs::write(host.place("end"), "").unwrap();
    drop(crowds);
    within(LONG, "all are gone", || threads() <= before + 1);
    stays_below(authd, "ipcd-authd", 1);
    assert_eq!(log_in(&host, half..half + 1, "right"), 1, "whoever comes is served");
}

/// Relays that tlsd has at most, and descriptors for all that is no relay.
const RELAYS: usize = 10_000;
const SPARE: usize = 200;

/// Bytes that nobody reads: more than are kept on the way.
const UNREAD: usize = 1024 * 1024;

#[test]
fn relays_of_tlsd_that_nobody_reads_stay_below_what_its_unit_allows() {
    if !has("python3", installed("python3").is_some()) {
        return;
    }
    // Each takes two descriptors of tlsd, which has a few for other things.
    let relays = (RELAYS / part()).min((raise_limit() - SPARE) / 2);
    let authority = Authority::new();
    let server = talker(&authority.issue("server", &["localhost"]));
    let redirect = format!("tls://localhost:{}", server.port);
    let rule = format!("allow out secure tls:localhost:{}", server.port);
    let tlsd = format!(
        "[trust.own]\nca = '{}'\n[dial]\ntrust = 'own'\n",
        authority.certificate().display()
    );
    let arguments = ["--rule", rule.as_str(), "--redirect", "secure", redirect.as_str()];
    let setup = Setup {
        arguments: &arguments,
        descriptors: Some(u32::try_from(raise_limit()).unwrap()),
        ..Setup::default()
    };
    let host = Host::of(&setup).with_tcpd(None).with_tlsd(&tlsd);
    let unread = vec![0; UNREAD];
    let kept: Vec<_> = (0..relays).map(|_| host.connect("secure", "").unwrap()).collect();
    // Until all that has room on the way has left. What comes is read by nobody either.
    let takes_more =
        |stream: &Stream| send(stream.as_fd().as_raw_fd(), &unread, MsgFlags::MSG_DONTWAIT).is_ok();
    while kept.iter().filter(|stream| takes_more(stream)).count() > 0 {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    eprintln!("{relays} relays");
    stays_below(host.others.last().unwrap(), "ipcd-tlsd", part());
    drop(kept);
    assert!(host.connect("secure", "").is_ok(), "whoever comes is served");
}

/// Idle connections, and what the broker may hold for them, in KiB.
const IDLE: usize = 19_000;
const IDLE_MEMORY: usize = 64 * 1024;

/// Clients that come while it has no descriptors.
const LATE: usize = 100;

/// Part of a processor that a broker without descriptors may take.
const SPINNING: u32 = 20;

#[test]
fn idle_connections_cost_little_and_a_broker_without_descriptors_does_not_spin() {
    if !has("prlimit", installed("prlimit").is_some()) {
        return;
    }
    let most = raise_limit();
    // An eighth of all descriptors is kept for those who are there, and there are others yet to come.
    let idle = IDLE.min(most - most / 8 - 2 * LATE);
    let limits = "[limits]\nclients = 20000\nclients-per-user = 20000\n";
    let setup = Setup { config: limits, ..Setup::default() };
    let host = Host::of(&setup).with_pongd("pongd");
    let mut crowd = Crowd::of_root(&host, &[&format!("idle={idle}")]);
    crowd.is_there();
    within(LONG, "all are taken in", || clients(&host) > idle);
    let resident = memory(&host.broker, "VmRSS");
    eprintln!("{idle} idle connections: {resident} KiB");
    assert!(resident <= IDLE_MEMORY, "{resident} KiB");
    let mut early = Raw::to(&host);
    let ask = |client: &mut Raw| {
        // Who is told that it is too much may be so before it has asked.
        let _closed = client.ask("org.varlink.service.GetInfo", &json!({})).is_err();
        client.error()
    };
    assert_eq!(ask(&mut early), "none");
    // It has more than it may have from now on.
    limit_descriptors(&host.broker, "20");
    let late: Vec<_> = (0..LATE).map(|_| Raw::to(&host)).collect();
    let (worked, began) = (cpu_time(&host.broker), Instant::now());
    std::thread::park_timeout(Duration::from_secs(2));
    let (worked, took) = (cpu_time(&host.broker).saturating_sub(worked), began.elapsed());
    assert!(worked <= took / SPINNING, "{worked:?} of {took:?}");
    assert_eq!(ask(&mut early), "none", "who is there is served");
    limit_descriptors(&host.broker, &most.to_string());
    let mut told = BTreeMap::new();
    for mut client in late {
        let said = ask(&mut client);
        assert!(["none", "Busy"].contains(&said.as_str()), "{said}");
        *told.entry(said).or_insert(0) += 1;
    }
    eprintln!("of {LATE} that came without descriptors: {told:?}; {worked:?} of {took:?} worked");
    fs::write(host.place("end"), "").unwrap();
    drop(crowd);
    within(LONG, "all are gone", || clients(&host) == 2);
    assert_eq!(host.ping("pongd", ""), "ping");
}

fn limit_descriptors(daemon: &Daemon, most: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &daemon.pid().to_string(), &format!("--nofile={most}:")]);
    assert!(command.status().unwrap().success());
}
