//! Tests that a machine resumed from the last block continues as if there had been no restart.

use expect_test::expect;

use super::*;

#[test]
fn a_chain_of_nothing_but_its_genesis_block_begins_with_the_topics_first_record() {
    let topic = TopicBounds { earliest: KafkaOffset(0), end: KafkaOffset(7) };
    assert_eq!(GENESIS.resume_offset(topic), Ok(KafkaOffset(0)));
    check(
        "hi a R b",
        expect![[r"
        0 hi:
        1 a: arm
        2 R: 1 (arm)
        2 b:"]],
    );
}

#[test]
fn what_waited_is_read_again() {
    check(
        "a b c d e R f",
        expect![[r"
        0 a: arm
        1 b:
        2 c: block 1: abc {2 0 0}, disarm
        3 d: arm
        4 e:
        5 R: 2 (again), 3 (arm)
        5 f: block 2: def {5 0 0}, disarm"]],
    );
}

#[test]
fn after_a_record_that_made_two_blocks_nothing_is_read_twice() {
    check(
        "a b C R d",
        expect![[r"
        0 a: arm
        1 b:
        2 C: block 1: ab {1 0 0}, block 2: C {2 0 0}, disarm
        3 R: 2 (again)
        3 d: arm"]],
    );
}

#[test]
fn between_the_two_blocks_of_one_record_the_record_is_read_again() {
    check(
        "a b C R- d",
        expect![[r"
        0 a: arm
        1 b:
        2 C: block 1: ab {1 0 0}, block 2: C {2 0 0}, disarm
        3 R-: 1 (again), 2 (block 2: C {2 0 0})
        3 d: arm"]],
    );
    check(
        "a !c R- +",
        expect![[r"
        0 a: arm
        1 !c: block 1: a {0 0 0}, config block 2: c {1 0 0}, disarm
        2 R-: 0 (again), 1 (config block 2: c {1 0 0})
        2 +:"]],
    );
}

#[test]
fn after_an_overflow_the_message_that_stayed_is_read_again() {
    check(
        "1 2 R 3",
        expect![[r"
        0 1: arm
        1 2: block 1: 1 {0 0 0}
        2 R: 0 (again), 1 (arm)
        2 3: block 2: 2 {1 0 0}"]],
    );
}

#[test]
fn a_copy_that_overflowed_a_block_is_not_counted_after_a_restart_either() {
    check(
        "hi ?2 yes 1 2<1 R 2<1 t2",
        expect![[r"
        0 hi:
        1 ?2: recheck 2
        2 yes: resubmit Normal 2 from 1 at sequence 1
        2 1: arm
        3 2<1: block 1: 1 {2 0 0}
        4 R: 2 (again), 3 (arm)
        4 2<1: block 2: 2 {3 0 0}
        5 t2: skip 5: time-to-cut for block 2, but block 2 is cut already"]],
    );
}

#[test]
fn a_copy_behind_a_block_that_the_timer_cut_is_counted_after_a_restart() {
    check(
        "hi ?2 yes 1 t1 2<1 R 2<1",
        expect![[r"
        0 hi:
        1 ?2: recheck 2
        2 yes: resubmit Normal 2 from 1 at sequence 1
        2 1: arm
        3 t1: block 1: 1 {3 0 0}, disarm
        4 2<1: arm
        5 R: 3 (again), 4 (arm)
        5 2<1: skip 5: the message from offset 1 was ordered again before"]],
    );
}

#[test]
fn a_copy_behind_a_full_block_is_counted_after_a_restart() {
    check(
        "hi ?2 yes a b c 2<1 R 2<1",
        expect![[r"
        0 hi:
        1 ?2: recheck 2
        2 yes: resubmit Normal 2 from 1 at sequence 1
        2 a: arm
        3 b:
        4 c: block 1: abc {4 0 0}, disarm
        5 2<1: arm
        6 R: 4 (again), 5 (arm)
        6 2<1: skip 6: the message from offset 1 was ordered again before"]],
    );
}

#[test]
fn stale_messages_that_are_read_again_are_ordered_again_and_their_copies_dropped() {
    check(
        "hi a ?b yes b<2 R b<2",
        expect![[r"
        0 hi:
        1 a: arm
        2 ?b: recheck b
        3 yes: resubmit Normal b from 2 at sequence 1
        3 b<2:
        4 R: 1 (arm), 2 (recheck b, resubmit Normal b from 2 at sequence 1)
        4 b<2: skip 4: the message from offset 2 was ordered again before"]],
    );
}

#[test]
fn broadcast_waits_from_the_start_while_a_config_message_is_in_flight() {
    check(
        "hi !c + ?!d yes A R !d<2 +",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 yes: block ingress, resubmit Config d' from 2 at sequence 2
        3 A: block 2: A {3 0 2}
        4 R: 3 (again)
        4 !d<2: config block 3: d {4 2 2}, unblock ingress
        5 +:"]],
    );
    let in_flight = KafkaMetadata {
        last_offset_persisted: KafkaOffset(9),
        last_original_offset_processed: KafkaOffset(4),
        last_resubmitted_config_offset: KafkaOffset(8),
    };
    let blocked = |metadata| KafkaMachine::resume(LastBlock { metadata, ..GENESIS }, RULES).ingress_blocked();
    assert!(blocked(in_flight));
    assert!(!blocked(KafkaMetadata { last_original_offset_processed: KafkaOffset(8), ..in_flight }));
    assert!(!blocked(KafkaMetadata { last_resubmitted_config_offset: KafkaOffset(0), ..in_flight }));
}

#[test]
fn broadcast_does_not_wait_for_ever_for_a_config_message_that_an_earlier_machine_saw_dropped() {
    check(
        "hi !c + ?!d yes ?!e yes !d<2 + ?!e<3 no A R up",
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
        6 no: skip 5: the message is no longer valid: message payload is empty, unblock ingress
        6 A: block 3: A {6 2 3}
        7 R: 6 (again)
        7 up: unblock ingress"]],
    );
}

#[test]
fn caught_up_means_nothing_to_who_waits_for_an_own_config_message() {
    check(
        "hi !c + ?!d yes up !d<2 +",
        expect![[r"
        0 hi:
        1 !c: config block 1: c {1 0 0}
        2 +:
        2 ?!d: recheck config d
        3 yes: block ingress, resubmit Config d' from 2 at sequence 2
        3 up:
        3 !d<2: config block 2: d {3 2 2}, unblock ingress
        4 +:"]],
    );
}

#[test]
fn a_topic_that_lost_records_or_is_another_is_refused() {
    let metadata = KafkaMetadata { last_offset_persisted: KafkaOffset(9), ..KafkaMetadata::NONE };
    let last = LastBlock { metadata, ..GENESIS };
    let read_from = |earliest, end| {
        last.resume_offset(TopicBounds { earliest: KafkaOffset(earliest), end: KafkaOffset(end) })
            .map_err(|failure| failure.to_string())
    };
    assert_eq!(read_from(0, 10), Ok(KafkaOffset(9)));
    assert_eq!(read_from(9, 20), Ok(KafkaOffset(9)));
    assert_eq!(read_from(10, 20), Ok(KafkaOffset(10)), "the next record is enough");
    assert_eq!(read_from(11, 20), Err("the topic starts at offset 11, the chain needs offset 10".to_owned()));
    assert_eq!(
        read_from(0, 9),
        Err("the topic ends before offset 9, the chain has processed records up to offset 9: is it another topic?"
            .to_owned())
    );
    let genesis = GENESIS.resume_offset(TopicBounds { earliest: KafkaOffset(3), end: KafkaOffset(5) });
    assert!(matches!(genesis, Err(Failure::RecordsLost { .. })), "a chain's first record counts, too");
}
