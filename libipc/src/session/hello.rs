//! The first message of each side: who speaks which version, on which channels.
//!
//! Both are JSON on channel 0, those of ipcprims 0.2. What neither side knows is ignored, so
//! `request_ids` is our own and stays unsaid where it is not wanted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sys::wiped::Wiped;

use super::options::{ClientOptions, ServerOptions};
use super::{HelloError, Negotiated};
use crate::channel::Channel;
use crate::secret::Secret;

/// The name of the protocol, unless programs agree on another.
pub const PROTOCOL: &str = "ipcprims";

/// The version of it.
pub const VERSION: &str = "1.0";

/// Channels of one hello at most.
pub const CHANNELS_MOST: usize = 256;

const PROTOCOL_BYTES_MOST: usize = 32;
const VERSION_BYTES_MOST: usize = 16;
const PEER_ID_BYTES_MOST: usize = 128;

/// Bytes of a token at most.
pub const TOKEN_BYTES_MOST: usize = 4096;

#[derive(Debug, Deserialize, Serialize)]
struct ClientHello<'a> {
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    channels: Vec<Channel>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    auth_token: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    request_ids: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct ServerHello<'a> {
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    channels: Vec<Channel>,
    #[serde(borrow)]
    peer_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    request_ids: bool,
}

/// What a client says first.
pub(super) fn client(options: &ClientOptions) -> Result<Wiped<Vec<u8>>, HelloError> {
    judge_channels(&options.channels)?;
    if let Some(channel) = options.channels.iter().find(|one| one.is_reserved()) {
        return Err(HelloError::ReservedChannel { channel: *channel });
    }
    let token = options.token.as_ref();
    if token.is_some_and(|token| !(1..=TOKEN_BYTES_MOST).contains(&token.expose().len())) {
        return Err(HelloError::Token);
    }
    json(&ClientHello {
        protocol: options.protocol.as_str().into(),
        version: options.version.as_str().into(),
        channels: without_duplicates(&options.channels),
        auth_token: token.map(|token| Cow::Borrowed(token.expose())),
        request_ids: options.request_ids,
    })
}

/// What a server has read, and answers.
pub(super) struct Answer {
    pub(super) bytes: Wiped<Vec<u8>>,
    pub(super) negotiated: Negotiated,
    pub(super) token: Option<Secret>,
}

/// A server's answer to a client that said `hello`.
pub(super) fn answer(
    hello: &[u8],
    options: &ServerOptions,
    peer_id: &str,
) -> Result<Answer, HelloError> {
    let hello: ClientHello<'_> = read(hello)?;
    judge_protocol(&hello.protocol, &options.protocol)?;
    let (theirs, ours) = (version(&hello.version)?, version(&options.version)?);
    // As ipcprims has it: what a newer client leaves out, an older server does not miss.
    if theirs.0 != ours.0 || theirs.1 < ours.1 {
        return Err(HelloError::Version);
    }
    judge_channels(&hello.channels)?;
    let asked = without_duplicates(&hello.channels);
    // Programs of ipcprims may ask for what is reserved; it is not granted.
    let is_served =
        |channel: &Channel| options.channels.contains(channel) && !channel.is_reserved();
    let channels: Vec<Channel> = asked.into_iter().filter(is_served).collect();
    if channels.is_empty() && options.require_common_channel {
        return Err(HelloError::NoCommonChannel);
    }
    let token = hello.auth_token.map(|token| Secret::new(token.into_owned()));
    if token.as_ref().is_some_and(|token| !(1..=TOKEN_BYTES_MOST).contains(&token.expose().len())) {
        return Err(HelloError::Token);
    }
    let bytes = json(&ServerHello {
        protocol: options.protocol.as_str().into(),
        version: options.version.as_str().into(),
        channels: channels.clone(),
        peer_id: peer_id.into(),
        request_ids: hello.request_ids,
    })?;
    let negotiated = Negotiated {
        channels,
        peer_id: peer_id.to_owned(),
        version: hello.version.into_owned(),
        request_ids: hello.request_ids,
    };
    Ok(Answer { bytes, negotiated, token })
}

/// What a client makes of the server's answer.
pub(super) fn read_answer(
    answer: &[u8],
    options: &ClientOptions,
) -> Result<Negotiated, HelloError> {
    let answer: ServerHello<'_> = read(answer)?;
    judge_protocol(&answer.protocol, &options.protocol)?;
    if version(&answer.version)?.0 != version(&options.version)?.0 {
        return Err(HelloError::Version);
    }
    judge_channels(&answer.channels)?;
    if !(1..=PEER_ID_BYTES_MOST).contains(&answer.peer_id.len()) {
        return Err(HelloError::PeerId);
    }
    let channels = without_duplicates(&answer.channels);
    if let Some(channel) = channels.iter().find(|one| !options.channels.contains(one)) {
        return Err(HelloError::UnaskedChannel { channel: *channel });
    }
    if channels.is_empty() && options.require_common_channel {
        return Err(HelloError::NoCommonChannel);
    }
    Ok(Negotiated {
        channels,
        peer_id: answer.peer_id.into_owned(),
        version: answer.version.into_owned(),
        request_ids: options.request_ids && answer.request_ids,
    })
}

fn json(hello: &impl Serialize) -> Result<Wiped<Vec<u8>>, HelloError> {
    serde_json::to_vec(hello).map(Wiped::new).map_err(|_| HelloError::Malformed)
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, HelloError> {
    serde_json::from_slice(bytes).map_err(|_| HelloError::Malformed)
}

fn judge_protocol(theirs: &str, ours: &str) -> Result<(), HelloError> {
    if !(1..=PROTOCOL_BYTES_MOST).contains(&theirs.len()) || theirs != ours {
        return Err(HelloError::Protocol);
    }
    Ok(())
}

fn judge_channels(channels: &[Channel]) -> Result<(), HelloError> {
    if channels.len() > CHANNELS_MOST {
        return Err(HelloError::TooManyChannels);
    }
    if channels.contains(&Channel::CONTROL) {
        return Err(HelloError::ControlChannel);
    }
    Ok(())
}

fn without_duplicates(channels: &[Channel]) -> Vec<Channel> {
    let mut once = Vec::new();
    for channel in channels {
        if !once.contains(channel) {
            once.push(*channel);
        }
    }
    once
}

/// Exactly two numbers with a dot between them.
fn version(text: &str) -> Result<(u16, u16), HelloError> {
    let number = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_plain)
    };
    let parts = || {
        let (major, minor) = text.split_once('.')?;
        Some((number(major)?, number(minor)?))
    };
    if text.len() > VERSION_BYTES_MOST {
        return Err(HelloError::Version);
    }
    parts().ok_or(HelloError::Version)
}

#[cfg(test)]
mod tests;
