//! Every decision is told, counted and written down, with everything that it was made by.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use ipcd_tests::users::{as_user, has_users};
use ipcd_tests::{
    Daemon, Host, Setup, free_port, has, installed, is_root, outcome, program, until,
};
use libipc::interface::Identity;
use libipc::interface::control::{Decision, Monitor, Verdict};
use serde_json::Value;

use crate::watching::Watching;

/// What was counted under a name.
pub(crate) fn counter(host: &Host, name: &str) -> u64 {
    let (code, said, error) = outcome(&mut host.ipc(&["--json", "status"]));
    assert_eq!(code, 0, "{error}");
    let status: Value = serde_json::from_str(&said).unwrap();
    let counters = status["counters"].as_array().unwrap().iter();
    counters.filter(|one| one["name"] == name).filter_map(|one| one["value"].as_u64()).sum()
}

/// A host where one name of each verdict leads somewhere, and where its rules are written.
struct Verdicts {
    host: Host,
    /// Kept, so that what leads elsewhere connects.
    _elsewhere: TcpListener,
    target: String,
}

impl Verdicts {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("tcp:{}", listener.local_addr().unwrap());
        let config = format!(
            "rules = '''\ndeny local secret reason \"closed today\"\nallow out far {target}\n\
             permissive out odd {target}\n'''"
        );
        let host = Host::with_config(&config, &[]).with_pongd("pongd").with_pongd("secret");
        Self { host: host.with_tcpd(None), _elsewhere: listener, target }
    }

    fn written(&self, line: usize, rule: &str) -> String {
        let file = self.host.rundir().parent().unwrap().join("ipcd.toml");
        format!("{rule} ({}:{line})", file.display())
    }

    fn reach(&self, name: &str) {
        let network = format!("{name} {}", self.target.replacen(':', "://", 1));
        self.host.connect(name, &network).unwrap();
    }
}

#[test]
fn each_decision_is_told_once_with_the_rule_that_made_it() {
    let verdicts = Verdicts::new();
    let mut watching = Watching::all(&verdicts.host);
    assert!(verdicts.host.ping("secret", "").contains("closed today"));
    assert!(verdicts.host.ping("nobody", "").starts_with("unknown service"));
    verdicts.reach("far");
    verdicts.reach("odd");
    let target = verdicts.target.as_str();
    let told = watching.take(4);
    let deny = verdicts.written(2, "deny local secret reason \"closed today\"");
    let allow = verdicts.written(3, &format!("allow out far {target}"));
    let odd = verdicts.written(4, &format!("permissive out odd {target}"));
    let expected = [
        (Some(Verdict::Denied), "secret", "unix:secret", "closed today"),
        (Some(Verdict::Failed), "nobody", "unix:nobody", "unknown service: nothing answers here"),
        (Some(Verdict::Allowed), "far", target, "a rule allows it"),
        (
            Some(Verdict::Permissive),
            "odd",
            target,
            "a permissive rule lets it pass; it would be denied",
        ),
    ];
    for (decision, expected) in told.iter().zip(expected) {
        let Decision { verdict, service, target, reason, .. } = decision;
        assert_eq!((*verdict, service.as_str(), target.as_str(), reason.as_str()), expected);
    }
    let rules = [0, 2, 3].map(|place| told[place].rule.as_deref());
    assert_eq!(rules, [Some(&*deny), Some(&*allow), Some(&*odd)]);
    for name in ["denied local", "failed local", "allowed out", "permissive out"] {
        assert_eq!(counter(&verdicts.host, name), 1, "{name}");
    }
}

#[test]
fn a_decision_tells_who_asked_and_what_came_of_it() {
    let host = Host::new(&[]).with_pongd("pongd");
    let mut watching = Watching::all(&host);
    assert_eq!(host.ping("pongd", ""), "ping");
    let told = watching.next();
    assert_eq!((told.verdict, told.allowed, told.revision), (Some(Verdict::Allowed), true, 1));
    assert_eq!(told.direction.as_deref(), Some("local"));
    assert_eq!((told.carrier.as_deref(), told.connection), (Some("direct"), Some(1)));
    assert!(told.rule.as_deref().unwrap().ends_with("(built in)"), "{told:?}");
    let Identity::Local(who) = &told.who else { unreachable!("not of this host") };
    assert_eq!(who.pid, Some(std::process::id()));
    assert_eq!(who.uid, Some(nix::unistd::geteuid().as_raw()));
    assert!(told.client.ends_with(&format!("pid {}", std::process::id())), "{}", told.client);
}

#[test]
fn peers_of_other_hosts_are_told_of_with_their_address_and_the_reason_that_they_do_not_hear() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in pongd tcp:127.0.0.1"]).with_tcpd(Some(port));
    let far = far.with_pongd("pongd").with_pongd("payroll");
    let near = Host::new(&["--rule", &format!("allow out * tcp:127.0.0.1:{port}")]).with_tcpd(None);
    let mut watching = Watching::all(&far);
    let target = |name: &str| format!("{name} tcp://127.0.0.1:{port}/{name}");
    assert_eq!(near.ping("pongd", &target("pongd")), "ping");
    assert!(near.ping("payroll", &target("payroll")).contains("refused"));
    let told = watching.take(2);
    assert_eq!((told[0].verdict, &*told[0].service), (Some(Verdict::Allowed), "pongd"));
    assert_eq!(told[0].carrier.as_deref(), Some("through ipcd-tcpd"));
    let Identity::Remote(who) = &told[0].who else { unreachable!("of this host") };
    assert_eq!((who.scheme.as_str(), who.address.to_string().as_str()), ("tcp", "127.0.0.1"));
    assert_eq!((told[1].verdict, &*told[1].service), (Some(Verdict::Denied), "payroll"));
    let why = "nothing is proven about the peer but its address, and no rule allows that";
    assert_eq!(told[1].reason, why);
    assert_eq!(told[1].client, "tcp from 127.0.0.1");
    assert_eq!((counter(&far, "allowed in"), counter(&far, "denied in")), (1, 1));
}

#[test]
fn whoever_tries_to_take_a_name_is_seen_and_told_who_may() {
    if !has_users() {
        return;
    }
    let config = "[services.shop]\nowner = \"4711\"\n";
    let host = Host::with_config(config, &["--instance", "system"]);
    let mut watching = Watching::all(&host);
    let mut taker = as_user(4712, &[]);
    taker.arg(program("ipc").get_program()).args(["serve", "shop"]).arg("--rundir");
    let (code, _, said) = outcome(taker.arg(host.rundir()).args(["--", "true"]));
    assert_eq!(code, 50, "{said}");
    assert!(said.starts_with("ipc: shop: denied: only root and the service's owner may"), "{said}");
    let cure = "  to allow  [services.shop] owner = \"4712\"     then: ipc reload\n";
    assert!(said.ends_with(cure), "{said}");
    let Decision { verdict, service, target, reason, who, .. } = watching.next();
    assert_eq!((verdict, &*service, &*target), (Some(Verdict::Denied), "shop", "unix:shop"));
    assert_eq!(reason, "only root and the service's owner may offer it");
    let Identity::Local(who) = who else { unreachable!("of this host") };
    assert_eq!(who.uid, Some(4712));
}

#[test]
fn a_watcher_hears_what_it_wants_and_nothing_else() {
    let host = Host::new(&["--rule", "deny local db-2"]).with_pongd("db").with_pongd("db-2");
    let wanted = |services: Option<&str>, denied: bool, uid: Option<u32>| Monitor {
        services: services.map(|name| vec![name.to_owned()]),
        denied: Some(denied),
        uid,
    };
    let mut named = Watching::of(&host, &wanted(Some("db*"), false, None));
    let mut denied = Watching::of(&host, &wanted(None, true, None));
    let mut foreign = Watching::of(&host, &wanted(None, false, Some(12_345)));
    let mut all = Watching::all(&host);
    for name in ["other", "db", "db-2"] {
        let _said = host.ping(name, "");
    }
    let services =
        |told: Vec<Decision>| told.into_iter().map(|one| one.service).collect::<Vec<_>>();
    assert_eq!(services(named.take(2)), ["db", "db-2"]);
    assert_eq!(services(denied.take(1)), ["db-2"]);
    assert_eq!(services(all.take(3)), ["other", "db", "db-2"]);
    // The foreigner's first word comes only when the broker ends: nothing was told before.
    drop(host);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| foreign.next())).is_err());
}

#[test]
fn monitors_hear_everything_though_the_log_is_limited_and_says_exactly_by_how_much() {
    const REQUESTS: usize = 300;
    let setup = Setup {
        config: "rules = 'deny local secret'\nlimits.log-lines-per-second = 10",
        logs: true,
        ..Setup::default()
    };
    let host = Host::of(&setup).with_pongd("secret");
    let mut watching = Watching::all(&host);
    for _ in 0..REQUESTS {
        assert!(host.ping("secret", "").starts_with("denied"));
        assert_eq!(watching.next().verdict, Some(Verdict::Denied));
    }
    assert_eq!(counter(&host, "denied local"), u64::try_from(REQUESTS).unwrap());
    // What was left out is told when the second is over, also if nothing happens any more.
    let count = |log: &str| {
        let lines = log.lines().filter(|line| line.contains("event=\"denied\"")).count();
        let told = log.lines().filter_map(|line| line.split("event=\"left-out\" lines=").nth(1));
        let left_out: usize = told.map(|count| count.trim().parse::<usize>().unwrap()).sum();
        (lines, left_out)
    };
    until("the log tells how much it left out", || {
        let (lines, left_out) = count(&host.log());
        lines + left_out == REQUESTS
    });
    let (lines, left_out) = count(&host.log());
    assert!(lines >= 5 && left_out > 0, "{lines} and {left_out}");
    assert_eq!(counter(&host, "log lines left out"), u64::try_from(left_out).unwrap());
}

#[test]
fn the_log_has_the_decisions_that_are_wanted_with_all_their_facts() {
    for (wanted, expected) in
        [("denied", &["denied"][..]), ("all", &["allowed", "denied", "failed"]), ("none", &[])]
    {
        let config = format!("log.decisions = '{wanted}'\nrules = 'deny local secret'");
        let arguments = ["--log-format", "json"];
        let setup =
            Setup { config: &config, arguments: &arguments, logs: true, ..Setup::default() };
        let host = Host::of(&setup).with_pongd("pongd").with_pongd("secret");
        for name in ["pongd", "secret", "nobody"] {
            let _said = host.ping(name, "");
        }
        // What comes behind them in the log.
        let (code, ..) = outcome(&mut host.ipc(&["reload"]));
        assert_eq!(code, 0);
        until("all is written", || host.log().contains("\"reloaded\""));
        let log = host.log();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let decisions: Vec<Value> = lines.filter(|line| line["service"].is_string()).collect();
        let events: Vec<&str> =
            decisions.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, expected, "{wanted}");
        for denied in decisions.iter().filter(|line| line["event"] == "denied") {
            let rule = denied["rule"].as_str().unwrap();
            assert!(rule.starts_with("deny local secret (") && rule.ends_with(":2)"), "{rule}");
            assert_eq!(
                (&denied["service"], &denied["target"]),
                (&"secret".into(), &"unix:secret".into())
            );
            assert_eq!((&denied["direction"], &denied["revision"]), (&"local".into(), &1.into()));
            assert_eq!(denied["client_pid"], std::process::id());
            assert_eq!(denied["client_uid"], nix::unistd::geteuid().as_raw());
            assert_eq!(denied["level"], "INFO");
        }
    }
}

#[test]
fn a_watcher_that_does_not_read_costs_nothing_and_is_told_how_much_it_has_missed() {
    let host = Host::new(&["--rule", "deny local secret"]).with_pongd("secret");
    let mut slow = Watching::all(&host);
    let mut quick = Watching::all(&host);
    let broker_bytes = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", host.broker.pid()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    let (mut asked, mut before) = (0_u64, None);
    // Until it has certainly fallen behind: a socket holds some hundred kilobytes.
    while asked < 3000 {
        assert!(host.ping("secret", "").starts_with("denied"));
        assert_eq!(quick.next().verdict, Some(Verdict::Denied));
        asked += 1;
        if asked == 1500 {
            before = Some(broker_bytes());
        }
    }
    let grown = broker_bytes().saturating_sub(before.unwrap());
    assert!(grown < 1 << 20, "{grown} bytes for 1,500 decisions that nobody reads");
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < asked {
        let decision = slow.next();
        match decision.verdict {
            Some(_) => heard += 1,
            None => missed += decision.missed.unwrap(),
        }
    }
    assert_eq!(heard + missed, asked);
    assert!(missed > 0, "it has heard all {heard}");
    // From now on it hears everything again.
    assert!(host.ping("secret", "").starts_with("denied"));
    assert_eq!(slow.next().verdict, Some(Verdict::Denied));
}

#[test]
fn the_command_prints_a_line_for_each_decision() {
    let host = Host::new(&["--rule", "deny local secret"]).with_pongd("secret");
    let watch = |arguments: &[&str]| {
        let mut command = host.ipc(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Daemon(child), lines.map(Result::unwrap))
    };
    let (_json, mut json) = watch(&["--json", "monitor", "--denied", "--service", "s*"]);
    let (_table, mut table) = watch(&["--format", "table", "monitor"]);
    let (_raw, mut raw) = watch(&["--format", "raw", "monitor"]);
    until("all three watch", || {
        let (_, said, _) = outcome(&mut host.ipc(&["--json", "status"]));
        let status: Value = serde_json::from_str(&said).unwrap();
        let taken = status["taken"].as_array().unwrap().iter();
        taken.clone().any(|one| one["limit"] == "monitors" && one["used"] == 3)
    });
    let _said = host.ping("other", "");
    let _said = host.ping("secret", "");
    let told: Value = serde_json::from_str(&json.next().unwrap()).unwrap();
    assert_eq!((&told["service"], &told["verdict"]), (&"secret".into(), &"denied".into()));
    assert_eq!(told["pid"], std::process::id());
    let (first, second) = (table.next().unwrap(), table.next().unwrap());
    assert!(first.contains("Z  failed      other -> unix:other  uid "), "{first}");
    assert!(first.ends_with("  unknown service: nothing answers here"), "{first}");
    assert!(second.contains("Z  denied      secret -> unix:secret  uid "), "{second}");
    assert!(
        second.contains("a rule denies it  by deny local secret (command line, rule 1)"),
        "{second}"
    );
    let line = raw.nth(1).unwrap();
    assert!(line.starts_with("denied\tlocal\tsecret\tunix:secret\tuid "), "{line}");
}

#[test]
fn only_administrators_watch_and_only_so_many() {
    let host = Host::with_config("limits.monitors = 1", &[]);
    let _watching = Watching::all(&host);
    let (code, _, said) = outcome(&mut host.ipc(&["monitor"]));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("ipc: monitor: busy: the limit monitors (1) is reached"), "{said}");
    assert!(said.contains("raise monitors under [limits]"), "{said}");
    assert_eq!(counter(&host, "limit monitors reached"), 1);
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let host = Host::new(&["--instance", "system"]);
    for command in ["monitor", "connections", "services", "metrics", "status", "reload"] {
        let (code, _, said) = outcome(
            std::process::Command::new("setpriv")
                .args(["--reuid=4711", "--regid=4720", "--clear-groups"])
                .arg(program("ipc").get_program())
                .args([command, "--rundir"])
                .arg(host.rundir()),
        );
        assert_eq!(code, 50, "{said}");
        assert!(said.starts_with(&format!("ipc: {command}: denied: only root, ")), "{said}");
        assert!(said.ends_with("ask as root, or as a member of admin-groups\n"), "{said}");
    }
}
