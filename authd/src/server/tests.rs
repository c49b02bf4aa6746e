use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use libipc::secret::Secret;

use super::*;
use crate::passwords::Passwords;
use crate::verifier::Users;

/// More than any of this takes.
const LONG: Duration = Duration::from_secs(60);

fn office() -> Arc<Office> {
    let verifier = Verifier::new(Users::new(Passwords::default()).unwrap(), 1);
    let reports = Reports::new(Instant::now());
    Arc::new(Office { verifier, reports, crowd: Crowd::default() })
}

fn pair() -> (UnixStream, UnixStream) {
    let (client, own) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    (client, own)
}

/// A call of so many bytes, and its end.
fn call(bytes: usize) -> Vec<u8> {
    let mut call = format!("{{\"method\":\"{GET_INFO}\"}}").into_bytes();
    call.resize(bytes, b' ');
    call.push(0);
    call
}

#[test]
fn a_call_of_the_most_bytes_is_answered_and_one_more_ends_the_connection() {
    let office = office();
    let answered = |bytes: usize| {
        let (mut client, own) = pair();
        client.write_all(&call(bytes)).unwrap();
        start(&office, Stream::new(own.into(), None)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // What is closed with something unread in it is reset.
        let _reset = client.read_to_string(&mut answer).is_err();
        answer
    };
    assert!(answered(32 * 1024).contains("org.ipcd.Authenticator"));
    assert_eq!(answered(32 * 1024 + 1), "");
    assert!(answered(200).contains("org.ipcd.Authenticator"), "others are served as before");
}

#[test]
fn a_call_has_five_seconds_in_all_however_it_comes() {
    assert_eq!(CALL_TIME, Duration::from_secs(5));
    let wire = |own: UnixStream| Wire::new(own.into(), Reading::Eager, Limits::default());
    let began = Instant::now();
    let (mut client, own) = pair();
    let mut own = wire(own);
    client.write_all(&call(200)[..100]).unwrap();
    // A piece has come shortly before the time is over: it gains none.
    assert!(next_call(&mut own, began + Duration::from_millis(100)).unwrap().is_none());
    assert!(began.elapsed() < CALL_TIME, "{:?}", began.elapsed());
    client.write_all(&call(200)[100..]).unwrap();
    assert!(next_call(&mut own, began).unwrap().is_none(), "and what comes later is not heard");
    assert!(next_call(&mut own, Instant::now() + LONG).unwrap().is_some());
    drop(client);
    assert!(next_call(&mut own, Instant::now() + LONG).unwrap().is_none());
}

#[test]
fn a_login_waits_four_seconds_for_its_turn_and_is_then_told_to_come_again() {
    let office = office();
    let text = |text: &str| Secret::new(text.to_owned());
    let login = Verify { user: text("bob"), secret: text("x"), peer: "10.0.0.1".to_owned() };
    let asked = |ago: Duration| {
        let answer = verify(&office, &login, Instant::now().checked_sub(ago).unwrap());
        String::from_utf8_lossy(&answer).into_owned()
    };
    let waited = Duration::from_secs(4);
    assert!(asked(waited).contains("Rejected"), "with a free place nobody waits");
    let place = office.verifier.occupy();
    assert!(asked(waited).contains("org.ipcd.Authenticator.Busy"));
    let almost = waited.checked_sub(Duration::from_millis(50)).unwrap();
    let began = Instant::now();
    assert!(asked(almost).contains("org.ipcd.Authenticator.Busy"));
    assert!(began.elapsed() >= Duration::from_millis(50), "until its time is over");
    drop(place);
    assert!(asked(almost).contains("Rejected"));
}
