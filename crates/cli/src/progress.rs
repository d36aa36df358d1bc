//! Progress bars on stderr for transfers, if stderr is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Time between two attempts at a transfer that broke, unless the node named a time.
pub const RETRY_WAIT: Duration = Duration::from_secs(1);

const TEMPLATE: &str = "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// Makes a bar that begins at `done` bytes. The bar is invisible unless [`Output::shows_progress`], and it vanishes when it
/// is dropped.
pub fn bar(output: Output, what: &'static str, total_bytes: u64, done: u64) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total_bytes)
        .with_style(style)
        .with_message(what)
        .with_position(done)
        .with_finish(indicatif::ProgressFinish::AndClear)
}
