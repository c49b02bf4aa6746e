use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;
use crate::identity::Identity;

fn instance() -> (tempfile::TempDir, RunDirectory, ServiceName) {
    let place = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
    (place, directory, ServiceName::new("pong").unwrap())
}

#[test]
fn a_client_is_accepted_with_its_identity() {
    let (_place, directory, name) = instance();
    let listener = Listener::bind_in(&directory, &name).unwrap();
    assert!(listener.try_accept().unwrap().is_none());
    let client = sys::socket::connect_unix_now(&directory.service(&name)).unwrap();
    let mut accepted = listener.accept().unwrap();
    let Some(Identity::Local(peer)) = accepted.peer().cloned() else { panic!("no peer") };
    assert_eq!(peer.pid, Some(std::process::id()));
    assert_eq!(peer.uid, Some(nix::unistd::geteuid().as_raw()));
    accepted.write_all(b"hi").unwrap();
    drop(accepted);
    let mut text = String::new();
    Stream::new(client, None).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.service(&name)), 0o600);
    assert_eq!((mode(directory.path()), mode(&directory.services())), (0o700, 0o700));
}

#[test]
fn a_living_service_is_never_taken_over() {
    let (_place, directory, name) = instance();
    let _first = Listener::bind_in(&directory, &name).unwrap();
    let said = Listener::bind_in(&directory, &name).unwrap_err().to_string();
    let start = format!("already running here (pid {}): ", std::process::id());
    assert!(said.starts_with(&start), "{said}");
}

#[test]
fn what_a_crash_left_is_taken_over_and_a_file_is_not() {
    let (_place, directory, name) = instance();
    drop(Listener::bind_in(&directory, &name).unwrap());
    assert!(!directory.service(&name).exists());
    drop(std::os::unix::net::UnixListener::bind(directory.service(&name)).unwrap());
    assert!(directory.service(&name).exists());
    drop(Listener::bind_in(&directory, &name).unwrap());

    fs::write(directory.service(&name), "precious").unwrap();
    let said = Listener::bind_in(&directory, &name).unwrap_err().to_string();
    assert!(said.ends_with("is not a socket, and is left as it is"), "{said}");
    assert_eq!(fs::read_to_string(directory.service(&name)).unwrap(), "precious");
}

#[test]
fn a_living_socket_of_another_kind_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let (path, lock) = (place.path().join("packets"), place.path().join("lock"));
    let _alive = Listener::bind_kind_at(&path, SocketKind::SeqPacket, 0o600, &lock).unwrap();
    let said = Listener::bind_at(&path, 0o600, &lock).unwrap_err().to_string();
    assert!(said.starts_with("already running here: "), "{said}");
    sys::socket::connect_unix(&path, SocketKind::SeqPacket, None).unwrap();
}

#[test]
fn a_successors_file_is_not_removed() {
    let (_place, directory, name) = instance();
    let first = Listener::bind_in(&directory, &name).unwrap();
    fs::remove_file(directory.service(&name)).unwrap();
    let _second = Listener::bind_in(&directory, &name).unwrap();
    drop(first);
    assert!(directory.service(&name).exists());
}

#[test]
fn only_a_listening_socket_can_be_served() {
    let file = File::open("/dev/null").unwrap();
    let said = Listener::from_socket(file.into()).unwrap_err().to_string();
    assert_eq!(said, "the descriptor is not a listening Unix socket");
}

#[test]
fn what_the_broker_says_to_a_service_is_passed_on_with_the_cure() {
    use crate::ConnectError;
    use crate::interface::broker::BrokerError;

    let (_place, _directory, service) = instance();
    let denied = BrokerError::Denied {
        target: "unix:x".into(),
        rule: None,
        reason: "no rule allows it".into(),
        cure: Some("allow local x for user:7".into()),
        retry: false,
    };
    let named = service.clone();
    let refused = ListenError::Refused { service: named, error: Box::new(denied) };
    assert_eq!(
        refused.to_string(),
        format!(
            "{service} may not be served by this process: denied: no rule allows it; to allow: \
             allow local x for user:7"
        )
    );
    assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::PermissionDenied);
    let error = ConnectError::TimedOut;
    let silent = ListenError::NoAnswer { service: service.clone(), error };
    assert_eq!(
        silent.to_string(),
        format!("the broker gave no answer about {service}: timed out: the broker did not answer")
    );
    assert_eq!(io::Error::from(silent).kind(), io::ErrorKind::NotConnected);
}

/// The names of two sockets in the order in which a service manager passes them.
const INHERITED: [&str; 2] = ["first", "second"];

#[test]
#[ignore = "run by the test below, with two sockets of a service manager's"]
fn serves_two_inherited_sockets() {
    for name in INHERITED.iter().rev() {
        let listener = Listener::bind(&ServiceName::new(name).unwrap()).unwrap();
        let mut client = listener.try_accept().unwrap().expect("a client waits there");
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(&text, name);
    }
}

#[test]
fn each_socket_of_the_service_manager_is_taken_by_its_name() {
    let place = tempfile::tempdir().unwrap();
    let [first, second] = INHERITED.map(|name| {
        let path = place.path().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        client.write_all(name.as_bytes()).unwrap();
        OwnedFd::from(listener)
    });
    let script =
        "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" --exact --ignored \"$1\"";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg("listener::tests::serves_two_inherited_sockets")
        .envs([("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", &INHERITED.join(":"))])
        .env("IPC_RUNDIR", place.path().join("ipc"))
        .stdin(first)
        .stdout(second)
        .status();
    assert!(status.unwrap().success());
}

/// The process of the next test, whose limit is its own.
#[test]
#[ignore = "run by the test below"]
fn runs_out_of_descriptors() {
    let (_place, directory, name) = instance();
    let listener = Listener::bind_in(&directory, &name).unwrap();
    let client = sys::socket::connect_unix_now(&directory.service(&name)).unwrap();
    let next_number = u64::try_from(client.try_clone().unwrap().as_raw_fd()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, next_number, hard).unwrap();
    let (start, mut failures) = (Instant::now(), 0);
    let told = |error: &io::Error| {
        assert_eq!(error.raw_os_error(), Some(nix::libc::EMFILE));
        assert!(start.elapsed() >= REST * failures, "nothing spins");
        failures += 1;
        if failures == 3 {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        }
    };
    assert!(listener.clients(told).next().is_some());
    assert_eq!(failures, 3);
}

#[test]
fn clients_go_on_when_there_are_descriptors_again() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "listener::tests::runs_out_of_descriptors"])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}
