//! What is known about a request: yes, no, or unknown.

/// Whether something holds, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fact {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell. An allow rule that needs it does not match, a deny rule does.
    Unknown,
}

impl Fact {
    /// `None` is unknown.
    #[must_use]
    pub fn known(fact: Option<bool>) -> Self {
        fact.map_or(Self::Unknown, Self::from)
    }

    /// Both hold. One that does not hold settles it, whatever the other is.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Unknown,
        }
    }

    /// One of them holds. One that holds settles it, whatever the other is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, Self::False) => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Fact {
    fn from(fact: bool) -> Self {
        if fact { Self::True } else { Self::False }
    }
}
