use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use sys::ancillary::{self, Wait};

use super::*;
use crate::frame::FrameError;

fn pair() -> (Connection, Connection) {
    let (left, right) = Stream::pair().unwrap();
    (Connection::new(left), Connection::new(right))
}

fn pair_of(options: Options) -> (Connection, Connection) {
    Connection::pair(options).unwrap()
}

fn all_carriers() -> [Options; 3] {
    [
        Options::default(),
        Options::of(Carrier::Stream(Framing::LengthFrames)),
        Options::of(Carrier::Packets),
    ]
}

fn soon() -> Patience {
    Patience::within(Duration::from_secs(10))
}

fn nulls(count: usize) -> Vec<File> {
    (0..count).map(|_| File::open("/dev/null").unwrap()).collect()
}

/// What a program that is not ours writes.
fn write(connection: &Connection, bytes: &[u8], files: &[File]) {
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let sent = ancillary::send(connection.as_fd(), bytes, &borrowed, Wait::Never).unwrap();
    assert_eq!(sent, bytes.len());
}

#[test]
fn empty_and_full_messages_pass_over_every_carrier() {
    for options in all_carriers() {
        let (mut left, mut right) = pair_of(options);
        for length in [0, 1, 64, 5_000, 100_000, 0] {
            let payload = vec![7; length];
            left.send_within(Channel::default(), &payload, &[], soon()).unwrap();
            let message = right.receive_within(soon()).unwrap();
            assert_eq!(message.payload, payload, "{options:?}");
        }
        drop(left);
        assert!(matches!(right.receive(), Err(ConnectionError::Ended)), "{options:?}");
    }
}

#[test]
fn an_empty_packet_is_a_message_even_if_its_sender_has_gone() {
    let (mut left, mut right) = pair_of(Options::of(Carrier::Packets));
    left.send(Channel::default(), b"").unwrap();
    left.send(Channel::default(), b"last").unwrap();
    drop(left);
    assert!(right.receive().unwrap().payload.is_empty());
    assert_eq!(&right.receive().unwrap().payload[..], b"last");
    assert_eq!(right.receive().unwrap_err().to_string(), "the peer has ended the connection");
}

#[test]
fn a_message_has_253_descriptors_and_not_254() {
    for options in all_carriers() {
        let (mut left, mut right) = pair_of(options);
        let files = nulls(254);
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let error = left.send_within(Channel::default(), b"x", &borrowed, soon()).unwrap_err();
        assert_eq!(error.to_string(), "a message carries at most 253 descriptors");
        left.send_within(Channel::default(), b"x", &borrowed[..253], soon()).unwrap();
        assert_eq!(right.receive_within(soon()).unwrap().descriptors.len(), 253);
    }
}

#[test]
fn each_message_has_its_own_descriptors() {
    let place = tempfile::tempdir().unwrap();
    let (mut left, mut right) = pair();
    let mut sent = Vec::new();
    for number in 0..60_usize {
        let files: Vec<File> = (0..number % 4)
            .map(|one| File::create(place.path().join(format!("{number}-{one}"))).unwrap())
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let payload = vec![0; number * 37 % 900];
        left.send_within(Channel::DATA, &payload, &borrowed, soon()).unwrap();
        sent.push(files.iter().map(|file| file.metadata().unwrap().ino()).collect::<Vec<_>>());
    }
    for inodes in sent {
        let message = right.receive_within(soon()).unwrap();
        let came: Vec<u64> = message
            .descriptors
            .into_iter()
            .map(|descriptor| File::from(descriptor).metadata().unwrap().ino())
            .collect();
        assert_eq!(came, inodes);
    }
}

#[test]
fn descriptors_behind_other_messages_belong_to_theirs() {
    let (left, mut right) = pair();
    let frame = *b"IP\x01\0\0\0\x02\0x";
    write(&left, &frame, &[]);
    write(&left, &frame[..3], &nulls(1));
    write(&left, &frame[3..], &[]);
    assert!(right.receive().unwrap().descriptors.is_empty());
    assert_eq!(right.receive().unwrap().descriptors.len(), 1);
}

#[test]
fn descriptors_that_were_not_agreed_end_the_connection() {
    let frame = *b"IP\x01\0\0\0\x02\0x";
    let options = Options { descriptors_most: 1, ..Options::default() };
    let said = |parts: &[(&[u8], usize)]| {
        let (left, mut right) = pair_of(options);
        for (bytes, files) in parts {
            write(&left, bytes, &nulls(*files));
            if let Err(error) = right.try_receive() {
                return error.to_string();
            }
        }
        right.receive_within(soon()).unwrap_err().to_string()
    };
    assert_eq!(said(&[(&frame, 2)]), "more than 1 descriptors with a message");
    let twice = said(&[(&frame[..0], 0), (&frame[..4], 1), (&frame[4..], 1)]);
    assert_eq!(twice, "descriptors in the middle of a message");
    assert_eq!(
        said(&[(&frame[..4], 0), (&frame[4..], 1)]),
        "descriptors in the middle of a message"
    );
}

#[test]
fn descriptors_are_refused_where_they_would_be_lost() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let mut near = Connection::new(Stream::new(near.into(), None));
    let mut far = Connection::new(Stream::new(far.into(), None));
    let file = File::open("/dev/null").unwrap();
    let error = near.send_within(Channel::DATA, b"x", &[file.as_fd()], soon()).unwrap_err();
    assert_eq!(error.to_string(), "descriptors travel between programs of one host only");
    near.send(Channel::DATA, b"bytes do").unwrap();
    assert_eq!(&far.receive_within(soon()).unwrap().payload[..], b"bytes do");
    // A daemon of this host has the other end, and the peer is behind it.
    let elsewhere = |stream: Stream| stream.with_target("tls:db1.example.com:5432");
    let here = |stream: Stream| stream.with_target("unix:db");
    for (led, is_refused) in [(elsewhere as fn(_) -> _, true), (here, false)] {
        let (near, _far) = Stream::pair().unwrap();
        let mut near = Connection::new(led(near));
        let sent = near.send_within(Channel::DATA, b"x", &[file.as_fd()], soon());
        assert_eq!(matches!(sent, Err(ConnectionError::NoDescriptorsHere)), is_refused);
    }
}

#[test]
fn queued_messages_leave_together_in_their_order() {
    let (mut left, mut right) = pair();
    for number in 0..100_u32 {
        left.queue(Channel::DATA, &number.to_le_bytes()).unwrap();
    }
    assert_eq!(left.outgoing_bytes(), 1200);
    assert!(right.try_receive().unwrap().is_none(), "nothing has left yet");
    assert!(left.flush(soon()).unwrap());
    let first = right.receive().unwrap();
    assert_eq!(&first.payload[..], 0_u32.to_le_bytes());
    for number in 1..100_u32 {
        assert!(right.has_message(), "one call of the kernel brought them all");
        assert_eq!(&right.receive().unwrap().payload[..], number.to_le_bytes());
    }
}

#[test]
fn a_message_leaves_together_with_what_waits_or_not_at_all() {
    let (mut left, mut right) = pair();
    left.queue(Channel::DATA, b"queued").unwrap();
    left.send(Channel::DATA, b"sent").unwrap();
    right.receive_within(soon()).unwrap();
    assert!(right.has_message(), "they came in one call");
    right.receive_within(soon()).unwrap();
    let mut queued = 0;
    while left.outgoing_bytes() < 2 * 1_000 {
        left.queue(Channel::DATA, &[7; 1_000]).unwrap();
        queued += 1;
        left.flush(Patience::Never).unwrap();
    }
    let waits = left.outgoing_bytes();
    let late = left.send_within(Channel::DATA, b"too late", &[], Patience::Never);
    assert!(matches!(late, Err(ConnectionError::TimedOut)));
    assert_eq!(left.outgoing_bytes(), waits);
    let reader = std::thread::spawn(move || {
        let came = std::iter::from_fn(|| right.receive().ok());
        came.map(|message| message.payload.len()).collect::<Vec<_>>()
    });
    left.end_sending().unwrap();
    assert_eq!(reader.join().unwrap(), vec![1_000; queued]);
}

#[test]
fn waiting_for_an_answer_sends_the_question() {
    let (mut left, mut right) = pair();
    let answering = std::thread::spawn(move || {
        let question = right.receive().unwrap();
        right.send(question.channel, b"answer").unwrap();
    });
    left.queue(Channel::COMMAND, b"question").unwrap();
    assert_eq!(&left.receive_within(soon()).unwrap().payload[..], b"answer");
    answering.join().unwrap();
}

#[test]
fn two_that_both_send_before_they_read_do_not_wait_for_each_other() {
    let (mut left, mut right) = pair();
    let talk = |mut one: Connection| {
        move || {
            for _ in 0..8 {
                one.queue(Channel::DATA, &vec![5; 1 << 20]).unwrap();
            }
            for _ in 0..8 {
                assert_eq!(one.receive_within(soon()).unwrap().payload.len(), 1 << 20);
            }
            assert!(one.flush(soon()).unwrap());
            one
        }
    };
    left.queue(Channel::DATA, b"").unwrap();
    right.queue(Channel::DATA, b"").unwrap();
    assert!(left.flush(soon()).unwrap() && right.flush(soon()).unwrap());
    assert!(left.receive().unwrap().payload.is_empty());
    assert!(right.receive().unwrap().payload.is_empty());
    let other = std::thread::spawn(talk(left));
    let _right = talk(right)();
    other.join().unwrap();
}

#[test]
fn a_queue_that_nobody_reads_is_bounded() {
    let options = Options { outgoing_most: 1 << 20, ..Options::default() };
    let (mut left, _right) = pair_of(options);
    let error = loop {
        if let Err(error) = left.queue(Channel::DATA, &[0; 10_000]) {
            break error;
        }
    };
    let said = "the peer does not read: 1048576 bytes wait to be sent already";
    assert_eq!(error.to_string(), said);
    assert!(left.outgoing_bytes() <= 1 << 20);
    let before = left.outgoing_bytes();
    assert!(!left.flush(Patience::Never).unwrap());
    let error = left.send_within(Channel::DATA, b"x", &[], Patience::Never).unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut));
    assert_eq!(left.outgoing_bytes(), before, "what timed out is not sent later");
}

#[test]
fn what_has_begun_to_leave_arrives_whole() {
    let (mut left, mut right) = pair();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    left.send_within(Channel::DATA, &payload, &[], Patience::Never).unwrap();
    assert!(left.outgoing_bytes() > 0);
    let reading = std::thread::spawn(move || {
        let first = right.receive_within(soon()).unwrap().payload;
        (first, right.receive_within(soon()).unwrap().payload)
    });
    left.send(Channel::DATA, b"second").unwrap();
    let (first, second) = reading.join().unwrap();
    assert!(first == payload);
    assert_eq!(&second[..], b"second");
}

#[test]
fn patience_ends_in_time_and_keeps_what_has_come() {
    for options in all_carriers() {
        let (mut left, mut right) = pair_of(options);
        let start = Instant::now();
        let patience = Patience::within(Duration::from_millis(30));
        let error = right.receive_within(patience).unwrap_err();
        assert_eq!(error.to_string(), "timed out");
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(right.try_receive().unwrap().is_none());
        left.send(Channel::default(), b"late").unwrap();
        assert_eq!(&right.receive().unwrap().payload[..], b"late");
    }
    let (left, mut right) = pair();
    write(&left, b"IP\x02\0\0\0\x02\0h", &[]);
    assert!(right.try_receive().unwrap().is_none());
    assert!(!right.has_message());
    write(&left, b"i", &[]);
    assert_eq!(&right.receive().unwrap().payload[..], b"hi");
}

#[test]
fn an_end_within_a_message_is_told_apart() {
    for (bytes, said) in [
        (
            &b"IP\x02\0\0\0\x02\0h"[..],
            "the peer has ended the connection in the middle of a message",
        ),
        (b"IP", "the peer has ended the connection in the middle of a message"),
        (b"GET / HTTP/1.0\r\n\r\n", "what came is no message: it does not begin with \"IP\""),
        (b"IP\x01\0\0\x01\x02\0", "a message of 16777217 bytes, the most is 16777216"),
    ] {
        let (left, mut right) = pair();
        write(&left, bytes, &[]);
        drop(left);
        assert_eq!(right.receive().unwrap_err().to_string(), said);
    }
}

#[test]
fn limits_hold_at_the_limit_both_ways() {
    for carrier in all_carriers().map(|options| options.carrier) {
        let options = Options { payload_most: 100, ..Options::of(carrier) };
        let (mut left, mut right) = pair_of(options);
        left.send(Channel::default(), &[1; 100]).unwrap();
        assert_eq!(right.receive().unwrap().payload.len(), 100);
        let error = left.send(Channel::default(), &[1; 101]).unwrap_err();
        assert_eq!(error.to_string(), "a message of 101 bytes, the most is 100");
        left.sender.options.payload_most = 101;
        left.send(Channel::default(), &[1; 101]).unwrap();
        let error = right.receive().unwrap_err();
        assert!(matches!(
            error,
            ConnectionError::Frame(FrameError::TooLong { length: 101, most: 100 })
        ));
    }
}

#[test]
fn a_packet_that_the_kernel_does_not_take_says_what_would_do() {
    let (mut left, _right) = pair_of(Options::of(Carrier::Packets));
    let error = left.send(Channel::default(), &vec![0; 8 << 20]).unwrap_err();
    let said = "the kernel takes no packet of 8388608 bytes: use a stream for that";
    assert_eq!(error.to_string(), said);
    left.send(Channel::default(), b"still good").unwrap();
    let error = left.send(Channel::DATA, b"x").unwrap_err();
    let said = "these messages have no channels, so none goes on channel 2 (DATA)";
    assert_eq!(error.to_string(), said);
}

#[test]
fn a_nonblocking_socket_makes_no_difference() {
    for options in all_carriers() {
        let (mut left, mut right) = pair_of(options);
        sys::socket::set_blocking(left.as_fd(), false).unwrap();
        sys::socket::set_blocking(right.as_fd(), false).unwrap();
        let reading = std::thread::spawn(move || {
            (0..50).map(|_| right.receive().unwrap().payload.len()).sum::<usize>()
        });
        for _ in 0..50 {
            left.send(Channel::default(), &vec![3; 50_000]).unwrap();
        }
        assert_eq!(reading.join().unwrap(), 50 * 50_000);
    }
}

#[test]
fn a_peer_that_has_gone_is_an_error_and_no_signal() {
    let (mut left, right) = pair();
    drop(right);
    let error = left.send(Channel::DATA, b"x").unwrap_err();
    assert!(matches!(error, ConnectionError::Ended));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn one_thread_sends_while_another_receives() {
    let (left, mut right) = pair();
    let (mut receiver, mut sender) = left.split();
    let echo = std::thread::spawn(move || {
        while let Ok(message) = right.receive() {
            right.send(message.channel, &message.payload).unwrap();
        }
    });
    let sending = std::thread::spawn(move || {
        for number in 0..1_000_u32 {
            sender.send(Channel(300), &number.to_le_bytes()).unwrap();
        }
        sender
    });
    for number in 0..1_000_u32 {
        let message = receiver.receive(soon()).unwrap();
        assert_eq!(&message.payload[..], number.to_le_bytes());
    }
    drop((sending.join().unwrap(), receiver));
    echo.join().unwrap();
}

#[test]
fn eight_threads_share_a_sender_behind_a_mutex() {
    let (left, mut right) = pair();
    let (_receiver, sender) = left.split();
    let sender = Arc::new(std::sync::Mutex::new(sender));
    let threads: Vec<_> = (0..8_u8)
        .map(|number| {
            let sender = Arc::clone(&sender);
            std::thread::spawn(move || {
                for length in 0..200 {
                    let payload = vec![number; length * 17];
                    sender.lock().unwrap().send(Channel(number.into()), &payload).unwrap();
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    for _ in 0..8 * 200 {
        let message = right.receive_within(soon()).unwrap();
        let number = usize::from(message.channel.0);
        assert_eq!(message.payload.len(), next[number] * 17, "in the order they were sent");
        assert!(message.payload.iter().all(|byte| usize::from(*byte) == number));
        next[number] += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn the_end_is_behind_the_last_message() {
    let (mut left, mut right) = pair();
    left.queue(Channel::DATA, b"last").unwrap();
    left.end_sending().unwrap();
    assert_eq!(&right.receive().unwrap().payload[..], b"last");
    assert!(matches!(right.receive(), Err(ConnectionError::Ended)));
    right.send(Channel::DATA, b"answer").unwrap();
    assert_eq!(&left.receive().unwrap().payload[..], b"answer");
}

#[test]
fn a_message_within_which_the_connection_breaks_is_not_told_and_one_that_was_queued_is() {
    let (mut left, mut right) = pair();
    let (told, record) = std::sync::mpsc::channel();
    left.observe(Arc::new(move |passed: &Passed| told.send(passed.bytes).unwrap()));
    let leaving = std::thread::spawn(move || right.discard(soon()).unwrap());
    // More than any socket takes: it has begun to leave when the peer goes.
    assert!(left.send(Channel::DATA, &vec![0; 4 << 20]).is_err());
    assert!(leaving.join().unwrap());
    assert_eq!(record.try_recv().ok(), None);
    left.queue(Channel::DATA, b"12345").unwrap();
    assert!(left.flush(soon()).is_err());
    assert_eq!(record.try_iter().collect::<Vec<_>>(), [5]);
}
