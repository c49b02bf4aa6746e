use super::*;

/// What a server says, in turn; then everything that was said to it.
fn talk(language: &str, answers: &[&[u8]]) -> Result<(Vec<u8>, Progress), String> {
    let mut dialogue = Dialogue::new(language, "mail.example.com").unwrap();
    let mut outgoing = Outgoing::default();
    let mut progress = dialogue.advance(b"", &mut outgoing).unwrap();
    for answer in answers {
        progress = dialogue.advance(answer, &mut outgoing).map_err(|error| format!("{error:?}"))?;
        assert!(progress.used <= answer.len());
    }
    Ok((outgoing.bytes().to_vec(), progress))
}

const LDAP_YES: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";

/// The same as Active Directory says it: every length in five bytes, and the name of what was asked.
const LDAP_YES_AT_LENGTH: &[u8] =
    b"\x30\x84\x00\x00\x00\x28\x02\x01\x01\x78\x84\x00\x00\x00\x1f\x0a\x01\x00\x04\x00\x04\x00\
      \x8a\x161.3.6.1.4.1.1466.20037";

#[test]
fn servers_are_asked_in_their_language() {
    let (said, progress) = talk("postgres", &[b"S"]).unwrap();
    assert_eq!((said.as_slice(), progress.is_over), (&[0, 0, 0, 8, 4, 210, 22, 47][..], true));
    let answers: [&[u8]; 3] =
        [b"220-hi\r\n220 there\r\n", b"250-host\r\n250-STARTTLS\r\n250 HELP\r\n", b"220 go\r\n"];
    let (said, progress) = talk("smtp", &answers).unwrap();
    assert_eq!((said.as_slice(), progress.is_over), (&b"EHLO localhost\r\nSTARTTLS\r\n"[..], true));
    let answers: [&[u8]; 2] = [b"* OK hi\r\n", b"* CAPABILITY X\r\na1 OK begin\r\n"];
    let (said, progress) = talk("imap", &answers).unwrap();
    assert_eq!((said.as_slice(), progress.is_over), (&b"a1 STARTTLS\r\n"[..], true));
    for yes in [LDAP_YES, LDAP_YES_AT_LENGTH] {
        let (said, progress) = talk("ldap", &[yes]).unwrap();
        assert_eq!((said.len(), progress.used, progress.is_over), (31, yes.len(), true));
    }
}

#[test]
fn an_answer_may_come_in_pieces() {
    let whole: &[u8] = b"220-hi\r\n220 there\r\n";
    for cut in 0..whole.len() {
        let mut dialogue = Dialogue::new("smtp", "h").unwrap();
        let mut outgoing = Outgoing::default();
        let progress = dialogue.advance(&whole[..cut], &mut outgoing).unwrap();
        assert_eq!(progress, Progress { used: 0, is_over: false }, "{cut}");
        assert_eq!(dialogue.advance(whole, &mut outgoing).unwrap().used, whole.len());
    }
    for yes in [LDAP_YES, LDAP_YES_AT_LENGTH] {
        for cut in 0..yes.len() {
            let (_, progress) = talk("ldap", &[&yes[..cut]]).unwrap();
            assert!(!progress.is_over);
        }
    }
}

#[test]
fn a_server_that_declines_is_not_trusted() {
    let cases: [(&str, &[&[u8]], &str); 11] = [
        ("postgres", &[b"N"], "it is not set up for that"),
        ("postgres", &[b"E"], "it does not speak as PostgreSQL does"),
        ("smtp", &[b"554 no\r\n"], "it says no"),
        ("smtp", &[b"220 hi\r\n", b"250 HELP\r\n"], "it does not offer STARTTLS"),
        ("smtp", &[b"220 hi\r\n", b"250 STARTTLS\r\n", b"454 no\r\n"], "it says no"),
        ("imap", &[b"* PREAUTH hi\r\n"], "it does not greet as an IMAP server does"),
        ("imap", &[b"* OK hi\r\n", b"a1 BAD no\r\n"], "it says no"),
        ("ldap", &[b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"], "it says no"),
        ("ldap", &[b"HTTP/1.1 400"], "it does not speak LDAP"),
        ("ldap", &[b"\x30\x80\x02\x01\x01"], "it does not speak LDAP"),
        ("ldap", &[b"\x30\x03\x02\x01\x02"], "it does not speak LDAP"),
    ];
    for (language, answers, expected) in cases {
        let said = talk(language, answers).unwrap_err();
        assert!(said.starts_with("Untrusted"), "{said}");
        assert!(said.contains(expected), "{language}: {said}");
    }
}

#[test]
fn what_comes_behind_the_consent_is_somebody_elses() {
    let cases: [(&str, &[&[u8]]); 4] = [
        ("ldap", &[&[LDAP_YES, b"\x30"].concat()]),
        ("postgres", &[b"SE"]),
        ("smtp", &[b"220 hi\r\n", b"250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n"]),
        ("imap", &[b"* OK hi\r\n", b"a1 OK go\r\n* OK injected\r\n"]),
    ];
    for (language, answers) in cases {
        let said = talk(language, answers).unwrap_err();
        assert!(said.contains("somebody speaks in its place"), "{language}: {said}");
    }
}

#[test]
fn a_server_that_talks_without_end_is_left() {
    let mut line = vec![b'x'; BYTES_MOST];
    assert!(!talk("smtp", &[&line]).unwrap().1.is_over);
    line.push(b'x');
    assert!(talk("smtp", &[&line]).unwrap_err().contains("it talks without end"));
}

#[test]
fn what_is_not_in_this_version_says_so() {
    for language in ["pop3", "mysql", "xmpp"] {
        let said = format!("{:?}", Dialogue::new(language, "h").unwrap_err());
        assert!(said.contains(&format!("starttls={language} is not in this version")), "{said}");
    }
}

#[test]
fn programs_hear_a_greeting_of_ours_and_never_the_servers() {
    let welcome = |language| Dialogue::new(language, "mail.example.com").unwrap().welcome();
    assert_eq!(welcome("smtp"), b"220 mail.example.com ready\r\n");
    assert_eq!(welcome("imap"), b"* OK mail.example.com ready\r\n");
    assert_eq!(welcome("postgres"), b"");
}
