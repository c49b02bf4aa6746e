use super::*;

#[test]
fn a_bound_socket_has_its_mode_whatever_the_umask() {
    let place = tempfile::tempdir().unwrap();
    for mode in [0o600, 0o666] {
        let path = place.path().join(format!("{mode:o}"));
        let listener = bind_unix(&path, mode, SocketKind::Stream, 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        assert!(is_listening(listener.as_fd()).unwrap());
        assert!(accept(listener.as_fd()).unwrap().is_none());
    }
}

#[test]
fn a_taken_name_is_not_taken_over() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, "precious").unwrap();
    let error = bind_unix(&path, 0o600, SocketKind::Stream, 16).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn tcp_addresses_and_errors_are_told() {
    let listener = crate::tcp::listen("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let address = local_address(listener.as_fd()).unwrap().unwrap();
    let client = crate::tcp::connect_start(address, crate::tcp::Origin::default()).unwrap();
    assert_eq!(peer_address(client.as_fd()).unwrap(), Some(address));
    assert!(take_error(client.as_fd()).unwrap().is_none());
    crate::tcp::set_nodelay(client.as_fd()).unwrap();
    let (idle, every) = (Duration::from_secs(60), Duration::from_secs(10));
    crate::tcp::set_keepalive(client.as_fd(), idle, every, 6).unwrap();
    assert!(!is_unix(client.as_fd()).unwrap());
}

#[test]
fn what_the_peer_has_not_read_is_uncollected() {
    let (left, right) = unix_pair(SocketKind::Stream).unwrap();
    assert_eq!(uncollected(left.as_fd()).unwrap(), 0);
    nix::unistd::write(&left, b"x").unwrap();
    assert!(uncollected(left.as_fd()).unwrap() > 0);
    nix::unistd::read(&right, &mut [0]).unwrap();
    assert_eq!(uncollected(left.as_fd()).unwrap(), 0);
}

#[test]
fn the_peer_of_a_bound_listener_has_its_path() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ipc");
    let _listener = bind_unix(&path, 0o600, SocketKind::Stream, 4).unwrap();
    let client = connect_unix_now(&path).unwrap();
    assert_eq!(peer_path(client.as_fd()).unwrap(), Some(path));
}
