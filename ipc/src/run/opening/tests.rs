use super::*;

/// What an opening comes to, byte by byte: whoever sends in pieces is understood as well.
fn heard(bytes: &[u8]) -> (Vec<u8>, Step) {
    let (mut opening, mut said) = (Opening::default(), Vec::new());
    for (index, byte) in bytes.iter().enumerate() {
        opening.push(&[*byte]);
        loop {
            match opening.next() {
                Step::Receive => break,
                Step::Send(bytes) => said.extend_from_slice(bytes),
                Step::Ask(manner, place, behind) => {
                    assert!(behind.is_empty());
                    let rest = bytes[index + 1..].to_vec();
                    return (said, Step::Ask(manner, place, rest));
                }
                step @ Step::Refuse(_) => return (said, step),
            }
        }
    }
    (said, Step::Receive)
}

fn at_once(bytes: &[u8]) -> Step {
    let mut opening = Opening::default();
    opening.push(bytes);
    opening.next()
}

fn place(host: &str, port: u16) -> Place {
    Place { service: ServiceName::new(host).unwrap(), port }
}

fn refusal(bytes: &[u8]) -> String {
    match heard(bytes).1 {
        Step::Refuse(answer) => String::from_utf8_lossy(&answer).into_owned(),
        step => panic!("{step:?}"),
    }
}

#[test]
fn connect_asks_for_its_host_and_port_and_what_follows_is_the_services() {
    let head = b"CONNECT Api.Example.COM:443 HTTP/1.1\r\nHost: elsewhere:1\r\n\r\n";
    let expected = Step::Ask(Manner::Http, place("api.example.com", 443), b"hello".to_vec());
    let bytes = [head.as_slice(), b"hello"].concat();
    assert_eq!(heard(&bytes).1, expected);
    assert_eq!(at_once(&bytes), expected);
    let address = Step::Ask(Manner::Http, place("127.0.0.1", 80), Vec::new());
    assert_eq!(at_once(b"CONNECT 0x7f.1:80 HTTP/1.0\r\n\r\n"), address);
}

#[test]
fn what_is_no_connect_is_told_so() {
    for (line, status) in [
        ("GET http://a/ HTTP/1.1", "405"),
        ("CONNECT a:1 HTTP/2", "400"),
        ("CONNECT a:1", "400"),
        ("CONNECT a:1 HTTP/1.1 more", "400"),
        ("CONNECT a HTTP/1.1", "400"),
        ("CONNECT a: HTTP/1.1", "400"),
        ("CONNECT a:0 HTTP/1.1", "400"),
        ("CONNECT a:+1 HTTP/1.1", "400"),
        ("CONNECT a:65536 HTTP/1.1", "400"),
        ("CONNECT [::1]:1 HTTP/1.1", "400"),
        ("CONNECT a/b:1 HTTP/1.1", "400"),
        ("CONNECT user@a:1 HTTP/1.1", "400"),
        ("CONNECT :1 HTTP/1.1", "400"),
        ("CONNECT a\0b:1 HTTP/1.1", "400"),
    ] {
        let said = refusal(format!("{line}\r\n\r\n").as_bytes());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {said}");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{said}");
    }
}

#[test]
fn socks_asks_for_a_name_or_an_address_of_four_bytes() {
    let named = b"\x05\x02\x00\x02\x05\x01\x00\x03\x0bexample.com\x01\xbbhello";
    let expected = Step::Ask(Manner::Socks, place("example.com", 443), b"hello".to_vec());
    assert_eq!(heard(named), (vec![5, 0], expected));
    let four = b"\x05\x01\x00\x05\x01\x00\x01\x0a\x4d\x00\x02\x00\x50";
    let expected = Step::Ask(Manner::Socks, place("10.77.0.2", 80), Vec::new());
    assert_eq!(heard(four), (vec![5, 0], expected));
}

#[test]
fn what_socks_knows_and_this_does_not_is_told_by_its_number() {
    let cases: [(&[u8], &[u8]); 6] = [
        // A login is wanted.
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        // To listen, and an address of sixteen bytes.
        (b"\x05\x01\x00\x05\x02\x00\x01", b"\x05\x07\x00\x01\0\0\0\0\0\0"),
        (b"\x05\x01\x00\x05\x01\x00\x04", b"\x05\x08\x00\x01\0\0\0\0\0\0"),
        // Names that no service has.
        (b"\x05\x01\x00\x05\x01\x00\x03\x03a/b\x00\x50", b"\x05\x02\x00\x01\0\0\0\0\0\0"),
        (b"\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50", b"\x05\x02\x00\x01\0\0\0\0\0\0"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(heard(bytes).1, Step::Refuse(expected.to_vec()), "{bytes:?}");
    }
}

#[test]
fn whoever_speaks_something_else_or_too_much_is_closed() {
    for bytes in [b"\x04\x01\x00\x50".as_slice(), b"\x16\x03\x01", b"get / HTTP/1.1", b"\r\n"] {
        assert_eq!(heard(bytes).1, Step::Refuse(Vec::new()), "{bytes:?}");
    }
    let mut opening = Opening::default();
    opening.push(&vec![b'C'; HEAD_BYTES_MOST - 1]);
    assert_eq!(opening.next(), Step::Receive);
    opening.push(b"C");
    assert_eq!(opening.next(), Step::Refuse(Vec::new()));
}

#[test]
fn a_target_is_the_place_only_if_host_and_port_are() {
    let wanted = place("a.example", 443);
    for target in ["tcp:a.example:443", "tls:a.example:443"] {
        assert!(wanted.is(target), "{target}");
    }
    for target in [
        "tcp:a.example:444",
        "tcp:b.a.example:443",
        "tcp:a.example:443/other",
        "unix:a.example",
        "a.example:443",
        "",
    ] {
        assert!(!wanted.is(target), "{target}");
    }
}

#[test]
fn a_refusal_says_what_ipc_connect_would() {
    for (code, status, number) in [
        (50, "403 Forbidden", NOT_ALLOWED),
        (1, "502 Bad Gateway", REFUSED),
        (3, "502 Bad Gateway", UNREACHABLE),
        (69, "502 Bad Gateway", UNREACHABLE),
        (124, "504 Gateway Timeout", TOO_LATE),
        (71, "502 Bad Gateway", FAILED),
    ] {
        let said = String::from_utf8(Manner::Http.refused(code, "why")).unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")) && said.ends_with("\r\nwhy\n"));
        assert_eq!(Manner::Socks.refused(code, "why")[..2], [5, number]);
    }
}
