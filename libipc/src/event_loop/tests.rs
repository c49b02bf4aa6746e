use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;
use crate::connection::Message;
use crate::listener::REST;
use crate::name::ServiceName;
use crate::rundir::{Instance, RunDirectory};
use crate::stream::Stream;

const DATA: Channel = Channel::DATA;

fn soon() -> Patience {
    Patience::within(Duration::from_secs(20))
}

/// The next event that is not [`Event::Sent`].
fn next(events: &mut EventLoop) -> Event {
    loop {
        match events.next_within(soon()).unwrap().expect("an event within 20 s") {
            Event::Sent { .. } => {}
            event => return event,
        }
    }
}

/// A connection in the loop, and its peer.
fn pair(events: &mut EventLoop) -> (Id, Connection) {
    let (ours, theirs) = Stream::pair().unwrap();
    (events.add(Connection::new(ours)).unwrap(), Connection::new(theirs))
}

fn text(message: &Message) -> &str {
    str::from_utf8(&message.payload).unwrap()
}

fn received(event: &Event) -> (Id, &str) {
    let Event::Received { connection, message } = event else { panic!("{event:?}") };
    (*connection, text(message))
}

fn service(events: &mut EventLoop) -> (tempfile::TempDir, Id, impl Fn() -> UnixStream + use<>) {
    let place = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
    let name = ServiceName::new("echo").unwrap();
    let listener = Listener::own_socket_in(&directory, &name).unwrap();
    let id = events.serve(listener, Options::default()).unwrap();
    let path = directory.service(&name);
    (place, id, move || UnixStream::connect(&path).unwrap())
}

#[test]
fn a_service_meets_its_clients_and_echoes_them_in_order() {
    let mut events = EventLoop::new().unwrap();
    let (_place, service, connect) = service(&mut events);
    let mut client = Connection::new(Stream::new(connect().into(), None));
    let Event::Connected { service: at, connection } = next(&mut events) else { panic!() };
    assert!(at == service && connection != service);
    assert!(events.connection(connection).unwrap().peer().is_some());
    let names: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
    for name in &names {
        client.queue(DATA, name.as_bytes()).unwrap();
    }
    client.send(DATA, &[]).unwrap();
    for name in names.iter().map(String::as_str).chain([""]) {
        let event = next(&mut events);
        assert_eq!(received(&event), (connection, name));
        events.schedule(connection, DATA, name.as_bytes()).unwrap();
    }
    assert!(events.next_within(Patience::Never).unwrap().is_some(), "they were sent");
    for name in names {
        assert_eq!(text(&client.receive().unwrap()), name);
    }
    drop(client);
    let event = next(&mut events);
    let Event::Disconnected { connection: gone, error: None } = event else { panic!("{event:?}") };
    assert_eq!(gone, connection);
    assert!(events.connection(connection).is_none());
    let late = events.schedule(connection, DATA, b"x");
    assert!(matches!(late, Err(ConnectionError::Ended)));
    drop(connect());
    let Event::Connected { connection: another, .. } = next(&mut events) else { panic!() };
    assert!(another != connection, "no id is given twice");
}

#[test]
fn who_says_much_has_his_turn_and_then_the_others_have_theirs() {
    let mut events = EventLoop::new().unwrap();
    let (loud, mut shouts) = pair(&mut events);
    let (quiet, mut whispers) = pair(&mut events);
    for _ in 0..100 {
        shouts.queue(DATA, b"loud").unwrap();
    }
    shouts.flush(Patience::Forever).unwrap();
    whispers.send(DATA, b"quiet").unwrap();
    let order: Vec<Id> = (0..4).map(|_| received(&next(&mut events)).0).collect();
    assert!(order.contains(&quiet), "{order:?}");
    for _ in 0..97 {
        assert_eq!(received(&next(&mut events)).0, loud);
    }
}

#[test]
fn a_peer_that_ends_in_the_middle_is_told_from_one_that_ends_in_good_order() {
    let mut events = EventLoop::new().unwrap();
    let whole = crate::frame::header(DATA, 4).unwrap();
    for end in 0..whole.len() + 4 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let id = events.add(Connection::new(Stream::new(ours.into(), None))).unwrap();
        let bytes = [whole.as_slice(), b"four"].concat();
        theirs.write_all(&bytes[..end]).unwrap();
        drop(theirs);
        let Event::Disconnected { connection, error } = next(&mut events) else { panic!() };
        assert_eq!(connection, id);
        let in_good_order = end == 0;
        assert_eq!(error.is_none(), in_good_order, "{end}: {error:?}");
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    events.add(Connection::new(Stream::new(ours.into(), None))).unwrap();
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let Event::Disconnected { error: Some(error), .. } = next(&mut events) else { panic!() };
    assert!(matches!(error, ConnectionError::Frame(_)), "{error}");
}

#[test]
fn a_peer_that_does_not_read_hurts_itself_alone() {
    let mut events = EventLoop::new().unwrap();
    let (deaf, never_reads) = pair(&mut events);
    let (other, mut asks) = pair(&mut events);
    let megabyte = vec![0; 1 << 20];
    let full = loop {
        if let Err(error) = events.schedule(deaf, DATA, &megabyte) {
            break error;
        }
    };
    assert!(matches!(full, ConnectionError::QueueFull { .. }), "{full}");
    asks.send(DATA, b"hello").unwrap();
    assert_eq!(received(&next(&mut events)), (other, "hello"));
    assert!(events.next_within(Patience::Never).unwrap().is_none(), "and nothing spins");
    drop(never_reads);
    let Event::Disconnected { connection, .. } = next(&mut events) else { panic!() };
    assert_eq!(connection, deaf);
}

#[test]
fn timers_wakers_and_foreign_descriptors_are_events() {
    let mut events = EventLoop::new().unwrap();
    let waker = events.waker();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    assert!(matches!(next(&mut events), Event::Woken));
    let start = Instant::now();
    events.set_timer(Some(Duration::from_millis(2)));
    for _ in 0..3 {
        assert!(matches!(next(&mut events), Event::Timer));
    }
    assert!(start.elapsed() >= Duration::from_millis(6));
    events.set_timer(None);
    let (mut pipe, mut writer) = io::pipe().unwrap();
    let id = events.watch(&pipe, Interest::READ).unwrap();
    assert!(events.next_within(Patience::Never).unwrap().is_none());
    writer.write_all(b"x").unwrap();
    for _ in 0..2 {
        let Event::Ready { external, readable: true, .. } = next(&mut events) else { panic!() };
        assert_eq!(external, id);
    }
    pipe.read_exact(&mut [0]).unwrap();
    assert!(events.next_within(Patience::Never).unwrap().is_none());
    assert!(events.remove(id).is_none());
    writer.write_all(b"x").unwrap();
    assert!(events.next_within(Patience::Never).unwrap().is_none());
}

/// The process of the next test, whose limit is its own.
#[test]
#[ignore = "run by the test below"]
fn runs_out_of_descriptors() {
    let mut events = EventLoop::new().unwrap();
    let (_place, id, connect) = service(&mut events);
    let client = connect();
    let next_number = u64::try_from(client.try_clone().unwrap().as_raw_fd()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, next_number, hard).unwrap();
    let start = Instant::now();
    for failures in 1..=3 {
        let event = next(&mut events);
        let Event::ServiceFailed { service, error, is_over: false } = event else { panic!() };
        assert_eq!((service, error.raw_os_error()), (id, Some(nix::libc::EMFILE)));
        assert!(start.elapsed() >= REST * (failures - 1), "nothing spins");
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(matches!(next(&mut events), Event::Connected { .. }));
}

#[test]
fn a_service_without_descriptors_is_told_rests_and_goes_on() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "event_loop::tests::runs_out_of_descriptors"])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_switch_passes_messages_both_ways_with_their_descriptors_in_order() {
    let mut events = EventLoop::new().unwrap();
    let ((left, mut alice), (right, mut bob)) = (pair(&mut events), pair(&mut events));
    events.join(left, right).unwrap();
    let (pipe, _writer) = io::pipe().unwrap();
    alice.send(DATA, b"one").unwrap();
    alice.send_within(Channel::COMMAND, b"two", &[pipe.as_fd()], soon()).unwrap();
    alice.send(DATA, b"three").unwrap();
    bob.send(DATA, b"four").unwrap();
    let mut passed = Vec::new();
    while passed.len() < 4 {
        let event = next(&mut events);
        let Event::Passed { from, to, bytes } = event else { panic!("{event:?}") };
        assert!((from, to) == (left, right) || (from, to) == (right, left));
        passed.push((from, bytes));
    }
    while events.next_within(Patience::Never).unwrap().is_some() {}
    passed.retain(|(from, _)| *from == left);
    assert_eq!(passed, [(left, 3), (left, 3), (left, 5)]);
    for (channel, word, count) in
        [(DATA, "one", 0), (Channel::COMMAND, "two", 1), (DATA, "three", 0)]
    {
        let message = bob.receive_within(soon()).unwrap();
        assert_eq!((message.channel, text(&message)), (channel, word));
        assert_eq!(message.descriptors.len(), count);
    }
    assert_eq!(text(&alice.receive_within(soon()).unwrap()), "four");
    bob.send(DATA, b"bye").unwrap();
    drop(bob);
    let ends = (0..3).map(|_| next(&mut events)).collect::<Vec<_>>();
    let is_end = |event: &&Event| matches!(event, Event::Disconnected { error: None, .. });
    assert_eq!(ends.iter().filter(is_end).count(), 2, "{ends:?}");
    assert_eq!(text(&alice.receive_within(soon()).unwrap()), "bye");
    assert!(matches!(alice.receive_within(soon()), Err(ConnectionError::Ended)));
}

#[test]
fn what_is_not_collected_in_two_seconds_after_a_switch_is_lost_and_its_end_is_told() {
    let mut events = EventLoop::new().unwrap();
    let ((left, mut alice), (right, bob)) = (pair(&mut events), pair(&mut events));
    events.join(left, right).unwrap();
    // More than the sockets hold, and less than the switch does.
    let writer = std::thread::spawn(move || alice.send(DATA, &vec![7; 900_000]));
    let is_end = |event: &Event, of: Id| matches!(event, Event::Disconnected { connection, .. } if *connection == of);
    while !is_end(&next(&mut events), left) {}
    writer.join().unwrap().unwrap();
    let since = Instant::now();
    let event = next(&mut events);
    assert!(is_end(&event, right), "{event:?}");
    let waited = since.elapsed();
    assert!(
        waited > Duration::from_millis(1_900) && waited < Duration::from_secs(10),
        "{waited:?}"
    );
    drop(bob);
}

#[test]
fn a_filter_changes_drops_and_ends() {
    let mut events = EventLoop::new().unwrap();
    let ((left, mut alice), (right, mut bob)) = (pair(&mut events), pair(&mut events));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let filter = move |from: Id, message: &mut Message| {
        counted.fetch_add(1, Ordering::Relaxed);
        match text(message) {
            "drop" => Pass::Drop,
            "close" => Pass::Close,
            word => {
                message.payload = format!("{from}: {word}").into();
                Pass::On
            }
        }
    };
    events.join_with(left, right, Box::new(filter)).unwrap();
    for word in ["drop", "hello", "close", "never"] {
        alice.send(DATA, word.as_bytes()).unwrap();
    }
    let mut ends = 0;
    while ends < 2 {
        ends += usize::from(matches!(next(&mut events), Event::Disconnected { .. }));
    }
    assert_eq!(text(&bob.receive_within(soon()).unwrap()), format!("{left}: hello"));
    assert!(matches!(bob.receive_within(soon()), Err(ConnectionError::Ended)));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn a_switch_is_as_fast_as_its_reader_and_holds_little() {
    const MESSAGES: usize = 400;
    let mut events = EventLoop::new().unwrap();
    let ((left, alice), (right, mut bob)) = (pair(&mut events), pair(&mut events));
    events.join(left, right).unwrap();
    let writer = std::thread::spawn(move || {
        let (_receiver, mut sender) = alice.split();
        (0..MESSAGES).try_for_each(|number| {
            sender.send(DATA, &vec![u8::try_from(number % 251).unwrap(); 100_000])
        })
    });
    // Nobody reads yet: the switch takes what it has room for, and then waits.
    while events.next_within(Patience::within(Duration::from_millis(20))).unwrap().is_some() {}
    assert!(events.connection(right).unwrap().outgoing_bytes() < (1 << 20) + 200_000);
    let reader = std::thread::spawn(move || {
        (0..MESSAGES).all(|number| {
            let message = bob.receive_within(soon()).unwrap();
            message.payload.len() == 100_000
                && message.payload.iter().all(|byte| usize::from(*byte) == number % 251)
        })
    });
    let mut ends = 0;
    while ends < 2 {
        ends += usize::from(matches!(next(&mut events), Event::Disconnected { .. }));
    }
    writer.join().unwrap().unwrap();
    assert!(reader.join().unwrap());
}

#[test]
fn what_cannot_be_joined_is_named() {
    let mut events = EventLoop::new().unwrap();
    let ((left, _alice), (right, _bob)) = (pair(&mut events), pair(&mut events));
    let (pipe, _writer) = io::pipe().unwrap();
    let external = events.watch(&pipe, Interest::READ).unwrap();
    let said = |result: Result<(), SwitchError>| result.unwrap_err().to_string();
    for other in [left, external, Id(99)] {
        let expected = format!("{other} is no other connection of this loop");
        assert_eq!(said(events.join(left, other)), expected);
    }
    events.join(left, right).unwrap();
    let expected = format!("connection {left} is joined to another already");
    assert_eq!(said(events.join(left, right)), expected);
    assert!(events.remove(left).is_some());
    let Event::Disconnected { connection, .. } = next(&mut events) else { panic!() };
    assert_eq!(connection, right);
}
