use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::address::Address;
use crate::channel::Channel;
use crate::connection::Connection;
use crate::session::{ClientOptions, Limits, RequestId};

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

fn numbered() -> ClientOptions {
    ClientOptions { request_ids: true, ..ClientOptions::default() }
}

/// A loop that serves sessions, and where.
fn service(options: ServerOptions) -> (tempfile::TempDir, EventLoop, Id, Address) {
    let place = tempfile::tempdir().unwrap();
    let address = Address::Path(place.path().join("service"));
    let mut events = EventLoop::new().unwrap();
    let service = events.serve_sessions(address.listen().unwrap(), options).unwrap();
    (place, events, service, address)
}

fn connect(address: &Address) -> Stream {
    address.connect(Instant::now() + Duration::from_secs(5)).unwrap()
}

/// A client on a thread of its own.
fn client<T: Send + 'static>(
    address: &Address,
    does: impl FnOnce(Session) -> T + Send + 'static,
) -> JoinHandle<T> {
    let stream = connect(address);
    std::thread::spawn(move || does(Session::connect(stream, &numbered()).unwrap()))
}

/// A session in the loop, and its peer.
fn pair(events: &mut EventLoop, limits: Limits) -> (Id, Session) {
    let (near, far) = Stream::pair().unwrap();
    let peer = std::thread::spawn(move || Session::connect(far, &numbered()).unwrap());
    let options = ServerOptions { limits, ..ServerOptions::default() };
    let session = Session::accept(near, &options, "peer").unwrap();
    (events.add_session(session).unwrap(), peer.join().unwrap())
}

fn begun(event: &Event) -> Id {
    let Event::SessionBegun { session, .. } = event else { panic!("{event:?}") };
    *session
}

fn answered(event: Event) -> (RequestId, bytes::Bytes) {
    let Event::SessionAnswered { request, answer, .. } = event else { panic!("{event:?}") };
    (request, answer.unwrap())
}

#[test]
fn sessions_begin_talk_and_end_in_the_loop() {
    let (_place, mut events, service, address) = service(ServerOptions::default());
    let asks = client(&address, |mut session| {
        let answer = session.request(b"a question", soon()).unwrap();
        let asked = session.receive_within(soon()).unwrap();
        session.answer(asked.request.unwrap(), b"an answer").unwrap();
        session.send(Channel::DATA, b"the last").unwrap();
        session.shut_down(Some("done"), soon()).unwrap();
        (answer, session.negotiated().unwrap().peer_id.clone())
    });
    let event = next(&mut events);
    let session = begun(&event);
    assert!(matches!(event, Event::SessionBegun { service: at, .. } if at == service));
    let event = next(&mut events);
    let Event::SessionReceived { session: from, message } = event else { panic!("{event:?}") };
    assert_eq!((from, &message.payload[..]), (session, &b"a question"[..]));
    let ours = events.session(session).unwrap();
    ours.answer_within(message.request.unwrap(), b"42", Patience::Never).unwrap();
    let request = ours.start_request(b"and you?", Patience::Never).unwrap();
    assert_eq!(answered(next(&mut events)), (request, "an answer".into()));
    let event = next(&mut events);
    let Event::SessionReceived { message, .. } = event else { panic!("{event:?}") };
    assert_eq!(message.payload, "the last");
    let event = next(&mut events);
    let Event::SessionEnded { session: gone, error } = event else { panic!("{event:?}") };
    assert_eq!((gone, error.to_string()), (session, "the peer has ended the session: done".into()));
    assert!(events.session(session).is_none() && events.remove_session(session).is_none());
    let (answer, name) = asks.join().unwrap();
    assert_eq!((&answer[..], name), (&b"42"[..], format!("peer-{session}")));
}

#[test]
fn who_is_refused_or_silent_is_told_of_and_delays_nobody() {
    let timeout = Duration::from_millis(300);
    let options = ServerOptions { timeout, ..ServerOptions::default() };
    let (_place, mut events, service, address) = service(options);
    let silent = connect(&address);
    let stream = connect(&address);
    let refused = std::thread::spawn(move || {
        Session::connect(stream, &ClientOptions::new(&[Channel(300)])).unwrap_err().to_string()
    });
    let event = next(&mut events);
    let Event::SessionRefused { service: at, error } = event else { panic!("{event:?}") };
    assert_eq!(at, service);
    let reason = "the two sides did not agree: there is no channel that both sides want";
    assert_eq!(error.to_string(), reason);
    assert_eq!(refused.join().unwrap(), format!("refused: {reason}"));
    let good = client(&address, |mut session| session.ping(soon()).is_ok());
    let session = begun(&next(&mut events));
    let event = next(&mut events);
    let Event::SessionEnded { session: gone, .. } = event else { panic!("{event:?}") };
    assert!(gone == session && good.join().unwrap(), "pings are answered meanwhile");
    let event = next(&mut events);
    let Event::SessionRefused { error, .. } = event else { panic!("{event:?}") };
    assert!(error.is_timeout(), "{error}");
    let told = Connection::new(silent).receive_within(soon()).unwrap().refusal().unwrap();
    assert_eq!(told, "its first message did not come within 300ms");
}

#[test]
fn who_says_too_much_at_first_is_told_and_leaves_nothing() {
    let (_place, mut events, _, address) = service(ServerOptions::default());
    let stream = connect(&address);
    let speaks = std::thread::spawn(move || {
        let mut client = Connection::new(stream);
        client.send(Channel::CONTROL, &vec![b' '; 1 << 20]).unwrap();
        client.receive_within(soon()).unwrap().refusal().unwrap()
    });
    let event = next(&mut events);
    let Event::SessionRefused { error, .. } = event else { panic!("{event:?}") };
    // Somebody else has a session meanwhile, and the end of it.
    let good = client(&address, |mut session| session.ping(soon()).is_ok());
    while !matches!(next(&mut events), Event::SessionEnded { .. }) {}
    assert!(good.join().unwrap());
    let expected = "a message of 1048576 bytes, the most is 16384";
    while !speaks.is_finished() {
        assert!(events.next_within(Patience::within(Duration::from_millis(10))).unwrap().is_none());
    }
    assert_eq!((error.to_string(), speaks.join().unwrap()), (expected.into(), expected.into()));
    // Its connection is the last thing but the service.
    let until = Instant::now() + Duration::from_secs(20);
    while events.members.len() > 1 && Instant::now() < until {
        events.next_within(Patience::within(Duration::from_millis(10))).unwrap();
    }
    assert_eq!(events.members.len(), 1);
}

#[test]
fn what_is_queued_leaves_as_the_peer_reads_and_that_is_told() {
    let mut events = EventLoop::new().unwrap();
    let (session, mut peer) = pair(&mut events, Limits::default());
    let payload = vec![7; 1 << 20];
    for _ in 0..8 {
        events.session(session).unwrap().queue(Channel::DATA, &payload).unwrap();
    }
    assert!(events.next_within(Patience::Never).unwrap().is_none(), "the peer does not read");
    let reading = std::thread::spawn(move || {
        for _ in 0..8 {
            assert_eq!(peer.receive_within(soon()).unwrap().payload.len(), 1 << 20);
        }
        peer
    });
    let event = events.next_within(soon()).unwrap();
    assert!(matches!(event, Some(Event::Sent { connection }) if connection == session));
    drop(reading.join().unwrap());
    let event = next(&mut events);
    assert!(matches!(event, Event::SessionEnded { .. }), "{event:?}");
}

#[test]
fn answers_come_in_any_order_and_each_to_its_request() {
    let mut events = EventLoop::new().unwrap();
    let (session, mut peer) = pair(&mut events, Limits::default());
    let ours = events.session(session).unwrap();
    let requests: Vec<RequestId> =
        (0..3_u8).map(|number| ours.start_request(&[number], Patience::Never).unwrap()).collect();
    let asked: Vec<_> = (0..3).map(|_| peer.receive_within(soon()).unwrap()).collect();
    for question in asked.iter().rev() {
        peer.answer(question.request.unwrap(), &question.payload).unwrap();
    }
    for _ in 0..3 {
        let (request, answer) = answered(next(&mut events));
        assert_eq!(requests[usize::from(answer[0])], request);
    }
}

#[test]
fn a_silent_peer_is_pinged_and_a_server_that_does_not_agree_given_up() {
    let mut events = EventLoop::new().unwrap();
    let keepalive = Some(Duration::from_millis(50));
    let (session, hangs) = pair(&mut events, Limits { keepalive, ..Limits::default() });
    let event = next(&mut events);
    let Event::SessionEnded { session: gone, error } = event else { panic!("{event:?}") };
    assert!(gone == session && matches!(error, SessionError::Silent { .. }), "{error}");
    drop(hangs);

    let (near, far) = Stream::pair().unwrap();
    let timeout = Duration::from_millis(50);
    let options = ClientOptions { timeout, ..ClientOptions::default() };
    let id = events.add_session(Session::start(near, &options).unwrap()).unwrap();
    let event = next(&mut events);
    let Event::SessionEnded { session: gone, error } = event else { panic!("{event:?}") };
    assert!(gone == id && error.is_timeout(), "{error}");
    drop(far);
}

#[test]
fn a_session_taken_out_goes_on_elsewhere() {
    let mut events = EventLoop::new().unwrap();
    let (session, mut peer) = pair(&mut events, Limits::default());
    let mut taken = events.remove_session(session).unwrap();
    peer.send(Channel::DATA, b"still here").unwrap();
    assert_eq!(taken.receive_within(soon()).unwrap().payload, "still here");
    assert!(events.next_within(Patience::Never).unwrap().is_none());
}

#[cfg(feature = "schema")]
#[test]
fn content_that_is_refused_ends_no_session() {
    use crate::schema::{SchemaOptions, SchemaRegistry};
    use crate::session::Checked;

    let mut schemas = SchemaRegistry::new(SchemaOptions::default());
    schemas.register(Channel::DATA, r#"{"type":"object","required":["a"]}"#).unwrap();
    let mut events = EventLoop::new().unwrap();
    let (session, mut peer) = pair(&mut events, Limits::default());
    let ours = events.session(session).unwrap();
    ours.check(Arc::new(schemas), Checked::Received);
    peer.send(Channel::DATA, b"{}").unwrap();
    peer.send(Channel::DATA, br#"{"a":1}"#).unwrap();
    let event = next(&mut events);
    let Event::ContentRefused { error, .. } = event else { panic!("{event:?}") };
    assert!(error.to_string().contains("\"a\" is a required property"), "{error}");
    assert!(matches!(next(&mut events), Event::SessionReceived { .. }));
}
