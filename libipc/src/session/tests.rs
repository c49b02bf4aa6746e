use std::fs::File;
use std::io::{Read, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::stream::Stream;

mod beginnings;

fn soon() -> Patience {
    Patience::within(Duration::from_secs(10))
}

fn begin(client: &ClientOptions, server: ServerOptions) -> (Session, Session) {
    let (near, far) = Stream::pair().unwrap();
    let serving = std::thread::spawn(move || Session::accept(far, &server, "peer-1").unwrap());
    let client = Session::connect(near, client).unwrap();
    (client, serving.join().unwrap())
}

fn pair() -> (Session, Session) {
    begin(&ClientOptions::default(), ServerOptions::default())
}

fn numbered() -> (Session, Session) {
    let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
    begin(&options, ServerOptions::default())
}

/// Answers requests until the session ends, with the request and an exclamation mark.
fn echo(mut server: Session) -> JoinHandle<SessionError> {
    std::thread::spawn(move || {
        loop {
            match server.receive_within(soon()) {
                Ok(Received { payload, request: Some(request), .. }) => {
                    server.answer(request, &[&payload[..], b"!"].concat()).unwrap();
                }
                Ok(Received { channel, payload, .. }) => server.send(channel, &payload).unwrap(),
                Err(error) => return error,
            }
        }
    })
}

#[test]
fn each_message_is_told_to_an_observer_both_ways_and_with_channel_0() {
    use crate::connection::Passed;
    let (mut client, server) = pair();
    let (told, record) = std::sync::mpsc::channel();
    client.observe(Arc::new(move |passed: &Passed| told.send(passed.to_string()).unwrap()));
    let echo = echo(server);
    client.send(Channel::DATA, b"12345").unwrap();
    client.queue(Channel::DATA, b"").unwrap();
    assert_eq!(client.receive_within(soon()).unwrap().payload, "12345");
    assert_eq!(client.receive_within(soon()).unwrap().payload, "");
    client.ping(soon()).unwrap();
    assert_eq!(client.request(b"abc", soon()).unwrap(), "abc!");
    client.send(Channel(300), b"x").unwrap_err();
    client.shut_down(None, soon()).unwrap();
    echo.join().unwrap();
    let expected = [
        "sent 5 bytes on channel 2 (DATA)",
        "sent 0 bytes on channel 2 (DATA)",
        "received 5 bytes on channel 2 (DATA)",
        "received 0 bytes on channel 2 (DATA)",
        "sent 15 bytes on channel 0 (CONTROL)",
        "received 15 bytes on channel 0 (CONTROL)",
        "sent 3 bytes on channel 1 (COMMAND)",
        "received 4 bytes on channel 1 (COMMAND)",
        "sent 27 bytes on channel 0 (CONTROL)",
        "received 23 bytes on channel 0 (CONTROL)",
    ];
    assert_eq!(record.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn messages_on_other_channels_wait_their_turn() {
    let (mut client, mut server) = pair();
    server.send(Channel::DATA, b"1").unwrap();
    server.send(Channel::TELEMETRY, b"2").unwrap();
    server.send(Channel::DATA, b"3").unwrap();
    assert_eq!(client.receive_on(Channel::TELEMETRY, soon()).unwrap().payload, "2");
    client.ping(Patience::Never).unwrap_err();
    let answering = std::thread::spawn(move || server.receive_within(soon()).unwrap_err());
    assert!(client.ping(soon()).unwrap() < Duration::from_secs(10));
    assert_eq!(client.receive().unwrap().payload, "1", "in the order of arrival");
    assert_eq!(client.receive().unwrap().payload, "3");
    drop(client);
    answering.join().unwrap();
}

#[test]
fn what_nobody_reads_is_bounded() {
    let limits = Limits { waiting_per_channel: 3, ..Limits::default() };
    let options = ClientOptions { limits, ..ClientOptions::default() };
    let (mut client, mut server) = begin(&options, ServerOptions::default());
    for _ in 0..4 {
        server.send(Channel::DATA, b"x").unwrap();
    }
    let error = client.receive_on(Channel::COMMAND, soon()).unwrap_err();
    assert!(matches!(error, SessionError::TooMuchWaiting { channel: Channel::DATA }));
}

#[test]
fn a_channel_that_was_not_agreed_is_refused_both_ways() {
    let (mut client, mut server) = begin(
        &ClientOptions::new(&[Channel::DATA]),
        ServerOptions::new(&[Channel::DATA, Channel::COMMAND]),
    );
    let said = client.send(Channel::COMMAND, b"x").unwrap_err().to_string();
    assert_eq!(said, "channel 1 (COMMAND) was not agreed");
    assert!(client.receive_on(Channel::COMMAND, soon()).is_err());
    assert!(client.request(b"x", soon()).is_err());
    client.connection.send(Channel::COMMAND, b"x").unwrap();
    let said = server.receive_within(soon()).unwrap_err().to_string();
    assert_eq!(said, "channel 1 (COMMAND) was not agreed");
}

#[test]
fn requests_are_answered_with_numbers_and_without() {
    for (mut client, server) in [pair(), numbered()] {
        let echo = echo(server);
        client.send(Channel::DATA, b"meanwhile").unwrap();
        assert_eq!(client.request(b"one", soon()).unwrap(), "one!");
        assert_eq!(client.request(b"", soon()).unwrap(), "!");
        assert_eq!(client.receive_within(soon()).unwrap().payload, "meanwhile");
        drop(client);
        echo.join().unwrap();
    }
}

#[test]
fn several_requests_are_under_way_where_they_have_numbers() {
    let (mut client, mut server) = numbered();
    let first = client.start_request(b"first", soon()).unwrap();
    let second = client.start_request(b"second", soon()).unwrap();
    client.send(Channel::COMMAND, b"no request").unwrap();
    let came: Vec<Received> = (0..3).map(|_| server.receive().unwrap()).collect();
    assert!(came[2].request.is_none());
    assert_eq!(came[2].payload, "no request");
    for request in came[..2].iter().rev() {
        server.answer(request.request.unwrap(), &request.payload).unwrap();
    }
    assert_eq!(client.answer_to(first, soon()).unwrap(), "first");
    assert_eq!(client.answer_to(second, soon()).unwrap(), "second");
    let said = client.answer_to(second, soon()).unwrap_err().to_string();
    assert_eq!(said, "nobody waits for an answer to this request");
}

#[test]
fn both_sides_may_ask_at_once_where_requests_have_numbers() {
    let (mut client, mut server) = numbered();
    let ours = client.start_request(b"ours", soon()).unwrap();
    let theirs = server.start_request(b"theirs", soon()).unwrap();
    let question = client.receive_within(soon()).unwrap();
    client.answer(question.request.unwrap(), b"to theirs").unwrap();
    let question = server.receive_within(soon()).unwrap();
    server.answer(question.request.unwrap(), b"to ours").unwrap();
    assert_eq!(client.answer_to(ours, soon()).unwrap(), "to ours");
    assert_eq!(server.answer_to(theirs, soon()).unwrap(), "to theirs");
}

#[test]
fn a_late_answer_is_never_taken_for_another() {
    let (mut client, mut server) = pair();
    assert!(client.request(b"slow", Patience::Never).unwrap_err().is_timeout());
    let said = client.request(b"next", soon()).unwrap_err().to_string();
    let expected = "an earlier request has no answer yet, and this peer takes one at a time";
    assert_eq!(said, expected);
    let slow = server.receive().unwrap();
    server.answer(slow.request.unwrap(), b"late").unwrap();
    server.send(Channel::DATA, b"behind it").unwrap();
    assert_eq!(client.receive_within(soon()).unwrap().payload, "behind it");
    let echo = echo(server);
    assert_eq!(client.request(b"next", soon()).unwrap(), "next!");
    drop(client);
    echo.join().unwrap();
}

#[test]
fn a_farewell_is_agreed_and_has_a_reason() {
    let (mut client, mut server) = pair();
    server.send(Channel::DATA, b"last words").unwrap();
    let listening = std::thread::spawn(move || server.receive_within(soon()).unwrap_err());
    client.shut_down(Some("done"), soon()).unwrap();
    assert_eq!(client.receive_within(soon()).unwrap().payload, "last words");
    let said = listening.join().unwrap().to_string();
    assert_eq!(said, "the peer has ended the session: done");
    assert!(!client.is_alive());
}

#[test]
fn two_farewells_at_once_are_one() {
    let (mut client, mut server) = pair();
    let other = std::thread::spawn(move || server.shut_down(None, soon()));
    client.shut_down(None, soon()).unwrap();
    other.join().unwrap().unwrap();
}

#[test]
fn a_forced_end_is_told_with_its_reason() {
    let limits = Limits { allow_forced_end: true, ..Limits::default() };
    let options = ServerOptions { limits, ..ServerOptions::default() };
    let (client, mut server) = begin(&ClientOptions::default(), options);
    client.force_end(Some("out of memory"), soon()).unwrap();
    let reason = server.receive_within(soon()).unwrap();
    assert_eq!(reason.channel, Channel::ERROR);
    assert_eq!(&reason.payload[..], br#"{"error":"out of memory"}"#);
    let said = server.receive_within(soon()).unwrap_err().to_string();
    assert_eq!(said, "the peer has ended the session at once");
}

#[test]
fn a_peer_that_dies_is_noticed() {
    let (client, mut server) = pair();
    assert!(client.is_alive());
    drop(client);
    assert!(!server.is_alive());
    let error = server.receive_within(soon()).unwrap_err();
    assert!(matches!(error, SessionError::Connection(ConnectionError::Ended)));
}

#[test]
fn a_peer_that_hangs_is_pinged_and_given_up() {
    let limits = Limits { keepalive: Some(Duration::from_millis(20)), ..Limits::default() };
    let options = ClientOptions { limits, ..ClientOptions::default() };
    let (mut client, server) = begin(&options, ServerOptions::default());
    assert!(client.deadline().is_some());
    let error = client.receive_within(soon()).unwrap_err();
    assert!(matches!(error, SessionError::Silent { .. }), "{error}");
    drop(server);

    // Longer than a busy machine keeps the one who is to answer from it.
    let limits = Limits { keepalive: Some(Duration::from_millis(400)), ..Limits::default() };
    let options = ClientOptions { limits, ..ClientOptions::default() };
    let (mut client, server) = begin(&options, ServerOptions::default());
    let echo = echo(server);
    let patience = Patience::within(Duration::from_millis(1500));
    assert!(client.receive_within(patience).unwrap_err().is_timeout(), "pongs keep it alive");
    assert!(client.is_alive());
    drop(client);
    echo.join().unwrap();
}

#[test]
fn descriptors_pass_only_where_they_are_allowed() {
    let file = File::open("/dev/null").unwrap();
    let limits = Limits { descriptors_most: 1, ..Limits::default() };
    let server = ServerOptions { limits, ..ServerOptions::default() };
    let (mut client, mut server) = begin(&ClientOptions::default(), server);
    client.send_within(Channel::DATA, b"take this", &[file.as_fd()], soon()).unwrap();
    assert_eq!(server.receive_within(soon()).unwrap().descriptors.len(), 1);
    server.send_within(Channel::DATA, b"and this", &[file.as_fd()], soon()).unwrap();
    let said = client.receive_within(soon()).unwrap_err().to_string();
    assert_eq!(said, "more than 0 descriptors with a message");
}

#[test]
fn a_ping_needs_no_channel() {
    let client = ClientOptions { require_common_channel: false, ..ClientOptions::new(&[]) };
    let server = ServerOptions { require_common_channel: false, ..ServerOptions::default() };
    let (mut client, mut server) = begin(&client, server);
    let answering = std::thread::spawn(move || server.receive_within(soon()).unwrap_err());
    client.ping(soon()).unwrap();
    client.ping(soon()).unwrap();
    client.shut_down(None, soon()).unwrap();
    answering.join().unwrap();
}

#[test]
fn values_pass_as_json() {
    let (mut client, mut server) = pair();
    client.send_value(Channel::DATA, Encoding::Json, &("a", 1)).unwrap();
    let received = server.receive().unwrap();
    assert_eq!(received.value::<(String, u32)>(Encoding::Json).unwrap(), ("a".to_owned(), 1));
    let serving = std::thread::spawn(move || {
        let request = server.receive_within(soon()).unwrap();
        let number: u32 = request.value(Encoding::Json).unwrap();
        let answer = Encoding::Json.write(&(number + 1)).unwrap();
        server.answer(request.request.unwrap(), &answer).unwrap();
    });
    let answer: u32 = client.request_value(Encoding::Json, &41_u32, soon()).unwrap();
    assert_eq!(answer, 42);
    serving.join().unwrap();
}

#[cfg(feature = "schema")]
#[test]
fn contents_are_checked_where_that_is_wanted() {
    use crate::schema::{SchemaOptions, SchemaRegistry};
    let schemas = [(Channel::DATA, r#"{"type": "number"}"#)];
    let schemas = SchemaRegistry::from_embedded(&schemas, SchemaOptions::default()).unwrap();
    let schemas = Arc::new(schemas);
    let (mut client, mut server) = pair();
    client.check(Arc::clone(&schemas), Checked::Sent);
    server.check(schemas, Checked::Received);
    let wrong = |result: Result<(), SessionError>| {
        assert!(matches!(result, Err(SessionError::Schema(_))), "{result:?}");
    };
    wrong(client.send(Channel::DATA, b"no number"));
    wrong(client.queue(Channel::DATA, b"no number"));
    client.send(Channel::DATA, b"1").unwrap();
    assert_eq!(server.receive_within(soon()).unwrap().payload, "1");
    server.send(Channel::DATA, b"unchecked").unwrap();
    assert_eq!(client.receive_within(soon()).unwrap().payload, "unchecked");
    client.connection.send(Channel::DATA, b"no number").unwrap();
    client.send(Channel::DATA, b"2").unwrap();
    wrong(server.receive_within(soon()).map(drop));
    assert_eq!(server.receive_on(Channel::DATA, soon()).unwrap().payload, "2", "it goes on");
}

#[cfg(feature = "schema")]
#[test]
fn a_request_that_its_schema_does_not_allow_can_be_answered() {
    use crate::schema::{SchemaOptions, SchemaRegistry};
    let schemas = [(Channel::COMMAND, r#"{"type": "number"}"#)];
    let schemas = SchemaRegistry::from_embedded(&schemas, SchemaOptions::default()).unwrap();
    let schemas = Arc::new(schemas);
    for (mut client, mut server) in [pair(), numbered()] {
        server.check(Arc::clone(&schemas), Checked::Received);
        let serving = std::thread::spawn(move || {
            let error = server.receive_within(soon()).unwrap_err();
            assert!(matches!(error, SessionError::Schema(_)), "{error}");
            let request = server.take_refused().unwrap();
            assert_eq!(server.take_refused(), None);
            server.answer(request, b"a number, please").unwrap();
            let request = server.receive_within(soon()).unwrap().request;
            server.answer(request.unwrap(), b"thank you").unwrap();
        });
        assert_eq!(client.request(b"no number", soon()).unwrap(), "a number, please");
        assert_eq!(client.request(b"1", soon()).unwrap(), "thank you");
        serving.join().unwrap();
    }
}
