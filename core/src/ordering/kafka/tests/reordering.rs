//! Tests of messages that a config update overtook.

use expect_test::expect;

use super::check;

#[test]
fn a_stale_message_that_is_still_valid_gets_a_new_place() {
    check(
        "hi ?a yes a<1 b c",
        expect![[r"
        0 hi:
        1 ?a: recheck a
        2 yes: resubmit Normal a from 1 at sequence 1
        2 a<1: arm
        3 b:
        4 c: block 1: abc {4 1 0}, disarm"]],
    );
}

#[test]
fn a_stale_message_that_is_no_longer_valid_is_dropped() {
    check(
        "hi ?a no b",
        expect![[r"
        0 hi:
        1 ?a: recheck a
        2 no: skip 1: the message is no longer valid: message payload is empty
        2 b: arm"]],
    );
}

#[test]
fn the_second_copy_of_a_message_ordered_again_is_dropped() {
    check(
        "hi ?a yes ?b yes a<1 a<1 b<2 a<1 b<2 c",
        expect![[r"
        0 hi:
        1 ?a: recheck a
        2 yes: resubmit Normal a from 1 at sequence 1
        2 ?b: recheck b
        3 yes: resubmit Normal b from 2 at sequence 1
        3 a<1: arm
        4 a<1: skip 4: the message from offset 1 was ordered again before
        5 b<2:
        6 a<1: skip 6: the message from offset 1 was ordered again before
        7 b<2: skip 7: the message from offset 2 was ordered again before
        8 c: block 1: abc {8 2 0}, disarm"]],
    );
}

#[test]
fn a_copy_that_is_stale_itself_is_ordered_again_from_where_the_copy_stands() {
    check(
        "hi ?a yes !c + ?a<1 yes a<3",
        expect![[r"
        0 hi:
        1 ?a: recheck a
        2 yes: resubmit Normal a from 1 at sequence 1
        2 !c: config block 1: c {2 0 0}
        3 +:
        3 ?a<1: recheck a
        4 yes: resubmit Normal a from 3 at sequence 2
        4 a<3: arm"]],
    );
}

#[test]
fn a_copy_that_overflows_a_block_is_not_counted_and_its_second_copy_is_ordered_too() {
    // this is a flaw of Fabric, but repairing it here would be a fork
    check(
        "hi ?2 yes 1 2<1 2<1 t2",
        expect![[r"
        0 hi:
        1 ?2: recheck 2
        2 yes: resubmit Normal 2 from 1 at sequence 1
        2 1: arm
        3 2<1: block 1: 1 {2 0 0}
        4 2<1: block 2: 2 {3 0 0}
        5 t2: skip 5: time-to-cut for block 2, but block 2 is cut already"]],
    );
}

#[test]
fn a_copy_that_makes_two_blocks_is_counted_in_the_second() {
    check(
        "hi ?C yes a C<1 C<1",
        expect![[r"
        0 hi:
        1 ?C: recheck C
        2 yes: resubmit Normal C from 1 at sequence 1
        2 a: arm
        3 C<1: block 1: a {2 0 0}, block 2: C {3 1 0}, disarm
        4 C<1: skip 4: the message from offset 1 was ordered again before"]],
    );
}

#[test]
fn of_two_racing_config_updates_the_second_is_ordered_again_if_it_is_valid() {
    check(
        "hi !c + ?!d yes a !d<2 + b",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 yes: block ingress, resubmit Config d' from 2 at sequence 2
        3 a: arm
        4 !d<2: block 2: a {3 0 2}, config block 3: d {4 2 2}, disarm, unblock ingress
        5 +:
        5 b: arm"]],
    );
}

#[test]
fn of_two_racing_config_updates_the_second_is_dropped_if_it_is_invalid() {
    check(
        "hi !c + ?!d no a",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 no: skip 2: the message is no longer valid: message payload is empty
        3 a: arm"]],
    );
}

#[test]
fn broadcast_waits_for_the_newest_config_message_ordered_again() {
    check(
        "hi !c + ?!d yes ?!e yes !d<2 + ?!e<3 yes !e<5 +",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 yes: block ingress, resubmit Config d' from 2 at sequence 2
        3 ?!e: recheck config e
        4 yes: resubmit Config e' from 3 at sequence 2
        4 !d<2: config block 2: d {4 2 3}
        5 +:
        5 ?!e<3: recheck config e
        6 yes: resubmit Config e' from 5 at sequence 3
        6 !e<5: config block 3: e {6 5 5}, unblock ingress
        7 +:"]],
    );
}

#[test]
fn broadcast_does_not_wait_for_a_config_message_that_turned_out_invalid() {
    check(
        "hi !c + ?!d yes ?!e yes !d<2 + ?!e<3 no",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 yes: block ingress, resubmit Config d' from 2 at sequence 2
        3 ?!e: recheck config e
        4 yes: resubmit Config e' from 3 at sequence 2
        4 !d<2: config block 2: d {4 2 3}
        5 +:
        5 ?!e<3: recheck config e
        6 no: skip 5: the message is no longer valid: message payload is empty, unblock ingress"]],
    );
}

#[test]
fn broadcast_goes_on_when_another_orderers_later_copy_was_taken() {
    // invalid here and valid there: the other orderer's verdict counts, and the older copy is dropped
    check(
        "hi !c + ?!d yes ?!e no !e<3 + !d<2",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 yes: block ingress, resubmit Config d' from 2 at sequence 2
        3 ?!e: recheck config e
        4 no: skip 3: the message is no longer valid: message payload is empty
        4 !e<3: config block 2: e {4 3 3}, unblock ingress
        5 +:
        5 !d<2: skip 5: the message from offset 2 was ordered again before"]],
    );
}

#[test]
fn a_config_message_at_the_topics_first_offset_blocks_nobody() {
    // zero means "never", so that no message could ever unblock
    check(
        "?!c yes !c",
        expect![[r"
        0 ?!c: recheck config c
        1 yes: resubmit Config c' from nowhere at sequence 1
        1 !c: config block 1: c {1 0 0}"]],
    );
}
