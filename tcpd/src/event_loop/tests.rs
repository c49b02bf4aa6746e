//! The loop's limits, at the limit: every moment is said, and nothing is waited for.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libipc::environment::Environment;
use libipc::interface::transport::{AddressRule, CLOSE, DIAL, Dial};
use libipc::rundir::RunDirectory;
use libipc::varlink::CallFlags;
use relay::callers::CALLERS_MOST;
use sys::tcp::Origin;
use tempfile::TempDir;

use super::attach::KEPT_MOST;
use super::*;
use crate::listeners::ListenerSocket;
use crate::peer::{PEERS_MOST, PEERS_PER_ADDRESS_MOST, Phase};

/// A loop that nobody runs, with one listener, and the place where callers come.
struct Idle {
    event_loop: EventLoop,
    listener: TcpListener,
    place: PathBuf,
    _directory: TempDir,
}

impl Idle {
    fn new() -> Self {
        daemon::descriptors::raise_limit().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("ipc");
        let run = RunDirectory::named(&place, &Environment::default());
        let server = Server::bind(&run, "tcp").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let socket = listener.try_clone().unwrap().into();
        let listeners =
            vec![ListenerSocket { name: "fleet".to_owned(), service: None, then: None, socket }];
        let signals = Signals::new().unwrap();
        let event_loop = EventLoop::new(server, Listeners(listeners), signals).unwrap();
        Self { event_loop, listener, place: place.join("transport/tcp"), _directory: directory }
    }

    /// A caller, and its number if it is taken in.
    fn caller(&mut self, now: Instant) -> (UnixStream, Option<Token>) {
        let caller = UnixStream::connect(&self.place).unwrap();
        let before = self.event_loop.last_token;
        self.event_loop.accept_callers(now);
        let token = Token(self.event_loop.last_token);
        caller.set_nonblocking(true).unwrap();
        (caller, (token.0 > before).then_some(token))
    }

    /// What the loop waits for, at once.
    fn ready(&mut self) -> Vec<Token> {
        let mut ready = Vec::new();
        self.event_loop.poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        ready.iter().map(|one| one.token).collect()
    }

    /// A peer from an address of loopback, and its number if it is taken in.
    fn peer(&mut self, from: Ipv4Addr, now: Instant) -> (TcpStream, Option<Token>) {
        let origin = Origin { source: Some(IpAddr::V4(from)), ..Origin::default() };
        let to = self.listener.local_addr().unwrap();
        let peer = TcpStream::from(sys::tcp::connect_start(to, origin).unwrap());
        let before = self.event_loop.last_token;
        self.event_loop.accept_peers(Token(FIRST_LISTENER), now);
        let token = Token(self.event_loop.last_token);
        (peer, (token.0 > before).then_some(token))
    }
}

/// Everything that has come so far.
fn heard(mut socket: impl Read) -> String {
    let mut bytes = vec![0; 4096];
    let count = socket.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

fn is_silent(mut socket: impl Read) -> bool {
    let read = socket.read(&mut [0]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn wanted(port: u16, deadline_ms: u64) -> Dial {
    let rule = |network: &str| AddressRule {
        network: network.to_owned(),
        allow: true,
        rule: "a rule".to_owned(),
    };
    Dial {
        host: "127.0.0.1".to_owned(),
        port,
        addresses: vec![rule("127.0.0.0/8")],
        options: BTreeMap::new(),
        hello: None,
        keep: Some(true),
        deadline_ms,
    }
}

#[test]
fn callers_beyond_the_limit_wait_until_another_one_leaves() {
    let mut idle = Idle::new();
    let now = Instant::now();
    let mut callers: Vec<_> = (0..4_096).map(|_| idle.caller(now)).collect();
    assert!(callers.iter().all(|(_, token)| token.is_some()));
    let (late, token) = idle.caller(now);
    assert_eq!((token, idle.event_loop.callers.len()), (None, CALLERS_MOST));
    assert!(is_silent(&late), "it is not turned away");
    assert!(!idle.ready().contains(&SERVER), "and the loop does not turn for it");
    let (first, token) = callers.swap_remove(0);
    drop(first);
    idle.event_loop.serve_caller(token.unwrap(), now);
    assert!(idle.ready().contains(&SERVER));
    idle.event_loop.accept_callers(now);
    let close =
        varlink::call(CLOSE, &libipc::interface::transport::Agreed { id: 1 }, CallFlags::default());
    (&late).write_all(&close).unwrap();
    idle.event_loop.serve_caller(Token(idle.event_loop.last_token), now);
    assert!(heard(&late).contains("UnknownId"), "it is served");
}

#[test]
fn peers_of_one_source_and_of_all_have_so_many_places_and_no_more() {
    let mut idle = Idle::new();
    let now = Instant::now();
    let source = |number: usize| Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).unwrap());
    let sources = PEERS_MOST / PEERS_PER_ADDRESS_MOST;
    let mut peers = Vec::new();
    for number in 0..sources {
        for _ in 0..PEERS_PER_ADDRESS_MOST {
            let (peer, token) = idle.peer(source(number), now);
            peers.push((peer, token.unwrap()));
        }
        let (more, token) = idle.peer(source(number), now);
        assert_eq!(token, None, "source {number}");
        assert_eq!(heard(&more), "", "its connection ends");
    }
    assert_eq!(idle.event_loop.peers.len(), 1_024);
    let (more, token) = idle.peer(source(sources), now);
    assert_eq!((token, heard(&more)), (None, String::new()));
    let (_, left) = peers.swap_remove(500);
    drop(idle.event_loop.forget_peer(left));
    let (_more, token) = idle.peer(source(sources), now);
    assert!(token.is_some(), "there is room again");
}

#[test]
fn a_peer_about_whom_the_broker_says_nothing_for_ten_seconds_is_to_come_again() {
    let mut idle = Idle::new();
    let now = Instant::now();
    let (_broker, told) = idle.caller(now);
    idle.event_loop.told = told;
    let (peer, token) = idle.peer(Ipv4Addr::LOCALHOST, now);
    let token = token.unwrap();
    let reported = now + Duration::from_secs(3);
    let hello = r#"{"method":"org.ipcd.Tunnel.Open","parameters":{"service":"x"},"upgrade":true}"#;
    (&peer).write_all(format!("{hello}\0").as_bytes()).unwrap();
    idle.event_loop.serve_peer(token, reported);
    idle.event_loop.keep_time(reported + Duration::from_millis(9_999));
    assert!(is_silent(&peer));
    let phase = |idle: &Idle| {
        idle.event_loop.peers.get(&token).map(|peer| matches!(peer.phase, Phase::Reported))
    };
    assert_eq!(phase(&idle), Some(true));
    idle.event_loop.keep_time(reported + Duration::from_secs(10));
    assert_eq!(phase(&idle), Some(false));
    assert!(heard(&peer).contains("org.ipcd.Tunnel.Refused\",\"parameters\":{\"retry\":true}"));
}

#[test]
fn connecting_takes_as_long_as_it_may_and_never_more_than_ten_minutes() {
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = far.local_addr().unwrap().port();
    for (asked, given) in
        [(599_999, 599_999), (600_000, 600_000), (600_001, 600_000), (u64::MAX, 600_000)]
    {
        let mut idle = Idle::new();
        let now = Instant::now();
        let (broker, token) = idle.caller(now);
        let token = token.unwrap();
        idle.event_loop.dial(token, wanted(port, asked), now);
        idle.event_loop.keep_time(now + Duration::from_millis(given - 1));
        assert!(is_silent(&broker), "{asked}");
        idle.event_loop.keep_time(now + Duration::from_millis(given));
        assert!(heard(&broker).contains("org.ipcd.Transport.TimedOut"), "{asked}");
        assert!(idle.event_loop.timers.is_empty() && idle.event_loop.attempts.is_empty());
    }
}

#[test]
fn as_many_connections_are_kept_as_the_limit_and_one_more_is_told_so() {
    let mut idle = Idle::new();
    let now = Instant::now();
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = far.local_addr().unwrap().port();
    let (broker, token) = idle.caller(now);
    let token = token.unwrap();
    let socket = || UnixStream::pair().unwrap().0.into();
    for _ in 1..KEPT_MOST {
        assert!(idle.event_loop.keep(socket(), token, now).is_some());
    }
    let dial = |idle: &mut Idle| {
        let call = varlink::call(DIAL, &wanted(port, 60_000), CallFlags::default());
        (&broker).write_all(&call).unwrap();
        idle.event_loop.serve_caller(token, now);
        let (made, _) = far.accept().unwrap();
        let attempt = *idle.event_loop.attempts.keys().next().unwrap();
        idle.event_loop.serve_attempt(token, attempt, now);
        (heard(&broker), made)
    };
    let (told, _made) = dial(&mut idle);
    assert!(told.contains("\"id\":"), "{told}");
    let (told, made) = dial(&mut idle);
    assert!(
        told.contains("Transport.Busy\",\"parameters\":{\"limit\":\"kept\",\"most\":1024}"),
        "{told}"
    );
    assert_eq!(heard(made), "", "that connection has ended");
    idle.event_loop.keep_time(now + Duration::from_secs(9));
    assert_eq!(idle.event_loop.kept.len(), 1_024);
    idle.event_loop.keep_time(now + Duration::from_secs(10));
    assert_eq!(idle.event_loop.kept.len(), 0, "their time is over");
    assert!(dial(&mut idle).0.contains("\"id\":"));
}
