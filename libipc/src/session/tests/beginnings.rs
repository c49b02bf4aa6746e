//! Until both sides have agreed, or one has been refused.

use super::*;

/// What the two sides say if they do not agree.
fn disagree(client: &ClientOptions, server: ServerOptions) -> (String, String) {
    let (near, far) = Stream::pair().unwrap();
    let serving = std::thread::spawn(move || {
        Session::accept(far, &server, "peer-1").unwrap_err().to_string()
    });
    let said = Session::connect(near, client).unwrap_err().to_string();
    (said, serving.join().unwrap())
}

#[test]
fn both_sides_know_what_was_agreed() {
    let client = ClientOptions::new(&[Channel::DATA, Channel(300), Channel::COMMAND]);
    let server = ServerOptions::new(&[Channel::COMMAND, Channel::DATA]);
    let (client, server) = begin(&client, server);
    for session in [&client, &server] {
        let agreed = session.negotiated().unwrap();
        assert_eq!(agreed.channels, [Channel::DATA, Channel::COMMAND]);
        assert_eq!((agreed.peer_id.as_str(), agreed.version.as_str()), ("peer-1", "1.0"));
        assert!(session.has_channel(Channel::DATA) && !session.has_channel(Channel(300)));
        assert!(session.is_alive() && session.last_heard().is_some());
    }
}

#[test]
fn a_refused_client_is_told_why() {
    let server = || ServerOptions::default().with_token(Secret::new("right".to_owned()));
    let with = |token: &str| ClientOptions {
        token: Some(Secret::new(token.to_owned())),
        ..ClientOptions::default()
    };
    let cases = [
        (ClientOptions::default(), "refused: a token is required"),
        (with("wrong"), "refused: the token is wrong"),
    ];
    for (client, expected) in cases {
        let (said, told) = disagree(&client, server());
        assert_eq!((said.as_str(), told.as_str()), (expected, expected));
    }
    let (_client, mut server) = begin(&with("right"), server());
    assert!(server.take_token().unwrap().is("right"));
    assert!(server.take_token().is_none(), "it is given away once");
    let (said, _) = disagree(&ClientOptions::new(&[Channel(300)]), ServerOptions::default());
    let expected = "refused: the two sides did not agree: there is no channel that both sides want";
    assert_eq!(said, expected);
}

/// A client that says what it likes, and what the server has against it.
fn newcomer(options: ServerOptions) -> (Connection, JoinHandle<String>) {
    let (near, far) = Stream::pair().unwrap();
    let serving = std::thread::spawn(move || {
        Session::accept(far, &options, "peer-1").unwrap_err().to_string()
    });
    (Connection::new(near), serving)
}

#[test]
fn whatever_is_wrong_with_the_first_message_is_told() {
    let (mut near, serving) = newcomer(ServerOptions::default());
    let file = File::open("/dev/null").unwrap();
    near.send_within(Channel::CONTROL, b"{}", &[file.as_fd()], soon()).unwrap();
    let said = near.receive_within(soon()).unwrap().refusal().unwrap();
    assert_eq!(said, "more than 0 descriptors with a message");
    drop(near);
    assert_eq!(serving.join().unwrap(), said);

    let timeout = Duration::from_millis(20);
    let (mut near, serving) = newcomer(ServerOptions { timeout, ..ServerOptions::default() });
    let said = near.receive_within(soon()).unwrap().refusal().unwrap();
    assert_eq!(said, "its first message did not come within 20ms");
    assert_eq!(serving.join().unwrap(), "timed out");

    // Who speaks another language is left alone.
    let (near, far) = Stream::pair().unwrap();
    (&near).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let error = Session::accept(far, &ServerOptions::default(), "peer-1").unwrap_err();
    assert!(matches!(error, SessionError::Connection(ConnectionError::Frame(_))), "{error}");
    assert!((&near).read(&mut [0]).map_or(true, |count| count == 0), "nothing is said");
}

#[test]
fn a_refused_client_that_never_stops_speaking_costs_its_time_and_no_more() {
    let (near, far) = Stream::pair().unwrap();
    let speaking = std::thread::spawn(move || {
        let hello = [b"IP", &u32::MAX.to_le_bytes()[..], &[0, 0]].concat();
        (&near).write_all(&hello).unwrap();
        while (&near).write_all(&[b' '; 4 << 10]).is_ok() {}
    });
    let options = ServerOptions { timeout: Duration::from_millis(50), ..ServerOptions::default() };
    Session::accept(far, &options, "peer-1").unwrap_err();
    speaking.join().unwrap();
}

#[test]
fn a_verifier_sees_who_asks() {
    let place = tempfile::tempdir().unwrap();
    let address = crate::Address::Path(place.path().join("s"));
    let listener = address.listen().unwrap();
    let verify = |_: Option<&Secret>, peer: Option<&Identity>| match peer {
        Some(Identity::Local(local)) if local.pid == Some(std::process::id()) => Ok(()),
        _ => Err(Refused("not this process".to_owned())),
    };
    let options = ServerOptions { verify: Some(Arc::new(verify)), ..ServerOptions::default() };
    let serving = std::thread::spawn(move || {
        Session::accept(listener.accept().unwrap(), &options, "peer-1").unwrap()
    });
    let stream = address.connect(Instant::now() + Duration::from_secs(5)).unwrap();
    Session::connect(stream, &ClientOptions::default()).unwrap();
    serving.join().unwrap();
}

#[test]
fn a_client_that_says_nothing_costs_its_time_and_no_more() {
    let (_near, far) = Stream::pair().unwrap();
    let options = ServerOptions { timeout: Duration::from_millis(30), ..ServerOptions::default() };
    assert!(Session::accept(far, &options, "p").unwrap_err().is_timeout());
    let (near, _far) = Stream::pair().unwrap();
    let options = ClientOptions { timeout: Duration::from_millis(30), ..ClientOptions::default() };
    assert!(Session::connect(near, &options).unwrap_err().is_timeout());
}

#[test]
fn a_beginning_has_16_kib_and_later_messages_more() {
    // One byte too much; and so much that nobody could send all of it before it is read.
    for length in [HELLO_BYTES_MOST + 1, 1 << 20] {
        let (mut near, serving) = newcomer(ServerOptions::default());
        near.send(Channel::CONTROL, &vec![b' '; length]).unwrap();
        let said = format!("a message of {length} bytes, the most is 16384");
        assert_eq!(near.receive_within(soon()).unwrap().refusal().unwrap(), said);
        drop(near);
        assert_eq!(serving.join().unwrap(), said);
    }

    let (mut client, server) = pair();
    let echo = echo(server);
    let big = vec![3; 1 << 20];
    client.send(Channel::DATA, &big).unwrap();
    assert!(client.receive_within(soon()).unwrap().payload == big);
    drop(client);
    echo.join().unwrap();
}

#[test]
fn the_first_message_may_leave_with_the_beginning() {
    let (near, far) = Stream::pair().unwrap();
    let mut client = Session::start(near, &ClientOptions::default()).unwrap();
    assert!(client.negotiated().is_none());
    client.queue(Channel::DATA, b"early").unwrap();
    assert!(client.flush(soon()).unwrap());
    let mut server = Session::accept(far, &ServerOptions::default(), "p").unwrap();
    assert_eq!(server.receive().unwrap().payload, "early");
    server.send(Channel::DATA, b"answer").unwrap();
    assert_eq!(client.receive_within(soon()).unwrap().payload, "answer");
    assert!(client.negotiated().is_some());
}

#[test]
fn an_early_client_hears_of_its_refusal_at_its_first_wait() {
    let (near, far) = Stream::pair().unwrap();
    let options = ServerOptions::default().with_token(Secret::new("x".to_owned()));
    let mut client = Session::start(near, &ClientOptions::default()).unwrap();
    client.send(Channel::DATA, b"early").unwrap();
    Session::accept(far, &options, "p").unwrap_err();
    let said = client.receive_within(soon()).unwrap_err().to_string();
    assert_eq!(said, "refused: a token is required");
}
