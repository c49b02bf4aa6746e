//! Services of another host, over TCP on loopback: two run directories that share one port.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use ipcd_tests::{Daemon, Host, PATIENCE, free_port, has, installed, is_root, outcome, until};
use libipc::Listener;
use libipc::name::ServiceName;

/// Two hosts: `far` offers what `offers` says, `near` may reach its port at loopback.
fn hosts(offers: &[&str]) -> (Host, Host, u16) {
    let port = free_port();
    let far = Host::new(offers).with_tcpd(Some(port)).with_pongd("pongd");
    let target =
        format!("allow out pongd tcp:localhost:{port},tcp:127.0.0.1:{port},tcp:[::1]:{port}");
    let near = Host::new(&["--rule", &target]).with_tcpd(None);
    (near, far, port)
}

const OPEN: [&str; 2] = ["--rule", "allow in pongd tcp:127.0.0.0/8,tcp:[::1]"];

fn inode(stream: &libipc::Stream) -> u64 {
    fs::File::from(stream.as_fd().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
}

#[test]
fn addresses_and_names_of_both_families_lead_there() {
    let (near, _far, port) = hosts(&OPEN);
    for host in ["127.0.0.1", "[::1]", "localhost", "0x7f.1", "LOCALHOST."] {
        let network = format!("pongd tcp://{host}:{port}/pongd");
        assert_eq!(near.ping("pongd", &network), "ping", "{host}");
    }
}

#[test]
fn the_client_holds_the_tcp_socket_and_no_daemon_a_copy() {
    let (near, _far, port) = hosts(&OPEN);
    let mut stream = near.connect("pongd", &format!("pongd tcp://127.0.0.1:{port}/pongd")).unwrap();
    let peer = sys::socket::peer_address(stream.as_fd()).unwrap().unwrap();
    assert_eq!(peer, format!("127.0.0.1:{port}").parse().unwrap());
    let inode = inode(&stream);
    until("no daemon holds it", || !near.broker.holds(inode) && !near.others[0].holds(inode));
    stream.write_all(b"x").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x", "half of it may end, and the rest still comes");
}

#[test]
fn redirects_of_the_command_line_and_of_files_lead_there() {
    let port = free_port();
    let _far = Host::new(&OPEN).with_tcpd(Some(port)).with_pongd("pongd");
    let rule = format!("allow out * tcp:127.0.0.1:{port}");
    let target = format!("tcp://127.0.0.1:{port}/pongd");
    let near = Host::new(&["--rule", &rule, "--redirect", "echo", &target]).with_tcpd(None);
    assert_eq!(near.ping("echo", ""), "ping");
    let dead = free_port();
    let config = format!(
        "rules = 'allow out * tcp:127.0.0.1:{port},tcp:127.0.0.1:{dead}'\n\
         [[redirect]]\nfrom = 'echo'\nto = ['tcp://127.0.0.1:{dead}/pongd', '{target}']\n\
         [[redirect]]\nfrom = '*d'\nto = 'tcp://127.0.0.1:{port}/{{name}}'\n"
    );
    let near = Host::with_config(&config, &[]).with_tcpd(None);
    assert_eq!(near.ping("echo", ""), "ping", "the second candidate");
    assert_eq!(near.ping("pongd", ""), "ping", "the default route");
}

#[test]
fn a_wish_never_widens_what_is_allowed() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in * tcp:127.0.0.1"]).with_tcpd(Some(port));
    let far = far.with_pongd("pongd").with_pongd("payroll");
    let near =
        Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")]).with_tcpd(None);
    assert_eq!(near.ping("pongd", &format!("pongd tcp://127.0.0.1:{port}/pongd")), "ping");
    let denied = |network: &str| {
        let said = near.ping("pongd", network);
        assert!(said.starts_with("denied") || said.starts_with("invalid"), "{network}: {said}");
    };
    denied(&format!("pongd tcp://127.0.0.1:{port}/payroll"));
    denied(&format!("pongd tcp://127.0.0.2:{port}/pongd"));
    denied(&format!("pongd tcp://127.0.0.1:{}/pongd", port.wrapping_add(1).max(1)));
    denied(&format!("pongd tcp://127.0.0.1:{port}/pongd?mark=1"));
    denied(&format!("pongd tcp://127.0.0.1:{port}/pongd?source=127.0.0.1"));
    let closed = Host::new(&["--rule", "deny local local-one"]).with_pongd("local-one");
    let said = closed.ping("pongd", "pongd unix:///local-one");
    assert!(said.starts_with("denied"), "{said}");
    drop(far);
}

#[test]
fn the_far_rules_decide_who_may_enter() {
    let (near, _far, port) = hosts(&["--rule", "allow in other tcp:127.0.0.1"]);
    let said = near.ping("pongd", &format!("pongd tcp://127.0.0.1:{port}/pongd"));
    assert_eq!(said, format!("refused: tcp:127.0.0.1:{port}/pongd: the far host says no"));
}

/// Connections that are greeted at once.
const RUNS: usize = 500;

#[test]
fn a_greeting_never_overtakes_the_yes() {
    let port = free_port();
    let far = Host::new(&["--rule", "allow in pongd tcp:127.0.0.1"]).with_tcpd(Some(port));
    let directory =
        libipc::rundir::RunDirectory::new(far.rundir(), libipc::rundir::Instance::Private);
    let listener = Listener::bind_in(&directory, &ServiceName::new("pongd").unwrap()).unwrap();
    let service = std::thread::spawn(move || {
        for _ in 0..RUNS {
            let mut client = listener.accept().unwrap();
            client.write_all(b"220 welcome\n").unwrap();
        }
    });
    let near =
        Host::new(&["--rule", &format!("allow out pongd tcp:127.0.0.1:{port}")]).with_tcpd(None);
    let network = format!("pongd tcp://127.0.0.1:{port}/pongd");
    for run in 0..RUNS {
        let mut stream = near.connect("pongd", &network).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "220 welcome\n", "run {run}");
    }
    service.join().unwrap();
}

#[test]
fn what_cannot_be_reached_says_why() {
    let dead = free_port();
    let near = Host::new(&["--rule", &format!("allow out x tcp:127.0.0.1:{dead},tcp:*:1")]);
    let said = near.ping("x", &format!("x tcp://127.0.0.1:{dead}"));
    assert_eq!(said, "cannot connect: tcpd does not run");
    let near = near.with_tcpd(None);
    let said = near.ping("x", &format!("x tcp://127.0.0.1:{dead}"));
    assert_eq!(said, format!("unreachable: tcp:127.0.0.1:{dead}: nobody listens there"));
    let (code, _, said) =
        outcome(near.ipc(&["connect", "x"]).env("IPC_NETWORK", "x tcp://no.invalid:1"));
    assert_eq!(code, 3);
    assert!(said.contains("its name cannot be resolved"), "{said}");
    // Somebody else's protocol, and nobody's.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    let answer = std::thread::spawn(move || {
        let (mut client, _) = web.accept().unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\0").unwrap();
        let mut all = Vec::new();
        let _reset = client.read_to_end(&mut all).is_err();
    });
    let near = Host::new(&["--rule", &format!("allow out x tcp:127.0.0.1:{port}")]).with_tcpd(None);
    let said = near.ping("x", &format!("x tcp://127.0.0.1:{port}/x"));
    assert!(said.contains("does not answer as a daemon of ipcd does"), "{said}");
    answer.join().unwrap();
}

#[test]
fn redis_and_a_web_server_are_reached_by_name_unmodified() {
    let Some(redis) = installed("redis-server") else {
        assert!(!has("redis-server", false));
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let (redis_port, web_port, port) = (free_port(), free_port(), free_port());
    let far = Host::new(&["--rule", "allow in redis tcp:127.0.0.1"]).with_tcpd(Some(port));
    let _redis = Daemon::start(
        Command::new(redis)
            .args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--unixsocketperm", "600", "--unixsocket"])
            .arg(far.rundir().join("services/redis"))
            .stdout(std::process::Stdio::null())
            .current_dir(place.path()),
    );
    let _web = Daemon::start(
        Command::new("python3")
            .args(["-m", "http.server", &web_port.to_string(), "--bind", "127.0.0.1"])
            .stderr(std::process::Stdio::null())
            .current_dir(place.path()),
    );
    fs::write(place.path().join("page"), "a page of the web\n").unwrap();
    let rule = format!(
        "allow out redis,web tcp:127.0.0.1:{redis_port},tcp:127.0.0.1:{web_port},tcp:127.0.0.1:{port}"
    );
    let near = Host::new(&["--rule", &rule]).with_tcpd(None);
    let ask = |name: &str, network: &str, question: &str, end: &str| {
        until("the server listens", || near.connect(name, network).is_ok());
        let mut stream = near.connect(name, network).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(question.as_bytes()).unwrap();
        let (mut text, mut byte) = (String::new(), [0]);
        while !text.contains(end) && stream.read(&mut byte).unwrap() == 1 {
            text.push(char::from(byte[0]));
        }
        text
    };
    let plain = format!("redis tcp://127.0.0.1:{redis_port}");
    assert_eq!(ask("redis", &plain, "PING\r\n", "\n"), "+PONG\r\n");
    let relayed = format!("redis tcp://127.0.0.1:{port}/redis");
    assert_eq!(ask("redis", &relayed, "PING\r\n", "\n"), "+PONG\r\n");
    let web = format!("web tcp://127.0.0.1:{web_port}");
    let page = ask("web", &web, "GET /page HTTP/1.0\r\n\r\n", "a page of the web\n");
    assert!(page.starts_with("HTTP/1.0 200 OK"), "{page}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story: keys, server, broker, client")]
fn ssh_goes_over_a_redirect_and_the_helper_is_gone() {
    let (Some(sshd), Some(ssh)) = (installed("sshd"), installed("ssh")) else {
        assert!(!has("OpenSSH", false));
        return;
    };
    if !has("root", is_root()) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for key in ["host", "user"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path(key))
            .status();
        assert!(made.unwrap().success());
    }
    fs::copy(path("user.pub"), path("authorized")).unwrap();
    fs::create_dir_all("/run/sshd").unwrap();
    let port = free_port();
    let _sshd = Daemon::start(
        Command::new(sshd)
            .args(["-D", "-e", "-q", "-p", &port.to_string(), "-o", "ListenAddress=127.0.0.1"])
            .args([
                "-o",
                "StrictModes=no",
                "-o",
                "UsePAM=no",
                "-o",
                "PidFile=none",
                "-f",
                "/dev/null",
            ])
            .arg("-h")
            .arg(path("host"))
            .arg("-o")
            .arg(format!("AuthorizedKeysFile={}", path("authorized").display()))
            .stderr(std::process::Stdio::null()),
    );
    until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let near = Host::new(&[
        "--rule",
        &format!("allow out shell tcp:127.0.0.1:{port}"),
        "--redirect",
        "shell",
        &format!("tcp://127.0.0.1:{port}"),
    ])
    .with_tcpd(None);
    let proxy = format!(
        "{} connect --fdpass --rundir {} shell",
        ipcd_tests::binaries().join("ipc").display(),
        near.rundir().display()
    );
    let (code, said, errors) = outcome(
        Command::new(ssh)
            .args(["-F", "none", "-q", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "ProxyUseFdpass=yes", "-i"])
            .arg(path("user"))
            .arg("-o")
            .arg(format!("ProxyCommand={proxy}"))
            .arg("root@shell")
            .arg(format!(
                "echo $SSH_CONNECTION; pgrep -f '^[^ ]*/ipc connect --fdpas[s] --rundir {} ' | wc -l",
                near.rundir().display()
            )),
    );
    assert_eq!(code, 0, "{errors}");
    assert!(said.contains(&format!("127.0.0.1 {port}")), "{said}");
    assert_eq!(said.lines().last().map(str::trim), Some("0"), "{said}");
}
