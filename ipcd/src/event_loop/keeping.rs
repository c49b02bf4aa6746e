//! Connections that outlive this broker, in the hands of its service manager.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use daemon::notify::Notifier;
use libipc::identity::LocalIdentity;
use libipc::name::ServiceName;
use libipc::poller::Interest;

use super::{EventLoop, Source, Watched};
use crate::action::{ClientId, Event};
use crate::client::Connection;
use crate::kept::{self, Asked, Kept, Purpose};

/// Whose connections are kept, and what the service manager has not been told of that.
#[derive(Debug)]
pub(super) struct Keeping {
    services: HashMap<ClientId, ServiceName>,
    news: Vec<News>,
    /// For what those have asked for who still wait at the end.
    paper: OwnedFd,
}

#[derive(Debug)]
enum News {
    Keep(ClientId, ServiceName),
    KeepNoMore(ServiceName),
}

impl Keeping {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { services: HashMap::new(), news: Vec::new(), paper: kept::paper()? })
    }

    fn begin(&mut self, client: ClientId, service: ServiceName) {
        // Its predecessor is another socket of the same name.
        self.services.retain(|_, name| *name != service);
        if self.services.len() >= kept::SERVICES_MOST {
            return;
        }
        self.news.push(News::KeepNoMore(service.clone()));
        self.news.push(News::Keep(client, service.clone()));
        self.services.insert(client, service);
    }

    /// True if the service manager has a copy, or is about to.
    fn end(&mut self, client: ClientId) -> bool {
        let Some(service) = self.services.remove(&client) else { return false };
        if !self.services.values().any(|name| *name == service) {
            self.news.push(News::KeepNoMore(service));
        }
        true
    }
}

impl EventLoop<'_> {
    /// Goes on with what the last broker had.
    pub(crate) fn restore(&mut self, kept: Kept, notifier: &Notifier, now: Instant) {
        if kept.is_empty() {
            return;
        }
        // Who waits belongs to whoever gets the connection in the end, and to nobody besides.
        notifier.keep_no_more(kept::CLIENTS);
        notifier.keep_no_more(kept::REQUESTS);
        let services = kept.iter().filter(|(_, what)| matches!(what, Purpose::Service(_))).count();
        let clients = kept.len() - services;
        tracing::info!(event = "restored", services, clients);
        for (socket, purpose) in kept {
            let Ok(identity) = LocalIdentity::of_peer(socket.as_fd()) else { continue };
            let who = super::entering::credentials(&identity);
            let Ok(connection) = Connection::adopted(socket, who) else { continue };
            let token = self.next_token();
            let client = ClientId::of(token);
            let interest = Interest::READ;
            let added = connection.socket().map(|one| self.poller.add(one, token, interest));
            if !matches!(added, Some(Ok(()))) {
                continue;
            }
            let watched = Watched { interest, begun: true };
            self.sources.insert(token, Source::Client(client, connection, watched));
            if let Purpose::Service(service) = &purpose {
                self.keeping.services.insert(client, service.clone());
            }
            let is_asking = matches!(&purpose, Purpose::Client(asked) if asked.connect.is_some());
            let is_answered = self.report(Event::Restored { client, identity, purpose }, now);
            if is_asking && !is_answered {
                self.watch(token, Interest::NONE);
            }
        }
    }

    /// Has a service's connection outlive this broker.
    pub(super) fn keep(&mut self, client: ClientId, service: ServiceName) {
        if let Some((_, connection)) = self.of_client(client) {
            connection.share();
            self.keeping.begin(client, service);
        }
    }

    /// A connection is over: also for the service manager, which has a copy of a service's.
    pub(super) fn keep_no_more(&mut self, client: ClientId, connection: &Connection) {
        if self.keeping.end(client) {
            connection.hang_up();
        }
    }

    /// Tells the service manager what is new.
    pub(super) fn tell_of_kept(&mut self, notifier: &Notifier) {
        for news in std::mem::take(&mut self.keeping.news) {
            match news {
                News::KeepNoMore(service) => notifier.keep_no_more(&kept::name_of(&service)),
                News::Keep(client, service) => {
                    if let Some(socket) = self.connection(client).and_then(Connection::socket) {
                        notifier.keep(&kept::name_of(&service), &[socket]);
                    }
                }
            }
        }
    }

    /// Leaves those who wait for an answer, and those who could not come again, to the next broker.
    /// If there is none, the service manager ends their connections.
    pub(super) fn leave_bereft(&self, notifier: &Notifier, now: Instant) {
        if !notifier.is_connected() {
            return;
        }
        let bereft = self.broker.bereft(now);
        let all = bereft.iter().take(kept::CLIENTS_MOST).filter_map(|(client, asked)| {
            let socket = self.connection(*client)?.socket()?;
            Some((socket, sys::diag::cookie(socket).ok()?, asked))
        });
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            return;
        }
        let asked = all.iter().map(|(_, cookie, asked): &(_, u64, &Asked)| (*cookie, *asked));
        match kept::write(&self.keeping.paper, asked) {
            Ok(()) => {
                notifier.keep(kept::REQUESTS, &[self.keeping.paper.as_fd()]);
                let sockets: Vec<_> = all.iter().map(|(socket, ..)| *socket).collect();
                notifier.keep(kept::CLIENTS, &sockets);
            }
            // They hear the end of the connection, as without a service manager.
            Err(error) => tracing::warn!(event = "not-restored", name = kept::REQUESTS, %error),
        }
    }

    fn connection(&self, client: ClientId) -> Option<&Connection> {
        match self.sources.get(&client.token())? {
            Source::Client(_, connection, _) => Some(connection),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_services_are_kept_as_the_limit_and_one_more_registers_again() {
        let mut keeping = Keeping::new().unwrap();
        let service = |number: u64| ServiceName::new(&format!("s{number}")).unwrap();
        for number in 0..512 {
            keeping.begin(ClientId(number), service(number));
        }
        assert_eq!((keeping.services.len(), keeping.news.len()), (512, 2 * 512));
        keeping.begin(ClientId(512), service(512));
        assert_eq!((keeping.services.len(), keeping.news.len()), (512, 2 * 512));
        assert!(!keeping.end(ClientId(512)), "the service manager has no copy of it");
        assert!(keeping.end(ClientId(7)));
        keeping.begin(ClientId(513), service(513));
        let [.., News::KeepNoMore(left), News::KeepNoMore(before), News::Keep(client, name)] =
            keeping.news.as_slice()
        else {
            panic!("{:?}", keeping.news)
        };
        assert_eq!((left, before, client), (&service(7), name, &ClientId(513)));
    }

    #[test]
    fn a_service_that_takes_its_own_name_over_is_kept_at_the_limit_too() {
        let mut keeping = Keeping::new().unwrap();
        let service = |number: u64| ServiceName::new(&format!("s{number}")).unwrap();
        for number in 0..512 {
            keeping.begin(ClientId(number), service(number));
        }
        keeping.begin(ClientId(512), service(7));
        assert_eq!(keeping.services.len(), 512);
        assert_eq!(keeping.services.get(&ClientId(512)), Some(&service(7)));
        assert!(!keeping.end(ClientId(7)), "its predecessor's copy is gone already");
    }
}
