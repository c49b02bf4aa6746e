//! What a peer on another host says first: nothing behind it is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libipc::interface::transport::Hello;
use relay::hello::{HELLO_BYTES_MOST, HOPS_MOST, Reader, ask, read_answer, read_asked};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut reader = Reader::default();
    let mut left = bytes;
    while !left.is_empty() {
        let seen = left.get(..usize::from(piece).max(1)).unwrap_or(left);
        let wanted = reader.wants(seen).0;
        assert!((1..=seen.len()).contains(&wanted));
        let (taken, behind) = left.split_at(wanted);
        left = behind;
        match reader.push(taken) {
            Ok(None) => {}
            Err(_) => return,
            Ok(Some(message)) => {
                let end = bytes.len() - left.len();
                assert!(message.len() <= HELLO_BYTES_MOST);
                assert_eq!(bytes.get(..end - 1), Some(message.as_slice()));
                assert_eq!(bytes.get(end - 1), Some(&0));
                return judge(&message);
            }
        }
    }
});

fn judge(message: &[u8]) {
    let _is_answer = read_answer(message).is_ok();
    let Ok(asked) = read_asked(message) else { return };
    assert!(asked.hops <= HOPS_MOST);
    let (service, hops) = (asked.service.to_string(), asked.hops);
    let key = asked.key.clone();
    let login = asked.login.clone();
    let (user, secret) = login.map(|login| (login.user, login.secret)).unzip();
    let again = ask(&Hello { service, hops, user, secret }, key);
    let again = again.strip_suffix(&[0]).expect("a message ends with a NUL");
    assert_eq!(read_asked(again), Ok(asked));
}
