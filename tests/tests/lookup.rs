//! Clients of the first libipc: their bytes on the broker's socket.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a broken premise ends them"
)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use ipcd_tests::raw::Raw;
use ipcd_tests::{Host, PATIENCE};
use sys::ancillary::{self, Wait};

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The first libipc's question in pieces of that size: the connection, or `None` at an end.
fn look_up(host: &Host, text: &str, piece: usize) -> Option<UnixStream> {
    let mut socket = UnixStream::connect(host.rundir().join("ipc")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for piece in frame(text).chunks(piece) {
        // The broker may have heard enough already.
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = [0; 16];
    let received = ancillary::receive(socket.as_fd(), &mut answer, 1, Wait::Block).ok()?;
    if received.bytes == 0 {
        return None;
    }
    assert_eq!(&answer[..received.bytes], b"ok");
    let descriptor = received.descriptors.into_iter().next().unwrap();
    assert_eq!(socket.read(&mut answer).unwrap(), 0, "the broker closes behind its answer");
    Some(descriptor.into())
}

fn echoes(mut stream: UnixStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut text = [0; 5];
    stream.read_exact(&mut text).unwrap();
    &text == b"hello"
}

#[test]
fn what_another_process_asks_on_an_inherited_connection_is_not_answered() {
    let host = Host::new(&[]).with_pongd("pong");
    // The whole question, and all of it but the first byte.
    for own in [0, 1] {
        let mut opened = UnixStream::connect(host.rundir().join("ipc")).unwrap();
        opened.set_read_timeout(Some(PATIENCE)).unwrap();
        opened.write_all(&frame("pong")[..own]).unwrap();
        let mut child = Command::new("cat");
        child.stdout(Stdio::from(OwnedFd::from(opened.try_clone().unwrap())));
        let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&frame("pong")[own..]).unwrap();
        assert!(child.wait().unwrap().success());
        let mut heard = Vec::new();
        // An end, or a reset where something was left unread.
        let _reset = opened.read_to_end(&mut heard).is_err();
        assert!(!heard.starts_with(b"ok"), "{heard:?}");
    }
}

#[test]
fn a_lookup_is_answered_by_ok_and_the_descriptor_in_one_message() {
    let host = Host::new(&[]).with_pongd("pong");
    for piece in [1, 3, 4, 100] {
        for text in ["p;p unix://pong", "p; p unix:///pong ;", "pong;", "pong", "p;x y;p pong"] {
            assert!(echoes(look_up(&host, text, piece).unwrap()), "{text} in pieces of {piece}");
        }
    }
}

#[test]
fn the_bytes_of_the_first_libipc_are_answered_by_those_of_its_ipcd() {
    let vectors = include_str!("../vectors/messages.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let bytes = |vector: &serde_json::Value| -> Vec<u8> {
        let of = |part: &serde_json::Value| {
            let hex = part["hex"].as_str().into_iter().flat_map(|digits| digits.split(' '));
            let hex = hex.map(|byte| u8::from_str_radix(byte, 16).unwrap());
            hex.chain(part["text"].as_str().unwrap_or_default().bytes()).collect::<Vec<u8>>()
        };
        vector["parts"].as_array().unwrap().iter().flat_map(of).collect()
    };
    let [question, answer] = [&vectors["lookups"][0], &vectors["lookups"][1]].map(bytes);
    let host = Host::new(&[]).with_pongd("pong");
    let mut socket = UnixStream::connect(host.rundir().join("ipc")).unwrap();
    socket.write_all(&question).unwrap();
    let mut heard = [0; 16];
    let received = ancillary::receive(socket.as_fd(), &mut heard, 1, Wait::Block).unwrap();
    assert_eq!(&heard[..received.bytes], answer);
    assert!(echoes(UnixStream::from(received.descriptors.into_iter().next().unwrap())));
}

#[test]
fn what_cannot_be_served_is_an_end_and_hurts_nobody() {
    let host = Host::new(&["--rule", "deny local closed"]).with_pongd("pong").with_pongd("closed");
    // One that is answered and stays: by then the broker has all that it needs.
    let mut kept = Raw::to(&host);
    kept.ask("org.varlink.service.GetInfo", &serde_json::json!({})).unwrap();
    assert_eq!(kept.error(), "none");
    let baseline = host.broker.descriptors();
    for text in [
        "unknown;",
        "p;p unix://unknown",
        "p;p foo://bar:1",
        "p;p",
        "closed;",
        "../run/x;",
        "p;p unix:///../run/x",
        "p;p unix://../../etc/passwd",
        "",
        ";;;",
        "p;p tcp://127.0.0.1:1/x",
    ] {
        assert!(look_up(&host, text, 100).is_none(), "{text}");
        assert_eq!(host.ping("pong", ""), "ping");
    }
    let mut socket = UnixStream::connect(host.rundir().join("ipc")).unwrap();
    socket.write_all(&[0, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(socket.read(&mut [0; 1]).unwrap_or(0), 0);
    drop(socket);
    ipcd_tests::until("the broker holds no more than before", || {
        host.broker.descriptors() <= baseline
    });
}
