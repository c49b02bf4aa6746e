//! Who is let in by a service itself, behind what the broker's rules let through.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::channel::Channel;
use crate::connection::{Carrier, Connection, Options};
use crate::decoder::Framing;
use crate::identity::{Identity, LocalIdentity};
use crate::listener::{Listener, one_after_the_other};
use crate::patience::Patience;
use crate::session::refusal;
use crate::stream::Stream;
use crate::unit::Units;

/// What is known of a local process, or of this one: see [`LocalIdentity::of_process`].
///
/// ```
/// use libipc::accept_rules::Credentials;
///
/// let own = Credentials::of_process()?;
/// assert_eq!(own.pid, Some(std::process::id()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub type Credentials = LocalIdentity;

/// A program's own judgement of a peer; the text of a refusal is told to the client.
///
/// ```
/// use std::sync::Arc;
///
/// use libipc::accept_rules::{Refusal, Validator};
///
/// let closed: Arc<Validator> = Arc::new(|_| Err(Refusal::Validator("not on Sundays".to_owned())));
/// # drop(closed);
/// ```
pub type Validator = dyn Fn(&Identity) -> Result<(), Refusal> + Send + Sync + 'static;

/// Who is let in: lists by uid, group, unit and proven name, privilege, and a judgement of one's
/// own. Every kind that is named has to hold, of several of one kind any; no rules let everybody
/// in. What is not known about a peer matches nothing.
///
/// They judge [`Stream::peer`], which is the true client even where the broker has brought it.
///
/// ```
/// use libipc::identity::{Identity, LocalIdentity};
/// use libipc::AcceptRules;
///
/// let rules = AcceptRules::default().allow_uid(1000).allow_uid(1001).allow_group(100);
/// let who = |uid, group| {
///     let (uid, groups) = (Some(uid), Some(vec![group]));
///     Identity::Local(LocalIdentity { uid, groups, ..LocalIdentity::default() })
/// };
/// assert!(rules.check(Some(&who(1001, 100))).is_ok());
/// assert!(rules.check(Some(&who(1001, 99))).is_err());
/// assert!(rules.check(None).is_err());
/// ```
#[derive(Clone, Default)]
pub struct AcceptRules {
    uids: Option<BTreeSet<u32>>,
    groups: Option<BTreeSet<u32>>,
    units: Option<BTreeSet<String>>,
    names: Option<BTreeSet<String>>,
    privileged: bool,
    validator: Option<Arc<Validator>>,
}

/// Why a peer is not let in. The texts are for the peer, and name nobody else.
///
/// ```
/// use libipc::AcceptRules;
/// use libipc::accept_rules::Refusal;
///
/// let refusal = AcceptRules::default().require_privileged().check(None).unwrap_err();
/// assert_eq!(refusal, Refusal::Unknown);
/// assert_eq!(refusal.to_string(), "it is not known who you are");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing is known about it.
    Unknown,
    /// It is not root.
    NotPrivileged,
    /// Its uid is not on the list, or not known.
    User,
    /// None of its groups is on the list.
    Group,
    /// Its unit is not on the list, or not known.
    Unit,
    /// None of the names that it has proven is on the list.
    Name,
    /// The validator's own words.
    Validator(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it is not known who you are",
            Self::NotPrivileged => "only root is let in",
            Self::User => "your user is not let in",
            Self::Group => "none of your groups is let in",
            Self::Unit => "your unit is not let in",
            Self::Name => "none of the names that you have proven is let in",
            Self::Validator(reason) => reason,
        })
    }
}

impl std::error::Error for Refusal {}

impl AcceptRules {
    /// Lets in processes of this uid (and of others that are named).
    #[must_use]
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.uids.get_or_insert_default().insert(uid);
        self
    }

    /// Lets in processes in this group, as their own or a supplementary one.
    #[must_use]
    pub fn allow_group(mut self, gid: u32) -> Self {
        self.groups.get_or_insert_default().insert(gid);
        self
    }

    /// Lets in processes of this unit of the system's service manager.
    #[must_use]
    pub fn allow_unit(mut self, unit: &str) -> Self {
        self.units.get_or_insert_default().insert(unit.to_owned());
        self
    }

    /// Lets in peers on other hosts that have proven this name, for example
    /// `dns:web1.example.com`.
    #[must_use]
    pub fn allow_name(mut self, name: &str) -> Self {
        self.names.get_or_insert_default().insert(name.to_owned());
        self
    }

    /// Lets in root alone.
    #[must_use]
    pub fn require_privileged(mut self) -> Self {
        self.privileged = true;
        self
    }

    /// Asks `validator` last, about those whom the lists let in.
    #[must_use]
    pub fn validate<V>(mut self, validator: V) -> Self
    where
        V: Fn(&Identity) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.validator = Some(Arc::new(validator));
        self
    }

    /// Whether everybody is let in.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        let lists = [self.uids.is_some(), self.groups.is_some(), self.units.is_some()];
        let others = [self.names.is_some(), self.privileged, self.validator.is_some()];
        !lists.into_iter().chain(others).any(|restricts| restricts)
    }

    /// Judges a peer: privilege, uid, groups, unit, names, and the validator, in this order.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`].
    pub fn check(&self, peer: Option<&Identity>) -> Result<(), Refusal> {
        if self.is_unrestricted() {
            return Ok(());
        }
        let Some(peer) = peer else { return Err(Refusal::Unknown) };
        let holds = |holds: bool, refusal| if holds { Ok(()) } else { Err(refusal) };
        let local = match peer {
            Identity::Local(local) => Some(local),
            Identity::Remote(_) => None,
        };
        let is_listed = |list: &Option<BTreeSet<u32>>, is: &dyn Fn(u32) -> bool| {
            list.as_ref().is_none_or(|list| list.iter().any(|id| is(*id)))
        };
        let is_root = local.is_some_and(LocalIdentity::is_privileged);
        holds(!self.privileged || is_root, Refusal::NotPrivileged)?;
        let has_uid = |uid| local.is_some_and(|local| local.uid == Some(uid));
        holds(is_listed(&self.uids, &has_uid), Refusal::User)?;
        let has_group = |gid| local.is_some_and(|local| local.is_in_group(gid));
        holds(is_listed(&self.groups, &has_group), Refusal::Group)?;
        let unit = local.and_then(|local| local.unit.as_ref());
        let has_unit = |list: &BTreeSet<String>| unit.is_some_and(|unit| list.contains(unit));
        holds(self.units.as_ref().is_none_or(has_unit), Refusal::Unit)?;
        let has_name = |list: &BTreeSet<String>| match peer {
            Identity::Remote(remote) => remote.names.iter().any(|name| list.contains(name)),
            Identity::Local(_) => false,
        };
        holds(self.names.as_ref().is_none_or(has_name), Refusal::Name)?;
        self.validator.as_ref().map_or(Ok(()), |validator| validator(peer))
    }

    /// As [`AcceptRules::check`], without looking at a peer that needs no looking at.
    fn check_stream(&self, stream: &Stream) -> Result<(), Refusal> {
        if self.is_unrestricted() { Ok(()) } else { self.check(stream.peer()) }
    }

    /// Finds out the peer's unit, if a rule asks for it and it is not known yet.
    pub(crate) fn complete(&self, stream: Stream) -> Stream {
        if self.units.is_none() {
            return stream;
        }
        let Some(Identity::Local(peer)) = stream.peer() else { return stream };
        let Units { unit, user_unit } = stream.peer_units();
        let peer = LocalIdentity { unit, user_unit, ..peer.clone() };
        stream.with_peer(Identity::Local(peer))
    }

    /// Waits for a client that is let in. One that is not is told why, if `options` have channels:
    /// on channel 4, as `{"error": "…"}`; then its connection is closed, and the next is waited
    /// for. So no client ends the service, or delays it.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`].
    pub fn accept(&self, listener: &Listener, options: Options) -> io::Result<Connection> {
        loop {
            if let Some(connection) = self.admit(listener.accept()?, options)? {
                return Ok(connection);
            }
        }
    }

    /// Every client that is let in, one after the other, as [`Listener::clients`] has them: what
    /// keeps one from being accepted is told to `told`, and only that another process has taken
    /// the name over is the end.
    ///
    /// ```
    /// use libipc::connection::Options;
    /// use libipc::{AcceptRules, Address, Channel};
    /// # use libipc::Connection;
    /// # let address = format!("@libipc-let-in-{}", std::process::id());
    /// # let address: Address = address.parse().unwrap();
    ///
    /// let listener = address.listen()?;
    /// # let deadline = std::time::Instant::now() + std::time::Duration::from_secs(9);
    /// # let mut asks = Connection::new(address.connect(deadline)?);
    /// # let uid = libipc::identity::LocalIdentity::of_process()?.uid.unwrap_or_default();
    /// let rules = AcceptRules::default().allow_uid(uid);
    /// let told = |error: &std::io::Error| eprintln!("greeter: {error}");
    /// for mut client in rules.clients(&listener, Options::default(), told) {
    ///     let _gone = client.send(Channel::DATA, b"welcome").is_err();
    /// #   break;
    /// }
    /// # assert_eq!(asks.receive()?.payload, "welcome");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn clients(
        &self,
        listener: &Listener,
        options: Options,
        told: impl FnMut(&io::Error),
    ) -> impl Iterator<Item = Connection> {
        one_after_the_other(move || self.accept(listener, options), told)
    }

    /// A connection with a client that is let in; another one is told why.
    pub(crate) fn admit(&self, stream: Stream, options: Options) -> io::Result<Option<Connection>> {
        let stream = self.complete(stream);
        let verdict = self.check_stream(&stream);
        let mut connection = Connection::with(stream, options)?;
        let Err(refusal) = verdict else { return Ok(Some(connection)) };
        if options.carrier == Carrier::Stream(Framing::Frames) {
            let reason = refusal::bytes(&refusal.to_string());
            // Its connection is new: there is room for this, or it has gone.
            let _told =
                connection.send_within(Channel::ERROR, &reason, &[], Patience::Never).is_ok();
        }
        Ok(None)
    }
}

impl fmt::Debug for AcceptRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptRules")
            .field("uids", &self.uids)
            .field("groups", &self.groups)
            .field("units", &self.units)
            .field("names", &self.names)
            .field("privileged", &self.privileged)
            .field("validator", &self.validator.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests;
