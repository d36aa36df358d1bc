//! What the machine holds: tables of records, checkpoints and votes. None of them knows the machine.

pub(super) mod attendance;
pub(super) mod ballots;
pub(super) mod chain;
pub(super) mod convicted;
pub(super) mod leaves;
pub(super) mod ledger;
pub(super) mod node;
pub(super) mod orphans;
pub(super) mod outbox;
pub(super) mod rank;
pub(super) mod trainers;
pub(super) mod tree;
