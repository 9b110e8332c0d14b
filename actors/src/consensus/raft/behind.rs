//! Part of the chain for missing blocks: pulls them from other orderers, and determines whether this node is still a
//! consenter.

use std::sync::Arc;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, StreamHandler, WrapFuture as _};
use orderer_core::block::ChainTip;
use orderer_core::channel::BlockNumber;
use orderer_core::ordering::raft::Event;

use super::chain::RaftChain;
use super::opening::OpenFailed;
use super::pulling::{NO_MORE_BLOCKS, Reached, copy, own_id, pull, shown};
use super::running::Missing;
use super::standing::Standing;
use crate::chain_state::chain_text;
use crate::replication::{Batch, Goal, Progress, Start, newest_config};
use crate::supervision::Exit;

const LOG: &str = "orderer.consensus.etcdraft";

impl RaftChain {
    /// Returns the newest block of the ledger with its configuration.
    fn ledger_tip(&self) -> ChainTip {
        ChainTip::of(&self.channel.ledger().last_block(), (*self.channel.snapshot()).clone())
    }

    /// Starts pulling the blocks up to this one from other orderers.
    pub(super) fn catch_up(&mut self, to: BlockNumber, ctx: &mut Context<Self>) {
        let tip = self.ledger_tip();
        tracing::info!(target: LOG, channel = %self.channel.id(), from = %tip.number.next(), %to,
            "blocks are missing here, they are pulled from other orderers");
        self.say_catching_up(tip.number.next(), to);
        let replication = self.shared.parts.replication.clone();
        let goal = Goal { start: Start::After(tip), to, hash: None, also: Vec::new() };
        pull(&self.context, &replication, goal, ctx);
        if let Some(running) = &mut self.running {
            running.missing = Some(Missing { to, reached: None });
        }
    }

    /// Continues the chain if all missing blocks are durable. Stops it if this node is no longer a consenter, or has
    /// another Raft ID.
    pub(super) fn look_whether_caught_up(&mut self, durable: BlockNumber, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        let Some(Missing { reached: Some(reached), .. }) = running.missing.take_if(|missing| durable >= missing.to)
        else {
            return;
        };
        let before = running.machine.id();
        match own_id(&reached, &self.context) {
            Some(now) if now == before => {}
            None => {
                // the texts of Fabric's log lines
                let block = reached.block.last_config();
                tracing::warn!(target: LOG, channel = %self.channel.id(), "Detected our own eviction from the channel in block [{block}]");
                tracing::info!(target: LOG, channel = %self.channel.id(), "Periodic check is stopping.");
                tracing::info!(target: LOG, channel = %self.channel.id(), "Pulled all blocks up to eviction block.");
                return self.stop_because(Exit::Replaced, ctx);
            }
            // this node was removed and added again: a new chain with another log replaces this one
            Some(now) => {
                tracing::warn!(target: LOG, channel = %self.channel.id(), before, now,
                    "this orderer was removed from the channel and added again");
                return self.stop_because(Exit::Replaced, ctx);
            }
        }
        let leader = self.running.as_ref().and_then(|running| running.machine.leader());
        // forces a new status, because the present one says that the chain catches up
        self.shown = None;
        self.say_who_leads(leader);
        match caught_up(&reached) {
            Ok(event) => self.feed(event, ctx),
            Err(failed) => self.stop_because(failed.exit(), ctx),
        }
    }

    /// Asks other orderers for the newest config block, to find out whether the channel has continued without this
    /// node.
    pub(super) fn suspect(&mut self, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        if std::mem::replace(&mut running.is_suspecting, true) {
            return;
        }
        tracing::warn!(target: LOG, channel = %self.channel.id(),
            "Suspecting our own eviction from the channel: there has been no leader for long");
        let (replication, tip) = (self.shared.parts.replication.clone(), self.ledger_tip());
        let asked = self.context.io.spawn(async move { newest_config(&replication, &tip).await });
        let answered = asked.into_actor(self).map(|outcome, chain: &mut Self, ctx| {
            if let Some(running) = &mut chain.running {
                running.is_suspecting = false;
            }
            match outcome {
                // the blocks up to that one show whether this node is still a consenter
                Ok(Ok(newest)) => chain.feed(Event::Behind(newest.number), ctx),
                Ok(Err(error)) => {
                    tracing::warn!(target: LOG, channel = %chain.channel.id(), error = %chain_text(&error),
                    "how the channel stands elsewhere is not known");
                }
                Err(panicked) => chain.stop_because(Exit::Panicked(panicked.to_string()), ctx),
            }
        });
        ctx.spawn(answered);
    }
}

fn caught_up(reached: &Reached) -> Result<Event, OpenFailed> {
    let Standing { rules, members, index: raft_index, .. } = Standing::read(&reached.snapshot, &reached.block)?;
    let (number, hash) = (reached.block.number(), *reached.block.header_hash());
    Ok(Event::CaughtUp { number, hash, members, raft_index, rules })
}

impl StreamHandler<Progress> for RaftChain {
    fn handle(&mut self, progress: Progress, _: &mut Context<Self>) {
        self.status.enter("catching up", shown(&progress));
    }

    /// The batches report the end.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Batch> for RaftChain {
    fn handle(&mut self, batch: Batch, _: &mut Context<Self>) {
        let Some(to) = self.running.as_ref().and_then(|running| running.missing.as_ref()).map(|missing| missing.to)
        else {
            return;
        };
        let Some(reached) = copy(batch, &self.snapshot, &self.writer) else { return };
        self.snapshot = Arc::clone(&reached.snapshot);
        self.say_catching_up(reached.block.number().next(), to);
        if let Some(missing) = self.running.as_mut().and_then(|running| running.missing.as_mut()) {
            missing.reached = Some(reached);
        }
    }

    /// Handles the end of the batches: all blocks have arrived, or the pulling task has panicked.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        let Some(Missing { to, reached }) = self.running.as_ref().and_then(|running| running.missing.as_ref()) else {
            return;
        };
        if reached.as_ref().is_none_or(|reached| reached.block.number() < *to) {
            self.stop_because(Exit::Failed(NO_MORE_BLOCKS.to_owned()), ctx);
        }
    }
}
