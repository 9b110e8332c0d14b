//! Tests of the messages that share a block, and of the block's consenter metadata.

use expect_test::expect;

use super::check;

#[test]
fn the_count_reached_exactly_ends_a_block_and_the_timer() {
    check(
        "hi a b c d",
        expect![[r"
        0 hi:
        1 a: arm
        2 b:
        3 c: block 1: abc {3 0 0}, disarm
        4 d: arm"]],
    );
}

#[test]
fn the_preferred_bytes_reached_exactly_are_not_too_many() {
    check(
        "1 b c",
        expect![[r"
        0 1: arm
        1 b:
        2 c: block 1: 1b {1 0 0}"]],
    );
}

#[test]
fn a_message_that_overflows_begins_the_next_block_and_is_not_in_the_metadata_of_the_first() {
    check(
        "1 2 3",
        expect![[r"
        0 1: arm
        1 2: block 1: 1 {0 0 0}
        2 3: block 2: 2 {1 0 0}"]],
    );
}

#[test]
fn a_large_message_behind_pending_ones_makes_two_blocks_of_one_record() {
    check(
        "a b C d",
        expect![[r"
        0 a: arm
        1 b:
        2 C: block 1: ab {1 0 0}, block 2: C {2 0 0}, disarm
        3 d: arm"]],
    );
}

#[test]
fn a_large_message_without_pending_ones_is_a_block() {
    check("A", expect!["0 A: block 1: A {0 0 0}"]);
}

#[test]
fn a_config_message_cuts_what_is_pending_and_is_alone() {
    check(
        "a b !c + d",
        expect![[r"
        0 a: arm
        1 b:
        2 !c: block 1: ab {1 0 0}, config block 2: c {2 0 0}, disarm
        3 +:
        3 d: arm"]],
    );
}

#[test]
fn a_config_message_with_nothing_pending_is_one_block() {
    check(
        "!c + a",
        expect![[r"
        0 !c: config block 1: c {0 0 0}
        1 +:
        1 a: arm"]],
    );
}

#[test]
fn a_config_update_that_lowers_the_batch_size_counts_at_once() {
    check(
        "a !c +2 b d e",
        expect![[r"
        0 a: arm
        1 !c: block 1: a {0 0 0}, config block 2: c {1 0 0}, disarm
        2 +2:
        2 b: arm
        3 d: block 3: bd {3 0 0}, disarm
        4 e: arm"]],
    );
}

#[test]
fn the_timer_asks_and_the_record_cuts() {
    check(
        "a @ b t1 c",
        expect![[r"
        0 a: arm
        1 @: ask for block 1
        1 b: arm
        2 t1: block 1: ab {2 0 0}, disarm
        3 c: arm"]],
    );
}

#[test]
fn a_timer_that_fires_twice_for_one_block_asks_twice_and_cuts_once() {
    check(
        "a @ b @ t1 t1",
        expect![[r"
        0 a: arm
        1 @: ask for block 1
        1 b: arm
        2 @: ask for block 1
        2 t1: block 1: ab {2 0 0}
        3 t1: skip 3: time-to-cut for block 1, but block 1 is cut already"]],
    );
}

#[test]
fn a_timer_that_was_disarmed_may_fire_late() {
    check(
        "a b c @ d",
        expect![[r"
        0 a: arm
        1 b:
        2 c: block 1: abc {2 0 0}, disarm
        3 @:
        3 d: arm"]],
    );
}

#[test]
fn a_request_for_a_block_that_the_count_has_cut_is_stale() {
    check(
        "a @ b c t1 d t1",
        expect![[r"
        0 a: arm
        1 @: ask for block 1
        1 b: arm
        2 c: block 1: abc {2 0 0}, disarm
        3 t1: skip 3: time-to-cut for block 1, but block 1 is cut already
        4 d: arm
        5 t1: skip 5: time-to-cut for block 1, but block 1 is cut already"]],
    );
}

#[test]
fn the_request_of_another_orderer_cuts_and_disarms_the_own_timer() {
    check(
        "a t1 b",
        expect![[r"
        0 a: arm
        1 t1: block 1: a {1 0 0}, disarm
        2 b: arm"]],
    );
}

#[test]
fn a_request_for_a_block_beyond_the_next_fails_the_chain_for_good() {
    check(
        "a t2 b t1 @",
        expect![[r"
        0 a: arm
        1 t2: fail: the record at offset 1 asks for block 2 to be cut, but the next block is 1
        2 b:
        3 t1:
        4 @:"]],
    );
}

#[test]
fn a_request_with_nothing_pending_fails_the_chain() {
    check(
        "hi t1 a",
        expect![[r"
        0 hi:
        1 t1: fail: the record at offset 1 asks for block 1 to be cut, but no message is pending
        2 a:"]],
    );
}

#[test]
fn a_request_that_could_not_be_produced_is_made_again_while_the_batch_waits() {
    check(
        "a @ x1 @ t1",
        expect![[r"
        0 a: arm
        1 @: ask for block 1
        1 x1: arm
        1 @: ask for block 1
        1 t1: block 1: a {1 0 0}"]],
    );
}

#[test]
fn a_failed_request_is_not_made_again_once_the_batch_is_cut_or_the_timer_runs() {
    check(
        "a @ t1 x1 b @ c x2 @",
        expect![[r"
        0 a: arm
        1 @: ask for block 1
        1 t1: block 1: a {1 0 0}
        2 x1:
        2 b: arm
        3 @: ask for block 2
        3 c: arm
        4 x2:
        4 @: ask for block 2"]],
    );
}
