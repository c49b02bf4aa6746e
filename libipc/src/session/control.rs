//! Messages on channel 0 after the hello: those of ipcprims 0.2.

use serde::Deserialize;

use super::refusal::clean;

/// What a peer says about the session itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Control {
    Ping,
    Pong,
    /// It wants to end the session, for a reason that it may tell.
    ShutdownRequest(Option<String>),
    ShutdownAck,
    ShutdownForce,
    Unknown,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    payload: Option<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    reason: Option<String>,
}

/// The bytes are no JSON object with a `type`.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Malformed;

impl Control {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|_| Malformed)?;
        Ok(match &*envelope.kind {
            "ping" => Self::Ping,
            "pong" => Self::Pong,
            "shutdown_request" => {
                let reason = envelope.payload.and_then(|payload| payload.reason);
                Self::ShutdownRequest(reason.map(|reason| clean(&reason)))
            }
            "shutdown_ack" => Self::ShutdownAck,
            "shutdown_force" => Self::ShutdownForce,
            _ => Self::Unknown,
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Ping => br#"{"type":"ping"}"#.to_vec(),
            Self::Pong => br#"{"type":"pong"}"#.to_vec(),
            Self::ShutdownRequest(None) => br#"{"type":"shutdown_request"}"#.to_vec(),
            Self::ShutdownRequest(Some(reason)) => {
                let reason = serde_json::Value::from(reason.as_str());
                format!(r#"{{"type":"shutdown_request","payload":{{"reason":{reason}}}}}"#)
                    .into_bytes()
            }
            Self::ShutdownAck => br#"{"type":"shutdown_ack"}"#.to_vec(),
            Self::ShutdownForce => br#"{"type":"shutdown_force"}"#.to_vec(),
            Self::Unknown => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let quoted = Some("say \"bye\"\\".to_owned());
        let all = [
            Control::Ping,
            Control::Pong,
            Control::ShutdownRequest(None),
            Control::ShutdownAck,
            Control::ShutdownForce,
        ];
        for control in all {
            assert_eq!(Control::read(&control.bytes()), Ok(control));
        }
        let bytes = Control::ShutdownRequest(quoted).bytes();
        let Ok(Control::ShutdownRequest(Some(reason))) = Control::read(&bytes) else {
            panic!("not read")
        };
        assert_eq!(reason, "say \"bye\"\\");
    }

    #[test]
    fn unknown_keys_are_ignored_and_other_json_is_malformed() {
        let stamped = br#"{"type":"ping","timestamp":"2026","x":[1]}"#;
        assert_eq!(Control::read(stamped), Ok(Control::Ping));
        assert_eq!(Control::read(br#"{"type":"hop"}"#), Ok(Control::Unknown));
        for wrong in [&b""[..], b"{}", b"[]", b"ping", b"{\"type\":1}", b"\xff"] {
            assert_eq!(Control::read(wrong), Err(Malformed));
        }
    }
}
