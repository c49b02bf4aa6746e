//! How a session begins.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::checks::Checks;
use super::conversation::Conversation;
use super::{
    ClientOptions, HELLO_BYTES_MOST, HelloError, Limits, Refused, ServerOptions, Session,
    SessionError, State, hello, refusal,
};
use crate::accept_rules::Refusal;
use crate::channel::Channel;
use crate::connection::{Connection, ConnectionError, Message, Options};
use crate::frame::FrameError;
use crate::patience::Patience;
use crate::stream::Stream;

impl Session {
    /// Begins a session as the client, and waits for the server to agree.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`] with the server's reason, [`SessionError::Hello`], or
    /// [`ConnectionError::TimedOut`] after the time that `options` say.
    pub fn connect(stream: Stream, options: &ClientOptions) -> Result<Self, SessionError> {
        let mut session = Self::start(stream, options)?;
        session.agree(Patience::within(options.timeout))?;
        Ok(session)
    }

    /// Begins a session as the client without waiting for the server: the first messages leave
    /// together with the beginning, on any channel that was asked for. Whether the server agrees
    /// comes out at the first call that waits. Not for servers of ipcprims, which lose what comes
    /// that early.
    ///
    /// # Errors
    ///
    /// [`SessionError::Hello`] if the options cannot be said.
    pub fn start(stream: Stream, options: &ClientOptions) -> Result<Self, SessionError> {
        let hello = hello::client(options)?;
        let mut connection = Self::carrier(stream, &options.limits)?;
        connection.queue(Channel::CONTROL, &hello)?;
        let state = State::Greeted(Box::new(options.clone()));
        let (limits, checks) = (options.limits, Checks::default());
        Ok(Self { connection, state, token: None, limits, checks })
    }

    /// Begins a session as the server, for a client that is called `peer_id` (1 to 128 bytes).
    ///
    /// It waits for the client, so a server calls it where a slow client delays nobody else. A
    /// client that is not let in is told why before the connection is closed.
    ///
    /// # Errors
    ///
    /// [`SessionError::Hello`], [`SessionError::Refused`] with what the client was told, or
    /// [`ConnectionError::TimedOut`] after the time that `options` say.
    pub fn accept(
        stream: Stream,
        options: &ServerOptions,
        peer_id: &str,
    ) -> Result<Self, SessionError> {
        let patience = Patience::within(options.timeout);
        let mut beginning = Self::begin(stream, options)?;
        let heard = beginning.hear(patience);
        let judged = beginning.judge(heard, options, peer_id, patience);
        judged.map_err(|turned_away| turned_away.see_off(patience))
    }

    /// As [`Session::connect`], behind [`Session::start`].
    pub(crate) fn agree(&mut self, patience: Patience) -> Result<(), SessionError> {
        self.finish(patience).map(drop)
    }

    /// A session whose client has not spoken yet.
    pub(crate) fn begin(
        stream: Stream,
        options: &ServerOptions,
    ) -> Result<Beginning, SessionError> {
        let stream = options.rules.complete(stream);
        Ok(Beginning { connection: Self::carrier(stream, &options.limits)? })
    }

    fn carrier(stream: Stream, limits: &Limits) -> Result<Connection, SessionError> {
        let options = Options {
            payload_most: HELLO_BYTES_MOST.min(limits.payload_most),
            descriptors_most: limits.descriptors_most,
            ..Options::default()
        };
        let connection = Connection::with(stream, options).map_err(ConnectionError::System);
        let mut connection = connection?;
        connection.allow_sending(limits.payload_most);
        Ok(connection)
    }

    /// Waits until both sides have agreed; at once if they have.
    pub(super) fn finish(&mut self, patience: Patience) -> Result<&mut Conversation, SessionError> {
        if let State::Greeted(options) = &self.state {
            let answer = self.connection.receive_within(patience)?;
            let negotiated = match answer.channel {
                Channel::CONTROL => hello::read_answer(&answer.payload, options)?,
                Channel::ERROR => {
                    let reason = refusal::read(&answer.payload);
                    return Err(SessionError::Refused { reason });
                }
                channel => return Err(HelloError::Channel(channel).into()),
            };
            self.connection.allow_payload(self.limits.payload_most);
            let conversation = Conversation::new(negotiated, self.limits, Instant::now());
            self.state = State::Open(Box::new(conversation));
        }
        match &mut self.state {
            State::Open(conversation) => Ok(conversation),
            State::Greeted(_) => Err(HelloError::Malformed.into()),
        }
    }
}

/// A server's end before its client has spoken.
#[derive(Debug)]
pub(crate) struct Beginning {
    connection: Connection,
}

impl AsFd for Beginning {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Beginning {
    /// Waits for the client's first words.
    pub(crate) fn hear(&mut self, patience: Patience) -> Result<Message, SessionError> {
        Ok(self.connection.receive_within(patience)?)
    }

    /// Lets the client in that has said what it wants, or tells it why not.
    pub(crate) fn judge(
        mut self,
        heard: Result<Message, SessionError>,
        options: &ServerOptions,
        peer_id: &str,
        patience: Patience,
    ) -> Result<Session, TurnedAway> {
        let judged = heard.and_then(|hello| judge(&hello, options, peer_id, &self.connection));
        let answer = match judged {
            Ok(answer) => answer,
            Err(error) => return Err(self.turn_away(error, options)),
        };
        if let Err(error) = self.answer(&answer.bytes, patience) {
            return Err(TurnedAway { error: error.into(), leaving: None });
        }
        self.connection.allow_payload(options.limits.payload_most);
        let now = Instant::now();
        let conversation = Conversation::new(answer.negotiated, options.limits, now);
        Ok(Session {
            connection: self.connection,
            state: State::Open(Box::new(conversation)),
            token: answer.token,
            limits: options.limits,
            checks: Checks::default(),
        })
    }

    fn answer(&mut self, bytes: &[u8], patience: Patience) -> Result<(), ConnectionError> {
        self.connection.queue(Channel::CONTROL, bytes)?;
        // A client that has more to say already need not wait for that alone.
        if !self.connection.has_message() {
            self.connection.flush(patience)?;
        }
        Ok(())
    }

    /// Tells a client why it is not let in, if it would understand that.
    fn turn_away(mut self, error: SessionError, options: &ServerOptions) -> TurnedAway {
        let reason = match &error {
            // Who has gone hears nothing, and who speaks in no frames understands none.
            SessionError::Connection(
                ConnectionError::Ended
                | ConnectionError::System(_)
                | ConnectionError::Frame(FrameError::Magic),
            ) => return TurnedAway { error, leaving: None },
            SessionError::Connection(ConnectionError::TimedOut) => {
                format!("its first message did not come within {:?}", options.timeout)
            }
            SessionError::Refused { reason } => reason.clone(),
            error => error.to_string(),
        };
        // Its connection is new: there is room for this, or it has gone.
        let told = self
            .connection
            .send_within(Channel::ERROR, &refusal::bytes(&reason), &[], Patience::Never)
            .and_then(|()| self.connection.end_sending());
        TurnedAway { error, leaving: told.is_ok().then(|| Box::new(self.connection)) }
    }
}

/// A client that is not let in.
pub(crate) struct TurnedAway {
    pub(crate) error: SessionError,
    /// Its connection, if it has been told why. What is closed while something of the client's is
    /// unread may take our words along, and a client that is still speaking reads nothing: so what
    /// it sends is [discarded](Connection::discard) until it leaves, [`FAREWELL`] at most.
    pub(crate) leaving: Option<Box<Connection>>,
}

impl TurnedAway {
    /// Waits until the client has left.
    fn see_off(self, patience: Patience) -> SessionError {
        let Some(mut connection) = self.leaving else { return self.error };
        let patience = patience.at_most(Some(Instant::now() + FAREWELL));
        while !patience.is_over(Instant::now()) && connection.discard(patience).is_ok() {}
        self.error
    }
}

/// What the server answers, if the client is let in.
fn judge(
    hello: &Message,
    options: &ServerOptions,
    peer_id: &str,
    connection: &Connection,
) -> Result<hello::Answer, SessionError> {
    if hello.channel != Channel::CONTROL {
        return Err(HelloError::Channel(hello.channel).into());
    }
    let answer = hello::answer(&hello.payload, options, peer_id)?;
    if !options.rules.is_unrestricted() {
        let refused = |refusal: Refusal| SessionError::Refused { reason: refusal.to_string() };
        options.rules.check(connection.peer()).map_err(refused)?;
    }
    if let Some(verify) = &options.verify {
        verify(answer.token.as_ref(), connection.peer())
            .map_err(|Refused(reason)| SessionError::Refused { reason })?;
    }
    Ok(answer)
}

/// How long a client that was not let in may take to leave.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
