//! Contents checked against schemas, where a program wants that.

use super::{Received, SessionError};
use crate::channel::Channel;

#[cfg(feature = "schema")]
use {super::ReplyTo, crate::schema::SchemaRegistry, std::sync::Arc};

/// What is checked of a session's messages; nothing at first.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    #[cfg(feature = "schema")]
    schemas: Option<(Arc<SchemaRegistry>, Checked)>,
    /// How to answer the message that was refused last.
    #[cfg(feature = "schema")]
    refused: Option<ReplyTo>,
}

impl Checks {
    /// A message that came, if its content is what it should be.
    pub(super) fn received(&mut self, received: Received) -> Result<Received, SessionError> {
        let checked = self.incoming(received.channel, &received.payload);
        #[cfg(feature = "schema")]
        if checked.is_err() {
            self.refused = received.request;
        }
        checked.map(|()| received)
    }
}

/// Which messages of a session are checked.
///
/// ```
/// use std::sync::Arc;
///
/// use libipc::schema::{SchemaOptions, SchemaRegistry};
/// use libipc::session::{Checked, ClientOptions, ServerOptions, Session};
/// use libipc::Channel;
///
/// # let (near, far) = libipc::Stream::pair()?;
/// # let serving = std::thread::spawn(move || {
/// #     let mut session = Session::accept(far, &ServerOptions::default(), "peer-1")?;
/// #     session.send(Channel::DATA, b"42")
/// # });
/// let schemas = [(Channel::DATA, r#"{"type": "number"}"#)];
/// let schemas = SchemaRegistry::from_embedded(&schemas, SchemaOptions::default()).unwrap();
/// let mut session = Session::connect(near, &ClientOptions::default())?;
/// session.check(Arc::new(schemas), Checked::Both);
/// assert!(session.send(Channel::DATA, b"no number").is_err(), "and it was not sent");
/// assert_eq!(session.receive()?.payload, "42");
/// # serving.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(feature = "schema")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checked {
    /// Those that are sent.
    Sent,
    /// Those that come.
    Received,
    /// Both.
    Both,
}

#[cfg(feature = "schema")]
impl super::Session {
    /// Checks the contents of messages from now on. One that is not what its schema says is not
    /// sent, or not handed out: the call answers [`SessionError::Schema`], and the session goes
    /// on.
    pub fn check(&mut self, schemas: Arc<SchemaRegistry>, which: Checked) {
        self.checks.schemas = Some((schemas, which));
    }

    /// How to answer the message that a [`SessionError::Schema`] was about, if it is or may be a
    /// request: whoever has asked waits for an answer, and without numbers asks nothing more
    /// before. Given once.
    pub fn take_refused(&mut self) -> Option<ReplyTo> {
        self.checks.refused.take()
    }
}

#[cfg(feature = "schema")]
impl Checks {
    pub(super) fn outgoing(&self, channel: Channel, payload: &[u8]) -> Result<(), SessionError> {
        self.unless(Checked::Received, channel, payload)
    }

    pub(super) fn incoming(&self, channel: Channel, payload: &[u8]) -> Result<(), SessionError> {
        self.unless(Checked::Sent, channel, payload)
    }

    fn unless(
        &self,
        spared: Checked,
        channel: Channel,
        payload: &[u8],
    ) -> Result<(), SessionError> {
        match &self.schemas {
            Some((schemas, which)) if *which != spared => {
                schemas.validate(channel, payload).map_err(SessionError::Schema)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(not(feature = "schema"))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "there are no schemas here")]
impl Checks {
    pub(super) fn outgoing(&self, _: Channel, _: &[u8]) -> Result<(), SessionError> {
        Ok(())
    }

    pub(super) fn incoming(&self, _: Channel, _: &[u8]) -> Result<(), SessionError> {
        Ok(())
    }
}
