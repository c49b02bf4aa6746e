//! Sessions with programs of ipcprims, whose bytes are spoken by hand.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread::JoinHandle;
use std::time::Duration;

use libipc::secret::Secret;
use libipc::session::{ClientOptions, Limits, ServerOptions, Session, SessionError};
use libipc::{Channel, Patience, Stream};

use crate::vectors::{Vector, Vectors, named};

/// A program of ipcprims: bytes in and out.
struct Original(Stream);

impl Original {
    fn say(&mut self, vector: &Vector) {
        self.0.write_all(&vector.bytes()).unwrap();
    }

    fn say_on(&mut self, channel: u16, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let bytes = [b"IP", &length[..], &channel.to_le_bytes()[..], payload].concat();
        self.0.write_all(&bytes).unwrap();
    }

    fn hears(&mut self, vector: &Vector) {
        self.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let expected = vector.bytes();
        let mut bytes = vec![0; expected.len()];
        self.0.read_exact(&mut bytes).unwrap();
        let both = [&bytes, &expected].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert_eq!(both[0], both[1], "{}", vector.name);
    }

    fn hears_on(&mut self, channel: u16) -> Vec<u8> {
        self.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut header = [0; 8];
        self.0.read_exact(&mut header).unwrap();
        assert_eq!(&header[..2], b"IP");
        assert_eq!(header[6..], channel.to_le_bytes());
        let mut payload = vec![0; u32::from_le_bytes(header[2..6].try_into().unwrap()) as usize];
        self.0.read_exact(&mut payload).unwrap();
        payload
    }

    fn hears_the_end(&mut self) {
        self.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(self.0.read(&mut [0; 1]).unwrap(), 0);
    }
}

fn soon() -> Patience {
    Patience::within(Duration::from_secs(5))
}

/// Our server for channel 1, in a thread of its own, with an original client that is let in.
fn our_server<T: Send + 'static>(
    limits: Limits,
    serve: impl FnOnce(Session) -> T + Send + 'static,
) -> (Original, JoinHandle<T>) {
    let vectors = Vectors::read();
    let (near, far) = Stream::pair().unwrap();
    let options = ServerOptions { limits, ..ServerOptions::new(&[Channel::COMMAND]) };
    let serving =
        std::thread::spawn(move || serve(Session::accept(far, &options, "peer-1").unwrap()));
    let mut client = Original(near);
    client.say(named(&vectors.hellos, "a client that wants channel 1"));
    client.hears(named(&vectors.hellos, "a server that grants channel 1"));
    (client, serving)
}

/// Our client of channel 1, in a thread of its own, let in by an original server.
fn our_client<T: Send + 'static>(
    options: ClientOptions,
    use_it: impl FnOnce(Session) -> T + Send + 'static,
) -> (Original, JoinHandle<T>) {
    let vectors = Vectors::read();
    let (near, far) = Stream::pair().unwrap();
    let using = std::thread::spawn(move || use_it(Session::connect(near, &options).unwrap()));
    let mut server = Original(far);
    server.hears(named(&vectors.hellos, "a client that wants channel 1"));
    server.say(named(&vectors.hellos, "a server that grants channel 1"));
    (server, using)
}

fn channel_1() -> ClientOptions {
    ClientOptions::new(&[Channel::COMMAND])
}

#[test]
fn our_client_says_what_theirs_says() {
    let vectors = Vectors::read();
    for vector in vectors.hellos.iter().filter(|vector| vector.name.starts_with("a client")) {
        let (near, far) = Stream::pair().unwrap();
        let channels: Vec<Channel> = vector.channels.iter().copied().map(Channel).collect();
        let token = vector.token.clone().map(Secret::new);
        let options = ClientOptions { token, ..ClientOptions::new(&channels) };
        let mut session = Session::start(near, &options).unwrap();
        session.flush(soon()).unwrap();
        Original(far).hears(vector);
    }
}

#[test]
fn our_server_lets_their_client_in_and_answers_it() {
    let (mut client, serving) = our_server(Limits::default(), |mut session| {
        let request = session.receive_within(soon()).unwrap();
        assert_eq!(request.payload, "{\"a\":1}");
        session.answer(request.request.unwrap(), b"{\"b\":2}").unwrap();
        session.receive_within(soon()).unwrap_err()
    });
    client.say(named(&Vectors::read().frames, "a message on channel 1"));
    assert_eq!(client.hears_on(1), b"{\"b\":2}");
    client.0.shutdown(Shutdown::Write).unwrap();
    client.hears_the_end();
    serving.join().unwrap();
}

#[test]
fn our_server_answers_their_controls() {
    let controls = Vectors::read().controls;
    for name in ["shutdown_request", "shutdown_request with a reason"] {
        let (mut client, serving) =
            our_server(Limits::default(), |mut session| session.receive_within(soon()));
        for _ in 0..2 {
            client.say(named(&controls, "ping"));
            client.hears(named(&controls, "pong"));
        }
        let farewell = named(&controls, name);
        client.say(farewell);
        client.hears(named(&controls, "shutdown_ack"));
        client.hears_the_end();
        let Err(SessionError::ShutDown { reason }) = serving.join().unwrap() else {
            panic!("not shut down")
        };
        assert_eq!(reason, farewell.reason);
    }
}

#[test]
fn our_server_takes_a_forced_end_only_where_that_is_allowed() {
    for allowed in [true, false] {
        let limits = Limits { allow_forced_end: allowed, ..Limits::default() };
        let (mut client, serving) = our_server(limits, |mut session| session.receive());
        client.say(named(&Vectors::read().controls, "shutdown_force"));
        client.hears_the_end();
        let error = serving.join().unwrap().unwrap_err();
        assert!(matches!(error, SessionError::Forced { allowed: is } if is == allowed));
    }
}

#[test]
fn our_client_speaks_with_their_server() {
    let controls = Vectors::read().controls;
    let (mut server, using) = our_client(channel_1(), |mut session| {
        assert_eq!(session.negotiated().unwrap().peer_id, "peer-1");
        assert_eq!(session.request(b"{\"a\":1}", soon()).unwrap(), "{\"b\":2}");
        session.ping(soon()).unwrap();
        session.shut_down(Some("bye"), soon()).unwrap();
    });
    server.hears(named(&Vectors::read().frames, "a message on channel 1"));
    server.say_on(1, b"{\"b\":2}");
    server.hears(named(&controls, "ping"));
    server.say(named(&controls, "pong"));
    server.hears(named(&controls, "shutdown_request with a reason"));
    server.say(named(&controls, "shutdown_ack"));
    using.join().unwrap();
    server.hears_the_end();
}

#[test]
fn our_client_asks_one_at_a_time_where_theirs_knows_no_numbers() {
    let (near, far) = Stream::pair().unwrap();
    let options = ClientOptions { request_ids: true, ..channel_1() };
    let using = std::thread::spawn(move || {
        let mut session = Session::connect(near, &options).unwrap();
        assert!(!session.negotiated().unwrap().request_ids);
        session.request(b"plain", soon()).unwrap()
    });
    let mut server = Original(far);
    let hello = server.hears_on(0);
    let expected = br#"{"protocol":"ipcprims","version":"1.0","channels":[1],"request_ids":true}"#;
    assert_eq!(hello, expected, "what they do not know, they ignore");
    server.say(named(&Vectors::read().hellos, "a server that grants channel 1"));
    assert_eq!(server.hears_on(1), b"plain");
    server.say_on(1, b"plain too");
    assert_eq!(using.join().unwrap(), "plain too");
}

#[test]
fn a_refused_original_finds_a_reason_and_the_end() {
    let (near, far) = Stream::pair().unwrap();
    let options = ServerOptions::new(&[Channel::DATA]);
    let serving = std::thread::spawn(move || Session::accept(far, &options, "p").unwrap_err());
    let mut client = Original(near);
    client.say(named(&Vectors::read().hellos, "a client that wants channel 1"));
    let said = client.hears_on(4);
    let expected =
        "{\"error\":\"the two sides did not agree: there is no channel that both sides want\"}";
    assert_eq!(String::from_utf8(said).unwrap(), expected);
    client.hears_the_end();
    drop(client);
    serving.join().unwrap();
}

#[test]
fn an_original_that_says_too_much_at_first_finds_a_reason_too() {
    let (near, far) = Stream::pair().unwrap();
    let serving = std::thread::spawn(move || {
        Session::accept(far, &ServerOptions::default(), "peer-1").unwrap_err().to_string()
    });
    let mut client = Original(near);
    // ipcprims takes tokens of 4096 bytes, which JSON may make six times as long.
    let token = "\\u0001".repeat(4096);
    let hello = format!(
        "{{\"protocol\":\"ipcprims\",\"version\":\"1.0\",\"channels\":[1],\"auth_token\":\"{token}\"}}"
    );
    client.say_on(0, hello.as_bytes());
    let reason = format!("a message of {} bytes, the most is 16384", hello.len());
    let told = client.hears_on(4);
    assert_eq!(String::from_utf8(told).unwrap(), format!("{{\"error\":\"{reason}\"}}"));
    client.hears_the_end();
    drop(client);
    assert_eq!(serving.join().unwrap(), reason);
}

#[test]
fn a_server_that_closes_without_a_word_is_told_apart() {
    let (near, far) = Stream::pair().unwrap();
    let closing = std::thread::spawn(move || {
        let mut server = Original(far);
        server.hears_on(0);
    });
    let error = Session::connect(near, &channel_1()).unwrap_err();
    assert_eq!(error.to_string(), "the peer has ended the connection");
    closing.join().unwrap();
}

#[test]
fn a_session_ends_at_any_byte_without_harm() {
    let vectors = Vectors::read();
    let whole: Vec<u8> = [
        named(&vectors.hellos, "a client that wants channel 1"),
        named(&vectors.frames, "a message on channel 1"),
        named(&vectors.controls, "shutdown_request with a reason"),
    ]
    .iter()
    .flat_map(|vector| vector.bytes())
    .collect();
    for place in 0..=whole.len() {
        let (near, far) = Stream::pair().unwrap();
        (&near).write_all(&whole[..place]).unwrap();
        drop(near);
        let result =
            Session::accept(far, &ServerOptions::default(), "p").and_then(|mut session| {
                session.receive()?;
                session.receive()
            });
        assert!(result.is_err(), "at {place}");
    }
}
