use super::*;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn said(hello: &str) -> String {
    match answer(hello.as_bytes(), &ServerOptions::default(), "peer-1") {
        Ok(answer) => text(&answer.bytes).to_owned(),
        Err(error) => error.to_string(),
    }
}

fn hello(protocol: &str, version: &str, channels: &str) -> String {
    format!(r#"{{"protocol":"{protocol}","version":"{version}","channels":{channels}}}"#)
}

#[test]
fn the_order_of_the_client_counts_and_each_channel_once() {
    let granted = said(&hello("ipcprims", "1.0", "[4,2,4,300,2]"));
    let expected = r#"{"protocol":"ipcprims","version":"1.0","channels":[4,2],"peer_id":"peer-1"}"#;
    assert_eq!(granted, expected);
}

#[test]
fn unknown_keys_are_ignored_on_both_sides() {
    let more = r#"{"protocol":"ipcprims","version":"1.0","channels":[1],"mood":"good"}"#;
    assert!(said(more).starts_with('{'));
    let answer = r#"{"protocol":"ipcprims","version":"1.0","channels":[1],"peer_id":"p","x":1}"#;
    read_answer(answer.as_bytes(), &ClientOptions::default()).unwrap();
}

#[test]
fn versions_fit_as_ipcprims_has_it() {
    for (client, fits) in
        [("1.0", true), ("1.7", true), ("2.0", false), ("0.9", false), ("65535.0", false)]
    {
        assert_eq!(said(&hello("ipcprims", client, "[1]")).starts_with('{'), fits, "{client}");
    }
    let newer = ServerOptions { version: "1.1".to_owned(), ..ServerOptions::default() };
    let old = hello("ipcprims", "1.0", "[1]");
    assert!(matches!(answer(old.as_bytes(), &newer, "p"), Err(HelloError::Version)));
    for wrong in ["", "1", "1.", ".1", "1.0.0", "+1.0", "1.-0", "65536.0", "1.000000000000000"] {
        let said = said(&hello("ipcprims", wrong, "[1]"));
        assert_eq!(said, "the versions of the two sides do not fit", "{wrong}");
    }
}

#[test]
fn every_limit_of_a_hello_holds_at_the_limit() {
    let channels = |count: u16| format!("{:?}", (1..=count).collect::<Vec<u16>>());
    assert!(said(&hello("ipcprims", "1.0", &channels(256))).starts_with('{'));
    assert_eq!(said(&hello("ipcprims", "1.0", &channels(257))), "more than 256 channels");
    let token = |length: usize| {
        format!(
            r#"{{"protocol":"ipcprims","version":"1.0","channels":[1],"auth_token":"{}"}}"#,
            "t".repeat(length)
        )
    };
    for (length, fits) in [(0, false), (1, true), (4096, true), (4097, false)] {
        let said = said(&token(length));
        assert_eq!(said.starts_with('{'), fits, "{length}");
        assert!(fits || said == "a token has 1 to 4096 bytes");
        let token = Secret::new("t".repeat(length));
        let options = ClientOptions { token: Some(token), ..ClientOptions::default() };
        assert_eq!(client(&options).is_ok(), fits, "{length}");
    }
    for (length, fits) in [(0, false), (1, true), (128, true), (129, false)] {
        let answer = format!(
            r#"{{"protocol":"ipcprims","version":"1.0","channels":[1],"peer_id":"{}"}}"#,
            "p".repeat(length)
        );
        let read = read_answer(answer.as_bytes(), &ClientOptions::default());
        assert_eq!(read.is_ok(), fits, "{length}");
        assert!(fits || read.unwrap_err().to_string() == "the name of a peer has 1 to 128 bytes");
    }
    for (length, fits) in [(0, false), (1, true), (32, true), (33, false)] {
        let protocol = "x".repeat(length);
        let options = ServerOptions { protocol: protocol.clone(), ..ServerOptions::default() };
        let answer = answer(hello(&protocol, "1.0", "[1]").as_bytes(), &options, "p");
        assert_eq!(answer.is_ok(), fits, "{length}");
    }
}

#[test]
fn each_disagreement_has_its_words() {
    let cases = [
        (hello("other", "1.0", "[1]"), "the two sides speak different protocols"),
        (hello("ipcprims", "1.0", "[0,1]"), "channel 0 cannot be asked for"),
        (hello("ipcprims", "1.0", "[300]"), "there is no channel that both sides want"),
        (hello("ipcprims", "1.0", "[70000]"), "what it says first cannot be read"),
        ("{}".to_owned(), "what it says first cannot be read"),
        (String::new(), "what it says first cannot be read"),
    ];
    for (hello, expected) in cases {
        assert_eq!(said(&hello), expected);
    }
    let unasked = r#"{"protocol":"ipcprims","version":"1.0","channels":[9],"peer_id":"p"}"#;
    let error = read_answer(unasked.as_bytes(), &ClientOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "channel 9 (RESERVED) is granted, and nobody asked for it");
}

#[test]
fn what_is_reserved_is_no_channel_of_a_session() {
    for (channel, is_one) in [(4, true), (5, false), (255, false), (256, true)] {
        let asked = ClientOptions::new(&[Channel::DATA, Channel(channel)]);
        let served = ServerOptions::new(&asked.channels);
        let hello = hello("ipcprims", "1.0", &format!("[2,{channel}]"));
        let granted = answer(hello.as_bytes(), &served, "p").unwrap().negotiated.channels;
        assert_eq!(granted.len(), if is_one { 2 } else { 1 }, "{channel}");
        match client(&asked) {
            Ok(_) => assert!(is_one, "{channel}"),
            Err(error) => assert_eq!(
                error.to_string(),
                format!(
                    "channel {channel} (RESERVED) cannot be asked for: an application's begin at 256"
                )
            ),
        }
    }
}

#[test]
fn no_common_channel_is_all_right_where_that_is_said() {
    let options = ServerOptions { require_common_channel: false, ..ServerOptions::default() };
    let hello = hello("ipcprims", "1.0", "[300]");
    assert!(answer(hello.as_bytes(), &options, "p").unwrap().negotiated.channels.is_empty());
}
