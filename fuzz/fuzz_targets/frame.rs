//! Frames of messages, in whatever pieces they come: the same ones as at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libipc::decoder::{Decoder, Framing};

/// Bytes of a payload, for these runs.
const MOST: usize = 256;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (lengths, piece, bytes) = input;
    let framing = if lengths { Framing::LengthFrames } else { Framing::Frames };
    let at_once = frames(framing, bytes.len().max(1), bytes);
    let in_pieces = frames(framing, usize::from(piece).max(1), bytes);
    assert_eq!(in_pieces, at_once);
});

/// The frames, and whether the bytes were frames to their end.
fn frames(framing: Framing, piece: usize, bytes: &[u8]) -> (Vec<(u16, Vec<u8>)>, bool) {
    let mut decoder = Decoder::new(framing, MOST);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        if decoder.feed(piece).is_err() {
            return (frames, false);
        }
        loop {
            match decoder.decode() {
                Ok(Some(frame)) => frames.push((frame.channel.0, frame.payload.to_vec())),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    assert!(frames.iter().all(|(_, payload)| payload.len() <= MOST));
    (frames, true)
}
