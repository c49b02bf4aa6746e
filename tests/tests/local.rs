//! Services of this host: doors, identities, rules, reload, take-over.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;

use ipcd_tests::users::has_users;
use ipcd_tests::{
    Daemon, Host, accept, has, installed, is_root, outcome, program, until, until_broker_answers,
};
use libipc::identity::Identity;
use libipc::listener::Listener;
use libipc::name::ServiceName;
use libipc::rundir::{Instance, RunDirectory};
use nix::sys::signal::Signal;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

#[test]
fn a_name_becomes_a_connection() {
    let host = Host::new(&[]).with_pongd("pongd");
    assert_eq!(host.ping("pongd", ""), "ping");
}

#[test]
fn errors_have_their_words_and_exit_codes() {
    let host =
        Host::new(&["--rule", "deny local pongd * reason \"closed today\""]).with_pongd("pongd");
    let (code, _, said) = outcome(&mut host.ipc(&["connect", "pongd"]));
    assert_eq!(code, 50);
    assert!(said.starts_with("ipc: pongd: denied: "), "{said}");
    assert!(said.contains("closed today"), "{said}");
    assert!(said.contains("  to allow  start ipcd with --rule 'allow local pongd "), "{said}");
    let (code, _, said) = outcome(&mut host.ipc(&["connect", "nobody"]));
    assert_eq!(code, 69);
    assert!(said.starts_with("ipc: nobody: unknown service"), "{said}");
    let (code, _, said) = outcome(&mut host.ipc(&["connect", "../run/x"]));
    assert_eq!(code, 64);
    assert!(said.contains("not '/' (U+002F) at character 3"), "{said}");
    let (code, _, said) = outcome(host.ipc(&["connect", "x"]).env("IPC_NETWORK", "x foo://h:1"));
    assert_eq!(code, 64);
    assert!(said.contains("unknown scheme foo"), "{said}");
    let (code, ..) = outcome(host.ipc(&["connect", "x"]).env("IPC_RUNDIR", "/nonexistent"));
    assert_eq!(code, 78);
}

#[test]
fn why_tells_the_rule_and_answers_by_its_exit_code() {
    let host = Host::new(&["--rule", "deny local secret", "--redirect", "authd", "pongd"])
        .with_pongd("pongd");
    let (code, said, _) = outcome(&mut host.ipc(&["--format", "table", "why", "authd"]));
    assert_eq!(code, 0);
    assert!(said.contains("authd -> unix:pongd   (command line, redirect 1)"), "{said}");
    let (code, said, _) = outcome(&mut host.ipc(&["--format", "table", "why", "secret"]));
    assert_eq!(code, 50);
    assert!(said.contains("decides   deny local secret"), "{said}");
    let (code, said, _) = outcome(&mut host.ipc(&["--json", "why", "secret"]));
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(code, 50);
    assert_eq!(json["candidates"][0]["verdict"]["allowed"], false);
}

#[test]
fn the_service_sees_the_true_client_from_several_users() {
    if !has("root and setpriv", is_root() && installed("setpriv").is_some()) {
        return;
    }
    let host = Host::new(&["--instance", "system", "--rule", "allow local who"]);
    let directory = RunDirectory::new(host.rundir(), Instance::System);
    let listener = Listener::bind_in(&directory, &name("who")).unwrap();
    for (uid, groups) in [(4711_u32, vec![4713_u32, 4714]), (4712, vec![]), (0, vec![0])] {
        let list = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut command = std::process::Command::new("setpriv");
        command.arg(format!("--reuid={uid}")).arg("--regid=4720");
        command.arg(if list.is_empty() {
            "--clear-groups".into()
        } else {
            format!("--groups={list}")
        });
        command.arg(program("ipc").get_program()).args(["connect", "who", "--rundir"]);
        let mut client = Daemon::start(command.arg(host.rundir()));
        let stream = accept(&listener);
        let Some(Identity::Local(peer)) = stream.peer().cloned() else { panic!("no peer") };
        assert_eq!((peer.uid, peer.gid), (Some(uid), Some(4720)));
        let mut seen = peer.groups.unwrap();
        seen.sort_unstable();
        assert_eq!(seen, groups);
        assert_eq!(peer.pid, Some(client.pid()));
        drop(stream);
        assert!(client.0.wait().unwrap().success());
    }
    let (code, _, said) = outcome(
        std::process::Command::new("setpriv")
            .args(["--reuid=4711", "--regid=4720", "--clear-groups"])
            .arg(program("ipc").get_program())
            .args(["connect", "other", "--rundir"])
            .arg(host.rundir()),
    );
    assert_eq!(code, 69, "{said}");
}

#[test]
fn the_broker_never_connects_to_a_service() {
    let Some(strace) = installed("strace") else {
        assert!(!has("strace", false));
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("trace");
    let rundir = place.path().join("ipc");
    let mut command = std::process::Command::new(strace);
    command.args(["-D", "-f", "-e", "trace=connect", "-o"]).arg(&trace);
    command.arg(program("ipcd").get_program()).arg("--rundir").arg(&rundir);
    let broker = Daemon::start(command.args(["--log-level", "warn"]));
    until_broker_answers(&rundir);
    let directory = RunDirectory::new(rundir, Instance::Private);
    let listener = Listener::bind_in(&directory, &name("pong")).unwrap();
    for _ in 0..20 {
        let mut client = program("ipc");
        client.args(["connect", "pong", "--rundir"]).arg(directory.path());
        let mut client = Daemon::start(&mut client);
        drop(accept(&listener));
        assert!(client.0.wait().unwrap().success());
    }
    let mut broker = broker;
    broker.signal(Signal::SIGTERM);
    broker.0.wait().unwrap();
    until("strace has written everything", || {
        fs::read_to_string(&trace).is_ok_and(|text| text.contains("exited"))
    });
    let seen = fs::read_to_string(&trace).unwrap_or_default();
    assert!(!seen.contains("services"), "{seen}");
    assert!(!seen.contains("/proc/self/fd"), "{seen}");
}

#[test]
fn a_reload_takes_good_files_and_keeps_the_old_ones_otherwise() {
    let host = Host::with_config("rules = 'deny local pongd'", &[]).with_pongd("pongd");
    assert!(host.ping("pongd", "").starts_with("denied"));
    host.configure("rules = 'allow local pongd'");
    let (code, said, _) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!((code, said.as_str()), (0, "revision 2 is live\n"));
    assert_eq!(host.ping("pongd", ""), "ping");
    host.configure("rules = 'forbid local pongd'\ncolour = 1");
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert_eq!(code, 78);
    assert!(said.contains("the old one stays"), "{said}");
    assert!(said.contains("ipcd.toml:1:") && said.contains("ipcd.toml:2:1: unknown key"), "{said}");
    assert_eq!(host.ping("pongd", ""), "ping");
    let (_, said, _) = outcome(&mut host.ipc(&["--format", "table", "status"]));
    assert!(said.contains("refused") && said.contains("ipcd.toml:2:1"), "{said}");
    host.configure("rules = 'deny local pongd'");
    host.broker.signal(Signal::SIGHUP);
    until("the signal reloads", || host.ping("pongd", "").starts_with("denied"));
}

#[test]
fn a_daemon_that_does_not_exist_is_an_error_that_says_which_there_are() {
    let place = tempfile::tempdir().unwrap();
    let rundir = place.path().join("ipc");
    let mut ipcd = program("ipcd");
    ipcd.arg("--rundir").arg(&rundir).args(["--with", "tcp"]);
    let (code, _, said) = outcome(&mut ipcd);
    let words =
        "no program tcp is beside ipcd or where packages put it; the daemons are tcpd and tlsd";
    assert!(code == 71 && said.contains(words), "{said}");
    assert!(!rundir.join("ipc").exists(), "nothing is left that a client would wait at");
}

#[test]
fn a_place_that_cannot_be_made_is_told_with_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let mut ipcd = program("ipcd");
    ipcd.arg("--user").env("XDG_RUNTIME_DIR", place.path().join("none"));
    let (code, _, said) = outcome(ipcd.env("HOME", place.path()).env_remove("IPC_RUNDIR"));
    let words = "none/ipc: cannot be made, for the directory above it is not there";
    assert!(code == 71 && said.contains(words), "{said}");
}

#[test]
fn a_directory_is_a_configuration_as_etc_ipcd_is() {
    let host = Host::new(&[]).with_pongd("pong");
    let place = tempfile::tempdir().unwrap();
    let drop_ins = place.path().join("ipcd.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("10-rules.toml"), "rules = 'allow local ping-*'\n").unwrap();
    let mut ipcd = program("ipcd");
    ipcd.arg("--config").arg(place.path()).arg("--check");
    let (code, _, said) = outcome(&mut ipcd);
    assert_eq!(code, 0, "{said}");
    fs::write(place.path().join("ipcd.toml"), "rules = 'allow'\n").unwrap();
    let (code, _, said) = outcome(&mut ipcd);
    assert!(code == 78 && said.contains("/ipcd.toml:1:"), "{said}");
    let named = place.path().to_str().unwrap();
    let mut check = host.ipc(&["--format", "table", "check", "--config", named]);
    let (code, said, problems) = outcome(&mut check);
    let same = format!("{said}{problems}").contains("/ipcd.toml:1:10: behind the action");
    assert!(code == 78 && same, "{said}{problems}");
}

#[test]
fn a_configuration_that_is_a_pipe_is_an_error_and_stops_nobody() {
    let host = Host::new(&[]).with_pongd("pong");
    let file = host.place("ipcd.toml");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert!(code == 78 && said.contains("ipcd.toml: is no file"), "{said}");
    assert_eq!(host.ping("pong", ""), "ping");
}

#[test]
fn in_a_directory_of_somebody_elses_a_broker_makes_nothing() {
    if !has_users() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(place.path(), Some(4711), Some(4711)).unwrap();
    for instance in ["system", "private"] {
        let mut broker = program("ipcd");
        broker.arg("--rundir").arg(place.path()).args(["--instance", instance]);
        let (code, _, said) = outcome(&mut broker);
        assert!(code == 71 && said.contains("belongs to uid 4711"), "{said}");
    }
    let directory = RunDirectory::new(place.path().to_owned(), Instance::Private);
    assert!(Listener::bind_in(&directory, &name("pong")).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn a_second_broker_says_what_to_do_and_a_crash_leaves_nothing_in_the_way() {
    let mut host = Host::new(&[]).with_pongd("pongd");
    let (code, _, said) =
        outcome(program("ipcd").arg("--rundir").arg(host.rundir()).args(["--redirect", "a", "b"]));
    assert_eq!(code, 71);
    let start = format!("ipcd: already running here (pid {})", host.broker.pid());
    assert!(said.contains(&start) && said.contains("then: ipc reload"), "{said}");
    host.broker.crash();
    assert!(host.rundir().join("ipc").exists());
    host.restart(&[]);
    assert_eq!(host.ping("pongd", ""), "ping");
    host.broker.signal(Signal::SIGTERM);
    assert_eq!(host.broker.0.wait().unwrap().code(), Some(0));
    assert!(!host.rundir().join("ipc").exists());
}

#[test]
fn the_first_ipcds_command_line_means_what_it_says() {
    let host = Host::new(&[
        "--allow",
        "in",
        "authd",
        "tls:example.com",
        "--deny",
        "in",
        "*",
        "*",
        "--allow",
        "out",
        "pong",
        "tls:pong.example.com:9000",
        "--redirect",
        "authd",
        "nextversion-authd",
    ])
    .with_pongd("nextversion-authd");
    assert_eq!(host.ping("authd", ""), "ping");
    assert_eq!(host.ping("x", "x unix:///nextversion-authd"), "ping");
    let tls = host.ping("pong", "pong tls://pong.example.com:9000");
    assert!(tls.contains("does not run"), "{tls}");
    let odd = host.ping("a", "a tls://user@secret:example.com:9000/authd");
    assert!(odd.starts_with("denied") && !odd.contains("secret"), "{odd}");
    let short = host.ping("a", "a tcp://example.com/service");
    assert!(short.starts_with("denied"), "{short}");
}

#[test]
fn without_a_broker_only_a_private_directory_is_connected_to_directly() {
    let mut host = Host::new(&[]).with_pongd("pongd");
    host.broker.signal(Signal::SIGTERM);
    host.broker.0.wait().unwrap();
    assert_eq!(host.ping("pongd", ""), "ping");
    let wished = host.ping("pongd", "pongd tcp://127.0.0.1:1/pongd");
    assert!(wished.starts_with("no broker at "), "{wished}");
    let (code, ..) = outcome(&mut host.ipc(&["--format", "table", "status"]));
    assert_eq!(code, 69);
}

#[test]
fn a_program_gets_the_connection_as_its_input_and_output() {
    let host = Host::new(&[]);
    let rundir = host.rundir();
    let mut serve = program("ipc");
    serve.args(["serve", "upper", "--rundir"]).arg(&rundir);
    serve.args(["--", "sh", "-c", "echo $IPC_SERVICE $IPC_PEER_UID; tr a-z A-Z"]);
    let _service = Daemon::start(&mut serve);
    let asked =
        libipc::connector::Connector::new(&host.environment(""), ipcd_tests::PATIENCE).unwrap();
    let mut stream = asked.wait_for_service().connect(&name("upper")).unwrap();
    std::io::Write::write_all(&mut stream, b"quiet").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let uid = nix::unistd::geteuid();
    assert_eq!(text, format!("upper {uid}\nQUIET"));
    let (code, said, _) = outcome(&mut host.ipc(&["connect", "upper", "--", "sh", "-c", "exit 7"]));
    assert_eq!((code, said.as_str()), (7, ""));
    assert!(sys::socket::is_unix(stream.as_fd()).unwrap());
}
