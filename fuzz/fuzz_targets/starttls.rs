//! What a server says before TLS: in pieces it means what it means at once, and nothing that comes
//! behind its consent is taken for TLS if it came with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::codec::Outgoing;

#[expect(dead_code, reason = "the daemon uses all of it")]
#[path = "../../tlsd/src"]
mod tlsd {
    pub(crate) mod der;
    pub(crate) mod failure;
    pub(crate) mod starttls;
}

use tlsd::starttls::{Dialogue, Progress, hint};
use tlsd::{der, failure};

const LANGUAGES: [&str; 4] = ["postgres", "smtp", "imap", "ldap"];

/// Bytes that a server may say.
const BYTES_MOST: usize = 8 * 1024;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (language, piece, bytes) = input;
    let language = LANGUAGES[usize::from(language) % LANGUAGES.len()];
    let _hinted = hint(bytes);
    let begin = || Dialogue::new(language, "host.example.com").expect("a known language");
    let mut said_at_once = Outgoing::default();
    let at_once = begin().advance(bytes, &mut said_at_once);
    let (mut dialogue, mut said) = (begin(), Outgoing::default());
    let (mut kept, mut used) = (Vec::new(), 0);
    let first = dialogue.advance(&[], &mut said).expect("nothing has come");
    assert_eq!(first, Progress { used: 0, is_over: false });
    for piece in bytes.chunks(usize::from(piece).max(1)) {
        kept.extend_from_slice(piece);
        match dialogue.advance(&kept, &mut said) {
            Ok(progress) => {
                assert!(progress.used <= kept.len());
                used += progress.used;
                kept.drain(..progress.used);
                if progress.is_over {
                    assert!(kept.is_empty(), "somebody else's words");
                    let later = bytes.len() - used;
                    assert_eq!(at_once.is_ok(), later == 0);
                    return;
                }
                assert!(used + kept.len() <= BYTES_MOST + usize::from(u8::MAX));
            }
            Err(_) => return assert!(at_once.is_err()),
        }
    }
    assert_eq!(at_once, Ok(Progress { used, is_over: false }));
    assert_eq!(said.bytes(), said_at_once.bytes());
    let _welcome = (dialogue.welcome(), failure::over());
});
