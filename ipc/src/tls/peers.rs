//! Hosts that are known by their keys, and the part of `tlsd.toml` that says so. No I/O.

use std::fmt;

use policy::host::{Host, HostError};

/// Where our part of the file begins and ends. What is outside stays as it is.
const BEGIN: &str = "# By `ipc tls init`, which writes these lines anew: your own go elsewhere.";
const END: &str = "# So far by `ipc tls init`.";

/// How a line says whom we know, for the next time.
const KNOWN: &str = "# known: ";

/// Characters of a digest in base64.
const DIGEST: usize = 44;

/// A host, and the pin of its key.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) pin: String,
}

/// What was written is no host with its pin.
#[derive(Debug)]
pub(super) enum PeerError {
    Form,
    Host(HostError),
    Pin,
}

/// The hosts that are known, in the order in which they came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Peers(Vec<Peer>);

impl Peer {
    /// Reads `NAME=PIN`.
    pub(super) fn parse(text: &str) -> Result<Self, PeerError> {
        let (name, pin) = text.split_once('=').ok_or(PeerError::Form)?;
        let name = Host::parse(name).map_err(PeerError::Host)?.to_string();
        let digest = pin.strip_prefix("sha256-").filter(|digest| digest.len() == DIGEST);
        let fits = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        if !digest.is_some_and(|digest| digest.chars().all(fits)) {
            return Err(PeerError::Pin);
        }
        Ok(Self { name, pin: pin.to_owned() })
    }
}

impl Peers {
    /// Those that our part of a file knows.
    pub(super) fn of_text(text: &str) -> Self {
        let lines = text.lines().skip_while(|line| *line != BEGIN).take_while(|line| *line != END);
        let known = lines.filter_map(|line| Peer::parse(line.strip_prefix(KNOWN)?).ok());
        Self(known.collect())
    }

    /// With more of them; one that is known gets its new key.
    pub(super) fn with(mut self, more: &[Peer]) -> Self {
        for peer in more {
            match self.0.iter_mut().find(|known| known.name == peer.name) {
                Some(known) => known.pin.clone_from(&peer.pin),
                None => self.0.push(peer.clone()),
            }
        }
        self
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.0
    }

    /// The text with our part in the place of the one that was there, or at its end.
    pub(super) fn written_into(&self, text: &str, key: &str) -> String {
        let part = self.part(key);
        let whole = |line: &str, text: &str| {
            text.find(line).filter(|_| text.lines().any(|one| one == line))
        };
        if let (Some(from), Some(to)) = (whole(BEGIN, text), whole(END, text))
            && from < to
        {
            let before = text.get(..from).unwrap_or_default();
            let behind = text.get(to + END.len()..).unwrap_or_default().trim_start_matches('\n');
            return format!("{before}{part}{behind}");
        }
        let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { "\n" };
        format!("{text}{gap}{part}")
    }

    fn part(&self, key: &str) -> String {
        let mut lines = vec![BEGIN.to_owned()];
        lines.extend(self.0.iter().map(|peer| format!("{KNOWN}{}={}", peer.name, peer.pin)));
        lines.extend(["[certificate.host]".to_owned(), format!("key = \"{key}\"")]);
        if !self.0.is_empty() {
            let pins: Vec<_> = self.0.iter().map(|peer| format!("\"{}\"", peer.pin)).collect();
            lines.extend(trust("fleet", &pins.join(", ")));
            for peer in &self.0 {
                lines.extend(trust(&format!("\"{}\"", peer.name), &format!("\"{}\"", peer.pin)));
            }
            let listen = ["[listen.fleet]", "certificate = \"host\"", "clients = \"fleet\""];
            lines.extend(listen.map(ToOwned::to_owned));
        }
        lines.push(END.to_owned());
        lines.join("\n") + "\n"
    }
}

fn trust(name: &str, pins: &str) -> [String; 3] {
    [format!("[trust.{name}]"), format!("pins = [{pins}]"), "raw-public-keys = true".to_owned()]
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("a host is written with its pin: NAME=sha256-…"),
            Self::Host(error) => error.fmt(f),
            Self::Pin => f.write_str("a pin is sha256- and 44 characters of base64"),
        }
    }
}

impl std::error::Error for PeerError {}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const OTHER: &str = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn peer(name: &str, pin: &str) -> Peer {
        Peer::parse(&format!("{name}={pin}")).unwrap()
    }

    #[test]
    fn what_is_outside_of_our_part_stays_and_our_part_is_written_anew() {
        let own = "# mine\n[key.k]\nsecret = \"/k\"\n";
        let one = Peers::default().with(&[peer("a.example.com", PIN)]);
        let first = one.written_into(own, "/host.key");
        assert!(first.starts_with(&format!("{own}\n{BEGIN}\n")), "{first}");
        assert!(first.contains("[trust.\"a.example.com\"]\npins = [\"sha256-47DEQ"), "{first}");
        assert_eq!(Peers::of_text(&first), one);
        assert_eq!(one.written_into(&first, "/host.key"), first);
        let behind = format!("{first}drain-seconds = 3\n");
        let both = one.with(&[peer("b", OTHER), peer("A.example.com.", OTHER)]);
        assert_eq!(both.all().iter().map(|peer| &*peer.pin).collect::<Vec<_>>(), [OTHER, OTHER]);
        let second = both.written_into(&behind, "/host.key");
        assert!(second.starts_with(own) && second.ends_with("init`.\ndrain-seconds = 3\n"));
        assert_eq!(Peers::of_text(&second), both);
    }

    #[test]
    fn without_peers_there_is_a_key_and_nothing_that_listens_or_believes() {
        let text = Peers::default().written_into("", "/host.key");
        assert!(text.contains("[certificate.host]\nkey = \"/host.key\"\n"));
        assert!(!text.contains("trust") && !text.contains("listen"));
    }

    #[test]
    fn what_is_no_host_with_its_pin_is_told() {
        for (text, expected) in [
            ("a.example.com", "a host is written with its pin: NAME=sha256-…"),
            ("a=sha256-x", "a pin is sha256- and 44 characters of base64"),
        ] {
            assert_eq!(Peer::parse(text).unwrap_err().to_string(), expected);
        }
        for host in ["", "a b", "a\"]\nx", "-"] {
            assert!(Peer::parse(&format!("{host}={PIN}")).is_err(), "{host}");
        }
    }
}
