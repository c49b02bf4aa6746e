//! The ends of a link come to know each other, and agree.

use super::{Agreement, Fate, Link, Phase, Purpose, Scratch, Stop, protocol};
use crate::codec::Codec;
use crate::hello::{Asked, Reader, Take};

impl<C: Codec> Link<C> {
    /// Goes on with it.
    pub(super) fn negotiate(&mut self, scratch: &mut Scratch) -> Fate {
        scratch.outgoing.clear();
        match self.try_negotiate(scratch) {
            Ok(agreement) => Fate::Agreed(agreement),
            Err(Stop::Blocked) => self.fate_of_waiting(),
            Err(Stop::Rejected(error)) => Fate::Rejected(protocol(&error)),
            Err(Stop::Gone(error)) => Fate::Failed(match error.or(self.deaf.take()) {
                Some(error) => self.codec.broken(&error),
                None => self.codec.silent(),
            }),
            Err(Stop::Failed(error)) => {
                // What the codec has to say about it is worth one try.
                self.unsent.push(scratch.outgoing.bytes());
                let _unsent = self.flush().is_err();
                Fate::Failed(error)
            }
        }
    }

    /// Nothing more has come. The first time that only silence is missing, that is said.
    fn fate_of_waiting(&mut self) -> Fate {
        match &mut self.phase {
            Phase::Unsure { is_told: is_told @ false } => {
                *is_told = true;
                Fate::Unsure
            }
            _ => Fate::Goes,
        }
    }

    /// The far end has been silent for long enough: it does not refuse us.
    pub(crate) fn take_silence_for_yes(&mut self) -> Agreement {
        self.agree(None, &[])
    }

    fn try_negotiate(&mut self, scratch: &mut Scratch) -> Result<Agreement, Stop> {
        if std::mem::take(&mut self.is_to_begin) {
            scratch.open(0, &mut self.codec)?;
        }
        loop {
            self.send(scratch)?;
            if !self.net_is_ready {
                return Err(Stop::Blocked);
            }
            let is_asked = self.is_asked();
            let is_end = self.receive(scratch)?;
            let agreement = self.understand(scratch);
            let is_unfinished = matches!(self.phase, Phase::Listening(_));
            if brings_login(&agreement) || (is_unfinished && !scratch.plain.is_empty()) {
                scratch.forget();
            }
            if is_asked && matches!(agreement, Ok(Some(_))) {
                // A ticket, say: it goes with the yes or the no.
                self.unsent.push(scratch.outgoing.bytes());
            } else {
                self.send_what_can_be(scratch);
            }
            if let Some(agreement) = agreement? {
                return Ok(agreement);
            }
            if is_end {
                return Err(Stop::Gone(None));
            }
        }
    }

    /// Whether the far end has come to us, and waits for what we say.
    fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Listening(_) | Phase::Opening(Purpose::Listen | Purpose::Serve))
    }

    /// Takes a step with the plain bytes that came; what is left of them is for the plain side.
    fn understand(&mut self, scratch: &mut Scratch) -> Result<Option<Agreement>, Stop> {
        if let Phase::Opening(purpose) = &mut self.phase {
            if !self.codec.is_open() {
                return Ok(None);
            }
            match std::mem::replace(purpose, Purpose::Serve) {
                Purpose::Ask(Some(hello)) => {
                    let ask = self.codec.ask(&hello)?;
                    let pending = self.partial.bytes_mut();
                    self.codec.seal(&ask, pending, &mut scratch.outgoing)?;
                    self.phase = Phase::Asking(Reader::default());
                }
                Purpose::Listen => self.phase = Phase::Listening(Reader::default()),
                Purpose::Ask(None) | Purpose::Serve => {
                    self.phase = Phase::Unsure { is_told: false }
                }
            }
        }
        if matches!(self.phase, Phase::Unsure { .. }) {
            if self.codec.may_be_refused() {
                self.undelivered.push(&scratch.plain);
                return Ok(None);
            }
            return Ok(Some(self.agree(None, &scratch.plain)));
        }
        let plain = scratch.plain.as_slice();
        let (Phase::Asking(reader) | Phase::Listening(reader)) = &mut self.phase else {
            return Ok(None);
        };
        let Take(taken) = reader.wants(plain);
        let (message, behind) = plain.split_at(taken.min(plain.len()));
        let whole = reader.push(message).map_err(|error| Stop::Failed(protocol(&error)))?;
        let Some(message) = whole else { return Ok(None) };
        let asked = if matches!(self.phase, Phase::Asking(_)) {
            self.codec.answered(&message)?;
            None
        } else {
            Some(self.codec.asked(&message).map_err(Stop::Rejected)?)
        };
        Ok(Some(self.agree(asked, behind)))
    }

    fn agree(&mut self, asked: Option<Asked>, behind: &[u8]) -> Agreement {
        self.undelivered.push(behind);
        self.phase = Phase::Agreed { owes_yes: asked.is_some() };
        Agreement { names: self.codec.names(), asked }
    }
}

/// Whether the far end has said a secret.
fn brings_login(agreement: &Result<Option<Agreement>, Stop>) -> bool {
    let Ok(Some(Agreement { asked: Some(asked), .. })) = agreement else { return false };
    asked.login.is_some()
}
