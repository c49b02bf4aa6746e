//! The few words that make a server switch to TLS.
//!
//! Nothing that the server says in the clear is believed or passed on, and what it says behind its
//! consent is an error: whoever is between us could have said it (CVE-2011-0411, CVE-2021-23222).

use libipc::interface::transport::TransportError;
use relay::codec::Outgoing;
use relay::failure::invalid;

use crate::der::Value;
use crate::failure;

/// Bytes that a server may say before it switches.
const BYTES_MOST: usize = 8 * 1024;

/// A dialogue with one server.
#[derive(Debug)]
pub(crate) struct Dialogue {
    language: Language,
    host: String,
    /// What has been said to the server so far.
    said: usize,
    heard: usize,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Language {
    Postgres,
    Smtp,
    Imap,
    Ldap,
}

/// How far a dialogue is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Progress {
    /// Bytes that have been understood.
    pub(crate) used: usize,
    /// TLS begins now.
    pub(crate) is_over: bool,
}

/// What one answer of a server means.
enum Meaning {
    /// It is not whole yet.
    Unfinished,
    /// It is this long; the dialogue goes on.
    GoOn(usize),
    /// It is this long, and the server switches.
    Switches(usize),
}

impl Dialogue {
    /// A dialogue in the language of the option, with the server `host`.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidRequest`]: the language is not in this version.
    pub(crate) fn new(language: &str, host: &str) -> Result<Self, TransportError> {
        let language = match language {
            "postgres" => Language::Postgres,
            "smtp" => Language::Smtp,
            "imap" => Language::Imap,
            "ldap" => Language::Ldap,
            other => {
                let other: String = other.chars().filter(char::is_ascii_graphic).take(16).collect();
                let reason = format!("starttls={other} is not in this version");
                return Err(invalid("options", &reason));
            }
        };
        Ok(Self { language, host: host.to_owned(), said: 0, heard: 0 })
    }

    /// Takes what the server says, and says what comes next.
    pub(crate) fn advance(
        &mut self,
        incoming: &[u8],
        outgoing: &mut Outgoing,
    ) -> Result<Progress, TransportError> {
        let mut used = 0;
        loop {
            let expects_greeting = matches!(self.language, Language::Smtp | Language::Imap);
            if self.said == 0 && !expects_greeting {
                self.say(outgoing);
            }
            let rest = incoming.get(used..).unwrap_or_default();
            let (count, is_over) = match self.understand(rest)? {
                Meaning::Unfinished if self.heard + rest.len() > BYTES_MOST => {
                    return Err(failure::declined("it talks without end"));
                }
                Meaning::Unfinished => return Ok(Progress { used, is_over: false }),
                Meaning::GoOn(count) => (count, false),
                Meaning::Switches(count) => (count, true),
            };
            used += count;
            self.heard += count;
            if is_over && used < incoming.len() {
                return Err(failure::declined("somebody speaks in its place"));
            }
            if is_over {
                return Ok(Progress { used, is_over });
            }
            self.say(outgoing);
        }
    }

    /// What a program that uses the connection hears first, in the place of the greeting that was
    /// heard in the clear.
    pub(crate) fn welcome(&self) -> Vec<u8> {
        match self.language {
            Language::Postgres | Language::Ldap => Vec::new(),
            Language::Smtp => format!("220 {} ready\r\n", self.host).into_bytes(),
            Language::Imap => format!("* OK {} ready\r\n", self.host).into_bytes(),
        }
    }

    fn say(&mut self, outgoing: &mut Outgoing) {
        /// `SSLRequest` (PostgreSQL, "Message Formats").
        const POSTGRES: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
        /// An extended request of the name 1.3.6.1.4.1.1466.20037 (RFC 4511, section 4.14.1).
        const LDAP: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
        let words = match (self.language, self.said) {
            (Language::Postgres, _) => POSTGRES,
            (Language::Ldap, _) => LDAP,
            (Language::Imap, _) => b"a1 STARTTLS\r\n",
            (Language::Smtp, 0) => b"EHLO localhost\r\n",
            (Language::Smtp, _) => b"STARTTLS\r\n",
        };
        outgoing.push(words);
        self.said += 1;
    }

    fn understand(&self, bytes: &[u8]) -> Result<Meaning, TransportError> {
        match self.language {
            Language::Postgres => postgres(bytes),
            Language::Smtp => smtp(bytes, self.said),
            Language::Imap => imap(bytes, self.said),
            Language::Ldap => ldap(bytes),
        }
    }
}

fn postgres(bytes: &[u8]) -> Result<Meaning, TransportError> {
    match bytes.first() {
        None => Ok(Meaning::Unfinished),
        Some(b'S') => Ok(Meaning::Switches(1)),
        Some(b'N') => Err(failure::declined("it is not set up for that")),
        Some(_) => Err(failure::declined("it does not speak as PostgreSQL does")),
    }
}

/// One reply: lines of the same code, the last with a blank behind it (RFC 5321, section 4.2.1).
fn smtp(bytes: &[u8], said: usize) -> Result<Meaning, TransportError> {
    let mut length = 0;
    let mut offers = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        length += line.len();
        let (code, text) = line.split_at(line.len().min(4));
        offers |= text.trim_ascii().eq_ignore_ascii_case(b"STARTTLS");
        if code.get(3) == Some(&b'-') {
            continue;
        }
        let expected: &[u8] = if said == 1 { b"250" } else { b"220" };
        return match (code.get(..3) == Some(expected), said) {
            (false, _) => Err(failure::declined("it says no, or does not speak SMTP")),
            (true, 1) if !offers => Err(failure::declined("it does not offer STARTTLS")),
            (true, 0 | 1) => Ok(Meaning::GoOn(length)),
            (true, _) => Ok(Meaning::Switches(length)),
        };
    }
    Ok(Meaning::Unfinished)
}

fn imap(bytes: &[u8], said: usize) -> Result<Meaning, TransportError> {
    let mut length = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        length += line.len();
        let begins = |with: &[u8]| {
            line.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        return match said {
            0 if begins(b"* OK") => Ok(Meaning::GoOn(length)),
            0 => Err(failure::declined("it does not greet as an IMAP server does")),
            // Words that nobody asked for.
            _ if begins(b"* ") => continue,
            _ if begins(b"a1 OK") => Ok(Meaning::Switches(length)),
            _ => Err(failure::declined("it says no")),
        };
    }
    Ok(Meaning::Unfinished)
}

/// An extended response with the result 0 (RFC 4511, section 4.12), in any form of its lengths:
/// servers of Microsoft's write all of them in five bytes.
fn ldap(bytes: &[u8]) -> Result<Meaning, TransportError> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const EXTENDED_RESPONSE: u8 = 0x78;
    const ENUMERATED: u8 = 0x0a;
    let something_else = || failure::declined("it does not speak LDAP");
    if bytes.first().is_some_and(|tag| *tag != SEQUENCE) {
        return Err(something_else());
    }
    let whole = Value::arriving(bytes).map_err(|_| something_else())?;
    let Some(message) = whole else { return Ok(Meaning::Unfinished) };
    let result = || {
        let number = Value::first(message.content)?;
        number.inside(INTEGER).filter(|number| *number == [1])?;
        let result = Value::first(Value::first(number.behind)?.inside(EXTENDED_RESPONSE)?)?;
        result.inside(ENUMERATED)
    };
    match result() {
        Some([0]) => Ok(Meaning::Switches(bytes.len() - message.behind.len())),
        Some(_) => Err(failure::declined("it says no")),
        None => Err(something_else()),
    }
}

/// What to do about a server that greets us in the clear.
pub(crate) fn hint(first: &[u8]) -> Option<&'static str> {
    let hints: [(&[u8], &str); 5] = [
        (b"220", "it greets like a mail server: the option starttls=smtp has it switch"),
        (b"* OK", "it greets like an IMAP server: the option starttls=imap has it switch"),
        (b"+OK", "it greets like a POP3 server"),
        (b"HTTP/", "it answers in plain HTTP"),
        (b"SSH-", "it is an SSH server"),
    ];
    hints.iter().find(|(start, _)| first.starts_with(start)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests;
