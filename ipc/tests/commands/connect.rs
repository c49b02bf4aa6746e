//! `ipc connect`.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use libipc::Stream;
use sys::ancillary::{self, Wait};
use sys::socket::SocketKind;

use crate::place::{Place, run};

#[test]
fn many_bytes_come_back_as_they_were_sent() {
    let place = Place::new();
    let _echo = place.serve("echo", &["--", "cat"]);
    let lines: Vec<String> = (0_u32..1_000_000).map(|line| format!("{line:07}\n")).collect();
    let sent = lines.concat();
    let (code, said, errors) = run(&mut place.ipc(&["connect", "echo"]), sent.as_bytes());
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(said == sent, "{} bytes of {}", said.len(), sent.len());
}

#[test]
fn the_end_of_the_input_reaches_the_service_which_still_answers() {
    let place = Place::new();
    let _count = place.serve("count", &["--", "wc", "-c"]);
    let (code, said, _) = run(&mut place.ipc(&["connect", "count"]), b"hello");
    assert_eq!((code, said.trim()), (0, "5"));
}

#[test]
fn the_end_of_the_service_ends_the_command_though_its_input_is_open() {
    let place = Place::new();
    let _date = place.serve("greet", &["--", "echo", "hello"]);
    let mut command = place.ipc(&["connect", "greet"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello\n");
    // wait() would close the input first.
    let input = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(input);
}

#[test]
fn a_reader_that_wants_no_more_is_no_error() {
    let place = Place::new();
    let _many = place.serve("many", &["--", "yes"]);
    let mut command = place.ipc(&["connect", "many"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_program_gets_the_connection_and_its_exit_code_is_the_commands() {
    let place = Place::new();
    let _echo = place.serve("echo", &["--", "cat"]);
    let script = "echo ping; read answer; test \"$answer\" = ping && exit 7";
    let (code, said, _) = run(&mut place.ipc(&["connect", "echo", "--", "sh", "-c", script]), b"");
    assert_eq!((code, said.as_str()), (7, ""));
    let missing = &mut place.ipc(&["connect", "echo", "--", "/nonexistent/program"]);
    let (code, _, said) = run(missing, b"");
    assert_eq!(code, 127);
    assert!(said.starts_with("ipc: /nonexistent/program: cannot be started: "), "{said}");
    let (code, ..) = run(&mut place.ipc(&["connect", "echo", "--", "/etc/passwd"]), b"");
    assert_eq!(code, 126);
}

#[test]
fn the_parent_gets_one_byte_with_one_descriptor_as_openssh_expects_it() {
    let place = Place::new();
    let _echo = place.serve("echo", &["--", "cat"]);
    let (ours, theirs) = sys::socket::unix_pair(SocketKind::Stream).unwrap();
    let mut command = place.ipc(&["connect", "--fdpass", "echo"]);
    let mut child = command.stdout(Stdio::from(theirs)).spawn().unwrap();
    drop(command);
    let mut buffer = [1; 16];
    let received = ancillary::receive(ours.as_fd(), &mut buffer, 1, Wait::Block).unwrap();
    assert_eq!((received.bytes, received.descriptors.len()), (1, 1));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let end = ancillary::receive(ours.as_fd(), &mut buffer, 1, Wait::Block).unwrap();
    assert_eq!(end.bytes, 0);
    let connection: OwnedFd = received.descriptors.into_iter().next().unwrap();
    let mut stream = Stream::new(connection, None);
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

#[test]
fn a_standard_output_that_takes_no_descriptor_is_a_usage_error() {
    let place = Place::new();
    let _echo = place.serve("echo", &["--", "cat"]);
    let (code, _, said) = run(&mut place.ipc(&["connect", "--fdpass", "echo"]), b"");
    assert_eq!(code, 64);
    assert!(said.contains("standard output takes no connection"), "{said}");
    assert!(said.contains("ProxyUseFdpass=yes"), "{said}");
}
