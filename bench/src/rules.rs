//! How long a decision takes by 10,000 rules, of the kinds that are hardest to find one's way in.
//!
//! `cargo run --release -p ipcd-bench --bin ipcd-bench-rules`: for each kind of rules the time to
//! read and check them, and of many decisions by them, of which none is asked for twice in a row,
//! the median, the 99th percentile and the longest.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]

use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use libipc::ServiceName;
use libipc::identity::{LocalIdentity, RemoteIdentity};
use policy::accounts::NoAccounts;
use policy::config::{Config, Sources};
use policy::decide::{Request, decide};
use policy::route::Asker;
use settings::File;

/// Rules of each kind: as many as there may be.
const RULES: usize = 10_000;

/// Decisions by each kind of rules.
const DECISIONS: usize = 20_000;

/// What the 99th percentile is to be at most.
const GOAL: Duration = Duration::from_micros(20);

/// A kind of rules: its name, the rule of each number, and what is asked about that number.
struct Kind {
    name: &'static str,
    rule: fn(usize) -> String,
    asked: fn(usize) -> Asked,
}

/// One request.
#[derive(Default)]
struct Asked {
    service: String,
    target: String,
    uid: u32,
    groups: Vec<u32>,
    unit: String,
    /// What a peer has proven; with it, a peer asks.
    proven: Option<String>,
}

impl Asked {
    fn out(service: impl Into<String>, target: impl Into<String>) -> Self {
        Self { service: service.into(), target: target.into(), ..Self::default() }
    }

    fn peer(proven: String) -> Self {
        let proven = Some(proven);
        Self { service: "db".to_owned(), proven, ..Self::default() }
    }
}

const KINDS: [Kind; 16] = [
    Kind {
        name: "names",
        rule: |n| format!("allow out service-{n} tcp:h:1"),
        asked: |n| Asked::out(format!("service-{n}"), "tcp://h:1"),
    },
    Kind {
        name: "no such name",
        rule: |n| format!("allow out service-{n} tcp:h:1"),
        asked: |n| Asked::out(format!("services-{n}"), "tcp://h:1"),
    },
    Kind {
        name: "beginnings",
        rule: |n| format!("allow out service-{n}-* tcp:h:1"),
        asked: |n| Asked::out(format!("service-{n}-x"), "tcp://h:1"),
    },
    Kind {
        name: "middles",
        rule: |n| format!("allow out *-{n}-* tcp:h:1"),
        asked: |n| Asked::out(format!("service-{n}-of-many-with-a-long-name"), "tcp://h:1"),
    },
    Kind {
        name: "one place, two *",
        rule: |n| format!("allow out *{}*{}* tcp:h:1", n / 100, n % 100),
        asked: |n| Asked::out(format!("a{}b{}c", n / 100, n % 100), "tcp://h:1"),
    },
    Kind {
        name: "hosts",
        rule: |n| format!("allow out db tcp:h{n}.example.com:1"),
        asked: |n| Asked::out("db", format!("tcp://h{n}.example.com:1")),
    },
    Kind {
        name: "domains",
        rule: |n| format!("allow out * tcp:*.d{n}.example.com:1"),
        asked: |n| Asked::out("db", format!("tcp://h.d{n}.example.com:1")),
    },
    Kind {
        name: "networks",
        rule: |n| format!("allow out * tcp:10.{}.{}.0/24:1", n / 250, n % 250),
        asked: |n| Asked::out("db", format!("tcp://10.{}.{}.7:1", n / 250, n % 250)),
    },
    Kind {
        name: "networks, by name",
        rule: |n| format!("allow out * tcp:10.{}.{}.0/24:1", n / 250, n % 250),
        asked: |n| Asked::out("db", format!("tcp://h{n}.example.com:1")),
    },
    Kind {
        name: "ports",
        rule: |n| format!("allow out db tcp:h:{}-{}", n + 1, n + 50_000),
        asked: |n| Asked::out("db", format!("tcp://h:{}", 60_000 - n % 10)),
    },
    Kind {
        name: "users",
        rule: |n| format!("allow out db tcp:h:1 for user:{n}"),
        asked: |n| Asked { uid: uid(n), ..Asked::out("db", "tcp://h:1") },
    },
    Kind {
        name: "32 groups",
        rule: |n| format!("allow out db tcp:h:1 for group:{n}"),
        asked: |n| Asked {
            groups: (0..32).map(|group| uid(20_000 + n + group)).collect(),
            ..Asked::out("db", "tcp://h:1")
        },
    },
    Kind {
        name: "units with *",
        rule: |n| format!("allow out db tcp:h:1 for unit:worker-*-{n}.service"),
        asked: |n| Asked {
            unit: format!("worker-shop-{n}.service"),
            ..Asked::out("db", "tcp://h:1")
        },
    },
    Kind {
        name: "peers' names",
        rule: |n| format!("allow in db tls:h{n}.example.com"),
        asked: |n| Asked::peer(format!("dns:h{n}.example.com")),
    },
    Kind {
        name: "peers' URIs with *",
        rule: |n| format!("allow in db tls for uri:spiffe://example.com/{n}/*"),
        asked: |n| Asked::peer(format!("uri:spiffe://example.com/{n}/x")),
    },
    Kind {
        name: "all at once",
        rule: |n| match n % 5 {
            0 => format!("deny out *{n}* tcp:*:{}", n % 60_000 + 1),
            1 => format!("allow out s* tcp:10.{}.0.0/16:* for user:{n}", n % 250),
            2 => format!("allow out *-x tcp:*.d{n}.example.com:* for group:{n}"),
            3 => format!("deny out * tcp:h{n}.example.com:1 for unit:u{n}.service"),
            _ => format!("allow out s{n}*,t{n} tcp:192.0.2.0/24:1-{}", n + 1),
        },
        asked: |n| Asked {
            uid: uid(n),
            unit: format!("u{n}.service"),
            ..Asked::out(format!("s-{n}-x"), format!("tcp://h{n}.d{n}.example.com:{}", n + 1))
        },
    },
];

fn uid(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{RULES} rules             read    p50      p99      longest");
    let mut misses = 0;
    for kind in &KINDS {
        let start = Instant::now();
        let config = load(kind)?;
        let read = start.elapsed();
        let times = measure(kind, &config)?;
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        let (median, high) = (at(50), at(99));
        let longest = times.last().copied().unwrap_or_default();
        misses += usize::from(high > GOAL);
        println!(
            "{:20} {:6} ms {:6.1} us {:6.1} us {:6.1} us",
            kind.name,
            read.as_millis(),
            micros(median),
            micros(high),
            micros(longest)
        );
    }
    println!("goal                                   {:6.1} us   missed: {misses}", micros(GOAL));
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn load(kind: &Kind) -> Result<Config, Box<dyn Error>> {
    let mut text = String::from("rules = '''\n");
    for n in 0..RULES {
        writeln!(text, "{}", (kind.rule)(n))?;
    }
    text.push_str("'''\n");
    let main = Some(File { name: "ipcd.toml".to_owned(), text });
    let sources = Sources { main, ..Sources::default() };
    let loaded = Config::load(&sources, &NoAccounts);
    let loaded = loaded.map_err(|problems| format!("{}: {:?}", kind.name, problems.first()))?;
    Ok(loaded.config)
}

/// The times of all decisions, ascending.
fn measure(kind: &Kind, config: &Config) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut times = Vec::with_capacity(DECISIONS);
    for turn in 0..DECISIONS {
        // Another rule each time, far from the one before.
        let asked = (kind.asked)(turn * 7_919 % RULES);
        let name = ServiceName::new(&asked.service)?;
        let network = format!("{name} {}", asked.target);
        let program = LocalIdentity {
            pid: Some(1),
            uid: Some(asked.uid),
            gid: Some(asked.uid),
            groups: Some(asked.groups),
            unit: Some(asked.unit),
            ..LocalIdentity::default()
        };
        let peer = RemoteIdentity {
            scheme: "tls".to_owned(),
            address: [192, 0, 2, 1].into(),
            names: asked.proven.iter().cloned().collect(),
        };
        let request = Request {
            asked: &name,
            network: asked.proven.is_none().then_some(network.as_str()),
            asker: match asked.proven {
                Some(_) => Asker::Remote(&peer, 0),
                None => Asker::Local(&program),
            },
            service_owner: &|_| None,
        };
        let start = Instant::now();
        let decision = decide(config, &request);
        times.push(start.elapsed());
        black_box(decision.is_ok());
    }
    times.sort();
    Ok(times)
}
