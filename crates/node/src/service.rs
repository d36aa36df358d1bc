//! The calls that a node answers, a subject a file.

pub mod create;
pub mod diagnosis;
pub mod drain;
pub mod fetch;
pub mod membership;
pub mod peers;
pub mod rounds;
pub mod states;
pub mod submissions;
pub mod submit;
pub mod succession;
pub mod watch;
