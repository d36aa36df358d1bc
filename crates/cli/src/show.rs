//! Formats the contract's messages: as JSON for programs, as text for people.

pub mod curve;
pub mod json;
pub mod lines;
pub mod model;
pub mod submission;
pub mod table;
pub mod text;
