use std::os::unix::net::{UnixListener, UnixStream};

use libipc::secret::Secret;

use super::*;

fn inherited(name: &str, descriptor: impl Into<OwnedFd>) -> Inherited {
    Inherited { name: name.to_owned(), descriptor: descriptor.into() }
}

fn asked(service: &str) -> Asked {
    let network = Some(Secret::new(format!("{service} tls://u:secret@h/x")));
    let connect = Connect { service: service.to_owned(), network, ..Connect::default() };
    let narrowed = Some(vec![service.to_owned()]);
    Asked { connect: Some(connect), is_upgrade: true, socket: Some("agents".to_owned()), narrowed }
}

#[test]
fn what_clients_have_asked_for_comes_back_with_their_connections_and_is_wiped() {
    let (one, _peer) = UnixStream::pair().unwrap();
    let cookie = sys::diag::cookie(one.as_fd()).unwrap();
    let db = asked("db");
    let file = paper().unwrap();
    write(&file, [(cookie, &db)].into_iter()).unwrap();
    let copy = File::from(file.try_clone().unwrap());
    let (kept, ways) =
        take(vec![inherited(CLIENTS, one), inherited("ipc", copy), inherited(REQUESTS, file)]);
    assert_eq!(ways.len(), 1);
    let [(_, Purpose::Client(request))] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(
        request.connect.as_ref().unwrap().network.as_ref().unwrap().expose(),
        "db tls://u:secret@h/x"
    );
    assert_eq!(request.narrowed.as_deref().unwrap(), ["db"]);
    assert_eq!((request.is_upgrade, request.socket.as_deref()), (true, Some("agents")));
    let left = File::from(ways.into_iter().next().unwrap().descriptor);
    assert_eq!(left.metadata().unwrap().len(), 0);
}

#[test]
fn what_is_of_no_use_is_closed_and_hinders_nothing() {
    let place = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(place.path().join("socket")).unwrap();
    let null = || File::open("/dev/null").unwrap();
    let pair = || UnixStream::pair().unwrap();
    let ((service, _one), (stranger, _two), (nameless, _three)) = (pair(), pair(), pair());
    let (kept, ways) = take(vec![
        inherited("kept.service.db", service),
        inherited("kept.service.log", null()),
        inherited("kept.service.api", listener),
        inherited("kept.service.a/b", nameless),
        inherited("kept.other", null()),
        inherited(REQUESTS, null()),
        // Nothing says what it asked for.
        inherited(CLIENTS, stranger),
    ]);
    assert!(ways.is_empty());
    let [(_, Purpose::Service(name))] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(name_of(name), "kept.service.db");
}

#[test]
fn what_is_too_long_is_left_out() {
    let mut long = asked("db");
    long.connect.as_mut().unwrap().network = Some(Secret::new("x".repeat(REQUEST_BYTES_MOST / 2)));
    let file = paper().unwrap();
    write(&file, [(1, &long), (2, &long), (3, &long)].into_iter()).unwrap();
    assert_eq!(read(file).unwrap().len(), 1);
}
