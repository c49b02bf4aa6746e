//! Peers that take their time.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::authority::{Files, authority, dns, issue, ordinary};
use crate::far::{self, client_config};
use crate::process::{Call, Tlsd};

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
    let time = Duration::from_millis(1500);
    let began = Instant::now();
    let mut slow: Vec<(Call, UnixStream)> = Vec::new();
    for _ in 0..PEERS_PER_SOURCE {
        let (near, far) = far::pair();
        slow.push((tlsd.serve_from("192.0.2.9:1", 1500, "open", near), far));
    }
    let client = Arc::new(client_config(&issuer, None));
    let mut served = 0;
    // Each byte comes in time, and all of them together do not.
    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain([7; 100]) {
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
