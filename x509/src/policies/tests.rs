//! Tests of the graph itself; `tests/verify_like_go.rs` compares results over chains with Go's.

use super::*;

fn policy(number: u16) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

#[test]
fn a_policy_holds_while_each_level_names_it() {
    let mut graph = Graph::new();
    graph.add_policies(&[policy(1), policy(2)], true);
    assert!(graph.has_valid_policy());
    assert!(graph.map_policies(&[(policy(1), policy(3))], true));
    graph.add_policies(&[policy(3)], true);
    assert!(graph.has_valid_policy());
    graph.add_policies(&[policy(2)], true);
    assert!(!graph.has_valid_policy());
}

#[test]
fn nothing_is_mapped_to_or_from_any_policy() {
    let any = Bytes::from_static(ANY_POLICY);
    for mapping in [(any.clone(), policy(1)), (policy(1), any)] {
        let mut graph = Graph::new();
        graph.add_policies(&[policy(1)], true);
        assert!(!graph.map_policies(std::slice::from_ref(&mapping), true));
        assert!(graph.map_policies(&[mapping], false));
    }
}

/// Mapping every policy to every other, at each level, grows a tree without bounds in an implementation
/// without a graph.
#[test]
fn mappings_cost_what_they_are_long() {
    let policies: Vec<Bytes> = (0..30).map(policy).collect();
    let mappings: Vec<_> =
        policies.iter().flat_map(|from| policies.iter().map(|to| (from.clone(), to.clone()))).collect();
    let mut graph = Graph::new();
    for _ in 0..20 {
        graph.add_policies(&policies, true);
        assert!(graph.map_policies(&mappings, true));
    }
    assert!(graph.has_valid_policy());
    assert_eq!(graph.nodes.len(), 1 + 20 * 30);
}
