use std::fs::File;

use super::*;
use crate::async_io::AsyncSession;
use crate::async_io::tests::{begin, run, sessions};
use crate::session::{ClientOptions, Limits, ServerOptions};

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
