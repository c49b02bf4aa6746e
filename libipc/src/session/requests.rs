//! Requests and their answers.
//!
//! Where both sides know how, each payload on channel 1 begins with eight bytes: what it is (0 a
//! message, 1 a request, 2 an answer), three zero bytes, and the number of the request (`u32`,
//! little-endian; zero for a message). Where they do not, one request is under way at a time, and
//! the next message on channel 1 is its answer.

use std::collections::{BTreeSet, HashMap};

use bytes::{Buf, Bytes};

use super::SessionError;
use crate::channel::Channel;

/// Bytes before the payload where requests are numbered.
pub(super) const PREFIX_BYTES: usize = 8;

/// A request that was made and has no answer yet, for [`Session::answer_to`](super::Session::answer_to).
///
/// ```
/// use libipc::session::{ClientOptions, ServerOptions, Session};
/// use libipc::{Patience, Stream};
///
/// let (near, far) = Stream::pair()?;
/// let serving = std::thread::spawn(move || {
///     let mut session = Session::accept(far, &ServerOptions::default(), "peer-1")?;
///     let (first, second) = (session.receive()?, session.receive()?);
///     session.answer(second.request.unwrap(), b"2")?;
///     session.answer(first.request.unwrap(), b"1")
/// });
/// let options = ClientOptions { request_ids: true, ..ClientOptions::default() };
/// let mut session = Session::connect(near, &options)?;
/// let first = session.start_request(b"one?", Patience::Forever)?;
/// let second = session.start_request(b"two?", Patience::Forever)?;
/// assert_eq!(session.answer_to(first, Patience::Forever)?, "1");
/// assert_eq!(session.answer_to(second, Patience::Forever)?, "2");
/// # serving.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestId(pub(super) u32);

/// How a request that came is answered.
///
/// ```
/// use libipc::session::{ClientOptions, ReplyTo, ServerOptions, Session};
/// use libipc::{Patience, Stream};
///
/// let (near, far) = Stream::pair()?;
/// let serving = std::thread::spawn(move || {
///     let mut session = Session::accept(far, &ServerOptions::default(), "peer-1")?;
///     let question = session.receive()?;
///     let reply: ReplyTo = question.request.unwrap();
///     session.answer(reply, b"42")
/// });
/// let mut session = Session::connect(near, &ClientOptions::default())?;
/// assert_eq!(session.request(b"a question", Patience::Forever)?, "42");
/// # serving.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReplyTo {
    /// The peer's number; none where requests have none.
    pub(super) id: Option<u32>,
    pub(super) channel: Channel,
}

/// What a payload on channel 1 is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Message,
    Request,
    Answer,
}

impl Kind {
    pub(super) fn prefix(self, id: u32) -> [u8; PREFIX_BYTES] {
        let number = match self {
            Self::Message => 0,
            Self::Request => 1,
            Self::Answer => 2_u64,
        };
        (number | u64::from(id) << 32).to_le_bytes()
    }

    /// Cuts the prefix off.
    fn read(payload: &mut Bytes) -> Option<(Self, u32)> {
        let prefix = u64::from_le_bytes(*payload.first_chunk::<PREFIX_BYTES>()?);
        payload.advance(PREFIX_BYTES);
        let id = u32::try_from(prefix >> 32).ok()?;
        let kind = match prefix & u64::from(u32::MAX) {
            0 => Self::Message,
            1 => Self::Request,
            2 => Self::Answer,
            _ => return None,
        };
        Some((kind, id))
    }
}

/// Requests under way, and answers that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Requests {
    numbered: bool,
    last: u32,
    /// `None`: no answer yet.
    under_way: HashMap<u32, Option<Bytes>>,
    /// Those of them that have their answer.
    answered: BTreeSet<u32>,
    /// Requests that nobody waits for any more, whose answers may still come.
    late: usize,
}

/// What is to be done with a message on channel 1.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Sorted {
    /// It is the application's; with `Some`, it may be answered.
    Message(Bytes, Option<ReplyTo>),
    /// It was an answer.
    Answer,
}

impl Requests {
    pub(super) fn new(numbered: bool) -> Self {
        Self { numbered, last: 0, under_way: HashMap::new(), answered: BTreeSet::new(), late: 0 }
    }

    pub(super) fn is_numbered(&self) -> bool {
        self.numbered
    }

    /// A new request; without numbers there is one at a time.
    pub(super) fn begin(&mut self) -> Result<RequestId, SessionError> {
        if !self.numbered && (self.late > 0 || !self.under_way.is_empty()) {
            return Err(SessionError::OneAtATime);
        }
        // After four thousand million requests numbers come again; those under way keep theirs.
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.under_way.contains_key(&self.last) {
                self.under_way.insert(self.last, None);
                return Ok(RequestId(self.last));
            }
        }
    }

    /// Takes the answer if it has come.
    pub(super) fn take(&mut self, id: RequestId) -> Result<Option<Bytes>, SessionError> {
        match self.under_way.get_mut(&id.0).map(Option::take) {
            None => Err(SessionError::UnknownRequest),
            Some(None) => Ok(None),
            Some(answer) => {
                self.withdraw(id);
                Ok(answer)
            }
        }
    }

    /// Takes an answer that has come, whichever it is.
    pub(super) fn take_any(&mut self) -> Option<(RequestId, Bytes)> {
        let id = RequestId(*self.answered.first()?);
        let answer = self.take(id).ok()??;
        Some((id, answer))
    }

    /// Takes a request back that was never sent.
    pub(super) fn withdraw(&mut self, id: RequestId) {
        self.under_way.remove(&id.0);
        self.answered.remove(&id.0);
    }

    /// No longer waits for an answer; one that comes is dropped.
    pub(super) fn forget(&mut self, id: RequestId) {
        if self.under_way.get(&id.0) == Some(&None) {
            self.late += 1;
        }
        self.withdraw(id);
    }

    /// Takes note of an answer; `None` if there was no request for it. A peer whose answers were
    /// dropped without end would keep a call from ever coming back.
    fn answer(&mut self, id: u32, payload: Bytes) -> Option<Sorted> {
        match self.under_way.get_mut(&id) {
            Some(answer @ None) => {
                *answer = Some(payload);
                self.answered.insert(id);
            }
            Some(Some(_)) => return None,
            None => self.late = self.late.checked_sub(1)?,
        }
        Some(Sorted::Answer)
    }

    /// Sorts a message that came on channel 1; `None` if it breaks the rules.
    pub(super) fn sort(&mut self, mut payload: Bytes) -> Option<Sorted> {
        let channel = Channel::COMMAND;
        if !self.numbered {
            if self.late > 0 {
                self.late -= 1;
                return Some(Sorted::Answer);
            }
            let waits = self.under_way.iter().find(|(_, answer)| answer.is_none());
            if let Some(id) = waits.map(|(id, _)| *id) {
                return self.answer(id, payload);
            }
            return Some(Sorted::Message(payload, Some(ReplyTo { id: None, channel })));
        }
        match Kind::read(&mut payload)? {
            (Kind::Message, _) => Some(Sorted::Message(payload, None)),
            (Kind::Request, id) => {
                Some(Sorted::Message(payload, Some(ReplyTo { id: Some(id), channel })))
            }
            (Kind::Answer, id) => self.answer(id, payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u32, text: &str) -> Bytes {
        [&Kind::Answer.prefix(id)[..], text.as_bytes()].concat().into()
    }

    #[test]
    fn a_prefix_is_eight_bytes() {
        assert_eq!(Kind::Request.prefix(0x0403_0201), [1, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Kind::Message.prefix(0), [0; 8]);
        for wrong in [&b""[..], b"1234567", b"\x03\0\0\0\0\0\0\0", b"\x01\x01\0\0\0\0\0\0"] {
            assert_eq!(Requests::new(true).sort(Bytes::copy_from_slice(wrong)), None);
        }
    }

    #[test]
    fn numbered_answers_may_come_in_any_order() {
        let mut requests = Requests::new(true);
        let (first, second) = (requests.begin().unwrap(), requests.begin().unwrap());
        assert_eq!(requests.sort(answer(second.0, "b")), Some(Sorted::Answer));
        assert_eq!(requests.take(first).unwrap(), None);
        assert_eq!(requests.take(second).unwrap().unwrap(), "b");
        assert!(matches!(requests.take(second), Err(SessionError::UnknownRequest)));
        requests.sort(answer(first.0, "a"));
        assert_eq!(requests.take(first).unwrap().unwrap(), "a");
        assert!(requests.under_way.is_empty() && requests.answered.is_empty());
    }

    #[test]
    fn an_answer_that_nobody_asked_for_breaks_the_rules() {
        let mut requests = Requests::new(true);
        assert_eq!(requests.sort(answer(77, "nobody asked")), None);
        let (first, second) = (requests.begin().unwrap(), requests.begin().unwrap());
        requests.forget(first);
        assert_eq!(requests.sort(answer(first.0, "late")), Some(Sorted::Answer));
        assert_eq!(requests.sort(answer(first.0, "again")), None);
        assert_eq!(requests.sort(answer(second.0, "b")), Some(Sorted::Answer));
        assert_eq!(requests.sort(answer(second.0, "again")), None);
        assert_eq!(requests.take_any().unwrap(), (second, "b".into()));
        assert!(requests.take_any().is_none());
        assert!(requests.under_way.is_empty(), "a peer cannot make us keep anything");
    }

    #[test]
    fn a_late_answer_without_a_number_is_not_taken_for_the_next_one() {
        let mut requests = Requests::new(false);
        let first = requests.begin().unwrap();
        assert!(matches!(requests.begin(), Err(SessionError::OneAtATime)));
        requests.forget(first);
        assert!(matches!(requests.begin(), Err(SessionError::OneAtATime)));
        assert_eq!(requests.sort("late".into()), Some(Sorted::Answer));
        let second = requests.begin().unwrap();
        requests.sort("right".into());
        assert_eq!(requests.take(second).unwrap().unwrap(), "right");
        let request = requests.sort("a request".into());
        let reply = ReplyTo { id: None, channel: Channel::COMMAND };
        assert_eq!(request, Some(Sorted::Message("a request".into(), Some(reply))));
    }

    #[test]
    fn numbers_that_come_again_do_not_meet_those_under_way() {
        let mut requests = Requests::new(true);
        let first = requests.begin().unwrap();
        requests.last = u32::MAX;
        assert_eq!(requests.begin().unwrap(), RequestId(0));
        assert_ne!(requests.begin().unwrap(), first);
    }
}
