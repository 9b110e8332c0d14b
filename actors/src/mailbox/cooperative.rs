//! Lets the arbiter breathe.
//!
//! actix drains a mailbox without ever yielding: a busy actor keeps its own timers from firing and its neighbours on the
//! arbiter from running, for seconds. An actor that counts its messages here gives way now and then.

use actix::{Actor, AsyncContext as _, Context};

/// Number of messages handled between two yields: at about 1 µs each, timers are late by microseconds only.
const MESSAGES_PER_TURN: u64 = 32;

/// Counts handled messages; one an actor.
#[derive(Debug, Default)]
pub struct CooperativeYield {
    handled: u64,
}

impl CooperativeYield {
    /// Counts one message, and after every 32nd has the actor give way once. Call it at the end of a handler.
    pub fn after_message<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        self.after_messages(1, ctx);
    }

    /// Counts the parts of a message, each of which takes as long as a message, and gives way as
    /// [`after_message`](Self::after_message) does.
    pub fn after_messages<A: Actor<Context = Context<A>>>(&mut self, count: usize, ctx: &mut Context<A>) {
        let turns = self.handled / MESSAGES_PER_TURN;
        self.handled += count as u64;
        if self.handled / MESSAGES_PER_TURN > turns {
            ctx.wait(actix::fut::wrap_future::<_, A>(tokio::task::yield_now()));
        }
    }

    /// Messages handled so far.
    pub fn handled(&self) -> u64 {
        self.handled
    }
}
