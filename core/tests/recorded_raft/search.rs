//! Searches for an order of the unrecorded events in which the machine sends exactly the recorded messages.

use std::collections::{HashSet, VecDeque};
use std::fmt::Write as _;

use crate::player::{Choice, Player};

/// Maximum number of the last choices that the search can change.
const DEPTH: usize = 30;
/// The search fails after this many consecutive steps without progress beyond the furthest point so far.
const PATIENCE: usize = 200;

struct Fork<'a> {
    player: Player<'a>,
    left: VecDeque<Choice>,
}

/// Plays all runs.
///
/// # Errors There is no such order. The error describes the furthest point and the differences there.
pub(crate) fn play(mut player: Player<'_>) -> Result<Player<'_>, String> {
    let mut forks: VecDeque<Fork<'_>> = VecDeque::new();
    let (mut furthest, mut reached, mut vain) = ((0, String::new()), 0, 0);
    let mut seen = HashSet::new();
    while !player.is_done() {
        let left = player.choices();
        forks.push_back(Fork { player, left });
        if forks.len() > DEPTH {
            forks.pop_front();
        }
        player = loop {
            let Some(fork) = forks.back_mut() else { return Err(furthest.1) };
            let Some(choice) = fork.left.pop_front() else {
                note(&mut furthest, &mut fork.player, || "nothing else can have happened".to_owned());
                forks.pop_back();
                continue;
            };
            let mut next = fork.player.clone();
            let outcome = next.take(choice);
            vain += 1;
            if vain > PATIENCE {
                return Err(furthest.1);
            }
            if outcome.is_ok() && next.progress() > reached {
                (reached, vain) = (next.progress(), 0);
            }
            match outcome {
                Ok(()) if next.is_done() || seen.insert(next.state()) => break next,
                Ok(()) => {}
                Err(difference) => note(&mut furthest, &mut fork.player, || format!("{choice:?}: {difference}")),
            }
        };
    }
    Ok(player)
}

/// Records a difference if it occurred at the furthest point so far.
fn note(furthest: &mut (usize, String), player: &mut Player<'_>, difference: impl FnOnce() -> String) {
    let progress = player.progress();
    if progress > furthest.0 || furthest.1.is_empty() {
        *furthest = (progress, player.describe());
    }
    if progress == furthest.0 {
        let difference = difference();
        if !furthest.1.contains(&difference) {
            let _ = write!(furthest.1, "\n  {difference}");
        }
    }
}
