//! The log's writer. It escapes text that a line quotes from other nodes, so that a terminal shows it and does not obey it.

use std::fmt;
use std::io::{self, Write};

use qres_api::printable;
use tracing::field::Field;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;

/// Writes a [`Field`] as `name=value`, or the message as it is, escaped by [`printable`]. The library's own formatter does
/// not escape a field's escape characters when it writes colours (tracing-subscriber 0.3.23).
pub fn field(writer: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => write!(writer, "{}", printable(&value)),
        name => write!(writer, "{name}={}", printable(&value)),
    }
}

/// Makes a [`Line`] writer for each event.
pub struct Lines<M> {
    inner: M,
    colours: bool,
}

impl<M> Lines<M> {
    /// Wraps `inner`. With `colours`, escape characters pass: they are the formatter's own, because [`field`] escapes those of
    /// a value.
    pub fn new(inner: M, colours: bool) -> Self {
        Self { inner, colours }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Lines<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            inner: self.inner.make_writer(),
            colours: self.colours,
        }
    }
}

/// A writer of one event: the formatter writes the whole event at once, with the end of the line.
pub struct Line<W> {
    inner: W,
    colours: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (&*text, ""),
        };
        let shown = match self.colours {
            true => line.split('\u{1b}').map(printable).collect::<Vec<_>>().join("\u{1b}"),
            false => printable(line).into_owned(),
        };
        // The line is one write, so that lines of several threads do not mix.
        self.inner.write_all((shown + end).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
