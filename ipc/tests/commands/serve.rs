//! `ipc serve`.

use std::io::{Read, Write};
use std::net::Shutdown;

use libipc::Stream;
use nix::sys::signal::Signal;

use crate::place::{Place, run, until};

fn exchange(stream: &mut Stream, sent: &str) -> String {
    stream.write_all(sent.as_bytes()).unwrap();
    let mut answer = vec![0; sent.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn all_of(mut stream: Stream) -> String {
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_program_is_told_the_service_and_what_is_known_of_its_client() {
    let place = Place::new();
    let script = "echo $IPC_SERVICE $IPC_PEER $IPC_PEER_UID $IPC_PEER_PID $IPC_PEER_NAME";
    let _service = place.serve("who", &["--", "sh", "-c", script]);
    let (uid, pid) = (nix::unistd::geteuid(), std::process::id());
    assert_eq!(all_of(place.connect("who")), format!("who local {uid} {pid}\n"));
}

#[test]
fn the_connection_is_on_the_descriptors_that_were_asked_for() {
    let place = Place::new();
    let script = "read line <&6; echo \"got $line\" >&7; readlink /proc/self/fd/0 >&7";
    let _service = place.serve("six", &["--fd", "6,7", "--", "sh", "-c", script]);
    for _ in 0..2 {
        let mut stream = place.connect("six");
        stream.write_all(b"ping\n").unwrap();
        assert_eq!(all_of(stream), "got ping\n/dev/null\n");
    }
}

#[test]
fn a_program_has_no_sockets_but_its_own() {
    let place = Place::new();
    let _service = place.serve("fds", &["--fd", "0,1,9", "--", "ls", "-l", "/proc/self/fd"]);
    let said = all_of(place.connect("fds"));
    let sockets = said.lines().filter(|line| line.contains("socket:"));
    let numbers: Vec<_> = sockets.filter_map(|line| line.rsplit(' ').nth(2)).collect();
    assert_eq!(numbers, ["0", "1", "9"], "{said}");
}

#[test]
fn one_client_more_than_processes_waits_until_one_has_ended() {
    let place = Place::new();
    let service = place.serve("one", &["--most", "1", "--", "cat"]);
    let mut first = place.connect("one");
    assert_eq!(exchange(&mut first, "first"), "first");
    let mut second = place.connect("one");
    second.write_all(b"second").unwrap();
    assert_eq!(exchange(&mut first, "again"), "again");
    assert_eq!(service.programs(), 1);
    drop(first);
    let mut answer = [0; 6];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"second");
    drop(second);
    until("no program is left, not even a dead one", || service.programs() == 0);
}

#[test]
fn term_ends_the_command_and_its_programs_and_leaves_no_socket() {
    let place = Place::new();
    let mut service = place.serve("echo", &["--", "cat"]);
    let mut stream = place.connect("echo");
    assert_eq!(exchange(&mut stream, "ping"), "ping");
    service.signal(Signal::SIGTERM);
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
    assert!(!place.socket("echo").exists());
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_second_term_does_not_wait_for_programs_that_ignore_the_first() {
    let place = Place::new();
    let script = "trap '' TERM; echo ready; cat; cat <&2";
    let mut service = place.serve("deaf", &["--", "sh", "-c", script]);
    let mut stream = place.connect("deaf");
    let mut ready = [0; 6];
    stream.read_exact(&mut ready).unwrap();
    service.signal(Signal::SIGTERM);
    until("it serves no more", || !place.socket("deaf").exists());
    assert!(service.0.try_wait().unwrap().is_none());
    service.signal(Signal::SIGTERM);
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_program_that_is_not_there_is_told_before_any_client_comes() {
    let place = Place::new();
    let (code, _, said) = run(&mut place.ipc(&["serve", "x", "--", "no-such-program"]), b"");
    assert_eq!(code, 127);
    assert!(said.starts_with("ipc: no-such-program: cannot be started: No such file"), "{said}");
    assert!(!place.socket("x").exists());
}

#[test]
fn a_program_that_cannot_be_started_costs_its_client_alone() {
    let place = Place::new();
    let program = place.file("program", "not one");
    let mut service = place.serve("x", &["--", &program]);
    assert_eq!(all_of(place.connect("x")), "");
    assert_eq!(all_of(place.connect("x")), "");
    assert!(service.0.try_wait().unwrap().is_none());
}

#[test]
fn a_name_is_offered_once() {
    let place = Place::new();
    let service = place.serve("echo", &["--", "cat"]);
    let (code, _, said) = run(&mut place.ipc(&["serve", "echo", "--", "cat"]), b"");
    assert_eq!(code, 71);
    let pid = service.0.id();
    assert!(said.contains(&format!("already running here (pid {pid})")), "{said}");
    assert!(said.contains("--rundir DIR"), "{said}");
}
