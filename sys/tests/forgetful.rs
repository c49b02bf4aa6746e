//! What is given back is nowhere in the memory of the process.

#![expect(clippy::unwrap_used, reason = "tests: a broken premise ends them")]

use std::fs;
use std::os::unix::fs::FileExt;

use sys::forgetful::Forgetful;

#[global_allocator]
static MEMORY: Forgetful = Forgetful;

/// How often 64 bytes are in this process's memory that are these with another mask.
fn found(masked: &[u8]) -> usize {
    let is_it = |window: &[u8]| window.iter().zip(masked).all(|(one, other)| one ^ 0x55 == *other);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw") && !line.contains("[stack]")) {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            count += bytes.windows(masked.len()).filter(|window| is_it(window)).count();
        }
        // It is too long for the allocator to overwrite it.
        std::hint::black_box(bytes.as_mut_slice()).fill(0);
        std::hint::black_box(&bytes);
    }
    count
}

#[test]
fn what_is_given_back_or_left_behind_by_growing_is_overwritten() {
    let mut masked = vec![0; 64];
    sys::random::fill(&mut masked).unwrap();
    let mut secret: Vec<u8> = Vec::with_capacity(512);
    secret.resize(100, 0);
    secret.extend(masked.iter().map(|byte| byte ^ 0x55));
    // The buffer that it is read into has it too, and perhaps what that buffer reads of itself.
    assert!(found(&masked) > 0, "it is found as long as it is there");
    // Another allocation behind it: it cannot grow where it lies.
    let behind = vec![0_u8; 512];
    secret.reserve(100_000);
    secret.clear();
    secret.resize(1_000, 0);
    drop(behind);
    assert_eq!(found(&masked), 0, "what it has left behind");
    let copy: Vec<u8> =
        std::iter::repeat_n(0, 100).chain(masked.iter().map(|b| b ^ 0x55)).collect();
    drop(copy);
    assert_eq!(found(&masked), 0, "what was given back");
}
