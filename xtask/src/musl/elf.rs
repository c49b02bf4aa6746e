//! What a program asks of whoever loads it, as its file has it (elf(5)).

/// Whether a program of 64 bits, little end first, is loaded by the kernel alone: it names no
/// loader and no library. False for what is no such program.
pub(crate) fn is_static(file: &[u8]) -> bool {
    segments(file).is_some_and(|segments| {
        segments.iter().all(|segment| match segment.kind {
            INTERPRETER => false,
            DYNAMIC => !needs_library(segment.content),
            _ => true,
        })
    })
}

const INTERPRETER: u32 = 3;
const DYNAMIC: u32 = 2;

struct Segment<'f> {
    kind: u32,
    content: &'f [u8],
}

/// All segments; `None` if it is no such program, or a part of one.
fn segments(file: &[u8]) -> Option<Vec<Segment<'_>>> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (first, size) = (number(file, 0x20)?, half(file, 0x36)?);
    let count = half(file, 0x38)?;
    let place = |index: usize| first.checked_add(index.checked_mul(size)?);
    (0..count).map(|index| segment(file, place(index)?)).collect()
}

fn segment(file: &[u8], at: usize) -> Option<Segment<'_>> {
    let kind = u32::from_le_bytes(*file.get(at..)?.first_chunk()?);
    let (from, length) = (number(file, at.checked_add(8)?)?, number(file, at.checked_add(32)?)?);
    Some(Segment { kind, content: file.get(from..from.checked_add(length)?)? })
}

/// Whether one of the pairs of numbers is `DT_NEEDED`.
fn needs_library(content: &[u8]) -> bool {
    content.chunks_exact(16).any(|pair| number(pair, 0) == Some(1))
}

fn number(file: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*file.get(at..)?.first_chunk()?)).ok()
}

fn half(file: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?).into())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A program of C that has been linked with these options.
    fn linked(options: &[&str]) -> Vec<u8> {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("program");
        let mut compile = Command::new("cc");
        compile.args(["-x", "c", "-nostdlib", "-Wl,-e,main", "-o"]).arg(&file).args(options);
        let mut compiler = compile.arg("-").stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut compiler.stdin.take().unwrap(), b"void main() {}").unwrap();
        assert!(compiler.wait().unwrap().success());
        std::fs::read(file).unwrap()
    }

    #[test]
    fn a_program_that_names_a_loader_or_a_library_is_not_static() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_static(&own), cfg!(target_feature = "crt-static"));
        assert!(is_static(&linked(&["-static"])));
        assert!(is_static(&linked(&["-static-pie"])));
        assert!(!is_static(&linked(&["-pie"])), "its loader is named");
        let library = linked(&["-shared", "-Wl,--no-as-needed", "-lc"]);
        assert!(!is_static(&library), "a library is named");
    }

    #[test]
    fn what_is_no_program_or_a_part_of_one_is_not_static() {
        let whole = linked(&["-static"]);
        for length in 0..0x200 {
            assert!(!is_static(&whole[..length.min(whole.len() - 1)]), "{length}");
        }
        assert!(!is_static(b"#!/bin/sh\n"));
    }
}
