//! Numbers that keep kinds of messages apart on one connection.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A channel of a connection that carries messages.
///
/// The first five have a meaning, up to 255 are reserved, and the rest belongs to the application.
///
/// ```
/// use libipc::Channel;
///
/// assert_eq!(Channel::DATA.to_string(), "2 (DATA)");
/// assert!(Channel(5).is_reserved() && !Channel(256).is_reserved());
/// ```
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Channel(pub u16);

impl Channel {
    /// Hellos, pings and farewells of a [`Session`](crate::Session); never the application's.
    pub const CONTROL: Self = Self(0);
    /// Requests and their answers.
    pub const COMMAND: Self = Self(1);
    /// What it is all about.
    pub const DATA: Self = Self(2);
    /// Measurements and logs.
    pub const TELEMETRY: Self = Self(3);
    /// What went wrong, in words.
    pub const ERROR: Self = Self(4);
    /// The first channel that applications may give a meaning to.
    pub const APPLICATION: Self = Self(256);

    /// Its name; all of the application's channels are `USER`, those between are `RESERVED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "CONTROL",
            1 => "COMMAND",
            2 => "DATA",
            3 => "TELEMETRY",
            4 => "ERROR",
            5..256 => "RESERVED",
            256.. => "USER",
        }
    }

    /// Whether the number has no meaning yet and must not be given one.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        (5..256).contains(&self.0)
    }
}

impl From<u16> for Channel {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name() {
        let named = [(0, "CONTROL"), (4, "ERROR"), (5, "RESERVED"), (255, "RESERVED")];
        for (number, name) in named.into_iter().chain([(256, "USER"), (u16::MAX, "USER")]) {
            assert_eq!(Channel(number).name(), name);
            assert_eq!(Channel(number).is_reserved(), name == "RESERVED");
        }
        assert_eq!(Channel::COMMAND.to_string(), "1 (COMMAND)");
    }
}
