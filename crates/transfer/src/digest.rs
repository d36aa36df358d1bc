//! Digests in messages.

use super::fault::TransferError;

/// Reads a 32-byte digest out of a message; another length is [`TransferError::Malformed`].
pub(crate) fn hash_of(what: &'static str, bytes: &[u8]) -> Result<[u8; 32], TransferError> {
    bytes
        .try_into()
        .map_err(|_| TransferError::malformed(what, format!("{} bytes, 32 are needed", bytes.len())))
}
