//! The loop: reports what happens to the broker, and carries out what it wants done.
//!
//! It never waits for a client or a daemon; the only wait is for all of them at once.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemon::due::Due;
use daemon::notify::Notifier;
use daemon::signals::{Signal, Signals};
use libipc::poller::{Interest, Poller, Ready, Token};
use libipc::rundir::RunDirectory;

use crate::action::{Action, Answer, CallId, ClientId, Event};
use crate::asking::Asking;
use crate::broker::{Broker, Moment};
use crate::channel::{self, Channel, Heard};
use crate::children::Children;
use crate::client::{Connection, Read, Sent};
use crate::entrance::Way;
use crate::lobby::Lobby;
use crate::patience::Patience;
use crate::world::World;

use entering::Visitor;
use keeping::Keeping;
use table::Table;

mod actions;
mod collecting;
mod daemons;
mod ending;
mod entering;
mod fronts;
mod handover;
mod keeping;
mod logins;
mod table;

/// The parts that the loop moves.
pub(crate) struct EventLoop<'w> {
    children: Children,
    poller: Poller,
    entrances: BTreeMap<Token, Way>,
    signals: Signals,
    world: &'w dyn World,
    broker: Broker,
    directory: RunDirectory,
    transports: PathBuf,
    sources: HashMap<Token, Source>,
    calls: HashMap<CallId, Token>,
    daemons: Vec<Daemon>,
    patience: Patience,
    accepting: Accepting,
    /// Those who have come and were not let in yet.
    lobby: Lobby<Visitor>,
    /// Turns in a row that accepted all they might.
    full_turns: u32,
    last_token: u64,
    /// The configuration whose daemons and fronts are known here.
    revision: u64,
    spare: Option<OwnedFd>,
    keeping: Keeping,
}

/// What a token stands for.
enum Source {
    /// A client, and what is watched for.
    Client(ClientId, Connection, Watched),
    Call(CallId, Channel),
    /// A question of our own to a service.
    Asking(CallId, Asking),
    Listen(usize, Channel),
}

/// What is watched for of a client.
struct Watched {
    interest: Interest,
    /// False for one that has just come: what is said meanwhile is kept for the beginning.
    begun: bool,
}

/// A transport daemon that may bring remote peers.
struct Daemon {
    name: String,
    /// Which generation it is, if another one has its place by now.
    finishing: Option<u64>,
    listening: bool,
    /// Since when it is known not to be there, and when it is looked for next.
    absent_since: Instant,
    retry: Instant,
}

/// Whether connections are accepted now.
enum Accepting {
    Yes,
    /// The machine is out of something; again at this time.
    Paused(Instant),
    /// No more: the daemon ends, at this time at the latest.
    Ending(Instant),
}

const SIGNALS: Token = Token(0);
const FIRST_ENTRANCE: u64 = 1;

impl<'w> EventLoop<'w> {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// The kernel's: no descriptors left.
    pub(crate) fn new(
        directory: &RunDirectory,
        ways: Vec<Way>,
        signals: Signals,
        broker: Broker,
        world: &'w dyn World,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let entrances: BTreeMap<_, _> = (FIRST_ENTRANCE..).map(Token).zip(ways).collect();
        for (token, way) in &entrances {
            poller.add(&way.listener, *token, Interest::READ)?;
        }
        poller.add(&signals, SIGNALS, Interest::READ)?;
        let mut this = Self {
            children: Children::default(),
            poller,
            last_token: FIRST_ENTRANCE + u64::try_from(entrances.len()).unwrap_or(u64::MAX),
            entrances,
            signals,
            world,
            broker,
            directory: directory.clone(),
            transports: directory.transports(),
            sources: HashMap::new(),
            calls: HashMap::new(),
            daemons: Vec::new(),
            patience: Patience::default(),
            lobby: Lobby::default(),
            full_turns: 0,
            accepting: Accepting::Yes,
            revision: 0,
            spare: spare(),
            keeping: Keeping::new()?,
        };
        this.know_configuration(Instant::now());
        Ok(this)
    }

    /// Minds daemons that this process has started.
    pub(crate) fn mind(&mut self, children: Children) {
        self.children = children;
    }

    /// Serves until told to stop; the service manager sees that it turns, and what it works by.
    ///
    /// # Errors
    ///
    /// The kernel's, if it can no longer be waited for.
    pub(crate) fn run(&mut self, notifier: &mut Notifier) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut due = Due::default();
        let mut told = self.broker.health();
        notifier.ready(&told.to_string());
        loop {
            let timeout = self.timeout(notifier, Instant::now());
            self.poller.wait(&mut ready, timeout)?;
            due.note(timeout, !ready.is_empty() || self.lobby.waiting() > 0);
            let now = Instant::now();
            for one in &ready {
                if one.token == SIGNALS {
                    self.take_signals(notifier, now);
                } else {
                    self.serve(*one, now);
                }
            }
            self.accept_at(&ready, now);
            self.keep_time(now);
            self.tell_of_kept(notifier);
            if self.has_ended(now) {
                self.leave_bereft(notifier, now);
                return Ok(());
            }
            notifier.beat(now);
            let health = self.broker.health();
            if told != health {
                notifier.status(&health.to_string());
                told = health;
            }
        }
    }

    fn timeout(&self, notifier: &Notifier, now: Instant) -> Option<Duration> {
        if self.lobby.waiting() > 0 {
            return Some(Duration::ZERO);
        }
        let resume = match self.accepting {
            Accepting::Yes => None,
            Accepting::Paused(until) | Accepting::Ending(until) => Some(until),
        };
        let look = self.daemons.iter().filter_map(Daemon::next_look);
        [self.broker.next_deadline(), self.patience.next(), resume]
            .into_iter()
            .flatten()
            .chain(look)
            .chain(notifier.next_beat())
            .min()
            .map(|when| when.saturating_duration_since(now))
    }

    fn know_configuration(&mut self, now: Instant) {
        self.revision = self.broker.revision();
        self.know_daemons(now);
        self.know_fronts();
    }

    fn keep_time(&mut self, now: Instant) {
        self.decide(now, Broker::expire);
        for (client, due) in self.patience.over(now) {
            self.lose_patience(client, due, now);
        }
        if let Accepting::Paused(until) = self.accepting
            && until <= now
        {
            self.accepting = Accepting::Yes;
            self.spare = self.spare.take().or_else(spare);
            self.watch_entrances(Interest::READ);
        }
        self.look_for_daemons(now);
    }

    fn take_signals(&mut self, notifier: &Notifier, now: Instant) {
        while let Some(signal) = self.signals.read() {
            match signal {
                Signal::Stop => self.end(now),
                // What it hands over goes on without it: there is nothing to finish.
                Signal::Finish => {}
                Signal::ChildEnded => self.children.take_note(),
                Signal::Reload => {
                    notifier.reloading();
                    self.decide(now, Broker::reload_by_signal);
                    notifier.ready(&self.broker.health().to_string());
                }
            }
        }
    }

    fn serve(&mut self, ready: Ready, now: Instant) {
        match self.sources.get_mut(&ready.token) {
            Some(Source::Client(..)) => self.serve_client(ready, now),
            Some(Source::Call(call, _)) => {
                let call = *call;
                self.serve_call(ready.token, call, now);
            }
            Some(Source::Asking(call, _)) => {
                let call = *call;
                self.serve_asking(ready.token, call, now);
            }
            Some(Source::Listen(index, _)) => {
                let index = *index;
                self.serve_listen(ready.token, index, now);
            }
            None => {}
        }
    }

    fn serve_client(&mut self, ready: Ready, now: Instant) {
        if ready.hangup {
            // Both directions are over: whatever it still asks for, nobody would get it.
            if !self.is_heard_out(ready.token) {
                self.lose(ready.token, now);
            }
            return;
        }
        if ready.writable {
            let Some(Source::Client(client, connection, _)) = self.sources.get_mut(&ready.token)
            else {
                return;
            };
            let client = *client;
            match connection.flush() {
                Ok(true) => {
                    self.watch(ready.token, Interest::READ);
                    if let Some(message) = self.broker.caught_up(client) {
                        self.tell(client, message, now);
                    }
                }
                Ok(false) => {}
                Err(_) => return self.lose(ready.token, now),
            }
        }
        if ready.readable {
            self.read_client(ready.token, now);
        }
    }

    /// Reads one request. Further ones are read when this one is answered.
    fn read_client(&mut self, token: Token, now: Instant) {
        if !self.may_ask(token, now) {
            return;
        }
        let Some(Source::Client(client, connection, _)) = self.sources.get_mut(&token) else {
            return;
        };
        let client = *client;
        match connection.read() {
            Read::Sent(sent) => {
                self.patience.finished(client);
                let event = match sent {
                    Sent::Message(message) => Event::Called { client, message },
                    Sent::Lookup(wanted) => {
                        Event::LookedUp { client, name: wanted.name, network: wanted.network }
                    }
                };
                if !self.report(event, now) {
                    // Nothing more is read until the answer: only the end is watched for.
                    self.watch(token, Interest::NONE);
                }
            }
            Read::Nothing { unfinished } => {
                if unfinished {
                    let limit = self.broker.live().config.limits.request_timeout;
                    self.patience.began(client, now + limit);
                }
            }
            Read::Over { why } => {
                if let Some(why) = why {
                    tracing::debug!(event = "client-error", client = client.0, why = ?why);
                }
                self.lose(token, now);
            }
        }
    }

    fn serve_call(&mut self, token: Token, call: CallId, now: Instant) {
        let Some(Source::Call(_, channel)) = self.sources.get_mut(&token) else { return };
        if channel.has_outgoing() && channel.flush() {
            self.watch(token, Interest::READ);
            return;
        }
        let answer = match channel.read() {
            Heard::Nothing => return,
            Heard::Over => Answer::Gone,
            Heard::Message(message) => Answer::Reply {
                message: message.bytes,
                socket: message.descriptors.into_iter().next().map(channel::inspect),
            },
        };
        self.report(Event::Answered { call, answer }, now);
        // Unless a further call goes on with what this one has opened.
        self.close_call(call);
    }

    /// Tells the broker, and does what it says. True if a client was answered by it.
    fn report(&mut self, event: Event, now: Instant) -> bool {
        self.decide(now, |broker, at| broker.handle(event, at))
    }

    /// Lets the broker decide, and does what it says. True if a client was answered by it.
    fn decide(
        &mut self,
        now: Instant,
        decide: impl FnOnce(&mut Broker, Moment<'_>) -> Vec<Action>,
    ) -> bool {
        let table = Table { sources: &self.sources };
        let actions = decide(&mut self.broker, Moment { now, world: self.world, sockets: &table });
        self.carry_out(actions, now)
    }

    /// Closes a client's connection, and tells the broker.
    fn lose(&mut self, token: Token, now: Instant) {
        if let Some(Source::Client(client, connection, watched)) = self.sources.remove(&token) {
            self.patience.left(client);
            self.keep_no_more(client, &connection);
            // Closing ends the watch, unless a copy of the socket lives on elsewhere.
            if let Some(socket) = connection.socket().filter(|_| connection.may_be_shared())
                && watched.begun
            {
                let _unwatched = self.poller.remove(socket).is_ok();
            }
            drop(connection);
            self.report(Event::Left { client }, now);
        }
    }

    fn forget(&mut self, token: Token) {
        let _unwatched = match self.sources.remove(&token) {
            Some(Source::Call(_, channel) | Source::Listen(_, channel)) => {
                self.poller.remove(&channel)
            }
            Some(Source::Asking(_, asking)) => self.poller.remove(&asking),
            Some(Source::Client(..)) | None => Ok(()),
        };
    }

    fn watch(&mut self, token: Token, interest: Interest) {
        let changed = match self.sources.get_mut(&token) {
            // Most requests are answered at once, and what is watched for stays as it is.
            Some(Source::Client(_, _, watched)) if watched.interest == interest => None,
            Some(Source::Client(_, connection, watched)) => {
                watched.interest = interest;
                let socket = connection.socket().filter(|_| watched.begun);
                socket.map(|socket| self.poller.change(socket, token, interest))
            }
            Some(Source::Call(_, channel) | Source::Listen(_, channel)) => {
                Some(self.poller.change(channel, token, interest))
            }
            Some(Source::Asking(_, asking)) => Some(self.poller.change(asking, token, interest)),
            None => None,
        };
        // One that cannot be watched any more is ended, which is seen whatever is watched for.
        if let Some(Err(_)) = changed
            && let Some(Source::Client(_, connection, _)) = self.sources.get(&token)
        {
            connection.hang_up();
        }
    }

    /// A client's connection, while it is ours.
    fn of_client(&mut self, client: ClientId) -> Option<(Token, &mut Connection)> {
        let token = client.token();
        match self.sources.get_mut(&token)? {
            Source::Client(_, connection, _) => Some((token, connection)),
            _ => None,
        }
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }
}

fn spare() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(Into::into)
}
