use qres_fed::id::NodeId;
use qres_mesh::AddressReach;

use super::*;
use crate::finding::Verdict;

const TCP: &str = "/ip4/203.0.113.7/tcp/4001";
const QUIC: &str = "/ip4/203.0.113.7/udp/4001/quic-v1";

fn report(n: u8, answer: ReachAnswer) -> ReachReport {
    ReachReport {
        node: NodeId([n; 32]),
        answer,
    }
}

fn dialled(n: u8, addresses: &[(&str, bool)]) -> ReachReport {
    let each = |(address, reached): &(&str, bool)| AddressReach {
        address: (*address).to_owned(),
        reached: *reached,
        reason: if *reached { String::new() } else { "refused".into() },
    };
    report(n, ReachAnswer::Dialled(addresses.iter().map(each).collect()))
}

fn listening() -> Inspection {
    Inspection {
        listening: vec![TCP.into(), QUIC.into()],
        ..Inspection::default()
    }
}

fn verdicts(reports: &[ReachReport], inspection: &Inspection, serves: bool) -> Vec<Verdict> {
    let findings = findings(reports, inspection, serves);
    findings.into_iter().map(|finding| finding.verdict).collect()
}

#[test]
fn a_node_that_is_reached_is_well_and_each_blocked_address_is_told() {
    let here = listening();
    assert_eq!(
        verdicts(&[dialled(1, &[(TCP, true), (QUIC, true)])], &here, false),
        [Verdict::Ok]
    );
    let blocked = findings(&[dialled(1, &[(TCP, true), (QUIC, false)])], &here, false);
    assert_eq!(blocked[1].verdict, Verdict::Warning);
    assert!(
        blocked[1].text.contains(QUIC) && blocked[1].text.contains("refused"),
        "{blocked:?}"
    );
    let half = [dialled(1, &[(TCP, true)]), dialled(2, &[(TCP, false)])];
    assert_eq!(verdicts(&half, &here, false), [Verdict::Ok, Verdict::Warning]);
}

#[test]
fn a_node_that_nobody_reaches_is_warned_and_a_bootstrap_node_fails() {
    let here = listening();
    let none = [dialled(1, &[(TCP, false), (QUIC, false)]), dialled(2, &[])];
    assert_eq!(verdicts(&none, &here, false), [Verdict::Warning]);
    assert_eq!(verdicts(&none, &here, true), [Verdict::Failed]);
    let unknown = findings(&[dialled(2, &[])], &here, false);
    assert!(
        unknown[0].text.contains("no address") && unknown[0].remedy.contains("--announce"),
        "{unknown:?}"
    );
}

#[test]
fn an_announced_address_must_lead_here() {
    let mut here = listening();
    here.announced = vec!["/dns4/a.example/tcp/1".into(), "/ip4/10.0.0.7/tcp/1".into()];
    let reports = [dialled(
        1,
        &[(TCP, true), (QUIC, true), ("/dns4/a.example/tcp/1", false)],
    )];
    let found = findings(&reports, &here, false);
    let verdicts: Vec<_> = found.iter().map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [Verdict::Ok, Verdict::Failed, Verdict::Warning]);
    assert!(
        found[1].text.contains("announced address /dns4/a.example/tcp/1"),
        "{found:?}"
    );
    assert!(
        found[2].text.contains("10.0.0.7") && found[2].text.contains("not tried"),
        "{found:?}"
    );
}

#[test]
fn what_says_nothing_is_skipped_with_what_to_do() {
    let here = listening();
    assert_eq!(verdicts(&[], &here, true), [Verdict::Skipped]);
    let busy = findings(
        &[
            report(1, ReachAnswer::Busy),
            report(2, ReachAnswer::Failed("gone".into())),
        ],
        &here,
        true,
    );
    assert_eq!(busy.len(), 1);
    assert_eq!(busy[0].verdict, Verdict::Skipped);
    assert!(
        busy[0].text.contains("gone") && busy[0].remedy.contains("in a minute"),
        "{busy:?}"
    );
}

#[test]
fn the_text_says_from_how_far_away_and_invented_addresses_count_for_nothing() {
    let here = listening();
    for (address, words) in [
        ("/ip4/127.0.0.1/tcp/1", "over loopback"),
        ("/ip6/::1/udp/1/quic-v1", "over loopback"),
        ("/ip4/10.1.2.3/tcp/1", "private network"),
        ("/ip4/100.64.0.1/tcp/1", "private network"),
        ("/ip6/fd00::1/tcp/1", "private network"),
    ] {
        let found = findings(&[dialled(1, &[(address, true)])], &here, false);
        assert!(found[0].text.contains(words), "{found:?}");
    }
    let wide = findings(
        &[dialled(1, &[(TCP, true), ("/ip4/127.0.0.1/tcp/1", true)])],
        &here,
        false,
    );
    assert!(!wide[0].text.contains("loopback"), "{wide:?}");
    let invented = [dialled(1, &[(TCP, true), ("/ip4/192.0.2.9/tcp/1", false)])];
    assert_eq!(verdicts(&invented, &here, false), [Verdict::Ok]);
}
