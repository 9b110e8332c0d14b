//! Tests of unusual records in a topic, and of missing ones.

use expect_test::expect;

use super::{GENESIS, LIMITS, OrderingConfig, RULES, check, check_from};

#[test]
fn the_first_record_ever_need_not_be_connect() {
    check(
        "A b c d",
        expect![[r"
        0 A: block 1: A {0 0 0}
        1 b: arm
        2 c:
        3 d: block 2: bcd {3 0 0}, disarm"]],
    );
}

#[test]
fn connect_is_ignored_wherever_it_stands() {
    check(
        "hi a hi b hi hi c",
        expect![[r"
        0 hi:
        1 a: arm
        2 hi:
        3 b:
        4 hi:
        5 hi:
        6 c: block 1: abc {6 0 0}, disarm"]],
    );
}

#[test]
fn garbage_is_skipped_and_not_remembered() {
    check(
        "a bad b C",
        expect![[r"
        0 a: arm
        1 bad: skip 1: the value is not a KafkaMessage: failed to decode Protobuf message: invalid wire type value: 7
        2 b:
        3 C: block 1: ab {2 0 0}, block 2: C {3 0 0}, disarm"]],
    );
}

#[test]
fn a_record_without_a_value_is_skipped() {
    check(
        "null a",
        expect![[r"
        0 null: skip 0: the record has no value
        1 a: arm"]],
    );
}

#[test]
fn a_class_that_is_not_known_is_skipped() {
    check(
        "*a b",
        expect![[r"
        0 *a: skip 0: unsupported class 7 of a regular message
        1 b: arm"]],
    );
}

#[test]
fn a_record_without_a_class_is_judged_by_its_header_when_its_turn_comes() {
    check(
        "~a yes ~b no ~!c yes + ~^d ~-",
        expect![[r"
        0 ~a: recheck a
        1 yes: arm
        1 ~b: recheck b
        2 no: skip 1: the message is no longer valid: message payload is empty
        2 ~!c: recheck config c
        3 yes: block 1: a {1 0 0}, config block 2: c {2 0 0}, disarm
        3 +:
        3 ~^d: skip 3: a message of type CONFIG_UPDATE is not ordered
        4 ~-: skip 4: the message's channel header cannot be read: error unmarshalling Payload"]],
    );
}

#[test]
fn without_the_capability_every_message_is_judged_when_its_turn_comes_and_none_is_ordered_again() {
    let rules = OrderingConfig { resubmission: false, limits: LIMITS, ..RULES };
    check_from(
        GENESIS,
        rules,
        "~a yes ?~b yes ~c<9 yes ~!d no",
        expect![[r"
        0 ~a: recheck a
        1 yes: arm
        1 ?~b: recheck b
        2 yes:
        2 ~c<9: recheck c
        3 yes: block 1: abc {2 0 0}, disarm
        3 ~!d: recheck config d
        4 no: skip 3: the message is no longer valid: message payload is empty"]],
    );
}

#[test]
fn the_capability_is_that_of_the_configuration_in_force() {
    check(
        "?a yes !c +old ?~b yes",
        expect![[r"
        0 ?a: recheck a
        1 yes: resubmit Normal a from nowhere at sequence 1
        1 !c: config block 1: c {1 0 0}
        2 +old:
        2 ?~b: recheck b
        3 yes: arm"]],
    );
}

#[test]
fn a_missing_record_fails_the_chain() {
    check(
        "a |2 b",
        expect![[r"
        0 a: arm
        1 |2:
        2 b: fail: the topic's next record should be at offset 1, found offset 2: records are missing"]],
    );
}

#[test]
fn a_hole_that_the_broker_vouches_for_is_no_missing_record() {
    check(
        "a >5 b C",
        expect![[r"
        0 a: arm
        1 >5:
        5 b:
        6 C: block 1: ab {5 0 0}, block 2: C {6 0 0}, disarm"]],
    );
}

#[test]
fn a_hole_that_begins_behind_the_next_record_hides_one() {
    check(
        "a |3 >5 b",
        expect![[r"
        0 a: arm
        1 |3:
        3 >5: fail: the topic's next record should be at offset 1, found offset 3: records are missing
        5 b:"]],
    );
}

#[test]
fn a_record_that_is_fed_twice_is_taken_once() {
    check(
        "a b |1 b |2 c",
        expect![[r"
        0 a: arm
        1 b:
        2 |1:
        1 b: again
        2 |2:
        2 c: block 1: abc {2 0 0}, disarm"]],
    );
}

#[test]
fn no_record_is_taken_while_another_is_judged() {
    check(
        "?a b",
        expect![[r"
        0 ?a: recheck a
        1 b: fail: a record at offset 1 came out of turn"]],
    );
}

#[test]
fn a_verdict_that_nobody_asked_for_fails_the_chain() {
    check(
        "a yes",
        expect![[r"
        0 a: arm
        1 yes: fail: a verdict at offset 1 came out of turn"]],
    );
}

#[test]
fn timers_go_on_while_a_message_is_judged() {
    check(
        "a ?b @ x1 @ no",
        expect![[r"
        0 a: arm
        1 ?b: recheck b
        2 @: ask for block 1
        2 x1: arm
        2 @: ask for block 1
        2 no: skip 1: the message is no longer valid: message payload is empty"]],
    );
}
