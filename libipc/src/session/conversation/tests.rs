use bytes::Bytes;

use super::*;

fn conversation(limits: Limits) -> (Conversation, Instant) {
    let now = Instant::now();
    let channels = vec![Channel::COMMAND, Channel::DATA];
    let negotiated = Negotiated { channels, ..Negotiated::default() };
    (Conversation::new(negotiated, limits, now), now)
}

fn control(text: &'static str) -> Message {
    Message { channel: Channel::CONTROL, payload: text.into(), ..Message::default() }
}

fn data(channel: Channel, text: &'static str) -> Message {
    Message { channel, payload: Bytes::from_static(text.as_bytes()), ..Message::default() }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn each_ping_is_answered_by_one_pong() {
    let (mut one, now) = conversation(Limits::default());
    for _ in 0..3 {
        one.handle(control(r#"{"type":"ping"}"#), now).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(one.poll_outgoing(), Some(Control::Pong));
    }
    assert_eq!(one.poll_outgoing(), None);
}

#[test]
fn a_pong_belongs_to_the_oldest_ping() {
    let (mut one, now) = conversation(Limits::default());
    let (first, second) = (one.ping(now), one.ping(now + SECOND));
    one.handle(control(r#"{"type":"pong"}"#), now + 3 * SECOND).unwrap();
    assert_eq!((one.pong(first), one.pong(second)), (Some(3 * SECOND), None));
    one.handle(control(r#"{"type":"pong"}"#), now + 3 * SECOND).unwrap();
    assert_eq!(one.pong(second), Some(2 * SECOND));
    one.handle(control(r#"{"type":"pong"}"#), now).unwrap();
}

#[test]
fn a_channel_that_was_not_agreed_is_the_end() {
    let (mut one, now) = conversation(Limits::default());
    one.handle(data(Channel::DATA, "x"), now).unwrap();
    let said = one.handle(data(Channel(300), "x"), now).unwrap_err().to_string();
    assert_eq!(said, "channel 300 (USER) was not agreed");
}

#[test]
fn the_limit_of_controls_is_per_second() {
    let (mut one, now) = conversation(Limits::default());
    for _ in 0..256 {
        one.handle(control(r#"{"type":"pong"}"#), now).unwrap();
    }
    let said = one.handle(control(r#"{"type":"pong"}"#), now).unwrap_err().to_string();
    assert_eq!(said, "more than 256 messages on channel 0 within a second");
    let (mut one, now) = conversation(Limits::default());
    for second in 0..100 {
        for _ in 0..256 {
            one.handle(control(r#"{"type":"pong"}"#), now + second * SECOND).unwrap();
        }
    }
}

#[test]
fn what_nobody_knows_is_the_end_unless_it_is_ignored() {
    for unknown in [r#"{"type":"hop"}"#, r#"{"type":"shutdown_ack"}"#] {
        let (mut one, now) = conversation(Limits::default());
        let said = one.handle(control(unknown), now).unwrap_err().to_string();
        assert_eq!(said, "what came on channel 0 cannot be understood");
        let limits = Limits { ignore_unknown_controls: true, ..Limits::default() };
        let (mut one, now) = conversation(limits);
        one.handle(control(unknown), now).unwrap();
        assert_eq!(one.acknowledged(), None);
        assert!(one.handle(control("no json"), now).is_err());
    }
}

#[test]
fn what_came_before_the_farewell_is_still_read() {
    let (mut one, now) = conversation(Limits::default());
    one.handle(data(Channel::DATA, "before"), now).unwrap();
    let farewell = control(r#"{"type":"shutdown_request","payload":{"reason":"done"}}"#);
    one.handle(farewell, now).unwrap();
    assert_eq!(one.poll_outgoing(), Some(Control::ShutdownAck));
    assert_eq!(one.take(None).unwrap().payload, "before");
    let said = one.ended().unwrap_err().to_string();
    assert_eq!(said, "the peer has ended the session: done");
    assert!(!one.is_alive(now));
}

#[test]
fn a_forced_end_says_whether_it_was_allowed() {
    for (allowed, said) in [
        (true, "the peer has ended the session at once"),
        (false, "the peer has ended the session at once, which is not allowed"),
    ] {
        let (mut one, now) =
            conversation(Limits { allow_forced_end: allowed, ..Limits::default() });
        one.handle(control(r#"{"type":"shutdown_force"}"#), now).unwrap();
        assert_eq!(one.ended().unwrap_err().to_string(), said);
    }
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let limits = Limits { keepalive: Some(10 * SECOND), ..Limits::default() };
    let (mut one, now) = conversation(limits);
    assert_eq!(one.timeout(), Some(now + 10 * SECOND));
    one.handle_timeout(now + 9 * SECOND).unwrap();
    assert_eq!(one.poll_outgoing(), None);
    one.handle_timeout(now + 10 * SECOND).unwrap();
    assert_eq!(one.poll_outgoing(), Some(Control::Ping));
    assert_eq!(one.timeout(), Some(now + 20 * SECOND));
    assert!(one.is_alive(now + 19 * SECOND));
    let said = one.handle_timeout(now + 20 * SECOND).unwrap_err().to_string();
    assert_eq!(said, "nothing was heard of the peer for 20s");
    assert!(!one.is_alive(now + 20 * SECOND));
}

#[test]
fn anything_that_is_heard_keeps_a_session_alive() {
    let limits = Limits { keepalive: Some(10 * SECOND), ..Limits::default() };
    let (mut one, now) = conversation(limits);
    one.handle_timeout(now + 10 * SECOND).unwrap();
    one.handle(data(Channel::DATA, "x"), now + 19 * SECOND).unwrap();
    one.handle_timeout(now + 28 * SECOND).unwrap();
    assert_eq!(one.heard(), now + 19 * SECOND);
    assert!(one.handle_timeout(now + 29 * SECOND).is_err(), "the pong never came");
}

#[test]
fn a_program_that_was_busy_asks_before_it_gives_up() {
    let limits = Limits { keepalive: Some(SECOND), ..Limits::default() };
    let (mut one, now) = conversation(limits);
    one.handle_timeout(now + 3600 * SECOND).unwrap();
    assert_eq!(one.poll_outgoing(), Some(Control::Ping));
    assert!(one.is_alive(now + 3600 * SECOND));
}

#[test]
fn sixteen_pings_wait_for_an_answer_and_no_more_are_sent() {
    let (mut one, now) = conversation(Limits::default());
    let sent = |one: &mut Conversation| {
        std::iter::from_fn(|| one.poll_outgoing()).filter(|one| *one == Control::Ping).count()
    };
    let numbers: Vec<_> = (0..16).map(|_| one.ping(now)).collect();
    assert_eq!(sent(&mut one), 16);
    let more = one.ping(now);
    assert_eq!((sent(&mut one), more), (0, numbers[15]), "the last one's answer will do");
    one.handle(control(r#"{"type":"pong"}"#), now + SECOND).unwrap();
    one.ping(now + SECOND);
    assert_eq!(sent(&mut one), 1, "there is room for one again");
    for _ in 0..15 {
        one.handle(control(r#"{"type":"pong"}"#), now + 2 * SECOND).unwrap();
    }
    assert_eq!(one.pong(more), Some(2 * SECOND));
}
