//! The first libipc's request: in pieces it means what it means at once.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(dead_code, reason = "the broker uses all of it")]
#[path = "../../ipcd/src/lookup.rs"]
mod lookup;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let at_once = lookup::Lookup::default().push(bytes);
    let mut collecting = lookup::Lookup::default();
    let mut in_pieces = Ok(None);
    for piece in bytes.chunks(usize::from(piece).max(1)) {
        // Whatever follows a whole request or an error comes too late.
        if !matches!(in_pieces, Ok(None)) {
            return;
        }
        in_pieces = collecting.push(piece);
    }
    assert_eq!(in_pieces, at_once);
});
