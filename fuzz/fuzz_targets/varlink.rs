//! Messages of the broker's protocol, in whatever pieces they come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libipc::varlink::{Decoder, read_call, read_reply};

/// Bytes of a message, for these runs.
const MOST: usize = 256;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut decoder = Decoder::new(MOST);
    let mut messages = Vec::new();
    let mut whole = true;
    'all: for piece in bytes.chunks(usize::from(piece).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.take() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => {
                    whole = false;
                    break 'all;
                }
            }
        }
    }
    // What came in pieces is what stands between the NULs.
    let mut expected = bytes.split(|byte| *byte == 0);
    for message in &messages {
        assert_eq!(Some(message.as_slice()), expected.next());
        assert!(message.len() <= MOST);
        if let Ok(call) = read_call(message) {
            assert!(!call.method.is_empty() || message.len() > 2);
        }
        let _is_reply = read_reply(message).is_ok();
    }
    if whole {
        assert_eq!(messages.len(), bytes.iter().filter(|byte| **byte == 0).count());
    }
});
