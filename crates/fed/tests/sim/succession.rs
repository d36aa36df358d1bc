//! Changes of members: operators that propose and agree, liars that agree to all, and what must hold.

use std::collections::{BTreeSet, VecDeque};

use qres_fed::id::CheckpointId;
use qres_fed::record::{Change, Consent, Handover, Membership};
use qres_fed::round::{Handed, Input, MembersPolicy, SubmissionState, Succession};
use rand::RngExt;
use rand::seq::IteratorRandom;

use crate::host::sign;
use crate::plan::{STOP_MS, node};
use crate::world::{Event, Record, World};

/// Latest time of the first proposal, in ms. Some changes are proposed while the network is parted, others when it is whole.
const PROPOSED_MS_MAX: u64 = 16_000;

impl World {
    /// Plans the first proposal, and the operators that look at proposals from time to time.
    pub fn plan_changes(&mut self) {
        if self.plan.members.is_empty() {
            return;
        }
        let able: Vec<_> = (0..self.hosts.len()).filter(|h| self.agrees(*h)).collect();
        for _ in 0..self.rng.random_range(1..=2) {
            if let Some(h) = able.iter().copied().choose(&mut self.rng) {
                let wait = self.rng.random_range(500..PROPOSED_MS_MAX);
                self.at(wait, Event::Members { h, proposes: true });
            }
        }
        for h in 0..self.hosts.len() {
            let wait = self.rng.random_range(500..3_000);
            self.at(wait, Event::Members { h, proposes: false });
        }
    }

    fn members(&self) -> BTreeSet<qres_fed::id::NodeId> {
        match &self.plan.spec.membership {
            Membership::List(members) => members.clone(),
            Membership::Open => BTreeSet::new(),
        }
    }

    /// Returns true if a node takes part in changes: an honest member that does not refuse them.
    fn agrees(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        let refuses = self.plan.members_policy(h) == MembersPolicy::Never;
        !host.liar && !refuses && self.plan.spec.admits(&host.node)
    }

    pub fn change_members(&mut self, h: usize, proposes: bool) {
        if self.hosts[h].liar {
            self.lie_about_members(h);
        } else if proposes {
            self.propose(h);
        } else if self.plan.members_policy(h) == MembersPolicy::Ask {
            // Operators change their minds early in a run; at the end all of them agree.
            match self.faulty() && self.rng.random_bool(0.3) {
                true => self.feed(h, Input::Agree(None)),
                false => self.agree(h),
            }
        }
        if !proposes && self.now < STOP_MS {
            let wait = self.rng.random_range(300..2_000);
            self.at(wait, Event::Members { h, proposes });
        }
    }

    fn propose(&mut self, h: usize) {
        let own = self.hosts[h].node;
        let removed = self
            .members()
            .into_iter()
            .filter(|member| *member != own)
            .choose(&mut self.rng);
        let change = Change {
            proposer: own,
            add: [node(200)].into(),
            remove: removed.filter(|_| self.rng.random_bool(0.5)).into_iter().collect(),
        };
        self.figures.changes += 1;
        self.feed(h, Input::Agree(Some(change)));
    }

    /// The operator of a node agrees to the change that most members agree to.
    fn agree(&mut self, h: usize) {
        let Some(machine) = &self.hosts[h].machine else { return };
        if let Some(first) = machine.changes().first() {
            let change = first.change.clone();
            self.feed(h, Input::Agree(Some(change)));
        }
    }

    /// A liar agrees to some change, names any checkpoint as the last, and tells a part of the nodes.
    fn lie_about_members(&mut self, h: usize) {
        let machines = self.hosts.iter().filter_map(|host| host.machine.as_ref());
        let known: Vec<_> = machines.flat_map(|machine| machine.changes()).collect();
        let own = Change {
            proposer: self.hosts[h].node,
            add: [node(201)].into(),
            remove: BTreeSet::new(),
        };
        let change = known.into_iter().choose(&mut self.rng).map_or(own, |info| info.change);
        let heads = self.hosts.iter().filter_map(|host| Some(host.machine.as_ref()?.head()));
        let head = heads.choose(&mut self.rng);
        let invented = self.rng.random_bool(0.1);
        let bound = self.rng.random_bool(0.7);
        let handover = head.map(|head| Handover {
            round: head.round,
            checkpoint: if invented { CheckpointId([0xee; 32]) } else { head.id },
            bound,
        });
        let consent = Consent {
            spec: self.plan.spec.id(),
            author: self.hosts[h].node,
            number: self.rng.random_range(1..50),
            // A liar withdraws what it proposed, also when others rely on it.
            change: Some(change).filter(|_| self.rng.random_bool(0.8)),
            handover: None,
        };
        let handover = handover.filter(|_| self.rng.random_bool(0.8));
        let consent = Consent {
            handover: handover.filter(|_| consent.change.is_some()),
            ..consent
        };
        let record = Record::Consent(sign(consent));
        for to in 0..self.hosts.len() {
            if self.connected(h, to) && self.rng.random_bool(0.6) {
                self.send_to(to, &record);
            }
        }
    }

    /// Asserts that an honest node that is bound stays so while its checkpoint may yet have a quorum, over all crashes. A liar reads
    /// its own lies again, and goes on from them.
    pub fn check_consent(&mut self, h: usize, consent: &Consent) {
        let bound_to = |consent: &Consent| consent.handover.filter(|handover| handover.bound).map(|h| h.checkpoint);
        let Some(checkpoint) = bound_to(consent).filter(|_| self.honest(h)) else {
            return;
        };
        let before = self.hosts[h].bound.replace(consent.clone());
        if let Some(earlier) = before.filter(|earlier| bound_to(earlier) != Some(checkpoint)) {
            self.figures.rebound += 1;
            assert_eq!(earlier.change, consent.change, "a bound node stays with its change");
        }
    }

    /// Takes what a node says of the end of its model: all honest nodes say the same, and each open submission is answered.
    pub fn succeeded(&mut self, h: usize, succession: Succession, inputs: &mut VecDeque<Input>) {
        self.figures.successions += 1;
        self.truth.assert_valid(&succession.checkpoint);
        if self.honest(h) && !self.may_disagree() {
            let others = self.hosts.iter().filter(|host| !host.liar);
            for other in others.filter_map(|host| host.succession.as_ref()) {
                assert_eq!(*other, succession, "one model has one successor");
            }
        }
        if !self.agrees(h) {
            return;
        }
        let machine = self.hosts[h].machine.as_ref().expect("up");
        let fate = |handed| match handed {
            Handed::Sealed { checkpoint, weight_ppm } => SubmissionState::Sealed {
                checkpoint,
                weight_ppm,
                confirmed: true,
                settled: true,
            },
            Handed::CarriedOver => SubmissionState::Superseded {
                reason: "carried over".into(),
            },
            Handed::Lost => SubmissionState::Superseded {
                reason: "on an older base".into(),
            },
        };
        let fates = machine.handed_over(&succession.checkpoint).into_iter();
        inputs.push_back(Input::HandedOver(
            fates.map(|(id, handed)| (id, fate(handed))).collect(),
        ));
        self.hosts[h].succession = Some(succession);
    }

    /// Returns true if nothing is promised of agreement: liars are in every two quorums, or a node lost what it was bound to.
    pub fn may_disagree(&self) -> bool {
        let liars = self
            .hosts
            .iter()
            .filter(|host| host.liar && self.plan.spec.admits(&host.node));
        let members = self.members().len();
        liars.count() + members >= 2 * self.plan.spec.quorum() && self.plan.liars > 0 || self.plan.goes_back.is_some()
    }

    /// Returns true if a quorum agreed to end the model, so that it need not go on.
    pub fn ends(&self) -> bool {
        let agreed = |host: &crate::host::Host| {
            let changes = host.machine.as_ref().map(qres_fed::round::Machine::changes);
            let most = changes.and_then(|changes| Some(changes.first()?.agreed.len()));
            host.succession.is_some() || most.is_some_and(|most| most >= self.plan.spec.quorum())
        };
        !self.plan.members.is_empty() && self.hosts.iter().any(agreed)
    }

    /// Returns true if one of these members is bound to a checkpoint against which another one knows a confirmed one. Neither may
    /// move; ADR 11 says so, and what its operators can do.
    fn is_split(&self, able: &[usize]) -> bool {
        let machines: Vec<_> = able.iter().filter_map(|h| self.hosts[*h].machine.as_ref()).collect();
        let against = |round, id| {
            let of_round = machines.iter().filter_map(|machine| machine.round(round)?.checkpoint);
            of_round
                .filter(|checkpoint| checkpoint.confirmed)
                .any(|checkpoint| checkpoint.id != id)
        };
        let bound = machines.iter().filter_map(|machine| machine.bound_to());
        bound.into_iter().any(|(round, id)| against(round, id))
    }

    /// Asserts that at the end all that take part went on with one successor, if one of them did, and that they did if enough of
    /// them agreed.
    pub fn check_successions(&self) {
        let able: Vec<_> = (0..self.hosts.len()).filter(|h| self.agrees(*h)).collect();
        let told: BTreeSet<_> = able
            .iter()
            .filter_map(|h| self.hosts[*h].succession.as_ref())
            .map(|s| s.checkpoint)
            .collect();
        let went = able.iter().filter(|h| self.hosts[**h].succession.is_some()).count();
        if self.may_disagree() {
            return;
        }
        assert!(told.len() <= 1, "one model has one successor: {told:?}");
        assert!(went == 0 || went == able.len(), "{went} of {} went on", able.len());
        if self.ends() && able.len() >= self.plan.spec.quorum() && !self.is_split(&able) {
            assert_eq!(went, able.len(), "a model that a quorum ends has a successor");
        }
    }
}
