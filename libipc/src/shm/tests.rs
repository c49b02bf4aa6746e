use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use sys::ancillary::{self, Wait};
use sys::socket::{SocketKind, unix_pair};

use super::*;
use crate::name::ServiceName;
use crate::private_place::PrivatePlace;
use crate::rundir::{Instance, RunDirectory};

fn bytes(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn refused(descriptor: impl Into<OwnedFd>) -> String {
    Shm::try_from(descriptor.into()).unwrap_err().to_string()
}

/// A file in memory with these bytes, its length fixed.
fn fixed(content: &[u8]) -> OwnedFd {
    let file = memfd::create(content.len()).unwrap();
    Map::new(file.as_fd(), content.len()).unwrap().copy_in(0, content).unwrap();
    memfd::fix_length(file.as_fd()).unwrap();
    file
}

fn header(size: u64, most: u64, zeros: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = [size, most, zeros].iter().flat_map(|n| n.to_ne_bytes()).collect();
    bytes.extend([0; 100]);
    bytes
}

#[test]
fn memory_goes_to_another_process_as_an_object_of_a_message() {
    let ours = Shm::new(bytes(4096)).unwrap();
    ours.write(10, b"hello").unwrap();
    let (left, right) = unix_pair(SocketKind::Stream).unwrap();
    ancillary::send(left.as_fd(), b"m", &[ours.as_fd()], Wait::Block).unwrap();
    let mut message = [0; 1];
    let mut received = ancillary::receive(right.as_fd(), &mut message, 1, Wait::Block).unwrap();
    drop(ours);
    let theirs = Shm::try_from(received.descriptors.pop().unwrap()).unwrap();
    let mut text = [0; 5];
    theirs.read(10, &mut text).unwrap();
    assert_eq!((&text, theirs.size(), theirs.most()), (b"hello", 4096, 4096));
}

#[test]
fn all_bytes_of_the_size_can_be_used_and_none_behind() {
    let shm = Shm::new(bytes(4096)).unwrap();
    shm.write(0, &[7; 4096]).unwrap();
    shm.write(4095, &[8]).unwrap();
    shm.write(4096, &[]).unwrap();
    let cells = shm.cells(4094, 2).unwrap();
    assert_eq!([&cells[0], &cells[1]].map(|cell| cell.load(Ordering::Relaxed)), [7, 8]);
    let said = "2 bytes at 4095, the shared memory has 4096";
    assert_eq!(shm.write(4095, &[1, 2]).unwrap_err().to_string(), said);
    assert_eq!(shm.read(4095, &mut [0; 2]).unwrap_err().to_string(), said);
    assert!(shm.read(usize::MAX, &mut [0; 2]).is_err());
    assert!(shm.cells(1, 4096).is_err());
}

#[test]
fn all_who_share_it_see_it_grow_up_to_its_most() {
    let ours = Shm::growing(bytes(100), bytes(8192)).unwrap();
    let theirs = ours.try_clone().unwrap();
    assert!(theirs.write(100, b"x").is_err());
    assert_eq!(ours.resize(8192).unwrap(), 8192);
    theirs.write(8191, b"x").unwrap();
    assert_eq!(theirs.resize(5).unwrap(), 8192);
    let said = ours.resize(8193).unwrap_err().to_string();
    assert_eq!(said, "shared memory of 8193 bytes, the most is 8192");
    assert!(Shm::growing(bytes(2), bytes(1)).is_err());
}

#[test]
fn the_header_is_the_one_of_gips() {
    let shm = Shm::new(bytes(4096)).unwrap();
    let mut header = [0xff; 24];
    shm.map().copy_out(0, &mut header).unwrap();
    let mut expected = [0; 24];
    (expected[1], expected[9]) = (0x10, 0x10);
    assert_eq!(header, expected);
}

#[test]
fn memory_that_could_be_shortened_is_refused() {
    let said = "not shared memory of a fixed length: its owner could end this process by \
                shortening it";
    let place = tempfile::tempdir().unwrap();
    assert_eq!(refused(memfd::create(4096).unwrap()), said);
    assert_eq!(refused(File::create(place.path().join("file")).unwrap()), said);
    assert_eq!(refused(File::open("/dev/zero").unwrap()), said);
    assert_eq!(refused(File::open("/dev/shm").unwrap()), said);
}

#[test]
fn nobody_can_shorten_memory_under_its_users() {
    let shm = Shm::new(bytes(1 << 20)).unwrap();
    shm.write(0, &vec![1; 1 << 20]).unwrap();
    let file = File::from(shm.try_clone().unwrap().descriptor);
    assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(1));
    assert_eq!(file.set_len(1 << 30).unwrap_err().raw_os_error(), Some(1));
    // Taking the pages away is allowed: what is read then is zero, and no signal comes.
    let mode = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
        | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    nix::fcntl::fallocate(&file, mode, 0, 1 << 21).unwrap();
    // The size is gone as well, and that is no more than the others' word.
    assert_eq!(shm.size(), 0);
    shm.resize(1 << 20).unwrap();
    let mut copy = vec![1; 1 << 20];
    shm.read(0, &mut copy).unwrap();
    assert!(copy.iter().all(|byte| *byte == 0));
}

#[test]
fn a_header_that_makes_no_sense_is_refused() {
    let damaged = "the header of the shared memory is damaged";
    for (size, most, zeros) in [(1, 101, 0), (2, 1, 0), (1, 0, 0), (1, u64::MAX, 0), (1, 1, 1 << 8)]
    {
        assert_eq!(refused(fixed(&header(size, most, zeros))), damaged, "{size} {most} {zeros}");
    }
    assert_eq!(refused(fixed(&[0; 24])), damaged);
    let empty = memfd::create(0).unwrap();
    memfd::fix_length(empty.as_fd()).unwrap();
    assert_eq!(refused(empty), damaged);
    assert!(Shm::try_from(fixed(&header(1, 100, 0))).is_ok());
}

#[test]
fn memory_longer_than_allowed_is_refused_before_it_is_mapped() {
    let huge = memfd::create(1 << 45).unwrap();
    memfd::fix_length(huge.as_fd()).unwrap();
    assert_eq!(refused(huge), "shared memory of 35184372088832 bytes, the most is 1073741824");
    let limit = |most| Shm::from_descriptor(fixed(&header(1, 100, 0)), most);
    assert!(limit(100).is_ok());
    assert!(limit(99).is_err());
}

#[test]
fn memory_that_may_not_be_written_is_refused_with_the_kernels_reason() {
    let file = memfd::create(4096).unwrap();
    let seals = nix::fcntl::SealFlag::F_SEAL_WRITE
        | nix::fcntl::SealFlag::F_SEAL_SHRINK
        | nix::fcntl::SealFlag::F_SEAL_GROW;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_ADD_SEALS(seals)).unwrap();
    assert_eq!(refused(file), "shared memory: Operation not permitted (os error 1)");
}

#[test]
fn a_size_that_others_scribble_never_leads_outside() {
    let ours = Shm::growing(bytes(100), bytes(4096)).unwrap();
    let theirs = ours.try_clone().unwrap();
    for size in [u64::MAX, 4097, 1 << 40] {
        theirs.map().long_word(SIZE_AT).unwrap().store(size, Ordering::Relaxed);
        theirs.map().long_word(MOST_AT).unwrap().store(size, Ordering::Relaxed);
        assert_eq!((ours.size(), ours.most()), (4096, 4096));
        assert!(ours.read(4096, &mut [0]).is_err());
        ours.read(0, &mut [0; 4096]).unwrap();
    }
    theirs.map().long_word(SIZE_AT).unwrap().store(0, Ordering::Relaxed);
    assert!(ours.read(0, &mut [0]).is_err());
}

fn place() -> (tempfile::TempDir, PrivatePlace) {
    let place = tempfile::tempdir().unwrap();
    let directory = RunDirectory::new(place.path().join("ipc"), Instance::Private);
    let private = PrivatePlace::in_directory(&directory, "shm").unwrap();
    (place, private)
}

#[test]
fn memory_is_found_by_name_as_long_as_its_owner_has_it() {
    let (_directory, place) = place();
    let ours = Shm::named_in(&place, "tiles", bytes(100), bytes(200)).unwrap();
    ours.write(0, b"tile").unwrap();
    let theirs = Shm::open_in(&place, "tiles").unwrap();
    let mut text = [0; 4];
    theirs.read(0, &mut text).unwrap();
    assert_eq!((&text, theirs.size(), theirs.most()), (b"tile", 100, 200));
    drop(ours);
    theirs.write(0, b"kept").unwrap();
    let said = Shm::open_in(&place, "tiles").unwrap_err().to_string();
    assert_eq!(said, "no running process shares memory under this name");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "all but the lock is removed");
}

#[test]
fn a_name_in_use_is_left_alone_and_a_dead_owners_is_taken_over() {
    let (_directory, place) = place();
    let first = Shm::named_in(&place, "tiles", bytes(1), bytes(1)).unwrap();
    let said = Shm::named_in(&place, "tiles", bytes(1), bytes(1)).unwrap_err().to_string();
    let pid = std::process::id();
    assert_eq!(said, format!("the name is in use by process {pid}: end it, or take another name"));
    drop(first);
    // What a crash leaves: nobody has such a descriptor, or another process something else.
    let path = place.path().join("tiles");
    for target in ["/proc/4194305/fd/3".to_owned(), format!("/proc/{pid}/fd/0")] {
        symlink(target, &path).unwrap();
        assert!(matches!(Shm::open_in(&place, "tiles"), Err(ShmError::Unknown)));
        Shm::named_in(&place, "tiles", bytes(1), bytes(1)).unwrap();
    }
    std::fs::write(&path, "precious").unwrap();
    assert!(Shm::named_in(&place, "tiles", bytes(1), bytes(1)).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_link_to_elsewhere_is_not_followed() {
    let (_directory, place) = place();
    for target in ["/dev/zero", "/proc/self/fd/0", "/proc/1/fd/../../mem"] {
        symlink(target, place.path().join("x")).unwrap();
        let said = Shm::open_in(&place, "x").unwrap_err().to_string();
        assert_eq!(said, "the header of the shared memory is damaged", "{target}");
        std::fs::remove_file(place.path().join("x")).unwrap();
    }
    assert_eq!(
        Shm::open_in(&place, "../x").unwrap_err().to_string(),
        ServiceName::new("../x").unwrap_err().to_string()
    );
}

#[test]
fn a_descriptor_that_is_given_away_is_the_same_memory() {
    let shm = Shm::new(bytes(10)).unwrap();
    shm.write(0, b"x").unwrap();
    let number = shm.as_fd().as_raw_fd();
    let descriptor = OwnedFd::from(shm);
    assert_eq!(descriptor.as_raw_fd(), number);
    let mut text = [0; 1];
    Shm::try_from(descriptor).unwrap().read(0, &mut text).unwrap();
    assert_eq!(&text, b"x");
}
