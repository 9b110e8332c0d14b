//! The last field of every supervised actor.

use std::fmt;

use actix::{Message, Recipient};

use super::panics;

/// How an actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// Its parent asked it to end.
    Requested,
    /// It met an error that it cannot go on after.
    Failed(String),
    /// It met an error that a new instance would meet again; an operator has to act first.
    Unrecoverable {
        /// The error.
        cause: String,
        /// The operator's action.
        action: &'static str,
    },
    /// The disk is full. The chain is built again when there is space.
    DiskFull(String),
    /// The channel accepts no blocks from this node, as it is configured now; an operator has to act first.
    NotOurs(String),
    /// The token with the signer's key was away for too long. The chain is built again when the token is back.
    SignerAway(String),
    /// A chain of another kind has to take its place, which goes on from the ledger at once.
    Replaced,
    /// A handler panicked; the text says where.
    Panicked(String),
    /// It ended without a report: its arbiter is gone, or its address was dropped everywhere.
    Unexplained,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("stopped as asked"),
            Self::Replaced => f.write_str("another chain takes its place"),
            Self::Failed(cause)
            | Self::Unrecoverable { cause, .. }
            | Self::DiskFull(cause)
            | Self::NotOurs(cause)
            | Self::SignerAway(cause) => f.write_str(cause),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Unexplained => f.write_str("stopped without being asked"),
        }
    }
}

/// Reports a child's end from its guard to its parent, when everything else the child held is dropped.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ChildExited<Id: Send + 'static = &'static str> {
    /// The child.
    pub child: Id,
    /// The generation of the child.
    pub generation: u64,
    /// How it ended.
    pub exit: ExitReason,
}

/// Reports its owner's end to the parent. Made by the parent, moved into the child as its last field.
pub struct ExitGuard<Id: Send + Clone + 'static = &'static str> {
    parent: Recipient<ChildExited<Id>>,
    child: Id,
    generation: u64,
    exit: Option<ExitReason>,
}

impl<Id: Send + Clone + 'static> ExitGuard<Id> {
    /// A guard for the child `child`, the `generation`th in its place.
    pub fn new(parent: Recipient<ChildExited<Id>>, child: Id, generation: u64) -> Self {
        Self { parent, child, generation, exit: None }
    }

    /// Says why the actor is about to stop; the first word counts.
    pub fn set_exit_reason(&mut self, exit: ExitReason) {
        self.exit.get_or_insert(exit);
    }
}

impl<Id: Send + Clone + 'static> Drop for ExitGuard<Id> {
    fn drop(&mut self) {
        let unsaid = || {
            if std::thread::panicking() {
                ExitReason::Panicked(panics::take_last_panic().unwrap_or_else(|| "no text".to_owned()))
            } else {
                ExitReason::Unexplained
            }
        };
        let exit = self.exit.take().unwrap_or_else(unsaid);
        let gone = ChildExited { child: self.child.clone(), generation: self.generation, exit };
        // a parent that is gone itself needs no report
        #[expect(clippy::disallowed_methods, reason = "one message in the life of a child needs no bound")]
        self.parent.do_send(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::install_panic_hook;
    use actix::{Actor, ActorContext, Context, Handler};
    use tokio::sync::mpsc;

    struct Parent(mpsc::UnboundedSender<(u64, ExitReason)>);

    impl Actor for Parent {
        type Context = Context<Self>;
    }

    impl Handler<ChildExited> for Parent {
        type Result = ();
        fn handle(&mut self, gone: ChildExited, _: &mut Context<Self>) {
            let _ = self.0.send((gone.generation, gone.exit));
        }
    }

    struct Child {
        guard: ExitGuard,
    }

    impl Actor for Child {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    enum Do {
        Panic,
        Fail,
        Stop,
    }

    impl Handler<Do> for Child {
        type Result = ();
        fn handle(&mut self, order: Do, ctx: &mut Context<Self>) {
            match order {
                Do::Panic => panic!("told to"),
                Do::Fail => {
                    self.guard.set_exit_reason(ExitReason::Failed("disk".into()));
                    ctx.stop();
                }
                Do::Stop => ctx.stop(),
            }
        }
    }

    async fn end_of_child(order: Do) -> (u64, ExitReason) {
        install_panic_hook();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let parent = Parent(sender).start();
        let child = Child { guard: ExitGuard::new(parent.clone().recipient(), "child", 7) }.start();
        #[expect(clippy::disallowed_methods, reason = "a test sends one")]
        child.do_send(order);
        receiver.recv().await.expect("the parent hears")
    }

    #[actix::test]
    async fn a_parent_hears_of_every_end() {
        assert_eq!(end_of_child(Do::Fail).await, (7, ExitReason::Failed("disk".into())));
        assert_eq!(end_of_child(Do::Stop).await, (7, ExitReason::Unexplained));
        let (generation, exit) = end_of_child(Do::Panic).await;
        assert_eq!(generation, 7);
        assert!(matches!(&exit, ExitReason::Panicked(text) if text.starts_with("told to (at ")), "{exit:?}");
    }
}
