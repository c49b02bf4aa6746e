//! Requests and answers.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::requests::Kind;
use super::{ReplyTo, RequestId, Session, SessionError, State};
use crate::channel::Channel;
use crate::patience::Patience;
use crate::typed::Encoding;

impl Session {
    /// Sends a request on channel 1, and waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`Session::receive_within`]. After a timeout the answer is dropped when it comes; where
    /// requests are not numbered there is no other request before that.
    pub fn request(&mut self, payload: &[u8], patience: Patience) -> Result<Bytes, SessionError> {
        let request = self.start_request(payload, patience)?;
        let answer = self.answer_to(request, patience);
        if answer.as_ref().is_err_and(SessionError::is_timeout) {
            self.forget(request);
        }
        answer
    }

    /// As [`Session::request`], for a value and an answer that is one.
    ///
    /// # Errors
    ///
    /// As [`Session::request`], and [`SessionError::Content`].
    pub fn request_value<T: Serialize, A: DeserializeOwned>(
        &mut self,
        encoding: Encoding,
        value: &T,
        patience: Patience,
    ) -> Result<A, SessionError> {
        let answer = self.request(&encoding.write(value)?, patience)?;
        Ok(encoding.read(&answer)?)
    }

    /// Sends a request on channel 1, whose answer [`Session::answer_to`] brings. Several may be
    /// under way if they are [numbered](super::Negotiated::request_ids).
    ///
    /// # Errors
    ///
    /// [`SessionError::OneAtATime`]; otherwise as [`Session::send`].
    pub fn start_request(
        &mut self,
        payload: &[u8],
        patience: Patience,
    ) -> Result<RequestId, SessionError> {
        self.may_send(Channel::COMMAND)?;
        self.checks.outgoing(Channel::COMMAND, payload)?;
        self.send_controls()?;
        let conversation = self.finish(patience)?;
        let request = conversation.requests.begin()?;
        let sent = if conversation.requests.is_numbered() {
            let payload = [&Kind::Request.prefix(request.0)[..], payload].concat();
            self.connection.send_within(Channel::COMMAND, &payload, &[], patience)
        } else {
            self.connection.send_within(Channel::COMMAND, payload, &[], patience)
        };
        if let Err(error) = sent {
            // It was not sent, so no answer will come.
            self.finish(patience)?.requests.withdraw(request);
            return Err(error.into());
        }
        Ok(request)
    }

    /// Waits for the answer to a request; after a timeout it can be waited for again.
    ///
    /// # Errors
    ///
    /// [`SessionError::UnknownRequest`] if the answer was taken already; otherwise as
    /// [`Session::receive_within`].
    pub fn answer_to(
        &mut self,
        request: RequestId,
        patience: Patience,
    ) -> Result<Bytes, SessionError> {
        let answer = self.wait_for(patience, |conversation| conversation.requests.take(request))?;
        self.checks.incoming(Channel::COMMAND, &answer)?;
        Ok(answer)
    }

    /// An answer that has come already, to whichever request.
    pub(crate) fn take_answer(&mut self) -> Option<(RequestId, Result<Bytes, SessionError>)> {
        let State::Open(conversation) = &mut self.state else { return None };
        let (request, answer) = conversation.requests.take_any()?;
        let checked = self.checks.incoming(Channel::COMMAND, &answer);
        Some((request, checked.map(|()| answer)))
    }

    /// No longer waits for the answer to a request; it is dropped when it comes.
    pub fn forget(&mut self, request: RequestId) {
        if let State::Open(conversation) = &mut self.state {
            conversation.requests.forget(request);
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub fn answer(&mut self, request: ReplyTo, payload: &[u8]) -> Result<(), SessionError> {
        self.answer_within(request, payload, Patience::Forever)
    }

    /// As [`Session::answer`], with patience, as [`Session::send_within`] has it.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub fn answer_within(
        &mut self,
        request: ReplyTo,
        payload: &[u8],
        patience: Patience,
    ) -> Result<(), SessionError> {
        self.checks.outgoing(request.channel, payload)?;
        self.send_controls()?;
        match request.id {
            Some(id) => {
                let payload = [&Kind::Answer.prefix(id)[..], payload].concat();
                self.connection.send_within(request.channel, &payload, &[], patience)?;
            }
            None => self.connection.send_within(request.channel, payload, &[], patience)?,
        }
        Ok(())
    }
}
