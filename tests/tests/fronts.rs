//! Fronts: programs that can only open a path reach names by it, as themselves.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ipcd_tests::namespace::{FAR_V4, Pair, has_namespaces};
use ipcd_tests::unmodified::Servers;
use ipcd_tests::users::{as_user, has_users};
use ipcd_tests::{Daemon, Host, PATIENCE, Setup, accept, has, installed, outcome, until};
use libipc::identity::{Identity, LocalIdentity};
use libipc::rundir::Instance;
use libipc::{Listener, ServiceName};

/// Whoever connects there; what it sends is for the service.
fn open(path: PathBuf) -> UnixStream {
    let socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Whether the broker has closed it, without a word.
fn is_over(mut socket: UnixStream) -> bool {
    socket.read(&mut [0]).map_or_else(|error| error.raw_os_error() == Some(104), |read| read == 0)
}

fn register(host: &Host, service: &str) -> Listener {
    let name = ServiceName::new(service).unwrap();
    Listener::bind_in(&host.directory(Instance::Private), &name).unwrap()
}

/// The programs, each with what it is asked and what it answers.
fn programs(host: &Host) -> [(&'static str, Command, &'static str); 3] {
    let run = |name: &str| {
        let mut command = as_user(4711, &[]);
        command.arg(installed(name).unwrap()).env_clear().env("HOME", "/nonexistent");
        command
    };
    let (mut curl, mut redis, mut psql) = (run("curl"), run("redis-cli"), run("psql"));
    curl.args(["--silent", "--max-time", "9", "--unix-socket"]);
    curl.arg(host.place("web.front")).arg("http://web/page");
    redis.arg("-s").arg(host.place("redis.front")).args(["echo", "again"]);
    psql.arg("-h").arg(host.place("")).args(["-p", "5432", "-U", "postgres", "-d", "postgres"]);
    psql.args(["-Atc", "select 'six times seven is ' || 6 * 7"]);
    [
        ("web", curl, "a page of the web\n"),
        ("redis", redis, "again\n"),
        ("db", psql, "six times seven is 42\n"),
    ]
}

#[test]
fn unmodified_programs_reach_servers_of_another_host_and_the_record_names_them() {
    let there = ["curl", "redis-cli", "psql"].iter().all(|name| installed(name).is_some());
    if !has_namespaces() || !has_users() || !has("curl, redis-cli and psql", there) {
        return;
    }
    let pair = Pair::new();
    let Some(servers) = Servers::start(Some(&pair.far)) else { return };
    let (web, redis, db) = (servers.web, servers.redis, servers.db);
    let config = format!(
        "rules = 'allow out web,redis,db tcp:{FAR_V4}:* for user:4711'\n\
         [redirects]\nweb = 'tcp://{FAR_V4}:{web}'\nredis = 'tcp://{FAR_V4}:{redis}'\n\
         db = 'tcp://{FAR_V4}:{db}'\n[log]\ndecisions = 'all'\n"
    );
    let near = Host::of(&Setup {
        config: &config,
        arguments: &["--instance", "system"],
        namespace: Some(&pair.near),
        logs: true,
        sockets: &[
            ("front.web", "web.front"),
            ("front.redis", "redis.front"),
            ("front.db", ".s.PGSQL.5432"),
        ],
        ..Setup::default()
    });
    let near = near.with_tcpd_at(&[]);
    for (service, mut command, answer) in programs(&near) {
        let mut program = Daemon(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut said = String::new();
        program.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, answer, "{service}: {}", near.log());
        let facts = [
            format!("service=\"{service}\""),
            format!("client_pid={}", program.pid()),
            "client_uid=4711".to_owned(),
            "event=\"allowed\"".to_owned(),
        ];
        until("the record names the program", || {
            near.log().lines().any(|line| facts.iter().all(|fact| line.contains(fact)))
        });
    }
    // Nobody else gets anywhere by the same paths.
    let mut other = as_user(4712, &[]);
    other.arg(installed("curl").unwrap()).args(["--silent", "--max-time", "9", "--unix-socket"]);
    let (code, said, _) = outcome(other.arg(near.place("web.front")).arg("http://web"));
    // 7: it was closed before curl had looked whether it is open.
    assert!(
        [7, 52, 56].contains(&code) && said.is_empty(),
        "no reply from the server: {code} {said}"
    );
}

fn fronts(rules: &str) -> Host {
    let config = &format!("{rules}[log]\ndecisions = 'all'\n");
    Host::of(&Setup { config, logs: true, sockets: &[("front.shop", "shop")], ..Setup::default() })
}

#[test]
fn the_first_bytes_and_the_true_client_reach_a_registered_service() {
    let host = fronts("");
    let listener = register(&host, "shop");
    for early in [true, false] {
        let mut client = open(host.place("shop"));
        if early {
            client.write_all(b"early ").unwrap();
        }
        let mut service = accept(&listener);
        let Some(Identity::Local(told)) = service.peer().cloned() else { panic!("no peer") };
        let seen = LocalIdentity::of_peer(service.as_fd()).unwrap();
        assert_eq!((told.pid, told.uid), (Some(std::process::id()), seen.uid));
        assert_eq!(told.pid, seen.pid);
        client.write_all(b"late").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        service.read_to_string(&mut text).unwrap();
        assert_eq!(text, if early { "early late" } else { "late" });
        service.write_all(b"heard").unwrap();
        drop(service);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "heard");
    }
}

#[test]
fn what_is_refused_is_closed_at_once_with_the_reason_in_the_record() {
    let host = fronts("rules = 'deny local shop reason \"closed today\"'\n");
    let _listener = register(&host, "shop");
    let mut client = open(host.place("shop"));
    // Whether the broker reads any of it is nobody's business: these are no calls.
    let _closed = client.write_all(b"{\"method\":\"org.ipcd.Control.Status\"}\0").is_err();
    assert!(is_over(client));
    until("the record says why", || {
        let log = host.log();
        log.contains("closed today") && log.contains(&format!("client_pid={}", std::process::id()))
    });
    let (code, said, _) = outcome(&mut host.ipc(&["--json", "why", "shop"]));
    assert!(code == 50 && said.contains("closed today"), "{said}");
}

#[test]
fn nobody_connects_in_a_programs_place() {
    let host = fronts("").with_pongd("shop");
    assert!(is_over(open(host.place("shop"))));
    until("the record says why", || {
        host.log().contains("a front leads to other hosts and to registered services")
    });
    // The path is the front's alone: the service is reached by its name.
    assert_eq!(host.ping("shop", ""), "ping");
}

#[test]
fn a_front_whose_service_is_not_there_ends_and_serves_when_it_comes() {
    let host = fronts("");
    assert!(is_over(open(host.place("shop"))));
    until("the record says why", || host.log().contains("unknown service"));
    let listener = register(&host, "shop");
    let client = open(host.place("shop"));
    drop(accept(&listener));
    assert!(is_over(client));
}

#[test]
fn fronts_come_and_go_with_the_configuration_and_keep_their_clients() {
    let front = |name: &str, more: &str| format!("[services.{name}]\nfront = true\n{more}");
    let host = Host::with_config("", &[]);
    let (shop, bank) = (register(&host, "shop"), register(&host, "bank"));
    let reload = |config: &str| {
        host.configure(config);
        let outcome = outcome(&mut host.ipc(&["reload"]));
        assert_eq!(outcome.0, 0, "{outcome:?}");
    };
    let path = |name: &str| host.rundir().join("front").join(name);
    assert!(UnixStream::connect(path("shop")).is_err());
    reload(&front("shop", ""));
    let mut old = open(path("shop"));
    let mut served = accept(&shop);
    // Another path, another name, and what is under way stays as it is.
    reload(
        &(front("bank", "") + &format!("[services.shop]\nfront = '{}'\n", path("a/b").display())),
    );
    assert!(UnixStream::connect(path("shop")).is_err());
    let _moved = (open(path("a/b")), accept(&shop));
    let _other = (open(path("bank")), accept(&bank));
    served.write_all(b"still").unwrap();
    drop(served);
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still");
    reload("");
    assert!(["a/b", "bank"].iter().all(|name| UnixStream::connect(path(name)).is_err()));
    // One whose file is gone comes back.
    reload(&front("shop", ""));
    std::fs::remove_file(path("shop")).unwrap();
    reload(&front("shop", ""));
    let _back = (open(path("shop")), accept(&shop));
    // A front that is not below the run directory refuses the whole file, and the old one stays.
    reload(&front("shop", ""));
    host.configure("[services.shop]\nfront = '/tmp/elsewhere'\n");
    let (code, _, said) = outcome(&mut host.ipc(&["reload"]));
    assert!(code == 78 && said.contains("is not below"), "{said}");
    let _again = (open(path("shop")), accept(&shop));
}
