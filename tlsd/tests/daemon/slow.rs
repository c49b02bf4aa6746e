//! Peers that take their time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipcd_tests::transport::Call;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::authority::{Files, authority, dns, issue, ordinary};
use crate::far::{self, client_config};
use crate::process::Tlsd;

/// As many as may be unproven of one source.
const PEERS_PER_SOURCE: usize = 64;

/// As many as may be unproven in all.
const PEERS: usize = 512;

fn start() -> (crate::authority::Issuer, Tlsd) {
    let (files, issuer) = (Files::new(), authority("lab"));
    let host = issue(&issuer, &ordinary(&[dns("host.example.com")]));
    let listen = "[listen.open]\ncertificate = 'host'\nclients = 'none'\nservice = 'pong'\n";
    let tlsd = Tlsd::start(&[listen, &files.certificate("host", &host)].concat());
    (issuer, tlsd)
}

#[test]
fn who_drips_a_greeting_is_cut_when_its_time_is_over_and_delays_nobody() {
    let (issuer, tlsd) = start();
    let time = Duration::from_secs(4);
    let began = Instant::now();
    let mut slow: Vec<(Call, UnixStream)> = Vec::new();
    for _ in 0..PEERS_PER_SOURCE {
        let (near, far) = far::pair();
        slow.push((tlsd.serve_from("192.0.2.9:1", 4_000, "open", near), far));
    }
    let client = Arc::new(client_config(&issuer, None));
    let mut served = 0;
    // Each byte comes in time, and all of them together do not.
    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain([7; 400]) {
        for (_, far) in &mut slow {
            // It may have been cut by now.
            let _cut = far.write_all(&[byte]).is_err();
        }
        let (near, talk) = far::client(&client, b"hello");
        let mut call = tlsd.serve("open", near);
        let answer = call.answer();
        let mut stream = call.attach(&answer.parameter("arrival")["id"]);
        stream.write_all(b"welcome").unwrap();
        assert_eq!(talk.join().unwrap().unwrap(), "welcome");
        served += 1;
        if began.elapsed() >= time {
            break;
        }
    }
    assert!(served > 10, "{served} others were served meanwhile");
    for (mut call, mut far) in slow {
        assert_eq!(call.answer().message["error"], "org.ipcd.Transport.TimedOut");
        // Whatever it was told before that, this is the end.
        assert_eq!(far.read(&mut [0; 64]).unwrap_or(0), 0);
    }
    assert!(began.elapsed() < time * 3, "{:?}", began.elapsed());
}

#[test]
fn unproven_peers_of_one_source_and_of_all_hold_so_many_places_and_no_more() {
    let (_issuer, tlsd) = start();
    let mut peers = Vec::new();
    let mut hold = |address: String| {
        let (near, far) = far::pair();
        peers.push((tlsd.serve_from(&address, 10_000, "open", near), far));
    };
    let refused = |address: &str| {
        let (near, _far) = far::pair();
        let mut call = tlsd.serve_from(address, 10_000, "open", near);
        let answer = call.answer().message;
        assert_eq!(answer["error"], "org.ipcd.Transport.Busy");
        answer["parameters"]["limit"].as_str().unwrap().to_owned()
    };
    for _ in 0..PEERS_PER_SOURCE {
        hold("[2001:db8::1]:5000".to_owned());
    }
    let another = "[2001:db8::ffff:2]:5000";
    assert_eq!(refused(another), "peers-per-source", "64 bits are one source");
    for number in PEERS_PER_SOURCE..PEERS {
        hold(format!("10.0.{}.{}:5000", number / 256, number % 256));
    }
    assert_eq!(refused("192.0.2.1:5000"), "peers");
}

/// Connections of which one side does not read.
const STUCK: usize = 100;

/// KiB that one of them may cost, in one direction.
const KIB_MOST: usize = 64;

/// KiB of memory of the daemon.
fn memory(tlsd: &Tlsd) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", tlsd.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The two ends of a connection that has been used.
type Ends = (UnixStream, StreamOwned<ClientConnection, UnixStream>);

fn connected(tlsd: &Tlsd, client: &Arc<ClientConfig>) -> Ends {
    let name = ServerName::try_from("host.example.com").unwrap();
    let connection = ClientConnection::new(Arc::clone(client), name).unwrap();
    let (near, far) = far::pair();
    let mut call = tlsd.serve("open", near);
    let mut far = StreamOwned::new(connection, far);
    far.write_all(b"x").unwrap();
    let answer = call.answer();
    let mut plain = call.attach(&answer.parameter("arrival")["id"]);
    plain.read_exact(&mut [0]).unwrap();
    (plain, far)
}

/// Rounds in which nobody takes anything, until nobody will: the daemon has its turn in between.
const QUIET_ROUNDS: usize = 100;

/// Writes to all of them until nothing more is taken; how much that was of each.
fn offer<T>(all: &mut [T], write: impl Fn(&mut T, &[u8]) -> std::io::Result<usize>) -> Vec<usize> {
    let piece = vec![7; 64 * 1024];
    let mut counts = vec![0; all.len()];
    let mut quiet = 0;
    while quiet < QUIET_ROUNDS {
        let before: usize = counts.iter().sum();
        for (one, count) in all.iter_mut().zip(&mut counts) {
            match write(one, &piece) {
                Ok(length) => *count += length,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        if counts.iter().sum::<usize>() == before {
            quiet += 1;
            std::thread::park_timeout(Duration::from_millis(2));
        } else {
            quiet = 0;
        }
    }
    counts
}

#[test]
fn a_side_that_does_not_read_stops_the_other_and_costs_64_kib_and_nobody_else() {
    let (issuer, tlsd) = start();
    let client = Arc::new(client_config(&issuer, None));
    let (mut other_plain, mut other_far) = connected(&tlsd, &client);
    let mut held: Vec<_> = (0..2 * STUCK).map(|_| connected(&tlsd, &client)).collect();
    let before = memory(&tlsd);
    let (inward, outward) = held.split_at_mut(STUCK);
    for (_, far) in inward.iter_mut() {
        far.sock.set_nonblocking(true).unwrap();
    }
    let into = offer(inward, |(_, far), piece| far.write(piece));
    let after_inward = memory(&tlsd);
    for (plain, _) in outward.iter_mut() {
        plain.set_nonblocking(true).unwrap();
    }
    let out_of = offer(outward, |(plain, _), piece| plain.write(piece));
    let after_outward = memory(&tlsd);
    let each = |from: usize, to: usize| to.saturating_sub(from) / STUCK;
    let (inward_each, outward_each) =
        (each(before, after_inward), each(after_inward, after_outward));
    assert!(inward_each <= KIB_MOST, "{inward_each} KiB each, from the network");
    assert!(outward_each <= KIB_MOST, "{outward_each} KiB each, to the network");
    assert!(into.iter().chain(&out_of).all(|count| *count > 100_000), "as much as there is room");
    // Nobody else is stopped by that.
    other_far.write_all(b"y").unwrap();
    other_plain.read_exact(&mut [0]).unwrap();
    // And when the other side reads at last, all of it is there.
    for ((plain, far), count) in inward.iter_mut().zip(into).take(3) {
        let mut left = count;
        while left > 0 {
            // The other end has kept some itself.
            let _later = far.flush().is_err();
            left -= plain.read(&mut vec![0; left.min(1 << 16)]).unwrap();
        }
    }
    for ((_, far), count) in outward.iter_mut().zip(out_of).take(3) {
        let mut left = count;
        while left > 0 {
            left -= far.read(&mut vec![0; left.min(1 << 16)]).unwrap();
        }
    }
}

/// As much as the kernel holds for a far end by TCP that does not read: what it has not sent, what
/// is on its way to the far end's buffer, the program's own buffer, and ours.
const HELD_BYTES_MOST: usize = (1 << 20) + (256 << 10);

#[test]
fn the_kernel_holds_little_for_a_far_end_that_does_not_read() {
    let (issuer, tlsd) = start();
    let client = Arc::new(client_config(&issuer, None));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    let name = ServerName::try_from("host.example.com").unwrap();
    let mut far = StreamOwned::new(ClientConnection::new(client, name).unwrap(), far);
    let mut call = tlsd.serve("open", near);
    far.write_all(b"x").unwrap();
    let answer = call.answer();
    let mut plain = call.attach(&answer.parameter("arrival")["id"]);
    plain.read_exact(&mut [0]).unwrap();
    plain.set_nonblocking(true).unwrap();
    let taken = offer(&mut [plain], Write::write);
    assert!(taken.iter().all(|bytes| *bytes < HELD_BYTES_MOST), "{taken:?}");
}

/// Idle connections, and KiB that one of them may cost.
const IDLE: usize = 300;
const IDLE_KIB_MOST: usize = 10;

#[test]
fn a_connection_that_is_idle_costs_10_kib_at_most() {
    let (issuer, tlsd) = start();
    let client = Arc::new(client_config(&issuer, None));
    // Buffers that all share are there once somebody has needed them.
    let mut held: Vec<_> = (0..16).map(|_| connected(&tlsd, &client)).collect();
    let before = memory(&tlsd);
    held.extend((0..IDLE).map(|_| connected(&tlsd, &client)));
    let each = memory(&tlsd).saturating_sub(before) / IDLE;
    assert!(each <= IDLE_KIB_MOST, "{each} KiB each");
    // They are idle, and not lost.
    for (plain, far) in &mut held {
        far.write_all(b"y").unwrap();
        plain.read_exact(&mut [0]).unwrap();
    }
}
