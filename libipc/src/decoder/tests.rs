use proptest::prelude::*;

use super::*;

fn bytes_of(framing: Framing, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let header = framing.header(frame.channel, frame.payload.len()).unwrap();
        bytes.extend_from_slice(header.bytes());
        bytes.extend_from_slice(&frame.payload);
    }
    bytes
}

fn all(decoder: &mut Decoder) -> Vec<Frame> {
    std::iter::from_fn(|| decoder.decode().unwrap()).collect()
}

proptest! {
    #[test]
    fn messages_survive_any_split(
        lengths in prop::collection::vec((any::<u16>(), 0_usize..6000), 1..20),
        splits in prop::collection::vec(1_usize..5000, 1..40),
        framed in any::<bool>(),
    ) {
        let framing = if framed { Framing::Frames } else { Framing::LengthFrames };
        let sent: Vec<Frame> = lengths.iter().map(|(channel, length)| Frame {
            channel: Channel(if framed { *channel } else { 0 }),
            payload: Bytes::from(vec![u8::try_from(*length % 251).unwrap(); *length]),
        }).collect();
        let bytes = bytes_of(framing, &sent);
        let mut decoder = Decoder::new(framing, 6000);
        let (mut rest, mut came, mut sizes) = (bytes.as_slice(), Vec::new(), splits.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            decoder.feed(now).unwrap();
            came.extend(all(&mut decoder));
            rest = later;
        }
        prop_assert_eq!(came, sent);
        prop_assert!(decoder.is_between());
        prop_assert_eq!(decoder.position(), bytes.len() as u64);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for framing in [Framing::Frames, Framing::LengthFrames] {
            let mut decoder = Decoder::new(framing, 64);
            if decoder.feed(&bytes).is_ok() {
                while let Ok(Some(frame)) = decoder.decode() {
                    prop_assert!(frame.payload.len() <= 64);
                }
            }
        }
    }
}

#[test]
fn the_limit_is_told_before_there_is_room_for_the_payload() {
    let mut decoder = Decoder::new(Framing::Frames, 100);
    decoder.feed(&frame::header(Channel::DATA, 101).unwrap()).unwrap();
    let expected = FrameError::TooLong { length: 101, most: 100 };
    assert_eq!(decoder.decode(), Err(expected));
    assert_eq!(decoder.decode(), Err(expected), "and stays so");
    assert_eq!(decoder.room().unwrap_err(), expected);
}

#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
    decoder.feed(&frame::header(Channel::DATA, frame::PAYLOAD_MOST).unwrap()).unwrap();
    decoder.feed(&[7]).unwrap();
    assert_eq!(decoder.buffer.capacity(), ROOM_FIRST);
    let mut largest = 0;
    for sent in (0..frame::PAYLOAD_MOST - 1).step_by(4096) {
        decoder.feed(&[7; 4096][..4096.min(frame::PAYLOAD_MOST - 1 - sent)]).unwrap();
        let (filled, has) = (decoder.buffer.len(), decoder.buffer.capacity());
        assert!(has <= (2 * filled).max(ROOM_FIRST * 2));
        largest = largest.max(has);
    }
    assert_eq!(largest, frame::PAYLOAD_MOST + frame::HEADER_BYTES);
    assert_eq!(decoder.decode().unwrap().unwrap().payload.len(), frame::PAYLOAD_MOST);
}

#[test]
fn a_message_as_long_as_one_before_has_its_room_at_once() {
    let payload = Bytes::from(vec![1; 300_000]);
    let sent = [Frame { channel: Channel::DATA, payload }];
    let bytes = bytes_of(Framing::Frames, &sent);
    let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
    decoder.feed(&bytes).unwrap();
    assert_eq!(all(&mut decoder), sent);
    decoder.feed(&bytes[..100_000]).unwrap();
    assert_eq!(decoder.buffer.capacity(), bytes.len());
}

#[test]
fn messages_of_64_kib_come_in_one_read_each() {
    let sent = [Frame { channel: Channel::DATA, payload: Bytes::from(vec![1; 64 << 10]) }];
    let bytes = bytes_of(Framing::Frames, &sent);
    let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
    decoder.feed(&bytes).unwrap();
    for _ in 0..10 {
        assert_eq!(all(&mut decoder), sent);
        let room = decoder.room().unwrap();
        assert!(room.capacity() - room.len() >= bytes.len());
        decoder.feed(&bytes).unwrap();
    }
}

#[test]
fn memory_is_used_again_once_its_messages_are_dropped_and_given_back_if_it_is_much() {
    let message = |length| Frame { channel: Channel::DATA, payload: vec![1; length].into() };
    let small = bytes_of(Framing::Frames, &[message(100)]);
    let large = bytes_of(Framing::Frames, &[message(2 << 20)]);
    let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
    let mut places = std::collections::HashSet::new();
    for _ in 0..1_000 {
        decoder.feed(&small).unwrap();
        places.insert(decoder.decode().unwrap().unwrap().payload.as_ptr() as usize >> 13);
    }
    assert!(places.len() <= 2, "one place of 4 KiB, over and over");
    decoder.feed(&large).unwrap();
    drop(decoder.decode().unwrap().unwrap());
    for _ in 0..100 {
        decoder.feed(&small).unwrap();
        drop(decoder.decode().unwrap().unwrap());
    }
    assert!(decoder.buffer.capacity() <= KEPT_MOST, "{}", decoder.buffer.capacity());
}

#[test]
fn a_busy_connection_reads_64_kib_at_once_and_no_more() {
    let frame = Frame { channel: Channel::DATA, payload: vec![1; 1_000].into() };
    let bytes = bytes_of(Framing::Frames, &vec![frame; 2_000]);
    let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
    let (mut rest, mut rooms) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let room = decoder.room().unwrap();
        let count = (room.capacity() - room.len()).min(rest.len());
        let (now, later) = rest.split_at(count);
        room.extend_from_slice(now);
        decoder.advance(count);
        rooms.push(count);
        drop(all(&mut decoder));
        rest = later;
    }
    assert_eq!(decoder.room, 64 << 10);
    assert!(rooms.iter().all(|count| *count <= 64 << 10), "{rooms:?}");
    assert!(rooms.iter().filter(|count| **count > 60 << 10).count() > 10, "{rooms:?}");
}

#[test]
fn memory_of_256_kib_is_kept_for_what_comes_and_one_byte_more_is_given_back() {
    let room_after = |total: usize| {
        let payload = vec![1; total - frame::HEADER_BYTES].into();
        let bytes = bytes_of(Framing::Frames, &[Frame { channel: Channel::DATA, payload }]);
        let mut decoder = Decoder::new(Framing::Frames, frame::PAYLOAD_MOST);
        // As it comes from a socket whose buffers are small.
        bytes.chunks(1_000).for_each(|piece| decoder.feed(piece).unwrap());
        drop(decoder.decode().unwrap().unwrap());
        decoder.room().unwrap();
        decoder.buffer.capacity()
    };
    assert_eq!(room_after(256 << 10), 256 << 10);
    let less = room_after((256 << 10) + 1);
    assert!(less <= ROOM_MOST, "{less}");
}

#[test]
fn payloads_are_slices_of_one_buffer() {
    let frame = Frame { channel: Channel::DATA, payload: Bytes::from_static(b"abcd") };
    let mut decoder = Decoder::new(Framing::Frames, 64);
    decoder.feed(&bytes_of(Framing::Frames, &[frame.clone(), frame])).unwrap();
    let came = all(&mut decoder);
    let place = |frame: &Frame| frame.payload.as_ptr() as usize;
    assert_eq!(place(&came[1]) - place(&came[0]), frame::HEADER_BYTES + 4);
}

#[test]
fn the_last_message_that_begins_in_what_came_is_known() {
    let frame = Frame { channel: Channel::DATA, payload: Bytes::from_static(b"abcd") };
    let bytes = bytes_of(Framing::Frames, &[frame.clone(), frame]);
    let mut decoder = Decoder::new(Framing::Frames, 64);
    decoder.feed(&bytes[..5]).unwrap();
    assert_eq!(decoder.last_beginning(5), Some(0));
    decoder.feed(&bytes[5..12]).unwrap();
    assert_eq!(decoder.last_beginning(7), None, "the middle of a message");
    decoder.feed(&bytes[12..13]).unwrap();
    assert_eq!(decoder.last_beginning(1), Some(12));
    decoder.feed(&bytes[13..]).unwrap();
    assert_eq!(decoder.last_beginning(11), None);
    assert_eq!(decoder.last_beginning(12), Some(12));
}

#[test]
fn length_frames_have_no_channels() {
    let error = Framing::LengthFrames.header(Channel::DATA, 1).unwrap_err();
    let said = "these messages have no channels, so none goes on channel 2 (DATA)";
    assert_eq!(error.to_string(), said);
}
