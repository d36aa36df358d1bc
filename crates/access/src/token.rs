//! Bearer tokens and their hashes.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The start of each token, by which scanners of leaked secrets find it.
const PREFIX: &str = "qres_";
/// Random bytes of a token. 256 bits cannot be guessed, so the hash at rest need not be slow.
const SECRET_BYTES: usize = 32;
/// The start of a hash as a callers file has it.
const HASH_PREFIX: &str = "blake3:";

/// A bearer token: a secret that stands for a caller. Neither `Debug` nor a log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The BLAKE3 hash of a [`Token`], which a callers file keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// Makes a new token from the system's random numbers. Returns an error if the system has none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// Returns the text that a caller sends after `Bearer `.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the hash that a callers file keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenHash {
    /// Returns the hash as 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the hash of a token's text.
    pub fn of(text: &str) -> Self {
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", self.hex())
    }
}

impl FromStr for TokenHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(PREFIX) {
            return Err("a token itself: the file keeps its hash; `qres token hash` prints it".to_owned());
        }
        let digits = text.strip_prefix(HASH_PREFIX).unwrap_or_default();
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| {
            format!("{HASH_PREFIX} and 64 hexadecimal digits are expected, as `qres token new` writes them")
        })?;
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_new_each_time_and_hidden() {
        let (a, b) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.text().len(), PREFIX.len() + 43);
        assert!(!format!("{a:?}").contains(&a.text()[PREFIX.len()..]));
    }

    #[test]
    fn the_hash_is_blake3_of_the_text() {
        // The digest of the empty text, as the BLAKE3 paper's test vectors give it.
        let hash = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(TokenHash::of("").to_string(), hash);
        assert_eq!(hash.parse(), Ok(TokenHash::of("")));
    }

    #[test]
    fn a_token_in_the_place_of_a_hash_is_named_as_such() {
        let token = Token::generate().unwrap();
        let error = token.text().parse::<TokenHash>().unwrap_err();
        assert!(
            error.contains("token itself") && !error.contains(token.text()),
            "{error}"
        );
        assert!("blake3:abc".parse::<TokenHash>().is_err());
    }
}
