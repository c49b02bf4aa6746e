use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::async_io::AsyncSession;
use crate::async_io::tests::{begin, run, sessions};
use crate::frame::HEADER_BYTES;
use crate::session::{ClientOptions, Limits, Received, ServerOptions};
use crate::stream::Stream;

const DATA: Channel = Channel::DATA;
const TELEMETRY: Channel = Channel::TELEMETRY;

/// A session that is shared, as few messages as may wait, and its peer.
async fn shared(waiting_per_channel: usize) -> (SharedSession, AsyncSession) {
    let limits = Limits { waiting_per_channel, descriptors_most: 1, ..Limits::default() };
    let client = ClientOptions { request_ids: true, limits, ..ClientOptions::default() };
    let (client, server) = sessions(client, ServerOptions::default()).await;
    (client.share(), server)
}

/// The numbers of all messages of a subscription, until the session ends.
async fn collect(mut subscription: Subscription) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Ok(message) = subscription.receive().await {
        numbers.push(u32::from_le_bytes(message.payload[..].try_into().unwrap()));
    }
    numbers
}

/// Lets every other task go on until it waits.
async fn all_wait() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn each_channel_has_its_receiver_and_one_hears_all_in_the_order_of_arrival() {
    run(async {
        // Two may wait and hundreds come at once: whoever is about to collect is waited for.
        let (session, mut server) = shared(2).await;
        let data = tokio::spawn(collect(session.channel(DATA).unwrap()));
        let telemetry = tokio::spawn(collect(session.channel(TELEMETRY).unwrap()));
        let all = tokio::spawn(collect(session.everything()));
        let again = tokio::spawn(collect(session.everything()));
        all_wait().await;
        let channel = |number: u32| if number.is_multiple_of(3) { DATA } else { TELEMETRY };
        for number in 0..900_u32 {
            server.session().queue(channel(number), &number.to_le_bytes()).unwrap();
        }
        server.flush().await.unwrap();
        drop(server);
        let of = |wanted: Channel| (0..900).filter(|number| channel(*number) == wanted).collect();
        let (of_data, of_telemetry): (Vec<u32>, Vec<u32>) = (of(DATA), of(TELEMETRY));
        assert_eq!(data.await.unwrap(), of_data);
        assert_eq!(telemetry.await.unwrap(), of_telemetry);
        for all in [all, again] {
            assert_eq!(all.await.unwrap(), (0..900).collect::<Vec<_>>());
        }
    });
}

#[test]
fn tasks_ask_send_and_receive_at_once() {
    run(async {
        let (session, mut server) = shared(256).await;
        let serving = tokio::spawn(async move {
            let (mut asked, mut sent) = (Vec::new(), 0);
            while let Ok(message) = server.receive().await {
                match message.request {
                    Some(request) => asked.push((request, message.payload)),
                    None => sent += message.payload.len(),
                }
                // All are asked before the first is answered, and the last one is answered first.
                if asked.len() == 20 {
                    server.send(TELEMETRY, b"meanwhile").await.unwrap();
                    for (request, payload) in asked.drain(..).rev() {
                        server.answer(request, &payload).await.unwrap();
                    }
                }
            }
            sent
        });
        let mut telemetry = session.channel(TELEMETRY).unwrap();
        let mut tasks = Vec::new();
        for number in 0..20_u8 {
            let session = session.clone();
            tasks.push(tokio::spawn(async move {
                session.send(DATA, &vec![number; 100_000]).await.unwrap();
                assert_eq!(session.request(&[number]).await.unwrap()[..], [number]);
                session.ping().await.unwrap();
            }));
        }
        assert_eq!(telemetry.receive().await.unwrap().payload, "meanwhile");
        for task in tasks {
            task.await.unwrap();
        }
        session.shut_down(Some("done")).await.unwrap();
        drop((session, telemetry));
        assert_eq!(serving.await.unwrap(), 20 * 100_000);
    });
}

#[test]
fn what_a_task_has_read_for_another_wakes_it() {
    run(async {
        let (session, mut server) = shared(256).await;
        let (mut data, mut telemetry) =
            (session.channel(DATA).unwrap(), session.channel(TELEMETRY).unwrap());
        let waiting = tokio::spawn(async move { data.receive().await.unwrap().payload });
        all_wait().await;
        assert!(!waiting.is_finished());
        // Both are there before the other task gets its turn, and are read by this one.
        server.session().queue(DATA, b"for the other").unwrap();
        server.session().queue(TELEMETRY, b"for this one").unwrap();
        server.session().flush(Patience::Never).unwrap();
        assert_eq!(telemetry.receive().await.unwrap().payload, "for this one");
        assert_eq!(waiting.await.unwrap(), "for the other");
    });
}

#[test]
fn what_nobody_collects_ends_the_session_at_its_limit() {
    run(async {
        let (session, mut server) = shared(3).await;
        let (mut left_alone, mut telemetry) =
            (session.channel(DATA).unwrap(), session.channel(TELEMETRY).unwrap());
        for payload in ["1", "2", "3"] {
            server.send(DATA, payload.as_bytes()).await.unwrap();
        }
        server.send(TELEMETRY, b"within the limit").await.unwrap();
        assert_eq!(telemetry.receive().await.unwrap().payload, "within the limit");
        server.send(DATA, b"4").await.unwrap();
        let error = telemetry.receive().await.unwrap_err();
        assert!(matches!(error, SessionError::TooMuchWaiting { channel: DATA }), "{error}");
        for payload in ["1", "2", "3"] {
            assert_eq!(left_alone.receive().await.unwrap().payload, payload);
        }
        let error = left_alone.receive().await.unwrap_err();
        assert!(matches!(error, SessionError::Connection(ConnectionError::Ended)), "{error}");
        assert!(server.receive().await.is_err(), "and the peer finds the end");
    });
}

#[test]
fn what_is_dropped_is_neither_waited_for_nor_in_the_way() {
    run(async {
        let (session, mut server) = shared(2).await;
        let mut telemetry = session.channel(TELEMETRY).unwrap();
        drop(session.channel(DATA).unwrap());
        for _ in 0..10 {
            server.send(DATA, b"for nobody").await.unwrap();
        }
        assert!(begin(telemetry.receive()).await.is_none(), "dropped half-way");
        assert!(begin(session.request(b"slow")).await.is_none());
        let slow = server.receive().await.unwrap();
        server.answer(slow.request.unwrap(), b"late").await.unwrap();
        server.send(TELEMETRY, b"not lost").await.unwrap();
        let (answer, ()) = tokio::join!(session.request(b"next"), async {
            let next = server.receive().await.unwrap();
            server.answer(next.request.unwrap(), b"right").await.unwrap();
        });
        assert_eq!(answer.unwrap(), "right");
        assert_eq!(telemetry.receive().await.unwrap().payload, "not lost");
        let error = session.channel(Channel(300)).unwrap_err();
        assert!(matches!(error, SessionError::Channel { channel: Channel(300) }), "{error}");
    });
}

#[test]
fn every_subscription_has_descriptors_of_its_own() {
    run(async {
        let (session, mut server) = shared(2).await;
        let (mut data, mut all) = (session.channel(DATA).unwrap(), session.everything());
        let file = File::open("/dev/null").unwrap();
        server.send_with(DATA, b"take this", &[file.as_fd()]).await.unwrap();
        let one = data.receive().await.unwrap().descriptors.pop().unwrap();
        let other = all.receive().await.unwrap().descriptors.pop().unwrap();
        drop(one);
        assert!(nix::fcntl::fcntl(&other, nix::fcntl::FcntlArg::F_GETFD).is_ok());
    });
}

#[test]
fn the_last_subscription_of_a_message_has_the_very_descriptors_and_they_are_copied_for_others() {
    run(async {
        let (session, _server) = shared(2).await;
        let (mut telemetry, mut first) =
            (session.channel(TELEMETRY).unwrap(), session.everything());
        let mut last = session.everything();
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let descriptors = vec![file.into()];
        session
            .lock()
            .deliver(Received { channel: DATA, descriptors, ..Received::default() })
            .unwrap();
        let first = first.receive().await.unwrap().descriptors.pop().unwrap();
        let last = last.receive().await.unwrap().descriptors.pop().unwrap();
        assert_ne!(first.as_raw_fd(), number);
        assert_eq!(last.as_raw_fd(), number);
        assert!(begin(telemetry.receive()).await.is_none());
    });
}

/// Sends as much as the socket takes on a channel that nobody has subscribed to, for at most ten
/// seconds, and answers what it is asked with `answered`.
fn flood(stream: Stream) {
    let mut server = Session::accept(stream, &ServerOptions::default(), "peer-1").unwrap();
    let mut socket = UnixStream::from(server.as_fd().try_clone_to_owned().unwrap());
    let messages = crate::frame::header(DATA, 0).unwrap().repeat(8 << 10);
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && socket.write_all(&messages).is_ok() {
        while let Ok(question) = server.receive_within(Patience::Never) {
            if question.payload == "to be answered" {
                server.answer(question.request.unwrap(), b"answered").unwrap();
            }
        }
    }
}

#[test]
fn a_peer_that_never_pauses_holds_neither_the_thread_nor_the_other_tasks() {
    run(async {
        let (near, far) = Stream::pair().unwrap();
        let flooding = std::thread::spawn(move || flood(far));
        let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
        let session = AsyncSession::connect(near, &options).await.unwrap().share();
        let ticking = tokio::spawn(async {
            let mut interval = tokio::time::interval(Duration::from_millis(1));
            for _ in 0..20 {
                interval.tick().await;
            }
        });
        let span = Duration::from_millis(100);
        let unanswered = tokio::time::timeout(span, session.request(b"slow")).await;
        assert!(unanswered.is_err(), "it ends in time: {unanswered:?}");
        assert!(!flooding.is_finished());
        ticking.await.unwrap();
        let (answer, sent) =
            tokio::join!(session.request(b"to be answered"), session.send(DATA, b"meanwhile"));
        assert_eq!(answer.unwrap(), "answered");
        sent.unwrap();
        assert!(!flooding.is_finished());
        drop(session);
        flooding.join().unwrap();
    });
}

#[test]
fn one_turn_of_a_task_is_64_messages_or_64_kib_and_no_more() {
    run(async {
        let small = |count| vec![0; count];
        let long = |bytes| vec![bytes - HEADER_BYTES];
        for (why, lengths, is_enough) in [
            ("one less than 64 messages", small(63), false),
            ("64 messages", small(64), true),
            ("one byte less than 64 KiB", long((64 << 10) - 1), false),
            ("64 KiB", long(64 << 10), true),
        ] {
            let (session, mut server) = shared(256).await;
            let mut telemetry = session.channel(TELEMETRY).unwrap();
            for length in lengths {
                server.session().queue(DATA, &vec![0; length]).unwrap();
            }
            server.session().queue(TELEMETRY, b"behind them").unwrap();
            assert!(server.session().flush(Patience::Never).unwrap());
            assert_eq!(begin(telemetry.receive()).await.is_none(), is_enough, "{why}");
            if is_enough {
                assert_eq!(telemetry.receive().await.unwrap().payload, "behind them");
            }
        }
    });
}

#[test]
fn what_is_about_to_be_collected_and_is_not_ends_the_session_after_two_keepalives() {
    run(async {
        let keepalive = Duration::from_millis(20);
        let limits =
            Limits { waiting_per_channel: 2, keepalive: Some(keepalive), ..Limits::default() };
        let client = ClientOptions { limits, ..ClientOptions::default() };
        let (client, mut server) = sessions(client, ServerOptions::default()).await;
        let session = client.share();
        let mut data = session.channel(DATA).unwrap();
        let mut receiving = Box::pin(data.receive());
        assert!(begin(&mut receiving).await.is_none());
        for payload in ["1", "2", "3"] {
            server.session().queue(DATA, payload.as_bytes()).unwrap();
        }
        assert!(server.session().flush(Patience::Never).unwrap());
        let start = Instant::now();
        let error = session.request(b"for itself").await.unwrap_err();
        assert!(matches!(error, SessionError::TooMuchWaiting { channel: DATA }), "{error}");
        assert!(start.elapsed() >= 2 * keepalive);
        while let Ok(message) = server.receive().await {
            assert_eq!(message.payload, "for itself", "and then the peer finds the end");
        }
        assert_eq!(receiving.await.unwrap().payload, "1", "what had come is there");
    });
}

#[test]
fn whoever_collects_has_as_long_for_the_next_message_again() {
    run(async {
        let (session, mut server) = shared(2).await;
        let mut data = session.channel(DATA).unwrap();
        let mut receiving = Box::pin(data.receive());
        assert!(begin(&mut receiving).await.is_none());
        for payload in ["1", "2"] {
            server.session().queue(DATA, payload.as_bytes()).unwrap();
        }
        assert!(server.session().flush(Patience::Never).unwrap());
        assert!(begin(session.ping()).await.is_none());
        assert!(session.lock().stands_since.is_some());
        assert_eq!(receiving.await.unwrap().payload, "1");
        assert_eq!(session.lock().stands_since, None);

        let mut receiving = Box::pin(data.receive());
        assert_eq!(begin(&mut receiving).await.unwrap().unwrap().payload, "2");
        drop(receiving);
        let mut receiving = Box::pin(data.receive());
        assert!(begin(&mut receiving).await.is_none());
        for payload in ["3", "4"] {
            server.session().queue(DATA, payload.as_bytes()).unwrap();
        }
        assert!(server.session().flush(Patience::Never).unwrap());
        assert!(begin(session.ping()).await.is_none());
        assert!(session.lock().stands_since.is_some());
        drop(receiving);
        assert_eq!(session.lock().stands_since, None, "nobody is about to");
    });
}
