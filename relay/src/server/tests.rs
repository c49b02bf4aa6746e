use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use libipc::environment::Environment;
use libipc::varlink::CallFlags;
use sys::socket::{SocketKind, unix_pair};

use super::*;

fn pair() -> (Wire, Caller) {
    let (ours, theirs) = unix_pair(SocketKind::Stream).unwrap();
    (Wire::new(ours, Reading::Eager, Limits::default()), Caller::new(theirs))
}

/// What a caller hears whose call the daemon does not get to see.
fn answered(method: &str, parameters: &impl serde::Serialize) -> String {
    let (mut broker, mut caller) = pair();
    let call = varlink::call(method, parameters, CallFlags::default());
    broker.queue(call, None).unwrap();
    broker.flush(Wait::Never).unwrap();
    assert!(matches!(caller.read(), Heard::Nothing));
    broker.receive(Wait::Never).unwrap();
    String::from_utf8(broker.take().unwrap().unwrap().bytes.to_vec()).unwrap()
}

#[derive(serde::Serialize)]
struct Nothing {}

#[test]
fn the_interface_describes_itself() {
    let told = answered(introspection::GET_INFO, &Nothing {});
    assert!(told.contains("org.ipcd.Transport"), "{told}");
    let about = |interface: &str| {
        let wanted = GetDescription { interface: interface.to_owned() };
        answered(introspection::GET_DESCRIPTION, &wanted)
    };
    assert!(about("org.ipcd.Transport").contains("method Dial("));
    assert!(about("org.example.None").contains("org.varlink.service.InterfaceNotFound"));
}

#[test]
fn a_method_of_the_interface_is_told_from_one_that_is_nowhere() {
    let told = answered("org.ipcd.Transport.Sing", &Nothing {});
    assert!(told.contains("org.varlink.service.MethodNotFound"), "{told}");
    let told = varlink::error(&ServiceError::MethodNotImplemented { method: DIAL.to_owned() });
    let dial = serde_json::from_str(r#"{"host":"h","port":1,"addresses":[],"deadlineMs":1}"#);
    assert_eq!(*Request::Dial(dial.unwrap()).unserved(), *told);
    let told = answered(WRAP, &Nothing {});
    assert!(told.contains("a stream has to come with this call"), "{told}");
    let told = answered("org.ipcd.Broker.Connect", &Nothing {});
    assert!(told.contains("org.varlink.service.MethodNotFound"), "{told}");
    let told = answered(ATTACH, &Nothing {});
    assert!(told.contains("org.ipcd.Transport.InvalidRequest"), "{told}");
    assert!(told.contains("missing field `id`"), "{told}");
}

#[test]
fn what_is_no_call_ends_the_connection() {
    let (mut broker, mut caller) = pair();
    broker.queue(Bytes::new(b"GET /\0".to_vec()), None).unwrap();
    broker.flush(Wait::Never).unwrap();
    assert!(matches!(caller.read(), Heard::Over));
    let (broker, mut caller) = pair();
    drop(broker);
    assert!(matches!(caller.read(), Heard::Over));
}

#[test]
fn answers_wait_for_a_busy_caller_up_to_the_limit() {
    let (mut broker, mut caller) = pair();
    let answer = || Bytes::new([vec![b'x'; 511], vec![0]].concat());
    while !caller.has_outgoing() {
        caller.answer(answer(), None).unwrap();
    }
    for _ in 1..UNCOLLECTED_BYTES_MOST / 512 {
        caller.answer(answer(), None).unwrap();
    }
    assert_eq!(caller.answer(answer(), None), Err(Over));
    assert_eq!(Over.to_string(), "the caller is gone");
    while caller.has_outgoing() {
        broker.receive(Wait::Never).unwrap();
        while broker.take().unwrap().is_some() {}
        caller.flush().unwrap();
    }
}

#[test]
fn a_call_of_the_most_bytes_is_read_and_one_more_ends_the_connection() {
    let heard = |bytes: usize| {
        let (ours, theirs) = unix_pair(SocketKind::Stream).unwrap();
        let limits = Limits { queue_bytes: 8 << 20, ..Limits::default() };
        let mut broker = Wire::new(ours, Reading::Eager, limits);
        let mut caller = Caller::new(theirs);
        let mut call = format!("{{\"method\":\"{LISTEN}\"}}").into_bytes();
        call.resize(bytes, b' ');
        call.push(0);
        broker.queue(Bytes::new(call), None).unwrap();
        loop {
            // What is closed for its length is not read to its end.
            let _unread = broker.flush(Wait::Never).is_err();
            match caller.read() {
                Heard::Nothing => {}
                heard => return heard,
            }
        }
    };
    assert!(matches!(heard(4 << 20), Heard::Request(Request::Listen)));
    assert!(matches!(heard((4 << 20) + 1), Heard::Over));
}

#[test]
fn the_place_is_for_the_owner_alone_and_for_one_daemon() {
    let parent = tempfile::tempdir().unwrap();
    let directory = RunDirectory::named(&parent.path().join("ipc"), &Environment::default());
    let server = Server::bind(&directory, "tcp").unwrap();
    let path = directory.transports().join("tcp");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(directory.transports()), mode(path.clone())), (0o700, 0o600));
    let error = Server::bind(&directory, "tcp").unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
    let _client = UnixStream::connect(&path).unwrap();
    assert!(server.accept().unwrap().is_some());
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_service_manager_may_have_bound_the_place() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("tcp");
    let bound = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = Server::from_socket(bound.into()).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    assert!(server.accept().unwrap().is_some());
    drop(server);
    assert!(path.exists(), "what a service manager bound is its to remove");
    let (ours, _theirs) = unix_pair(SocketKind::Stream).unwrap();
    let said = Server::from_socket(ours).unwrap_err().to_string();
    assert_eq!(said, "the descriptor is not a listening Unix socket");
}

#[test]
fn root_and_the_owner_may_call_and_nobody_else() {
    let cases = [(Some(0), true), (Some(990), true), (Some(991), false), (None, false)];
    for (uid, expected) in cases {
        assert_eq!(may_call(uid, 990), expected, "{uid:?}");
    }
}
