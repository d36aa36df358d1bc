//! Tests of the promises of a round, one test for each promise.

mod bounds;
mod catching_up;
mod closing;
mod comparison;
mod crowds;
mod durability;
mod end;
mod equivocation;
mod finality;
mod forgotten;
mod head;
mod kept_seals;
mod late;
mod lies;
mod pace;
mod sealing;
mod succession;
mod trainers;
