//! iceoryx2: publish and subscribe, with an event where the reader waits.

use std::thread;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::stopwatch::Stopwatch;
use crate::{Measured, payload};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One direction of messages, and the event that says that one came.
struct Names {
    messages: ServiceName,
    events: ServiceName,
}

impl Names {
    fn new(direction: &str) -> Result<Self, Failure> {
        let name = |what: &str| format!("ipcd/bench/{}/{direction}/{what}", std::process::id());
        Ok(Self {
            messages: name("messages").as_str().try_into()?,
            events: name("events").as_str().try_into()?,
        })
    }
}

struct Out {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
}

struct In {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
}

fn out(
    node: &Node<ipc::Service>,
    names: &Names,
    longest: usize,
    wakes: bool,
) -> Result<Out, Failure> {
    let service = messages(node, names)?;
    let publisher = service
        .publisher_builder()
        .initial_max_slice_len(longest)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?;
    let events = node.service_builder(&names.events).event().open_or_create()?;
    let notifier = if wakes { Some(events.notifier_builder().create()?) } else { None };
    Ok(Out { publisher, notifier })
}

fn into(node: &Node<ipc::Service>, names: &Names, wakes: bool) -> Result<In, Failure> {
    let subscriber = messages(node, names)?.subscriber_builder().create()?;
    let events = node.service_builder(&names.events).event().open_or_create()?;
    let listener = if wakes { Some(events.listener_builder().create()?) } else { None };
    Ok(In { subscriber, listener })
}

fn messages(
    node: &Node<ipc::Service>,
    names: &Names,
) -> Result<
    iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()>,
    Failure,
> {
    Ok(node
        .service_builder(&names.messages)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(4)
        .open_or_create()?)
}

impl Out {
    fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.publisher.loan_slice_uninit(bytes.len())?.write_from_slice(bytes).send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

impl In {
    fn receive(&self, bytes: &mut [u8]) -> Result<(), Failure> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                bytes.copy_from_slice(sample.payload());
                return Ok(());
            }
            match &self.listener {
                Some(listener) => drop(listener.blocking_wait(|_| {})?),
                None => std::hint::spin_loop(),
            }
        }
    }
}

pub fn round_trip(size: usize, trips: u32, wakes: bool) -> Measured {
    let kind = format!("{}-{size}", if wakes { "waits" } else { "polls" });
    let (there, back) =
        (Names::new(&format!("{kind}/there"))?, Names::new(&format!("{kind}/back"))?);
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let asks = out(&node, &there, size, wakes)?;
    let hears = into(&node, &back, wakes)?;
    let (started, has_started) = std::sync::mpsc::channel();
    let echo = thread::spawn(move || -> Result<(), Failure> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let questions = into(&node, &there, wakes)?;
        let answers = out(&node, &back, size, wakes)?;
        started.send(())?;
        let mut buffer = payload(size);
        (0..trips).try_for_each(|_| {
            questions.receive(&mut buffer)?;
            answers.send(&buffer)
        })
    });
    has_started.recv()?;
    let mut buffer = payload(size);
    let watch = Stopwatch::start()?;
    for _ in 0..trips {
        asks.send(&buffer)?;
        hears.receive(&mut buffer)?;
    }
    let taken = watch.each_of(trips)?;
    echo.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}

/// The reader polls: each message with an event of its own would measure the events.
pub fn one_way(size: usize, count: u32) -> Measured {
    let names = Names::new(&format!("one-way-{size}"))?;
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let reader = into(&node, &names, false)?;
    let sender = thread::spawn(move || -> Result<(), Failure> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let writer = out(&node, &names, size, false)?;
        let message = payload(size);
        (0..count).try_for_each(|_| writer.send(&message))?;
        // What was not collected would go with the writer.
        while writer.publisher.loan_slice_uninit(1).is_err() {}
        Ok(())
    });
    let mut message = payload(size);
    reader.receive(&mut message)?;
    let watch = Stopwatch::start()?;
    for _ in 1..count {
        reader.receive(&mut message)?;
    }
    let taken = watch.each_of(count - 1)?;
    sender.join().map_err(|_| "the other end failed")??;
    Ok(taken)
}
