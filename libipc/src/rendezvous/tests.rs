use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sys::ancillary::{self, Wait};
use sys::wiped::Wiped;

use super::*;
use crate::patience::Patience;
use crate::poller::{Interest, Poller, Token};
use crate::rundir::{Instance, RunDirectory};

const NAME: &str = "grüß Gott";
const FILE: &str = "gr%C3%BC%C3%9F%20Gott";

/// Far more than any meeting takes.
fn soon() -> Patience {
    Patience::within(Duration::from_secs(20))
}

fn place() -> (tempfile::TempDir, PrivatePlace) {
    let place = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
    let private = PrivatePlace::in_directory(&directory, PLACE).unwrap();
    (place, private)
}

fn files(place: &PrivatePlace) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path()).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.ends_with(".lock"));
    files.sort();
    files
}

/// Both ends of a meeting within this process: the host's, the guest's.
fn meet(meeting: &mut Meeting, place: &PrivatePlace) -> (Stream, Stream) {
    thread::scope(|scope| {
        let guest = scope.spawn(|| connect_in(place, std::process::id(), NAME, soon()).unwrap());
        (meeting.accept(soon()).unwrap(), guest.join().unwrap())
    })
}

fn refused(place: &PrivatePlace, pid: u32) -> String {
    connect_in(place, pid, NAME, soon()).unwrap_err().to_string()
}

#[test]
fn two_that_know_the_key_get_a_stream_for_bytes_and_descriptors() {
    let (_directory, place) = place();
    let mut meeting = Meeting::open_in(&place, NAME).unwrap();
    for _ in 0..2 {
        let (mut host, mut guest) = meet(&mut meeting, &place);
        host.write_all(b"welcome").unwrap();
        let mut text = [0; 7];
        guest.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"welcome");
        let file = File::open("/dev/null").unwrap();
        ancillary::send(guest.as_fd(), b"f", &[file.as_fd()], Wait::Block).unwrap();
        let received = ancillary::receive(host.as_fd(), &mut text, 1, Wait::Block).unwrap();
        assert_eq!(received.descriptors.len(), 1);
        for stream in [host, guest] {
            let Some(Identity::Local(peer)) = stream.peer() else { panic!("no peer") };
            assert_eq!(peer.pid, Some(std::process::id()));
        }
    }
}

#[test]
fn what_a_host_leaves_is_for_its_user_alone_and_goes_with_it() {
    let (_directory, place) = place();
    let meeting = Meeting::open_in(&place, NAME).unwrap();
    let there = files(&place);
    let ticket = place.path().join(format!("{},{FILE}", std::process::id()));
    assert!(there.len() == 2 && there.contains(&ticket), "{there:?}");
    for path in there {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let said = Meeting::open_in(&place, NAME).unwrap_err().to_string();
    assert_eq!(said, "this process waits under that name already");
    assert_eq!(files(&place).len(), 2);
    drop(meeting);
    assert!(files(&place).is_empty());
}

#[test]
fn who_is_not_there_is_named() {
    let (_directory, place) = place();
    let pid = std::process::id();
    let said = format!("process {pid} does not wait under that name");
    assert_eq!(refused(&place, pid), said);
    let _meeting = Meeting::open_in(&place, "another").unwrap();
    assert_eq!(refused(&place, pid), said);
    let said = connect_in(&place, pid, "a/b", Patience::Never).unwrap_err().to_string();
    assert_eq!(said, "a name cannot have the character '/'");
    assert!(matches!(Meeting::open_in(&place, ""), Err(RendezvousError::Name(_))));
}

#[test]
fn a_ticket_that_others_could_have_written_is_not_believed() {
    let (_directory, place) = place();
    let pid = std::process::id();
    let _meeting = Meeting::open_in(&place, NAME).unwrap();
    let ticket = place.path().join(MeetingName::new(NAME).unwrap().file(pid));
    let good = fs::read(&ticket).unwrap();
    let damaged = format!("{} is damaged, or not yours alone: remove it", ticket.display());
    fs::set_permissions(&ticket, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(refused(&place, pid), damaged);
    fs::set_permissions(&ticket, fs::Permissions::from_mode(0o600)).unwrap();
    let wrong: [&[u8]; 4] =
        [b"", &good[..40], &[b'x'; 300], &[good.as_slice(), &[0; 999]].concat()];
    for content in wrong {
        fs::write(&ticket, content).unwrap();
        assert_eq!(refused(&place, pid), damaged);
    }
    let mut elsewhere = good.clone();
    elsewhere[40..58].copy_from_slice(b"../../../tmp/evil!");
    fs::write(&ticket, &elsewhere).unwrap();
    assert_eq!(refused(&place, pid), damaged);
    fs::write(&ticket, [good.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(refused(&place, pid), format!("process {pid} does not wait under that name"));
    fs::remove_file(&ticket).unwrap();
    symlink("/dev/zero", &ticket).unwrap();
    assert!(refused(&place, pid).ends_with("Too many levels of symbolic links (os error 40)"));
}

#[test]
fn another_process_cannot_stand_in_for_the_one_asked_for() {
    let (_directory, place) = place();
    let _meeting = Meeting::open_in(&place, NAME).unwrap();
    let file = |pid| place.path().join(MeetingName::new(NAME).unwrap().file(pid));
    fs::copy(file(std::process::id()), file(1)).unwrap();
    let said = format!("process {} answers in its place", std::process::id());
    assert_eq!(refused(&place, 1), said);
}

#[test]
fn a_host_with_another_key_learns_nothing_and_a_silent_one_is_left() {
    let (_directory, place) = place();
    let socket = ".0123456789abcdefs";
    let listener = UnixListener::bind(place.path().join(socket)).unwrap();
    let key = Wiped::new([7; KEY_BYTES]);
    let _left = ticket::Left::write(&place, &MeetingName::new(NAME).unwrap(), &key, socket);
    let short = Patience::within(Duration::from_millis(1));
    let said = connect_in(&place, std::process::id(), NAME, short).unwrap_err().to_string();
    assert_eq!(said, "no meeting before the deadline");
    drop(listener.accept().unwrap());
    let guest = |place: PrivatePlace| thread::spawn(move || refused(&place, std::process::id()));
    let asking = guest(place.clone());
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 40]).unwrap();
    stream.write_all(&[9; 64]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "no proof for one who has none");
    assert_eq!(asking.join().unwrap(), "the other process does not know the key of the meeting");
    let asking = guest(place.clone());
    drop(listener.accept().unwrap());
    assert_eq!(asking.join().unwrap(), "the other process ended the meeting");
    drop(listener);
    let said = format!("process {}, which waited under that name, is gone", std::process::id());
    assert_eq!(refused(&place, std::process::id()), said);
}

#[test]
fn guests_that_prove_nothing_delay_nobody_and_are_sent_away() {
    let (_directory, place) = place();
    let mut meeting = Meeting::open_in(&place, NAME).unwrap();
    let connect = || UnixStream::connect(&meeting.path).unwrap();
    let mut first = connect();
    let mut noisy = connect();
    noisy.write_all(&[b'x'; 40]).unwrap();
    let silent: Vec<_> = (0..meeting::GUESTS_MOST).map(|_| connect()).collect();
    let (host, guest) = meet(&mut meeting, &place);
    drop((host, guest));
    // One more than may be there at a time: the first had to go. The noisy one went by itself.
    assert_eq!(first.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(noisy.read(&mut [0; 1]).unwrap(), 0);
    // A guest that is over its time goes the same way.
    let mut late = silent.into_iter().last().unwrap();
    for number in 0..200 {
        meeting.poller.set_timer(Token(number), Instant::now());
    }
    while late.set_nonblocking(true).is_ok() && late.read(&mut [0; 1]).is_err() {
        assert!(meeting.try_accept().unwrap().is_none());
    }
    let said = meeting.accept(Patience::Never).unwrap_err().to_string();
    assert_eq!(said, "no meeting before the deadline");
    meet(&mut meeting, &place);
}

#[test]
fn a_guest_whose_time_is_over_is_sent_away_though_another_has_come() {
    let (_directory, place) = place();
    let mut meeting = Meeting::open_in(&place, NAME).unwrap();
    let silent = sys::socket::connect_unix_now(&meeting.path).unwrap();
    while meeting.guests.is_empty() {
        assert!(meeting.try_accept().unwrap().is_none());
    }
    let ticket = Ticket::read(&place, std::process::id(), &MeetingName::new(NAME).unwrap());
    let mut exchange = Exchange::guest(ticket.unwrap().key, [7; KEY_BYTES]);
    let guest = sys::socket::connect_unix_now(&meeting.path).unwrap();
    let mut advance = || step::advance(guest.as_fd(), &mut exchange).unwrap();
    assert_eq!(advance(), step::Progress::Reading);
    while meeting.guests.len() < 2 {
        assert!(meeting.try_accept().unwrap().is_none());
    }
    // The second proves itself, and the time of the first is over, both before the host looks.
    assert!(meeting.try_accept().unwrap().is_none());
    advance();
    meeting.poller.set_timer(Token(1), Instant::now());
    assert!(meeting.try_accept().unwrap().is_some());
    assert!(meeting.guests.is_empty(), "nobody waits for the first any more");
    assert_eq!(Stream::new(silent, None).read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_program_with_an_event_loop_of_its_own_meets_too() {
    let (_directory, place) = place();
    let mut meeting = Meeting::open_in(&place, NAME).unwrap();
    let mut poller = Poller::new().unwrap();
    poller.add(&meeting, Token(5), Interest::READ).unwrap();
    assert!(meeting.try_accept().unwrap().is_none());
    let guest_place = place.clone();
    let guest =
        thread::spawn(move || connect_in(&guest_place, std::process::id(), NAME, soon()).unwrap());
    let mut ready = Vec::new();
    let host = loop {
        poller.wait(&mut ready, Some(Duration::from_secs(20))).unwrap();
        assert_eq!(ready[0].token, Token(5));
        if let Some(stream) = meeting.try_accept().unwrap() {
            break stream;
        }
    };
    drop(host);
    assert_eq!(guest.join().unwrap().read(&mut [0; 1]).unwrap(), 0);
}

/// The process of the next test.
#[test]
#[ignore = "run by the test below"]
fn waits_in_a_process_of_its_own() {
    let directory = PathBuf::from(std::env::var_os("RENDEZVOUS_TEST_PLACE").unwrap());
    let directory = RunDirectory::new(directory, Instance::Private);
    let place = PrivatePlace::in_directory(&directory, PLACE).unwrap();
    let mut meeting = Meeting::open_in(&place, NAME).unwrap();
    eprintln!("waiting");
    meeting.accept(Patience::Forever).unwrap().write_all(b"from another process").unwrap();
    // Until the parent ends this process.
    meeting.accept(Patience::Forever).unwrap();
}

fn start_host(directory: &tempfile::TempDir) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("rendezvous::tests::waits_in_a_process_of_its_own")
        .env("RENDEZVOUS_TEST_PLACE", directory.path().join("ipc"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "waiting"));
    child
}

#[test]
fn processes_meet_and_what_a_killed_one_left_is_swept() {
    let (directory, place) = place();
    let mut host = start_host(&directory);
    let mut stream = connect_in(&place, host.id(), NAME, soon()).unwrap();
    let Some(Identity::Local(peer)) = stream.peer() else { panic!("no peer") };
    assert_eq!(peer.pid, Some(host.id()));
    let mut text = [0; 20];
    stream.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"from another process");
    host.kill().unwrap();
    host.wait().unwrap();
    assert_eq!(files(&place).len(), 2);
    let said = refused(&place, host.id());
    assert_eq!(said, format!("process {}, which waited under that name, is gone", host.id()));
    fs::write(place.path().join(".0000000000000000s"), "").unwrap();
    fs::write(place.path().join(".0000000000000000sn"), "").unwrap();
    fs::write(place.path().join("precious"), "").unwrap();
    let mut living = start_host(&directory);
    let _ours = Meeting::open_in(&place, NAME).unwrap();
    assert_eq!(files(&place).len(), 5, "two of each that lives, and what is not ours");
    assert!(connect_in(&place, living.id(), NAME, soon()).unwrap().as_fd().as_raw_fd() > 2);
    living.kill().unwrap();
    living.wait().unwrap();
}
