//! The daemon's readers of an operator's input, for the fuzz targets (`fuzz/`) alone: this library is no stable interface.
//! The daemon itself is `main.rs`.

pub mod args;
pub mod config;
mod settings;
