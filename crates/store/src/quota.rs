//! The share of the disk that blobs may take.

use std::fmt;
use std::str::FromStr;

/// Default share, in percent: records, logs and other programs need the rest.
const SHARE_DEFAULT: u8 = 90;
/// Unfinished uploads take at most one part in 4 of the limit: the store of a node whose rounds fit holds ten times a
/// model's weights and more.
const UPLOADS_PART: u64 = 4;

/// The limit for the bytes of blobs, those on their way in included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// A number of bytes.
    Bytes(u64),
    /// A percentage, 1 to 100, of the bytes that blobs take and that are free on their disk together.
    Share(u8),
    /// No limit: blobs may fill the disk.
    Unlimited,
}

/// Error for a text that is no [`Quota`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quota: say a number of bytes from 1, a share of the disk from 1% to 100%, or none")]
pub struct QuotaError(String);

impl Quota {
    /// The quota of a node whose operator sets none: 90 %.
    pub const DEFAULT: Self = Self::Share(SHARE_DEFAULT);

    /// Returns the limit in bytes, when `within_reach` bytes are free or taken by blobs; `None` = no limit.
    pub(super) fn limit(self, within_reach: u64) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Share(percent) => Some(share(within_reach, percent)),
            Self::Unlimited => None,
        }
    }

    /// Returns the limit of unfinished uploads, in bytes. They always have a limit, because callers can leave them
    /// behind.
    pub(super) fn uploads_limit(self, within_reach: u64) -> u64 {
        let blobs = self.limit(within_reach);
        blobs.unwrap_or_else(|| share(within_reach, SHARE_DEFAULT)) / UPLOADS_PART
    }
}

fn share(bytes: u64, percent: u8) -> u64 {
    let part = u128::from(bytes) * u128::from(percent) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}

impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let quota = match (text, text.strip_suffix('%')) {
            ("none", _) => Some(Self::Unlimited),
            (_, Some(percent)) => {
                let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
                percent.map(Self::Share)
            }
            (bytes, None) => bytes.parse().ok().filter(|bytes| *bytes > 0).map(Self::Bytes),
        };
        quota.ok_or_else(|| QuotaError(text.to_owned()))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Share(percent) => write!(f, "{percent}%"),
            Self::Unlimited => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_reads_as_it_is_written() {
        for text in ["none", "1", "1%", "90%", "100%", "18446744073709551615"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "0",
            "0%",
            "101%",
            "%",
            "-1",
            "1 %",
            "10 GB",
            "None",
            "18446744073709551616",
        ] {
            let error = text.parse::<Quota>().unwrap_err().to_string();
            assert!(error.contains("none"), "{error}");
        }
    }

    #[test]
    fn a_share_is_of_what_is_within_reach_and_uploads_get_a_quarter_of_it() {
        let limits = |quota: Quota| (quota.limit(1000), quota.uploads_limit(1000));
        assert_eq!(limits(Quota::Bytes(100)), (Some(100), 25));
        assert_eq!(limits(Quota::Share(90)), (Some(900), 225));
        assert_eq!(limits(Quota::Unlimited), (None, 225));
        assert_eq!(Quota::Share(100).limit(u64::MAX), Some(u64::MAX));
    }
}
