//! Every byte through two ends of ours, whatever the sizes, the pieces and the order of the ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use aws_lc_rs::digest::{Context, SHA256};
use ipcd_tests::transport::Call;
use serde_json::json;

use crate::authority::{Files, authority, dns, issue, ordinary};
use crate::process::{PATIENCE, Tlsd};

/// Connections, each with numbers of its own.
const RUNS: u64 = 64;

/// Bytes of one direction at most.
const BYTES_MOST: u64 = 1 << 20;

/// Numbers that look like chance, and are the same each time (xorshift, Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Often little, sometimes much: below two to the power of `bits`.
    fn size(&mut self, bits: u64) -> usize {
        let bits = self.next() % (bits + 1);
        usize::try_from(self.next() % (1 << bits)).unwrap()
    }
}

/// What came to an end: how much it was, and its digest.
#[derive(Debug, Eq, PartialEq)]
struct Sum(usize, Vec<u8>);

/// Says so much in pieces, and the end.
fn say(mut stream: &UnixStream, seed: u64) -> Sum {
    let (mut chance, mut digest) = (Chance::of(seed), Context::new(&SHA256));
    let total = chance.size(BYTES_MOST.ilog2().into());
    let mut said = 0;
    while said < total {
        let piece: Vec<u8> =
            (0..=chance.size(17)).map(|_| chance.next().to_le_bytes()[0]).collect();
        let piece = &piece[..piece.len().min(total - said)];
        stream.write_all(piece).unwrap();
        digest.update(piece);
        said += piece.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    Sum(said, digest.finish().as_ref().to_vec())
}

/// Hears until the end, in pieces.
fn hear(mut stream: &UnixStream, seed: u64) -> Sum {
    let (mut chance, mut digest) = (Chance::of(seed), Context::new(&SHA256));
    let mut count = 0;
    loop {
        let mut piece = vec![0; chance.size(17) + 1];
        match stream.read(&mut piece).unwrap() {
            0 => return Sum(count, digest.finish().as_ref().to_vec()),
            length => {
                digest.update(&piece[..length]);
                count += length;
            }
        }
    }
}

/// Carries what one end of TLS sends to the other, cut anew.
fn carry(mut from: TcpStream, mut to: TcpStream, seed: u64) {
    let mut chance = Chance::of(seed);
    loop {
        let mut piece = vec![0; chance.size(16) + 1];
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => to.write_all(&piece[..length]).unwrap(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => unreachable!("{error}"),
        }
    }
    // The other end may be done.
    let _done = to.shutdown(Shutdown::Write).is_err();
}

/// Two TCP connections that are one, but for how its bytes are cut.
fn network(seed: u64) -> (TcpStream, TcpStream) {
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    };
    let ((near, one), (other, far)) = (pair(), pair());
    let copy = |stream: &TcpStream| stream.try_clone().unwrap();
    let (from, to) = (copy(&one), copy(&other));
    std::thread::spawn(move || carry(from, to, seed));
    std::thread::spawn(move || carry(other, one, seed + 1));
    (near, far)
}

/// The plain end of what was agreed: one that we get, or one of our own.
fn attach(call: &mut Call, id: &serde_json::Value, is_own: bool) -> UnixStream {
    if !is_own {
        return call.attach(id);
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    call.attach_to(id, theirs);
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    ours
}

#[test]
fn every_byte_arrives_whatever_the_sizes_pieces_and_ends() {
    let (files, issuer) = (Files::new(), authority("lab"));
    let host = issue(&issuer, &ordinary(&[dns("host.example.com")]));
    let listen = "[listen.open]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n";
    let far = Tlsd::start(&[listen, &files.certificate("host", &host)].concat());
    let near = Tlsd::start(&files.trust("lab", &issuer, ""));
    let options = json!({ "trust": "lab" });
    for run in 0..RUNS {
        let seed = run * 100;
        let mut chance = Chance::of(seed);
        let (ours, theirs) = network(seed);
        let mut served = far.serve("open", theirs);
        let (mut call, answer) = near.wrap("host.example.com", &options, ours);
        assert_eq!(answer.said(), "", "run {run}");
        let mut own = || chance.next().is_multiple_of(2);
        let near_end = attach(&mut call, answer.parameter("id"), own());
        let arrival = served.answer();
        let far_end = attach(&mut served, &arrival.parameter("arrival")["id"], own());
        let is_answer = own();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| say(&near_end, seed + 10));
            let at_near = scope.spawn(|| hear(&near_end, seed + 13));
            let at_far = scope.spawn(|| hear(&far_end, seed + 12));
            if is_answer {
                // Half of it has ended, and the other half begins.
                assert_eq!(there.join().unwrap(), at_far.join().unwrap(), "run {run}, there");
                let back = say(&far_end, seed + 11);
                assert_eq!(back, at_near.join().unwrap(), "run {run}, back");
            } else {
                let back = scope.spawn(|| say(&far_end, seed + 11));
                assert_eq!(there.join().unwrap(), at_far.join().unwrap(), "run {run}, there");
                assert_eq!(back.join().unwrap(), at_near.join().unwrap(), "run {run}, back");
            }
        });
    }
}
