//! The conditions of a model, in words for its operator.

use std::collections::BTreeSet;

use qres_fed::id::{NodeId, ProofId};
use qres_fed::record::Spec;
use qres_fed::round::{ChangeInfo, Comparing, Conditions, Convicted, Unsettled};
use qres_mesh::Twin;
use tracing::{error, warn};

use crate::view::{ConditionKind, ConditionView};

/// Returns a [`ConditionView`] in words for each condition.
pub fn views(spec: &Spec, twin: Option<&Twin>, conditions: Conditions) -> Vec<ConditionView> {
    let in_use = twin.map(|twin| ConditionView {
        kind: ConditionKind::IdentityInUse,
        text: twin.to_string(),
        proof: None,
    });
    let convicted = conditions.convicted.map(|convicted| ConditionView {
        kind: ConditionKind::Convicted,
        text: convicted.to_string(),
        proof: convicted.proof,
    });
    let comparing = conditions.comparing.map(|comparing| ConditionView {
        kind: ConditionKind::Comparing,
        text: comparing_text(comparing),
        proof: None,
    });
    let unsettled = conditions.unsettled.map(|unsettled| ConditionView {
        kind: ConditionKind::Unsettled,
        text: unsettled_text(spec, unsettled),
        proof: None,
    });
    [convicted, in_use, comparing, unsettled]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns the condition that members propose a change to which this node has not agreed.
pub fn members_change(spec: &Spec, me: &NodeId, changes: &[ChangeInfo]) -> Option<ConditionView> {
    let open = changes
        .iter()
        .find(|info| !info.agreed.contains(me))
        .filter(|_| spec.admits(me))?;
    let list = |nodes: &BTreeSet<NodeId>| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut what = vec![];
    if !open.change.add.is_empty() {
        what.push(format!("add {}", list(&open.change.add)));
    }
    if !open.change.remove.is_empty() {
        what.push(format!("remove {}", list(&open.change.remove)));
    }
    Some(ConditionView {
        kind: ConditionKind::MembersChange,
        text: format!(
            "member {} proposes to {}; {} of the {} members that are needed agree. To agree: `qres model member accept {}`",
            open.change.proposer,
            what.join(" and to "),
            open.agreed.len(),
            spec.quorum(),
            spec.name
        ),
        proof: None,
    })
}

/// Logs that two contributions by one author on one parent were found.
pub fn log_equivocation(spec: &Spec, own: NodeId, author: NodeId, proof: ProofId) {
    let model = &spec.name;
    if author == own {
        error!(%model, %proof, "{}", Convicted { proof: Some(proof) });
    } else {
        warn!(%model, %author, %proof, "a member signed two contributions on one parent: proven");
    }
}

fn comparing_text(comparing: Comparing) -> String {
    let Comparing { compared, needed } = comparing;
    format!(
        "this node has started and compares its records before it signs: with {compared} of {needed} others so far. It signs \
         without them when no member in reach is left, after 10 s at the earliest and 60 s at the latest"
    )
}

fn unsettled_text(spec: &Spec, unsettled: Unsettled) -> String {
    let Unsettled { rounds, limit } = unsettled;
    let quorum = spec.quorum();
    let now = if rounds >= limit {
        "no more are made until then".to_owned()
    } else {
        format!("no more are made after {limit}")
    };
    format!(
        "the newest {rounds} rounds are not settled: they need contributions of {quorum} members, and {now}. Start the members \
         that are away, or make a successor without them"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use qres_fed::record::Membership;

    use super::*;

    #[test]
    fn each_says_what_is_the_matter_and_what_to_do() {
        let members = BTreeSet::from([1, 2, 3].map(|n| NodeId([n; 32])));
        let spec = crate::tests::spec("m", Membership::List(members), 7, NodeId([1; 32]));
        assert_eq!(views(&spec, None, Conditions::default()), []);
        let proof = ProofId([5; 32]);
        let all = Conditions {
            convicted: Some(Convicted { proof: Some(proof) }),
            comparing: Some(Comparing { compared: 0, needed: 1 }),
            unsettled: Some(Unsettled {
                rounds: 1_024,
                limit: 1_024,
            }),
        };
        let twin = Twin {
            address: "/ip4/192.0.2.1/tcp/4001".into(),
            since_unix_ms: 0,
        };
        let told = views(&spec, Some(&twin), all);
        let kinds: Vec<_> = told.iter().map(|view| view.kind).collect();
        use ConditionKind::{Comparing as C, Convicted as V, IdentityInUse as I, Unsettled as U};
        assert_eq!(kinds, [V, I, C, U]);
        assert_eq!(told[0].proof, Some(proof));
        let said = [
            "new identity.key",
            "met at /ip4/192.0.2.1/tcp/4001",
            "0 of 1 others",
            "no more are made until then",
        ];
        for (view, words) in told.iter().zip(said) {
            assert!(view.text.contains(words), "{}", view.text);
        }
    }
}
