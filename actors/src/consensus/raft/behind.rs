//! Part of the chain for missing blocks: pulls them from other orderers, and determines whether this node is still a
//! consenter.

use std::sync::Arc;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, StreamHandler, WrapFuture as _};
use orderer_core::block::ChainTip;
use orderer_core::ordering::raft::Event;
use orderer_core::types::BlockNumber;

use super::block_pull::{NO_MORE_BLOCKS, ReplicatedTip, copy, own_id, pull, shown};
use super::chain::RaftChain;
use super::opening::OpenChainError;
use super::position::ChainPosition;
use super::running::MissingBlocks;
use crate::chain_state::error_chain;
use crate::replication::{Batch, BlockRange, CatchUpProgress, StartPoint, fetch_latest_config};
use crate::supervision::ExitReason;

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
            "blocks are missing; pulling them from other orderers");
        self.log_catching_up(tip.number.next(), to);
        let replication = self.shared.parts.replication.clone();
        let goal = BlockRange { start: StartPoint::After(tip), to, hash: None, also: Vec::new() };
        pull(&self.context, &replication, goal, ctx);
        if let Some(running) = &mut self.running {
            running.missing = Some(MissingBlocks { to, reached: None });
        }
    }

    /// Continues the chain if all missing blocks are durable. Stops it if this node is no longer a consenter, or has
    /// another Raft ID.
    pub(super) fn look_whether_caught_up(&mut self, durable: BlockNumber, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        let Some(MissingBlocks { reached: Some(reached), .. }) =
            running.missing.take_if(|missing| durable >= missing.to)
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
                return self.exit_with(ExitReason::Replaced, ctx);
            }
            // this node was removed and added again: a new chain with another log replaces this one
            Some(now) => {
                tracing::warn!(target: LOG, channel = %self.channel.id(), before, now,
                    "this orderer was removed from the channel and added again");
                return self.exit_with(ExitReason::Replaced, ctx);
            }
        }
        let leader = self.running.as_ref().and_then(|running| running.machine.leader());
        // forces a new status, because the present one says that the chain catches up
        self.shown = None;
        self.log_leader(leader);
        match caught_up(&reached) {
            Ok(event) => self.process(event, ctx),
            Err(failed) => self.exit_with(failed.exit(), ctx),
        }
    }

    /// Asks other orderers for the newest config block, to find out whether the channel has continued without this
    /// node.
    pub(super) fn suspect(&mut self, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        if std::mem::replace(&mut running.is_suspecting, true) {
            return;
        }
        // begins with the text of Fabric's log line
        tracing::warn!(target: LOG, channel = %self.channel.id(),
            "Suspecting our own eviction from the channel: there is no leader; the other orderers are asked for newer config blocks");
        let (replication, tip) = (self.shared.parts.replication.clone(), self.ledger_tip());
        let asked = self.context.blocking_runtime.spawn(async move { fetch_latest_config(&replication, &tip).await });
        let answered = asked.into_actor(self).map(|outcome, chain: &mut Self, ctx| {
            if let Some(running) = &mut chain.running {
                running.is_suspecting = false;
            }
            match outcome {
                // the blocks up to that one show whether this node is still a consenter
                Ok(Ok(newest)) => chain.process(Event::Behind(newest.number), ctx),
                Ok(Err(error)) => {
                    tracing::warn!(target: LOG, channel = %chain.channel.id(), error = %error_chain(&error),
                    "failed to learn the channel's height on other orderers");
                }
                Err(panicked) => chain.exit_with(ExitReason::Panicked(panicked.to_string()), ctx),
            }
        });
        ctx.spawn(answered);
    }
}

fn caught_up(reached: &ReplicatedTip) -> Result<Event, OpenChainError> {
    let ChainPosition { rules, members, index: raft_index, .. } =
        ChainPosition::read(&reached.snapshot, &reached.block)?;
    let (number, hash) = (reached.block.number(), *reached.block.header_hash());
    Ok(Event::CaughtUp { number, hash, members, raft_index, rules })
}

impl StreamHandler<CatchUpProgress> for RaftChain {
    fn handle(&mut self, progress: CatchUpProgress, _: &mut Context<Self>) {
        self.status.set_state("catching up", shown(&progress));
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
        self.log_catching_up(reached.block.number().next(), to);
        if let Some(missing) = self.running.as_mut().and_then(|running| running.missing.as_mut()) {
            missing.reached = Some(reached);
        }
    }

    /// Handles the end of the batches: all blocks have arrived, or the pulling task has panicked.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        let Some(MissingBlocks { to, reached }) = self.running.as_ref().and_then(|running| running.missing.as_ref())
        else {
            return;
        };
        if reached.as_ref().is_none_or(|reached| reached.block.number() < *to) {
            self.exit_with(ExitReason::Failed(NO_MORE_BLOCKS.to_owned()), ctx);
        }
    }
}
