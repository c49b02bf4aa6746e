use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sys::ancillary::{self, Wait};

use super::*;
use crate::patience::Patience;
use crate::poller::{Interest, Poller, Token};
use crate::shm::Shm;

/// Far more than any of these waits takes.
fn soon() -> Patience {
    Patience::within(Duration::from_secs(20))
}

/// Numbers that look like chance and are the same each time (xorshift, Marsaglia 2003).
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap() % below
    }

    fn message(&mut self, longest: usize) -> Vec<u8> {
        let length = self.next(longest + 1);
        let first = self.next(256);
        (0..length).map(|n| u8::try_from((first + n) % 251).unwrap()).collect()
    }
}

fn pass_messages(mut writer: Writer, mut reader: Reader, count: usize) {
    let longest = writer.longest();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut chance = Chance(7);
            for _ in 0..count {
                let most = if chance.next(100) == 0 { longest } else { 100 };
                writer.send(&chance.message(most), soon()).unwrap();
            }
        });
        let mut chance = Chance(7);
        for number in 0..count {
            let most = if chance.next(100) == 0 { longest } else { 100 };
            let message = reader.receive(soon()).unwrap();
            assert_eq!(message.to_vec().unwrap(), chance.message(most), "message {number}");
        }
        assert!(matches!(reader.receive(soon()), Err(RingError::Closed)));
    });
}

#[test]
fn messages_of_all_lengths_arrive_as_they_were_sent() {
    let (writer, reader) = pair(CAPACITY_LEAST).unwrap();
    pass_messages(writer, reader, 100_000);
}

#[test]
fn counting_goes_on_past_the_end_of_its_numbers() {
    let (writer, reader) = pair(CAPACITY_LEAST).unwrap();
    for position in [reader.end.layout.written(), reader.end.layout.read()] {
        position.unwrap().position.store(u32::MAX - 8191, Ordering::Relaxed);
    }
    let reader = Reader::from_descriptors(reader.into_descriptors().unwrap()).unwrap();
    let writer = Writer::from_descriptors(writer.into_descriptors().unwrap()).unwrap();
    pass_messages(writer, reader, 2_000);
}

#[test]
fn a_ring_takes_messages_up_to_its_longest_and_room_up_to_its_most() {
    let (mut writer, mut reader) = pair(1).unwrap();
    assert_eq!(writer.longest(), 2040);
    writer.send(&[1; 2040], soon()).unwrap();
    writer.send(&[2; 2040], soon()).unwrap();
    assert!(!writer.try_send(&[]).unwrap());
    let said = writer.send(&[3; 2041], soon()).unwrap_err().to_string();
    assert_eq!(said, "a message of 2041 bytes, the ring takes 2040");
    assert_eq!(reader.receive(soon()).unwrap().to_vec().unwrap(), [1; 2040]);
    assert!(writer.try_send(&[]).unwrap());
    assert_eq!(reader.receive(soon()).unwrap().length(), 2040);
    assert_eq!(reader.receive(soon()).unwrap().length(), 0);
    assert!(reader.try_receive().unwrap().is_none());
    assert!(pair(CAPACITY_MOST).is_ok());
    let said = pair(CAPACITY_MOST + 1).unwrap_err().to_string();
    assert_eq!(said, "a ring of 536870913 bytes, the most is 536870912");
}

#[test]
fn a_wait_ends_at_its_deadline_and_leaves_the_ring_as_it_was() {
    let (mut writer, mut reader) = pair(1).unwrap();
    let at = || Patience::within(Duration::from_millis(1));
    let said = reader.receive(at()).unwrap_err().to_string();
    assert_eq!(said, "the ring did not move before the deadline");
    writer.send(&[1; 2040], at()).unwrap();
    writer.send(&[2; 2040], at()).unwrap();
    for patience in [at(), Patience::Never] {
        assert!(matches!(writer.send(&[3], patience), Err(RingError::TimedOut)));
    }
    assert_eq!(reader.receive(at()).unwrap().to_vec().unwrap(), [1; 2040]);
    writer.send(&[3], at()).unwrap();
}

#[test]
fn what_was_sent_is_read_before_the_end_is_told() {
    let (mut writer, mut reader) = pair(1).unwrap();
    writer.send(b"last", soon()).unwrap();
    drop(writer);
    assert_eq!(reader.receive(soon()).unwrap().to_vec().unwrap(), b"last");
    for _ in 0..2 {
        let said = reader.try_receive().unwrap_err().to_string();
        assert_eq!(said, "the other end of the ring was closed");
    }
    let (mut writer, reader) = pair(1).unwrap();
    let waiting = thread::spawn(move || {
        while writer.send(&[1; 1000], soon()).is_ok() {}
        writer.send(&[1; 1000], soon())
    });
    drop(reader);
    assert!(matches!(waiting.join().unwrap(), Err(RingError::Closed)));
}

#[test]
fn a_value_copied_by_fork_closes_nothing() {
    let (mut writer, mut reader) = pair(1).unwrap();
    writer.end.owner = 0;
    writer.send(b"x", soon()).unwrap();
    drop(writer);
    assert_eq!(reader.receive(soon()).unwrap().length(), 1);
    // Here nobody else has the socket: that is seen instead.
    assert!(matches!(reader.receive(soon()), Err(RingError::PeerGone)));
}

#[test]
fn an_end_given_away_keeps_its_messages() {
    let (mut writer, reader) = pair(1).unwrap();
    writer.send(b"one", soon()).unwrap();
    writer.send(b"two", soon()).unwrap();
    let mut reader = Reader::from_descriptors(reader.into_descriptors().unwrap()).unwrap();
    assert_eq!(reader.receive(soon()).unwrap().to_vec().unwrap(), b"one");
    let mut writer = Writer::from_descriptors(writer.into_descriptors().unwrap()).unwrap();
    writer.send(b"three", soon()).unwrap();
    assert_eq!(reader.receive(soon()).unwrap().to_vec().unwrap(), b"two");
    assert_eq!(reader.receive(soon()).unwrap().to_vec().unwrap(), b"three");
}

#[test]
fn messages_are_written_and_read_in_place() {
    let (mut writer, mut reader) = pair(1).unwrap();
    let _unsent = writer.reserve(100, soon()).unwrap();
    assert!(reader.try_receive().unwrap().is_none(), "a slot that is dropped sends nothing");
    let (mut pipe_out, mut pipe_in) = std::io::pipe().unwrap();
    pipe_in.write_all(b"from a pipe").unwrap();
    let mut slot = writer.reserve(100, soon()).unwrap();
    slot.write(0, b"> ").unwrap();
    let count = slot.read_from(pipe_out.as_fd(), 2, 98).unwrap();
    slot.cells().unwrap()[1].store(b'_', Ordering::Relaxed);
    assert!(slot.write(99, b"12").is_err());
    slot.publish_first(2 + count).unwrap();
    let message = reader.receive(soon()).unwrap();
    assert_eq!((message.length(), message.cells().unwrap().len()), (13, 13));
    assert_eq!(message.write_to(pipe_in.as_fd(), 0, 13).unwrap(), 13);
    let said = message.read(12, &mut [0; 2]).unwrap_err().to_string();
    assert_eq!(said, "2 bytes at 12 are not within the 13 bytes of shared memory");
    let mut text = [0; 13];
    pipe_out.read_exact(&mut text).unwrap();
    assert_eq!(&text, b">_from a pipe");
}

#[test]
fn a_poller_is_told_of_messages_of_room_and_of_the_end() {
    let (mut writer, mut reader) = pair(1).unwrap();
    let mut poller = Poller::new().unwrap();
    poller.add(&reader, Token(1), Interest::READ).unwrap();
    poller.add(&writer, Token(2), Interest::READ).unwrap();
    let mut ready = Vec::new();
    for turn in 0..3_u8 {
        assert!(reader.receive_or_watch().unwrap().is_none());
        poller.wait(&mut ready, Some(Duration::ZERO)).unwrap();
        assert!(ready.is_empty());
        writer.send(&[turn], soon()).unwrap();
        poller.wait(&mut ready, None).unwrap();
        assert_eq!((ready.len(), ready[0].token), (1, Token(1)));
        let message = reader.receive_or_watch().unwrap().unwrap();
        assert_eq!(message.to_vec().unwrap(), [turn]);
    }
    while let Some(slot) = writer.reserve_or_watch(1000).unwrap() {
        slot.publish().unwrap();
    }
    assert_eq!(reader.receive_or_watch().unwrap().unwrap().length(), 1000);
    poller.wait(&mut ready, None).unwrap();
    assert!(ready.iter().any(|ready| ready.token == Token(2)));
    assert!(writer.reserve_or_watch(1000).unwrap().is_some());
    while reader.receive_or_watch().unwrap().is_some() {}
    poller.remove(&writer).unwrap();
    writer.end.owner = 0;
    drop(writer);
    poller.wait(&mut ready, None).unwrap();
    let said = reader.receive_or_watch().unwrap_err().to_string();
    assert_eq!(said, "the process at the other end of the ring is gone");
}

#[test]
fn descriptors_that_are_no_ring_are_refused() {
    let refused = |descriptors: [OwnedFd; 2]| {
        let again = descriptors.each_ref().map(|one| one.try_clone().unwrap());
        let said = Reader::from_descriptors(descriptors).unwrap_err().to_string();
        assert_eq!(said, Writer::from_descriptors(again).unwrap_err().to_string());
        said
    };
    let (writer, reader) = pair(1).unwrap();
    let [memory, bell] = reader.into_descriptors().unwrap();
    let (pipe, _) = std::io::pipe().unwrap();
    let no_socket = "the second descriptor of the ring is not a Unix stream socket";
    assert_eq!(refused([memory.try_clone().unwrap(), pipe.into()]), no_socket);
    let sealed = "not shared memory of a fixed length: its owner could end this process by \
                  shortening it";
    assert_eq!(refused([bell.try_clone().unwrap(), bell.try_clone().unwrap()]), sealed);
    let damaged = "the other end has damaged the ring";
    let plain = Shm::new(std::num::NonZeroUsize::new(8192).unwrap()).unwrap();
    assert_eq!(refused([plain.into(), bell.try_clone().unwrap()]), damaged);
    for capacity in [0, 2048, 4095, 8192, 1 << 62, u64::MAX] {
        writer.end.layout.map().long_word(32).unwrap().store(capacity, Ordering::Relaxed);
        assert_eq!(refused([memory.try_clone().unwrap(), bell.try_clone().unwrap()]), damaged);
    }
    writer.end.layout.map().long_word(32).unwrap().store(4096, Ordering::Relaxed);
    writer.end.layout.map().word(64).unwrap().store(8192, Ordering::Relaxed);
    assert_eq!(refused([memory, bell]), damaged);
}

#[test]
fn a_ring_that_was_damaged_stays_so() {
    let (mut writer, mut reader) = pair(1).unwrap();
    writer.send(b"x", soon()).unwrap();
    reader.end.layout.length_word(0).unwrap().store(9000, Ordering::Relaxed);
    assert!(matches!(reader.receive(soon()), Err(RingError::Damaged)));
    reader.end.layout.length_word(0).unwrap().store(1, Ordering::Relaxed);
    assert!(matches!(reader.try_receive(), Err(RingError::Damaged)));
    let (mut writer, reader) = pair(1).unwrap();
    reader.end.publish(8000).unwrap();
    while writer.try_send(&[0; 1000]).is_ok_and(|sent| sent) {}
    assert!(matches!(writer.try_send(&[0; 1000]), Err(RingError::Damaged)));
}

/// Writes numbers all over the memory while both ends go on: nothing may end but the ring.
#[test]
fn whatever_is_scribbled_into_the_memory_both_ends_go_on_or_say_so() {
    let stop = AtomicBool::new(false);
    let (writer, reader) = pair(1).unwrap();
    let scribbled = reader.end.layout.shm().try_clone().unwrap();
    let [reader, writer] =
        [reader.into_descriptors(), writer.into_descriptors()].map(Result::unwrap);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut chance = Chance(99);
            let values = [0, 1, 7, 8, 64, 4096, 4097, u32::MAX, u32::MAX - 7, 1 << 31];
            while !stop.load(Ordering::Relaxed) {
                let offset = [64, 68, 128, 132, 192, 192 + 8 * chance.next(500)][chance.next(6)];
                let value = values[chance.next(values.len())];
                scribbled.map().word(offset).unwrap().store(value, Ordering::Relaxed);
            }
        });
        let again = |ends: &[OwnedFd; 2]| ends.each_ref().map(|end| end.try_clone().unwrap());
        let (mut damaged, mut passed, mut turns) = (0_u32, 0_u32, 0_u32);
        let deadline = soon();
        while turns < 3_000 || damaged == 0 || passed == 0 {
            turns += 1;
            assert!(!deadline.is_over(Instant::now()), "{damaged} damaged, {passed} passed");
            let Ok(mut reader) = Reader::from_descriptors(again(&reader)) else { continue };
            let Ok(mut writer) = Writer::from_descriptors(again(&writer)) else { continue };
            for _ in 0..20 {
                let _sent = writer.try_send(&[3; 100]);
                match reader.try_receive() {
                    Ok(Some(message)) => {
                        assert!(message.to_vec().unwrap().len() <= 2040);
                        passed += 1;
                    }
                    Ok(None) | Err(RingError::Closed) => {}
                    Err(RingError::Damaged) => damaged += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            reader.end.owner = 0;
            writer.end.owner = 0;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The process of the next test.
#[test]
#[ignore = "run by the test below"]
fn writes_and_waits_to_be_killed() {
    let path = std::env::var_os("RING_TEST_SOCKET").unwrap();
    let socket = std::os::unix::net::UnixStream::connect(path).unwrap();
    let mut byte = [0];
    let received = ancillary::receive(socket.as_fd(), &mut byte, 2, Wait::Block).unwrap();
    let descriptors = received.descriptors.try_into().unwrap();
    let mut writer = Writer::from_descriptors(descriptors).unwrap();
    writer.send(b"last words", soon()).unwrap();
    // Until the parent ends this process.
    (&socket).read_exact(&mut byte).unwrap();
}

#[test]
fn the_death_of_the_other_process_is_seen_after_its_last_message() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "ring::tests::writes_and_waits_to_be_killed"])
        .env("RING_TEST_SOCKET", &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (socket, _) = listener.accept().unwrap();
    let (writer, mut reader) = pair(1).unwrap();
    let descriptors = writer.into_descriptors().unwrap();
    let borrowed = descriptors.each_ref().map(AsFd::as_fd);
    ancillary::send(socket.as_fd(), b"r", &borrowed, Wait::Block).unwrap();
    drop(descriptors);
    assert_eq!(reader.receive(soon()).unwrap().to_vec().unwrap(), b"last words");
    let killed = thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.receive(soon()).map(|_| ()));
        child.kill().unwrap();
        child.wait().unwrap();
        waiting.join().unwrap()
    });
    assert!(matches!(killed, Err(RingError::PeerGone)), "{killed:?}");
}
