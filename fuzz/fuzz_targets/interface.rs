//! Parameters, answers and errors as types: what was read says the same when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libipc::interface::{
    authenticator, broker, control, introspection, registry, transport, tunnel,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn there_and_back<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("again"), written);
}

fuzz_target!(|bytes: &[u8]| {
    there_and_back::<authenticator::Verify>(bytes);
    there_and_back::<authenticator::Verified>(bytes);
    there_and_back::<authenticator::AuthenticatorError>(bytes);
    there_and_back::<broker::Connect>(bytes);
    there_and_back::<broker::Connected>(bytes);
    there_and_back::<broker::Resolve>(bytes);
    there_and_back::<broker::Resolved>(bytes);
    there_and_back::<broker::BrokerError>(bytes);
    there_and_back::<control::Status>(bytes);
    there_and_back::<control::ControlError>(bytes);
    there_and_back::<introspection::GetDescription>(bytes);
    there_and_back::<registry::Register>(bytes);
    there_and_back::<registry::Registered>(bytes);
    there_and_back::<transport::Dial>(bytes);
    there_and_back::<transport::Dialed>(bytes);
    there_and_back::<transport::Wrap>(bytes);
    there_and_back::<transport::Serve>(bytes);
    there_and_back::<transport::Arrived>(bytes);
    there_and_back::<transport::Agreed>(bytes);
    there_and_back::<transport::TransportError>(bytes);
    there_and_back::<tunnel::Open>(bytes);
    there_and_back::<tunnel::TunnelError>(bytes);
});
