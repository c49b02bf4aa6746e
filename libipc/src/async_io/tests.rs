use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::accept_rules::AcceptRules;
use crate::channel::Channel;
use crate::connection::{Connection, ConnectionError, Message, Options};
use crate::secret::Secret;
use crate::session::{ClientOptions, Limits, Received, ServerOptions, Session, SessionError};

/// Runs a test to its end on one thread, at most 20 seconds.
pub(super) fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    runtime.block_on(test).unwrap()
}

fn pair() -> (AsyncConnection, AsyncConnection) {
    let (left, right) = Stream::pair().unwrap();
    let connection = |stream| AsyncConnection::new(Connection::new(stream)).unwrap();
    (connection(left), connection(right))
}

/// Polls a future once, and drops it.
pub(super) async fn begin<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

pub(super) async fn sessions(
    client: ClientOptions,
    server: ServerOptions,
) -> (AsyncSession, AsyncSession) {
    let (near, far) = Stream::pair().unwrap();
    let (client, server) = tokio::join!(
        AsyncSession::connect(near, &client),
        AsyncSession::accept(far, &server, "peer-1")
    );
    (client.unwrap(), server.unwrap())
}

async fn default_sessions() -> (AsyncSession, AsyncSession) {
    sessions(ClientOptions::default(), ServerOptions::default()).await
}

async fn talk(connection: &mut AsyncConnection) {
    for length in [0, 1, 64, 100_000, 3_000_000, 0] {
        connection.queue(Channel::DATA, &vec![7; length]).unwrap();
    }
    for length in [0, 1, 64, 100_000, 3_000_000, 0] {
        assert_eq!(connection.receive().await.unwrap().payload.len(), length);
    }
    connection.flush().await.unwrap();
}

#[test]
fn two_that_both_send_before_they_read_do_not_wait_for_each_other() {
    run(async {
        let (mut left, mut right) = pair();
        tokio::join!(talk(&mut left), talk(&mut right));
    });
}

#[test]
fn one_task_sends_while_another_receives() {
    run(async {
        let (left, mut right) = pair();
        let (mut receiver, mut sender) = left.split();
        let echo = tokio::spawn(async move {
            while let Ok(Message { channel, payload, .. }) = right.receive().await {
                right.send(channel, &payload).await.unwrap();
            }
        });
        let sending = tokio::spawn(async move {
            for number in 0..500_u32 {
                sender.send(Channel(300), &number.to_le_bytes(), &[]).await.unwrap();
            }
            sender
        });
        for number in 0..500_u32 {
            assert_eq!(receiver.receive().await.unwrap().payload, number.to_le_bytes()[..]);
        }
        drop((sending.await.unwrap(), receiver));
        echo.await.unwrap();
    });
}

#[test]
fn what_is_dropped_half_way_is_neither_lost_nor_doubled() {
    run(async {
        let (mut left, mut right) = pair();
        let sending = tokio::spawn(async move {
            let mut sent = Vec::new();
            for number in 0..200_u32 {
                let payload = number.to_le_bytes().repeat(usize::try_from(number).unwrap() * 900);
                if number % 3 == 0 {
                    // It may have begun to leave, or not.
                    begin(left.send(Channel::DATA, &payload)).await;
                } else {
                    left.send(Channel::DATA, &payload).await.unwrap();
                    sent.push(number);
                }
            }
            left.flush().await.unwrap();
            sent
        });
        let mut came = Vec::new();
        loop {
            let message = match begin(right.receive()).await {
                Some(message) => message,
                None => right.receive().await,
            };
            let Ok(Message { payload, .. }) = message else { break };
            let number = payload.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let whole = number.to_le_bytes().repeat(usize::try_from(number).unwrap() * 900);
            assert!(payload == whole, "message {number} is whole");
            assert!(came.last().is_none_or(|last| *last < number), "in order, and once");
            came.push(number);
        }
        for number in sending.await.unwrap() {
            assert!(came.contains(&number), "message {number}");
        }
    });
}

#[test]
fn descriptors_pass() {
    run(async {
        let (mut left, mut right) = pair();
        let file = File::open("/dev/null").unwrap();
        left.send_with(Channel::DATA, b"x", &[file.as_fd()]).await.unwrap();
        assert_eq!(right.receive().await.unwrap().descriptors.len(), 1);
        drop(left);
        assert!(matches!(right.receive().await, Err(ConnectionError::Ended)));
    });
}

#[test]
fn clients_are_accepted_and_refused_ones_do_not_end_it() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let address = Address::Path(place.path().join("s"));
        let listener = AsyncListener::new(address.listen().unwrap()).unwrap();
        assert!(begin(listener.accept()).await.is_none(), "nobody is there, and nobody is lost");
        let soon = Duration::from_secs(5);
        let first = std::sync::atomic::AtomicBool::new(true);
        let rules = AcceptRules::default().validate(move |_| {
            if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                return Err(crate::accept_rules::Refusal::User);
            }
            Ok(())
        });
        let refused = Connection::new(connect(&address, soon).await.unwrap());
        let mut refused = AsyncConnection::new(refused).unwrap();
        let _welcome = connect(&address, soon).await.unwrap();
        let server = listener.accept_by(&rules, Options::default()).await.unwrap();
        assert!(server.peer().is_some());
        let told = refused.receive().await.unwrap().refusal().unwrap();
        assert_eq!(told, "your user is not let in");
    });
}

#[test]
fn sessions_talk_ask_and_part() {
    run(async {
        let (mut client, mut server) = default_sessions().await;
        let serving = tokio::spawn(async move {
            loop {
                match server.receive().await {
                    Ok(Received { request: Some(request), payload, .. }) => {
                        server.answer(request, &payload).await.unwrap();
                    }
                    Ok(Received { channel, payload, .. }) => {
                        server.send(channel, &payload).await.unwrap();
                    }
                    Err(error) => return error.to_string(),
                }
            }
        });
        assert_eq!(client.negotiated().unwrap().peer_id, "peer-1");
        client.send(Channel::DATA, b"data").await.unwrap();
        assert_eq!(client.request(b"question").await.unwrap(), "question");
        client.ping().await.unwrap();
        assert_eq!(client.receive_on(Channel::DATA).await.unwrap().payload, "data");
        let big = vec![1; 2_000_000];
        assert!(client.request(&big).await.unwrap() == big);
        client.shut_down(Some("done")).await.unwrap();
        assert_eq!(serving.await.unwrap(), "the peer has ended the session: done");
    });
}

#[test]
fn a_session_that_has_no_room_to_send_goes_on_when_its_peer_reads() {
    run(async {
        // Small messages leave whole, so that nothing is queued when there is no more room.
        let (mut client, mut server) = default_sessions().await;
        let sending = tokio::spawn(async move {
            for number in 0..20_000_u32 {
                client.send(Channel::DATA, &number.to_le_bytes()).await.unwrap();
            }
            client
        });
        // The kernel takes some hundreds; each turn of the sender is more than one message.
        for _ in 0..5_000 {
            tokio::task::yield_now().await;
        }
        for number in 0..20_000_u32 {
            assert_eq!(server.receive().await.unwrap().payload, number.to_le_bytes()[..]);
        }
        drop(sending.await.unwrap());
    });
}

#[test]
fn a_request_whose_future_is_dropped_is_forgotten() {
    run(async {
        let numbered = ClientOptions { request_ids: true, ..ClientOptions::default() };
        for (options, again) in [(ClientOptions::default(), false), (numbered, true)] {
            let (mut client, mut server) = sessions(options, ServerOptions::default()).await;
            assert!(begin(client.request(b"slow")).await.is_none());
            let slow = server.receive().await.unwrap();
            if !again {
                let error = client.request(b"next").await.unwrap_err();
                assert!(matches!(error, SessionError::OneAtATime));
            }
            server.answer(slow.request.unwrap(), b"late").await.unwrap();
            server.send(Channel::DATA, b"behind it").await.unwrap();
            assert_eq!(client.receive().await.unwrap().payload, "behind it");
            let (answer, ()) = tokio::join!(client.request(b"next"), async {
                let next = server.receive().await.unwrap();
                server.answer(next.request.unwrap(), b"right").await.unwrap();
            });
            assert_eq!(answer.unwrap(), "right");
        }
    });
}

#[test]
fn a_refused_client_is_told_and_a_silent_one_given_up() {
    run(async {
        let (near, far) = Stream::pair().unwrap();
        let guarded = ServerOptions::default().with_token(Secret::new("x".to_owned()));
        let options = ClientOptions::default();
        let (client, server) = tokio::join!(
            AsyncSession::connect(near, &options),
            AsyncSession::accept(far, &guarded, "p")
        );
        assert_eq!(client.unwrap_err().to_string(), "refused: a token is required");
        assert!(matches!(server.unwrap_err(), SessionError::Refused { .. }));

        let (near, far) = Stream::pair().unwrap();
        let mut near = AsyncConnection::new(Connection::new(near)).unwrap();
        let hello = vec![b' '; 1 << 20];
        let open = ServerOptions::default();
        let (told, server) = tokio::join!(
            async {
                near.send(Channel::CONTROL, &hello).await.unwrap();
                let told = near.receive().await.unwrap().refusal().unwrap();
                drop(near);
                told
            },
            AsyncSession::accept(far, &open, "p")
        );
        assert_eq!(told, "a message of 1048576 bytes, the most is 16384");
        assert_eq!(server.unwrap_err().to_string(), told);

        let (_near, far) = Stream::pair().unwrap();
        let hasty =
            ServerOptions { timeout: Duration::from_millis(20), ..ServerOptions::default() };
        assert!(AsyncSession::accept(far, &hasty, "p").await.unwrap_err().is_timeout());
        let (near, _far) = Stream::pair().unwrap();
        let hasty =
            ClientOptions { timeout: Duration::from_millis(20), ..ClientOptions::default() };
        assert!(AsyncSession::connect(near, &hasty).await.unwrap_err().is_timeout());
    });
}

#[test]
fn a_peer_that_hangs_is_pinged_and_given_up() {
    run(async {
        let limits = Limits { keepalive: Some(Duration::from_millis(20)), ..Limits::default() };
        let options = ClientOptions { limits, ..ClientOptions::default() };
        let (mut client, server) = sessions(options, ServerOptions::default()).await;
        let error = client.receive().await.unwrap_err();
        assert!(matches!(error, SessionError::Silent { .. }), "{error}");
        drop(server);
    });
}

#[test]
fn both_kinds_of_sessions_understand_each_other() {
    run(async {
        let (near, far) = Stream::pair().unwrap();
        let serving = std::thread::spawn(move || {
            let mut session = Session::accept(far, &ServerOptions::default(), "p").unwrap();
            let request = session.receive().unwrap();
            session.answer(request.request.unwrap(), &request.payload).unwrap();
        });
        let mut client = AsyncSession::connect(near, &ClientOptions::default()).await.unwrap();
        assert_eq!(client.request(b"hello").await.unwrap(), "hello");
        serving.join().unwrap();
    });
}

#[test]
fn two_hundred_sessions_share_one_thread() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let address = Address::Path(place.path().join("s"));
        let listener = Arc::new(AsyncListener::new(address.listen().unwrap()).unwrap());
        let accepting = Arc::clone(&listener);
        tokio::spawn(async move {
            loop {
                let stream = accepting.accept().await.unwrap();
                tokio::spawn(async move {
                    let options = ServerOptions::default();
                    let mut session = AsyncSession::accept(stream, &options, "p").await?;
                    loop {
                        let Received { channel, payload, .. } = session.receive().await?;
                        session.send(channel, &payload).await?;
                    }
                    #[expect(unreachable_code, reason = "names the type of the error")]
                    Ok::<(), SessionError>(())
                });
            }
        });
        let mut clients = Vec::new();
        for _ in 0..200 {
            let stream = connect(&address, Duration::from_secs(5)).await.unwrap();
            clients.push(AsyncSession::connect(stream, &ClientOptions::default()).await.unwrap());
        }
        for client in &mut clients {
            client.send(Channel::DATA, b"hello").await.unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.receive().await.unwrap().payload, "hello");
        }
    });
}
