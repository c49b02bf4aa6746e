use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

fn pumps() -> Pumps {
    let poller = Poller::new().unwrap();
    Pumps::start(&Waker::new(&poller, WAKER).unwrap()).unwrap()
}

fn next_id() -> u64 {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    u64::try_from(LAST.fetch_add(1, Ordering::Relaxed)).unwrap() + 1
}

/// A relay between a Unix socket and a TCP connection: the two far ends.
fn relay(pumps: &Pumps) -> (UnixStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let (client, ours) = UnixStream::pair().unwrap();
    pumps.add(next_id(), ours.into(), accepted.into()).unwrap();
    (client, remote)
}

#[test]
fn bytes_and_half_closes_pass_both_ways() {
    let pumps = pumps();
    let (mut client, mut remote) = relay(&pumps);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    remote.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    remote.write_all(b"answer").unwrap();
    drop(remote);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");
}

#[test]
fn more_than_all_buffers_hold_arrives_whole() {
    const SIZE: usize = 32 << 20;
    let pumps = pumps();
    let (client, remote) = relay(&pumps);
    let send = |mut socket: Box<dyn Write + Send>, finish: Box<dyn FnOnce() + Send>| {
        thread::spawn(move || {
            let block: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
            for _ in 0..SIZE / block.len() {
                socket.write_all(&block).unwrap();
            }
            finish();
        })
    };
    let (writer, ender) = (client.try_clone().unwrap(), client.try_clone().unwrap());
    let there = send(Box::new(writer), Box::new(move || ender.shutdown(Shutdown::Write).unwrap()));
    let (writer, ender) = (remote.try_clone().unwrap(), remote.try_clone().unwrap());
    let back = send(Box::new(writer), Box::new(move || ender.shutdown(Shutdown::Write).unwrap()));
    let count = |mut socket: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut total = 0_usize;
            loop {
                let count = socket.read(&mut buffer).unwrap();
                if count == 0 {
                    return total;
                }
                for (offset, byte) in buffer[..count].iter().enumerate() {
                    assert_eq!(usize::from(*byte), (total + offset) % 256);
                }
                total += count;
            }
        })
    };
    let counts = [count(Box::new(remote)), count(Box::new(client))];
    assert_eq!(counts.map(|thread| thread.join().unwrap()), [SIZE; 2]);
    there.join().unwrap();
    back.join().unwrap();
}

#[test]
fn a_reset_is_a_reset_on_the_other_side() {
    let pumps = pumps();
    let (client, mut remote) = relay(&pumps);
    remote.write_all(b"x").unwrap();
    let mut byte = [0];
    (&client).read_exact(&mut byte).unwrap();
    sys::socket::reset_on_close(remote.as_fd()).unwrap();
    drop(remote);
    // A Unix socket knows no reset: both directions end at once.
    assert_eq!((&client).read(&mut byte).unwrap(), 0);
    let error = (&client).write_all(&vec![0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_relay_is_gone_when_both_directions_have_ended() {
    let pumps = pumps();
    let (client, remote) = relay(&pumps);
    assert_eq!(pumps.live(), 1);
    drop(remote);
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    drop(client);
    // The next relay is served by the same thread after it has dropped the first.
    let (client, mut remote) = relay(&pumps);
    remote.write_all(b"x").unwrap();
    (&client).read_exact(&mut [0]).unwrap();
    assert_eq!(pumps.live(), 1);
}

/// Two connected TCP sockets: the far end and ours.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (far, listener.accept().unwrap().0)
}

#[test]
fn a_reset_between_tcp_connections_arrives_as_a_reset() {
    let pumps = pumps();
    let ((mut client, left), (remote, right)) = (tcp_pair(), tcp_pair());
    pumps.add(next_id(), left.into(), right.into()).unwrap();
    sys::socket::reset_on_close(remote.as_fd()).unwrap();
    drop(remote);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_answer_arrives_though_its_sender_reads_no_more() {
    let pumps = pumps();
    let (service, mut remote) = relay(&pumps);
    service.shutdown(Shutdown::Read).unwrap();
    remote.write_all(b"more than is wanted").unwrap();
    let answer = vec![b'x'; 8 << 20];
    let size = answer.len();
    let sender = thread::spawn(move || (&service).write_all(&answer));
    let mut received = Vec::new();
    remote.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), size);
    sender.join().unwrap().unwrap();
}

#[test]
fn what_was_said_before_a_reset_arrives_though_writing_tells_of_it_first() {
    let ((mut client, left), (mut remote, right)) = (tcp_pair(), tcp_pair());
    remote.write_all(b"no").unwrap();
    sys::socket::reset_on_close(remote.as_fd()).unwrap();
    drop(remote);
    client.write_all(b"more").unwrap();
    // Nothing has looked at either side yet: the first step writes before it reads.
    let mut relay = Relay::new(left.into(), right.into()).unwrap();
    let mut pipes = Pipes::default();
    while !matches!(relay.step(&mut pipes), Fate::Breaks) {}
    relay.reset_on_close();
    drop(relay);
    let mut heard = [0; 2];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"no");
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_ended_relay_is_not_watched_though_a_copy_of_its_socket_lives() {
    let (sender, receiver) = channel();
    let (told, ended) = channel();
    let daemon = Waker::new(&Poller::new().unwrap(), WAKER).unwrap();
    let mut pump = Pump::new(receiver, Ends { told, daemon }).unwrap();
    let (client, left) = UnixStream::pair().unwrap();
    let (far, right) = tcp_pair();
    let _copy = left.try_clone().unwrap();
    pump.live.store(1, Ordering::Relaxed);
    let (left, right) = (left.into(), right.into());
    sender.send(Order::Begin(Pair { id: 7, left, right })).unwrap();
    assert!(!pump.take_orders());
    drop((client, far));
    let mut ready = Vec::new();
    while pump.live.load(Ordering::Relaxed) > 0 {
        pump.poller.wait(&mut ready, None).unwrap();
        for one in &ready {
            pump.serve_ready(*one);
        }
    }
    pump.poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
    assert!(ready.is_empty(), "{ready:?}");
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [7]);
}

/// A relay of which one side has gone while there is much for the other to take: the pump, that
/// side, and a copy of ours that says how much it has not taken.
fn parting(pump: &mut Pump, orders: &Sender<Order>, id: u64) -> (UnixStream, UnixStream) {
    let (mut client, left) = UnixStream::pair().unwrap();
    let (remote, right) = UnixStream::pair().unwrap();
    let copy = right.try_clone().unwrap();
    pump.live.fetch_add(1, Ordering::Relaxed);
    orders.send(Order::Begin(Pair { id, left: left.into(), right: right.into() })).unwrap();
    assert!(!pump.take_orders());
    let before = pump.parting.len();
    for _ in 0..16 {
        client.write_all(&[b'x'; 4096]).unwrap();
        pump.serve(id);
    }
    drop(client);
    let mut ready = Vec::new();
    while pump.parting.len() == before {
        pump.poller.wait(&mut ready, Some(Duration::from_secs(10))).unwrap();
        assert!(!ready.is_empty(), "it does not part");
        for one in &ready {
            pump.serve_ready(*one);
        }
    }
    (remote, copy)
}

/// Takes something, so that less waits than before.
fn take(remote: &mut UnixStream, copy: &UnixStream) {
    let waiting = || sys::socket::uncollected(copy.as_fd()).unwrap();
    let before = waiting();
    while waiting() == before {
        remote.read_exact(&mut [0; 512]).unwrap();
    }
    assert!(waiting() > 0, "there is no more to take");
}

#[test]
fn who_takes_a_drop_at_a_time_keeps_a_relay_for_a_minute_and_who_takes_nothing_for_two_looks() {
    let (sender, receiver) = channel();
    let (told, ended) = channel();
    let daemon = Waker::new(&Poller::new().unwrap(), WAKER).unwrap();
    let mut pump = Pump::new(receiver, Ends { told, daemon }).unwrap();
    let (mut slow, copy) = parting(&mut pump, &sender, 7);
    let (_still, _copy) = parting(&mut pump, &sender, 8);
    let Parting { look, last, .. } = *pump.parting.front().unwrap();
    let begun = look.checked_sub(PARTING_TIME).unwrap();
    assert_eq!(last, begun + PARTING_TIME_MOST);
    // The second one has begun a little later.
    for (seconds, over) in [(1, vec![]), (3, vec![]), (6, vec![8]), (30, vec![]), (59, vec![])] {
        take(&mut slow, &copy);
        pump.see_off(begun + Duration::from_secs(seconds));
        assert_eq!(ended.try_iter().collect::<Vec<_>>(), over, "{seconds}");
    }
    take(&mut slow, &copy);
    pump.see_off(begun + PARTING_TIME_MOST + PARTING_TIME);
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [7]);
    assert!(pump.parting.is_empty() && pump.live.load(Ordering::Relaxed) == 0);
    // What it has not taken yet is still there for it.
    drop(copy);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(!rest.is_empty());
}

#[test]
fn a_relay_is_ended_by_its_number_and_every_end_is_told_once() {
    let mut poller = Poller::new().unwrap();
    let waker = Waker::new(&poller, Token(9)).unwrap();
    let pumps = Pumps::start(&waker).unwrap();
    let mut ready = Vec::new();
    let mut next_end = || {
        poller.wait(&mut ready, None).unwrap();
        waker.clear();
        pumps.ended()
    };
    let ((mut client, left), (remote, right)) = (tcp_pair(), tcp_pair());
    let ((other, left_too), (mut others_remote, right_too)) = (tcp_pair(), tcp_pair());
    pumps.add(11, left.into(), right.into()).unwrap();
    pumps.add(12, left_too.into(), right_too.into()).unwrap();
    pumps.end(99);
    pumps.end(11);
    assert_eq!(next_end(), Some(11));
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(remote);
    (&other).write_all(b"x").unwrap();
    others_remote.read_exact(&mut [0]).unwrap();
    drop((other, others_remote));
    assert_eq!(next_end(), Some(12));
    assert_eq!(pumps.ended(), None);
}

#[test]
fn the_limit_is_told_by_name() {
    let pumps = pumps();
    let pair = || UnixStream::pair().unwrap();
    pumps.live.store(RELAYS_MOST - 1, Ordering::Relaxed);
    let ((_client, left), (_service, right)) = (pair(), pair());
    pumps.add(next_id(), left.into(), right.into()).unwrap();
    let ((_client, left), (_service, right)) = (pair(), pair());
    let error = pumps.add(next_id(), left.into(), right.into()).unwrap_err();
    assert_eq!(error.to_string(), "the limit relays (10000) is reached");
    assert_eq!(pumps.live(), RELAYS_MOST);
}

/// The next relay that is over.
fn next_end(pumps: &Pumps, poller: &mut Poller) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut ready = Vec::new();
    loop {
        if let Some(id) = pumps.ended() {
            return id;
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        assert!(!rest.is_zero(), "no relay has ended");
        poller.wait(&mut ready, Some(rest)).unwrap();
    }
}

/// Relays, and what is woken when one of them is over.
fn watched_pumps() -> (Pumps, Poller) {
    let poller = Poller::new().unwrap();
    (Pumps::start(&Waker::new(&poller, WAKER).unwrap()).unwrap(), poller)
}

#[test]
fn who_goes_behind_a_request_is_heard_and_ends_the_relay_though_the_other_end_stays() {
    let (pumps, mut poller) = watched_pumps();
    let (mut client, mut remote) = relay(&pumps);
    let request: Vec<u8> = (0..=250).cycle().take(8 << 20).collect();
    let sender = thread::spawn({
        let request = request.clone();
        move || client.write_all(&request).map(|()| drop(client))
    });
    let mut heard = Vec::new();
    remote.read_to_end(&mut heard).unwrap();
    assert!(heard == request, "{} bytes", heard.len());
    sender.join().unwrap().unwrap();
    // It neither reads nor writes nor closes; and what it says now has no reader.
    next_end(&pumps, &mut poller);
    assert_eq!(pumps.live(), 0);
    assert_refused(remote);
}

/// What is written there has no reader.
fn assert_refused(mut socket: TcpStream) {
    let error = loop {
        if let Err(error) = socket.write_all(b"late") {
            break error.kind();
        }
    };
    assert!(matches!(error, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn who_has_ended_its_side_and_goes_later_ends_the_relay_then() {
    let (pumps, mut poller) = watched_pumps();
    let (mut client, mut remote) = relay(&pumps);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    remote.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "question");
    // It waits: as long as it does, it is answered.
    remote.write_all(b"half an ").unwrap();
    let mut half = [0; 8];
    client.read_exact(&mut half).unwrap();
    assert_eq!((pumps.ended(), pumps.live()), (None, 1));
    drop(client);
    next_end(&pumps, &mut poller);
}

#[test]
fn what_was_sent_before_going_arrives_though_the_other_end_talks_on() {
    let (pumps, mut poller) = watched_pumps();
    let (mut client, mut remote) = relay(&pumps);
    let request = vec![b'r'; 2 << 20];
    let sender = thread::spawn({
        let request = request.clone();
        move || client.write_all(&request).map(|()| drop(client))
    });
    let mut heard = vec![0; 1 << 20];
    remote.read_exact(&mut heard).unwrap();
    sender.join().unwrap().unwrap();
    // Unread by anybody, it would make a reset of the end, and the rest would be lost.
    remote.write_all(&vec![b'a'; 100_000]).unwrap();
    remote.read_to_end(&mut heard).unwrap();
    assert!(heard == request, "{} bytes", heard.len());
    drop(remote);
    next_end(&pumps, &mut poller);
}

#[test]
fn a_reset_of_who_has_ended_its_side_is_seen_without_a_word_from_the_other() {
    let (pumps, mut poller) = watched_pumps();
    let ((client, left), (mut remote, right)) = (tcp_pair(), tcp_pair());
    pumps.add(next_id(), left.into(), right.into()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(remote.read(&mut [0]).unwrap(), 0);
    sys::socket::reset_on_close(client.as_fd()).unwrap();
    drop(client);
    next_end(&pumps, &mut poller);
    assert_refused(remote);
}
