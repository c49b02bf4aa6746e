//! `ipc rendezvous`.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::place::{Place, run, until};

#[test]
fn two_commands_meet_by_number_and_name_and_their_bytes_pass_both_ways() {
    let place = Place::new();
    let pid_file = place.file("pid", "");
    let words = ["rendezvous", "serve", "--pid-file", &pid_file, "grüß Gott"];
    let mut command = place.ipc(&words);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut host = command.spawn().unwrap();
    until("it waits", || std::fs::read_to_string(&pid_file).is_ok_and(|pid| !pid.is_empty()));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(pid, host.id().to_string());
    let mut guest = place.ipc(&["rendezvous", "connect", &pid, "grüß Gott"]);
    let guest = guest.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut guest = guest.spawn().unwrap();
    guest.stdin.take().unwrap().write_all(b"from the guest").unwrap();
    let mut heard = [0; "from the guest".len()];
    host.stdout.as_mut().unwrap().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"from the guest");
    // What one still has to say when the other has ended is said.
    host.stdin.take().unwrap().write_all(b"from the host").unwrap();
    let guest = guest.wait_with_output().unwrap();
    assert_eq!(
        (guest.status.code(), guest.stdout.as_slice()),
        (Some(0), b"from the host".as_slice())
    );
    assert_eq!(guest.stderr, b"");
    assert_eq!(host.wait().unwrap().code(), Some(0));
    // One meeting is all there is.
    let (code, _, errors) = run(&mut place.ipc(&["rendezvous", "connect", &pid, "grüß Gott"]), b"");
    let said = format!(
        "ipc: grüß Gott: nobody waits: process {pid} does not wait under that name\n  \
         to do  start ipc rendezvous serve, and take the number from there\n"
    );
    assert_eq!((code, errors), (69, said));
}

#[test]
fn what_goes_wrong_is_told_with_its_cure() {
    let place = Place::new();
    let words = ["rendezvous", "serve", "--timeout", "0.01", "x"];
    let (code, _, errors) = run(&mut place.ipc(&words), b"");
    let said = "ipc: x: timed out: no meeting before the deadline\n  \
                to do  wait longer: --timeout SECONDS\n";
    assert_eq!((code, errors.as_str()), (124, said));
    let (code, _, errors) = run(&mut place.ipc(&["rendezvous", "connect", "1", "a/b"]), b"");
    let said = "ipc: a/b: no name for a meeting: a name cannot have the character '/'\n  \
                to do  write another name\n";
    assert_eq!((code, errors.as_str()), (64, said));
    let mut command = place.ipc(&["rendezvous", "connect", "1", "a"]);
    let (code, _, errors) = run(command.env("IPC_RUNDIR", "/nowhere/at/all"), b"");
    let said = "ipc: a: configuration: /nowhere/at/all: No such file or directory\n  \
                to do  name a directory of your own in IPC_RUNDIR\n";
    assert_eq!((code, errors.as_str()), (78, said));
    assert_eq!(run(&mut place.ipc(&["rendezvous", "connect", "x", "y"]), b"").0, 64);
}
