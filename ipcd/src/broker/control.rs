//! What administrators may call.

use std::time::Instant;

use libipc::interface::control::{ControlError, Reloaded, Status, Transport};
use libipc::varlink;

use super::{Broker, Moment, milliseconds};
use crate::action::ClientId;

impl Broker {
    pub(super) fn status(&mut self, client: ClientId, at: Moment<'_>) {
        if !self.permits(client) {
            return;
        }
        let since = |then: Instant| milliseconds(at.now.saturating_duration_since(then));
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance: self.directory.instance().as_str().to_owned(),
            rundir: self.directory.path().display().to_string(),
            uptime_ms: since(self.started),
            revision: self.revision,
            loaded_ms: since(self.loaded),
            origins: self.live.origins.clone(),
            rules: number(self.live.config.rules.len()),
            dormant: self.live.dormant(),
            refused: self
                .refused
                .as_ref()
                .map(crate::reload::Refusal::problems)
                .unwrap_or_default(),
            clients: number(self.quota.clients()),
            transports: self
                .live
                .daemons()
                .into_iter()
                .map(|name| Transport {
                    available: self.transports.contains(&name),
                    relays: 0,
                    name,
                })
                .collect(),
            counters: self.audit.counters(),
        };
        self.reply(client, varlink::reply(&status, false), None);
    }

    pub(super) fn reload_for(&mut self, client: ClientId, at: Moment<'_>) {
        if !self.permits(client) {
            return;
        }
        let message = match self.reload(at) {
            Ok(revision) => varlink::reply(&Reloaded { revision, would_be_denied: 0 }, false),
            Err(refusal) => {
                varlink::error(&ControlError::ConfigurationInvalid { problems: refusal.problems() })
            }
        };
        self.reply(client, message, None);
    }

    /// Whether the client is an administrator; answers it if not.
    fn permits(&mut self, client: ClientId) -> bool {
        let admins = &self.live.config.admin_gids;
        let is_admin = self.may_do_more_than_ask(client)
            && self.clients.get(&client).is_some_and(|known| {
                let who = &known.identity;
                let groups = who.groups.iter().flatten().chain(&who.gid);
                who.uid.is_some_and(|uid| uid == 0 || uid == self.uid)
                    || groups.into_iter().any(|group| admins.contains(group))
            });
        if !is_admin {
            let reason =
                "only root, the broker's own user and the groups in admin-groups may, through the \
                 broker's own socket"
                    .to_owned();
            let error = varlink::error(&ControlError::NotPermitted { reason });
            self.reply(client, error, None);
        }
        is_admin
    }
}
