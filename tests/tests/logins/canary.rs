//! A secret that is like no other: where it is found afterwards, it has leaked.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ipcd_tests::{Host, outcome};

use crate::hosts::{AUTHD, Hosts};

const RULES: &str = "allow in pongd tls:* for login:CANARYUSER";

/// What no other text has in it.
struct Canary {
    secret: String,
    wrong: String,
}

impl Canary {
    fn new() -> Self {
        let random = || {
            let mut bytes = [0; 12];
            sys::random::fill(&mut bytes).unwrap();
            bytes.map(|byte| char::from(b'a' + byte % 26)).iter().collect::<String>()
        };
        Self { secret: format!("CANARY{}", random()), wrong: format!("CANARY{}", random()) }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        [&self.secret, &self.wrong]
            .iter()
            .any(|one| bytes.windows(one.len()).any(|window| window == one.as_bytes()))
    }

    fn check(&self, what: &str, bytes: &[u8]) {
        assert!(!self.is_in(bytes), "{what} has it: {}", String::from_utf8_lossy(bytes));
    }
}

/// All ways that a request with a login may go.
fn live_through_everything(hosts: &mut Hosts, canary: &Canary) {
    let Canary { secret, wrong } = canary;
    let near = |network: &str| hosts.near.ping("pongd", network);
    assert_eq!(hosts.ping(&format!("CANARYUSER:{secret}")), "ping");
    let mut said = vec![hosts.ping(&format!("CANARYUSER:{wrong}"))];
    said.push(hosts.ping(&format!("nobody:{wrong}")));
    // Faults of every kind in what a client writes.
    let port = hosts.port;
    for network in [
        format!("pongd tcp://CANARYUSER:{secret}@127.0.0.1:{port}/pongd"),
        format!("pongd tls://CANARYUSER:{secret}@127.0.0.1:{port}"),
        format!("pongd tls://CANARYUSER:{secret}@127.0.0.1:1/pongd"),
        format!("pongd tls://CANARYUSER:{secret}@127.0.0.1:{port}/pongd?trust=x"),
        format!("pongd tls://CANARYUSER:{secret}@@127.0.0.1:{port}/pongd"),
        format!("pongd tls://CANARYUSER:{secret}%zz@127.0.0.1:{port}/pongd"),
        format!("pongd nonsense://CANARYUSER:{secret}@127.0.0.1:{port}/pongd"),
        format!("pongd tls://{secret}@127.0.0.1:{port}/no.such.service"),
    ] {
        said.push(near(&network));
    }
    hosts.far.others.last_mut().unwrap().crash();
    said.push(hosts.ping(&format!("CANARYUSER:{secret}")));
    let authd = hosts.far.start_authd();
    hosts.far.others.push(authd);
    // Its memory is new; it is to have seen the secret too.
    assert_eq!(hosts.ping(&format!("CANARYUSER:{secret}")), "ping");
    for said in said {
        assert!(!said.is_empty() && said != "ping");
        canary.check("an error", said.as_bytes());
    }
}

fn check_replies(host: &Host, canary: &Canary) {
    for words in [
        &["--json", "status"][..],
        &["--json", "connections"],
        &["--json", "services"],
        &["metrics"],
        &["why", "pongd"],
        &["--json", "why", "pongd"],
    ] {
        let (code, printed, errors) = outcome(&mut host.ipc(words));
        // Of `why`: nobody serves it here.
        assert!([0, 50, 69].contains(&code), "{words:?}: {errors}");
        canary.check(&words.join(" "), (printed + &errors).as_bytes());
    }
}

fn check_files(host: &Host, canary: &Canary) {
    for file in ["log", "daemons.log", "authd.log"] {
        let path = host.place(file);
        if path.exists() {
            canary.check(file, &fs::read(path).unwrap());
        }
    }
}

/// What `/proc` says of a daemon, and what is left in its memory.
fn check_process(pid: u32, canary: &Canary) {
    let place = format!("/proc/{pid}");
    let name = fs::read_to_string(Path::new(&place).join("comm")).unwrap();
    for file in ["cmdline", "environ"] {
        canary.check(&format!("{name} {file}"), &fs::read(Path::new(&place).join(file)).unwrap());
    }
    let maps = fs::read_to_string(Path::new(&place).join("maps")).unwrap();
    // Nobody but root may look into these.
    let Ok(memory) = fs::File::open(Path::new(&place).join("mem")) else {
        assert!(!ipcd_tests::is_root());
        return;
    };
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            for one in [&canary.secret, &canary.wrong] {
                let found = bytes.windows(one.len()).position(|window| window == one.as_bytes());
                let around = found.map(|at| {
                    let range = at.saturating_sub(100)..(at + 200).min(bytes.len());
                    String::from_utf8_lossy(bytes.get(range).unwrap()).into_owned()
                });
                assert_eq!(around, None, "it is left in the memory of {name}: {line}");
            }
        }
    }
}

#[test]
fn a_secret_is_afterwards_nowhere_but_where_it_was_written_down() {
    let canary = Canary::new();
    let mut hosts = Hosts::new(RULES, AUTHD);
    hosts.far = hosts.far.with_authd(&[("CANARYUSER", &canary.secret, &[])]);
    let monitor = |host: &Host| {
        let log = fs::File::create(host.place("monitor.log")).unwrap();
        let mut command = host.ipc(&["--json", "monitor"]);
        ipcd_tests::Daemon::start(command.stdout(log))
    };
    let monitors = [monitor(&hosts.near), monitor(&hosts.far)];
    live_through_everything(&mut hosts, &canary);
    for host in [&hosts.near, &hosts.far] {
        check_replies(host, &canary);
        check_files(host, &canary);
        let daemons =
            std::iter::once(&host.broker).chain(&host.others).map(ipcd_tests::Daemon::pid);
        for pid in daemons.filter(|pid| Path::new(&format!("/proc/{pid}/exe")).exists()) {
            check_process(pid, &canary);
        }
    }
    drop(monitors);
    for host in [&hosts.near, &hosts.far] {
        let told = fs::read(host.place("monitor.log")).unwrap();
        assert!(!told.is_empty(), "the monitor has seen it");
        canary.check("monitor", &told);
    }
    let users = fs::read(hosts.far.users()).unwrap();
    assert!(users.starts_with(b"CANARYUSER:$argon2id$"));
    canary.check("the file of users", &users);
}

#[test]
fn a_secret_of_a_redirect_is_shown_by_nothing_that_shows_redirects() {
    let canary = Canary::new();
    let config = format!(
        "rules = 'allow out pongd tls:127.0.0.1:9'\n\
         redirects = {{ pongd = 'tls://CANARYUSER:{}@127.0.0.1:9/pongd' }}\n",
        canary.secret
    );
    let host = Host::with_config(&config, &[]);
    check_replies(&host, &canary);
    for words in [
        &["check", "--dump", "--config"][..],
        &["check", "--config"],
        &["why", "pongd", "--config"],
    ] {
        let mut command: Command = host.ipc(words);
        let (_, printed, errors) = outcome(command.arg(host.place("")));
        assert!(!printed.is_empty() || !errors.is_empty());
        canary.check(&words.join(" "), (printed + &errors).as_bytes());
    }
}
