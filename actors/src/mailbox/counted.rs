//! An address whose messages are counted as they are sent, because actix does not report how many wait.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};

use crate::status::StatusCell;

/// The address of an actor that counts the messages sent. The bound of the messages is documented where they are sent.
pub struct CountedAddr<A: Actor> {
    addr: Addr<A>,
    status: Arc<StatusCell>,
}

impl<A: Actor> Clone for CountedAddr<A> {
    fn clone(&self) -> Self {
        Self { addr: self.addr.clone(), status: Arc::clone(&self.status) }
    }
}

impl<A: Actor> CountedAddr<A> {
    /// Creates the address of the actor that publishes to this cell.
    pub fn new(addr: Addr<A>, status: Arc<StatusCell>) -> Self {
        Self { addr, status }
    }

    /// Sends one of the messages that are many (see [`ActivityKind`](crate::status::ActivityKind)).
    pub fn send<M>(&self, message: M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.status.count_sent();
        #[expect(clippy::disallowed_methods, reason = "bounded by who calls this")]
        self.addr.do_send(message);
    }

    /// Sends one of the others, which are few.
    pub fn send_uncounted<M>(&self, message: M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        #[expect(clippy::disallowed_methods, reason = "one of few")]
        self.addr.do_send(message);
    }
}
