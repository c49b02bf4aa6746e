//! authd is killed at many moments, while others log in.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipcd_tests::PATIENCE;
use libipc::connector::Connector;
use libipc::environment::Environment;
use libipc::{ServiceName, Stream};

use crate::hosts::{AUTHD, Hosts};

/// How often it is killed. `IPCD_KILLS=1000 cargo test -p ipcd-tests --test logins killed` for more.
fn kills() -> usize {
    std::env::var("IPCD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Clients that log in again and again.
const CLIENTS: usize = 2;

/// What anybody may have to wait for an answer or an error, and authd to be back.
const SECOND: Duration = Duration::from_secs(1);

/// Of so many one may take longer: the machine has more to do than this.
const RARE: usize = 50;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    served: AtomicUsize,
    told: AtomicUsize,
    slow: AtomicUsize,
}

fn log_in(environment: &Environment) -> Option<Stream> {
    let name = ServiceName::new("pongd").unwrap();
    let stream = Connector::new(environment, PATIENCE).unwrap().connect(&name).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

fn echoes(stream: &mut Stream, turn: u64) -> bool {
    let mut answer = [0; 8];
    let told = stream.write_all(&turn.to_le_bytes()).and_then(|()| stream.read_exact(&mut answer));
    assert!(told.is_err() || u64::from_le_bytes(answer) == turn, "bytes were lost");
    told.is_ok()
}

fn log_in_often(environment: &Environment, over: &AtomicBool, seen: &Seen) {
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        // Whoever has logged in has nothing to do with authd any more.
        let is_served = log_in(environment).map(|mut stream| assert!(echoes(&mut stream, 1)));
        let count = if is_served.is_some() { &seen.served } else { &seen.told };
        count.fetch_add(1, Ordering::Relaxed);
        if began.elapsed() > SECOND {
            seen.slow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn authd_killed_at_any_moment_cuts_nothing_and_is_back_at_once() {
    let mut hosts = Hosts::new("allow in pongd tls:* for login:alice", AUTHD);
    hosts.far = hosts.far.with_authd(&[("alice", "right", &[])]);
    let mut authd = hosts.far.others.pop().unwrap();
    let environment = hosts.near.environment(&hosts.network("alice:right"));
    let mut kept = log_in(&environment).unwrap();
    let (seen, over) = (Seen::default(), AtomicBool::new(false));
    let (mut late, all) = (0, kills());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| log_in_often(&environment, &over, &seen)))
            .collect();
        for turn in 0..all {
            // Moments that no loop is in step with.
            std::thread::park_timeout(Duration::from_micros(turn as u64 * 7919 % 20_011));
            let began = Instant::now();
            authd.crash();
            authd = hosts.far.start_authd();
            while log_in(&environment).is_none() {
                assert!(began.elapsed() < PATIENCE, "nobody can log in any more");
            }
            late += usize::from(began.elapsed() > SECOND);
            assert!(echoes(&mut kept, turn as u64), "who had logged in was cut");
            if clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
    });
    let [served, told, slow] =
        [&seen.served, &seen.told, &seen.slow].map(|count| count.load(Ordering::Relaxed));
    eprintln!(
        "authd: {all} kills, {served} logins, {told} told of an error, {slow} later than a second, \
         {late} times not back within a second"
    );
    assert!(served > all / 4, "they were served between");
    assert!(slow <= (served + told) / RARE && late <= all / RARE, "somebody waited");
}
