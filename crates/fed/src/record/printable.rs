//! Text from other nodes: the characters that a name may have, and the form in which any text is shown to a person.
//!
//! A terminal obeys control characters: they change its colours, overwrite lines and forge others. Characters that change
//! the direction of writing, or that take no room, make two names look alike. A record's names contain none of these
//! characters, and a text that is shown to a person shows them escaped.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns true if the character is shown as itself. The others are, in Unicode's order: C0 controls; DEL and C1 controls;
/// the soft hyphen; the Arabic letter mark; the Mongolian vowel separator; zero-width characters and direction marks; line
/// and paragraph separators, direction embeddings and overrides; the word joiner, invisible operators and direction
/// isolates; the byte order mark; interlinear annotations; tags.
pub fn is_printable(c: char) -> bool {
    !matches!(c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Returns the text on one line, with every character that is not printable escaped as JSON escapes it: `\n`, `\u001b`, a
/// pair of surrogates beyond U+FFFF. A JSON text keeps its meaning, and an escape in the text stays as it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if is_printable(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(shown)
}

/// Returns true if the text can be a name of at most `bytes_max` bytes: not empty, and only characters for which
/// [`is_printable`] is true.
pub(crate) fn is_name(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.chars().all(is_printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_or_cannot_be_seen_is_not_printable() {
        let ranges = [
            (0, 0x1f),
            (0x7f, 0x9f),
            (0xad, 0xad),
            (0x61c, 0x61c),
            (0x180e, 0x180e),
            (0x200b, 0x200f),
            (0x2028, 0x202e),
            (0x2060, 0x206f),
            (0xfeff, 0xfeff),
            (0xfff9, 0xfffb),
            (0xe0000, 0xe007f),
        ];
        for c in '\0'..=char::MAX {
            let listed = ranges.iter().any(|(from, to)| (*from..=*to).contains(&u32::from(c)));
            assert_eq!(is_printable(c), !listed, "{:x}", u32::from(c));
        }
    }

    #[test]
    fn a_text_is_shown_on_one_line_and_escaping_twice_changes_nothing() {
        for (text, shown) in [
            ("layer.0/größe \"q\" \\ 重み", "layer.0/größe \"q\" \\ 重み"),
            ("\u{1b}[31mred\u{9b}0m", "\\u001b[31mred\\u009b0m"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("exe\u{202e}gpj", "exe\\u202egpj"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(&printable(text)), shown);
        }
    }

    #[test]
    fn a_name_has_a_length_and_printable_characters() {
        assert!(is_name("a", 1) && is_name("größe", 7) && !is_name("größe", 6));
        for bad in ["", "a\u{7f}", "a\u{85}", "a\u{200b}b", "\u{2066}a"] {
            assert!(!is_name(bad, 64), "{bad:?}");
        }
    }
}
