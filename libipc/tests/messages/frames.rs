//! Frames, length frames and packets.

use std::io::{Read, Write};
use std::net::Shutdown;

use libipc::connection::{Carrier, Options};
use libipc::decoder::{Decoder, Framing};
use libipc::frame::FrameError;
use libipc::{Channel, Connection, Stream};
use sys::socket::{SocketKind, unix_pair};

use crate::vectors::{Vector, Vectors};

fn connection(socket: std::os::fd::OwnedFd, carrier: Carrier) -> Connection {
    Connection::with(Stream::new(socket, None), Options::of(carrier)).unwrap()
}

/// What a `Connection` writes for a vector's message, and what it makes of the vector's bytes.
fn agrees(vector: &Vector, carrier: Carrier) {
    let (far, near) = unix_pair(carrier.socket_kind()).unwrap();
    let (mut far, mut near) = (Stream::new(far, None), connection(near, carrier));
    let (channel, payload) = (Channel(vector.channel), vector.payload.as_bytes());
    near.send(channel, payload).unwrap();
    let mut written = vec![0; vector.bytes().len()];
    far.read_exact(&mut written).unwrap();
    assert_eq!(written, vector.bytes(), "{}", vector.name);

    far.write_all(&vector.bytes()).unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let message = near.receive().unwrap();
    assert_eq!((message.channel, &message.payload[..]), (channel, payload), "{}", vector.name);
    assert!(near.receive().is_err(), "nothing else came");
}

#[test]
fn frames_are_those_of_ipcprims() {
    for vector in Vectors::read().frames {
        agrees(&vector, Carrier::Stream(Framing::Frames));
    }
}

#[test]
fn length_frames_are_those_of_the_first_libipc() {
    for vector in Vectors::read().length_frames {
        agrees(&vector, Carrier::Stream(Framing::LengthFrames));
    }
}

#[test]
fn packets_are_those_of_gips() {
    for vector in Vectors::read().packets {
        agrees(&vector, Carrier::Packets);
    }
}

#[test]
fn every_byte_may_come_alone() {
    let vectors = Vectors::read();
    let (far, near) = unix_pair(SocketKind::Stream).unwrap();
    let (mut far, near) = (Stream::new(far, None), Stream::new(near, None));
    let mut near = Connection::new(near);
    for vector in &vectors.frames {
        let bytes = vector.bytes();
        for (place, byte) in bytes.iter().enumerate() {
            assert!(near.try_receive().unwrap().is_none(), "{} at {place}", vector.name);
            far.write_all(&[*byte]).unwrap();
        }
        assert_eq!(near.receive().unwrap().payload, vector.payload.as_bytes());
    }
}

#[test]
fn what_is_not_served_is_told_at_its_first_byte() {
    for vector in Vectors::read().not_served {
        let mut decoder = Decoder::new(Framing::Frames, 1 << 20);
        decoder.feed(&vector.bytes()[..1]).unwrap();
        assert_eq!(decoder.decode(), Err(FrameError::Magic), "{}", vector.name);
    }
}
