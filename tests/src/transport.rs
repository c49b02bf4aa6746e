//! Calls to a transport daemon, as a broker makes them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use libipc::varlink::{self, CallFlags};
use libipc::wire::{Limits, Progress, Reading, Wire};
use serde_json::{Value, json};
use sys::ancillary::Wait;

/// A connection with calls on it. What they open lives as long as it.
#[derive(Debug)]
pub struct Call {
    wire: Wire,
    patience: Duration,
}

/// An answer, and what came with it.
#[derive(Debug)]
pub struct Answer {
    /// The whole message.
    pub message: Value,
    /// The descriptor that rode on it.
    pub descriptor: Option<OwnedFd>,
}

impl Call {
    /// Connects to the daemon whose socket that is; it waits so long for each answer.
    #[must_use]
    pub fn to(socket: &Path, patience: Duration) -> Self {
        let socket = sys::socket::connect_unix_now(socket).expect("the daemon listens");
        sys::socket::set_blocking(socket.as_fd(), true).expect("it can block");
        sys::socket::set_receive_timeout(socket.as_fd(), Some(patience)).expect("a time-out");
        Self { wire: Wire::new(socket, Reading::Eager, Limits::default()), patience }
    }

    /// Calls a method of `org.ipcd.Transport`.
    pub fn send(&mut self, method: &str, parameters: &Value, descriptor: Option<OwnedFd>) {
        let method = format!("org.ipcd.Transport.{method}");
        let flags = CallFlags { more: method.ends_with("Listen"), ..CallFlags::default() };
        self.wire
            .queue(varlink::call(&method, parameters, flags), descriptor)
            .expect("room for it");
        assert!(self.wire.flush(Wait::Block).expect("the daemon reads"));
    }

    /// Waits for the next answer.
    pub fn answer(&mut self) -> Answer {
        loop {
            if let Some(message) = self.wire.take().expect("a message") {
                let descriptor = message.descriptors.into_iter().next();
                let message = serde_json::from_slice(&message.bytes).expect("JSON");
                return Answer { message, descriptor };
            }
            assert_eq!(
                self.wire.receive(Wait::Block).expect("in time"),
                Progress::Some,
                "no answer"
            );
        }
    }

    /// Goes on with what was agreed; the plain end.
    #[must_use]
    pub fn attach(&mut self, id: &Value) -> UnixStream {
        self.send("Attach", &json!({ "id": id }), None);
        let stream = UnixStream::from(self.answer().descriptor.expect("the plain end"));
        stream.set_read_timeout(Some(self.patience)).expect("a time-out");
        stream
    }

    /// Goes on with what was agreed, over this socket.
    pub fn attach_to(&mut self, id: &Value, plain: UnixStream) {
        self.send("Attach", &json!({ "id": id }), Some(plain.into()));
        assert_eq!(self.answer().said(), "");
    }

    /// Refuses what has arrived.
    pub fn refuse(&mut self, id: &Value) {
        self.send("Refuse", &json!({ "id": id, "retry": false }), None);
        assert_eq!(self.answer().said(), "");
    }
}

impl Answer {
    /// The short name of the error with its reason; nothing if there was none.
    #[must_use]
    pub fn said(&self) -> String {
        if self.error().is_empty() {
            return String::new();
        }
        format!("{}: {}", self.error(), self.parameter("reason").as_str().unwrap_or_default())
    }

    /// What the peer has proven, as an arrival says.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names = self.parameter("arrival")["identity"]["names"].as_array();
        names.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The short name of the error, or nothing.
    #[must_use]
    pub fn error(&self) -> &str {
        let error = self.message["error"].as_str().unwrap_or_default();
        error.rsplit('.').next().unwrap_or_default()
    }

    /// One of its parameters.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &Value {
        &self.message["parameters"][name]
    }
}
