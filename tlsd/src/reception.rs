//! How a server that knows nothing of us receives us.
//!
//! In TLS 1.3 a client is done before the server has looked at its certificate, or at the lack of
//! one, and a server that is content need not say so. Those that are commonly used do: they send
//! a ticket for later connections at once. So whatever comes from a server that has asked for a
//! certificate, be it a ticket, an answer or an alert, tells whether we are let in.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::NamedGroup;
use rustls::SignatureScheme;
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

/// What is shown to servers that ask, with a note that they did. All connections of one manner
/// have the same, for sessions are resumed only with what they began with.
#[derive(Debug)]
pub(crate) struct Asked(pub(crate) Arc<dyn ResolvesClientCert>);

thread_local! {
    /// Whether a server has asked on this thread. The library asks us while it handles what the
    /// server sent, and does not say on which connection.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Handles what came on one connection; and whether its server has asked for a certificate.
pub(crate) fn watched<T>(handle: impl FnOnce() -> T) -> (T, bool) {
    IS_ASKED.set(false);
    let handled = handle();
    (handled, IS_ASKED.get())
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        IS_ASKED.set(true);
        self.0.resolve(hints, schemes)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        self.0.has_certs()
    }
}

/// What has come of one connection so far.
#[derive(Debug)]
pub(crate) struct Reception {
    /// Where tickets are kept.
    tickets: Arc<dyn ClientSessionStore>,
    is_asked: AtomicBool,
    is_heard: AtomicBool,
}

impl Reception {
    /// Of a connection that keeps its tickets with `tickets`.
    pub(crate) fn new(tickets: Arc<dyn ClientSessionStore>) -> Self {
        Self { tickets, is_asked: AtomicBool::new(false), is_heard: AtomicBool::new(false) }
    }

    /// What has come: a request for a certificate, and words which only a server says that lets
    /// us in.
    pub(crate) fn note(&self, is_asked: bool, has_words: bool) {
        self.is_asked.fetch_or(is_asked, Ordering::Relaxed);
        self.is_heard.fetch_or(has_words, Ordering::Relaxed);
    }

    /// Whether the server has asked for a certificate, and nothing has come since.
    pub(crate) fn is_open(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed) && !self.is_heard.load(Ordering::Relaxed)
    }
}

impl ClientSessionStore for Reception {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.tickets.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.tickets.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.tickets.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tickets.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.tickets.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.is_heard.store(true, Ordering::Relaxed);
        self.tickets.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        self.tickets.take_tls13_ticket(server_name)
    }
}
