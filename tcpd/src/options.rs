//! What the options of a target say about its socket.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use libipc::interface::transport::TransportError;
use libipc::secret::Secret;
use relay::failure::invalid;
use sys::tcp::Origin;

use crate::keepalive;

/// The options of one target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Options {
    /// Where connections come from.
    pub(crate) origin: Origin,
    is_nodelay: bool,
    keepalive: Keepalive,
}

/// Whether a silent far end is asked whether it is there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Keepalive {
    /// After a minute.
    #[default]
    Ordinary,
    After(Duration),
    Never,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`TransportError::InvalidRequest`]: there is no such option, or it cannot have that value.
    pub(crate) fn read(options: &BTreeMap<String, Secret>) -> Result<Self, TransportError> {
        let mut read = Self::default();
        for (name, value) in options {
            let value = value.expose();
            let is_read = match name.as_str() {
                "nodelay" => value.parse().map(|flag| read.is_nodelay = flag).is_ok(),
                "keepalive" => Keepalive::read(value).map(|keep| read.keepalive = keep).is_some(),
                "source" => value.parse().map(|source| read.origin.source = Some(source)).is_ok(),
                "mark" => value.parse().map(|mark| read.origin.mark = Some(mark)).is_ok(),
                _ => return Err(invalid("options", &format!("{name} is not an option of tcp"))),
            };
            if !is_read {
                return Err(invalid("options", &format!("{name} cannot have that value")));
            }
        }
        Ok(read)
    }

    /// Applies what is about a connected socket.
    pub(crate) fn apply(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.keepalive {
            Keepalive::Ordinary => keepalive::keep_alive(socket)?,
            Keepalive::After(idle) => keepalive::keep_alive_after(socket, idle)?,
            Keepalive::Never => {}
        }
        if self.is_nodelay { sys::tcp::set_nodelay(socket) } else { Ok(()) }
    }
}

impl Keepalive {
    fn read(value: &str) -> Option<Self> {
        match value {
            "true" => Some(Self::Ordinary),
            "false" => Some(Self::Never),
            seconds => match seconds.parse::<u16>() {
                Ok(seconds @ 1..=32767) => Some(Self::After(Duration::from_secs(seconds.into()))),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Options, String> {
        let options = BTreeMap::from([(name.to_owned(), Secret::new(value.to_owned()))]);
        Options::read(&options).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn every_option_has_its_effect() {
        assert!(read("nodelay", "true").unwrap().is_nodelay);
        assert_eq!(read("nodelay", "false"), Ok(Options::default()));
        assert_eq!(read("keepalive", "true"), Ok(Options::default()));
        assert_eq!(read("keepalive", "false").unwrap().keepalive, Keepalive::Never);
        let after = Keepalive::After(Duration::from_secs(7));
        assert_eq!(read("keepalive", "7").unwrap().keepalive, after);
        assert_eq!(read("source", "::1").unwrap().origin.source, Some("::1".parse().unwrap()));
        assert_eq!(read("mark", "4294967295").unwrap().origin.mark, Some(u32::MAX));
    }

    #[test]
    fn what_is_no_option_says_so() {
        assert!(read("pin", "x").unwrap_err().contains("pin is not an option of tcp"));
        let wrong =
            [("nodelay", "1"), ("keepalive", "0"), ("keepalive", "32768"), ("source", "here")];
        for (name, value) in wrong {
            let said = read(name, value).unwrap_err();
            assert!(said.contains(&format!("{name} cannot have that value")), "{said}");
        }
    }
}
