//! One joined model: the task that owns its round machine, and what the task uses.

pub mod commit;
pub mod job;
pub mod spans;
pub mod submit;
pub mod task;
