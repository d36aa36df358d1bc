//! How the daemon reads what an operator writes, for the fuzz targets (`fuzz/`) alone: no interface, and free to change. The
//! daemon itself is `main.rs`.

pub mod args;
pub mod config;
