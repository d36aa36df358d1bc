//! Reasons of failed calls, for programs. docs/errors.md gives the cause and the remedy of each; a test keeps page and list
//! equal.

/// The canonical kind of a failure; `api` maps each to one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request can never work as it is.
    InvalidArgument,
    /// The thing that the request names is not here.
    NotFound,
    /// Another thing is there under that name or key.
    AlreadyExists,
    /// The node or the model is not in a state for the request.
    FailedPrecondition,
    /// A position past the end: an offset, a revision.
    OutOfRange,
    /// A limit or the disk is full.
    ResourceExhausted,
    /// The caller does not say, or cannot show, who it is.
    Unauthenticated,
    /// The caller, or this node, may not do this.
    PermissionDenied,
    /// The request cannot be served now: try again.
    Unavailable,
    /// This node itself is at fault.
    Internal,
}

macro_rules! reasons {
    ($($variant:ident = $kind:ident $name:literal,)*) => {
        /// A stable reason of a failed call, as `google.rpc.ErrorInfo` carries it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "docs/errors.md has a row for each")]
        pub enum Reason {
            $($variant,)*
        }

        impl Reason {
            /// All reasons, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name that programs see, in `UPPER_SNAKE`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the [`Kind`] of the failure.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$variant => Kind::$kind,)*
                }
            }
        }
    };
}

reasons! {
    AnswerNotRead = Unavailable "ANSWER_NOT_READ",
    BaseAmbiguous = FailedPrecondition "BASE_AMBIGUOUS",
    BaseConflicts = FailedPrecondition "BASE_CONFLICTS",
    BaseContributed = FailedPrecondition "BASE_CONTRIBUTED",
    BaseNotHeld = FailedPrecondition "BASE_NOT_HELD",
    BaseStale = FailedPrecondition "BASE_STALE",
    BaseSubmitted = AlreadyExists "BASE_SUBMITTED",
    BaseUnknown = FailedPrecondition "BASE_UNKNOWN",
    BelowQuorum = FailedPrecondition "BELOW_QUORUM",
    BootstrapNode = FailedPrecondition "BOOTSTRAP_NODE",
    Busy = Unavailable "BUSY",
    CheckpointNotHeld = NotFound "CHECKPOINT_NOT_HELD",
    ConnectionShare = ResourceExhausted "CONNECTION_SHARE",
    Convicted = PermissionDenied "CONVICTED",
    CredentialMissing = Unauthenticated "CREDENTIAL_MISSING",
    CredentialRefused = Unauthenticated "CREDENTIAL_REFUSED",
    CreatorDiffers = FailedPrecondition "CREATOR_DIFFERS",
    CreatorUnknown = FailedPrecondition "CREATOR_UNKNOWN",
    DiskFull = ResourceExhausted "DISK_FULL",
    Draining = Unavailable "DRAINING",
    EmptyStream = InvalidArgument "EMPTY_STREAM",
    HeadNotHeld = FailedPrecondition "HEAD_NOT_HELD",
    IdentityInUse = FailedPrecondition "IDENTITY_IN_USE",
    InvalidField = InvalidArgument "INVALID_FIELD",
    KeyTaken = AlreadyExists "KEY_TAKEN",
    LateHeader = InvalidArgument "LATE_HEADER",
    MalformedMessage = InvalidArgument "MALFORMED_MESSAGE",
    Mesh = Unavailable "MESH",
    MessageTooLarge = ResourceExhausted "MESSAGE_TOO_LARGE",
    ModelAmbiguous = FailedPrecondition "MODEL_AMBIGUOUS",
    ModelComplete = FailedPrecondition "MODEL_COMPLETE",
    ModelEnded = Unavailable "MODEL_ENDED",
    ChangeRefused = FailedPrecondition "CHANGE_REFUSED",
    ModelExists = AlreadyExists "MODEL_EXISTS",
    ModelNotJoined = FailedPrecondition "MODEL_NOT_JOINED",
    ModelUnknown = NotFound "MODEL_UNKNOWN",
    NameInUse = FailedPrecondition "NAME_IN_USE",
    NotAMember = PermissionDenied "NOT_A_MEMBER",
    OffsetPastEnd = OutOfRange "OFFSET_PAST_END",
    OffsetPastKept = OutOfRange "OFFSET_PAST_KEPT",
    PeerNotConnected = NotFound "PEER_NOT_CONNECTED",
    PeerNotReached = Unavailable "PEER_NOT_REACHED",
    PeerUnknown = NotFound "PEER_UNKNOWN",
    PersonalFull = ResourceExhausted "PERSONAL_FULL",
    PrivacySpent = FailedPrecondition "PRIVACY_SPENT",
    RateLimit = ResourceExhausted "RATE_LIMIT",
    RequestTooSlow = Unavailable "REQUEST_TOO_SLOW",
    RevisionAhead = OutOfRange "REVISION_AHEAD",
    RoleTooLow = PermissionDenied "ROLE_TOO_LOW",
    RoundUnknown = NotFound "ROUND_UNKNOWN",
    RuleUnknown = FailedPrecondition "RULE_UNKNOWN",
    ShuttingDown = Unavailable "SHUTTING_DOWN",
    SpecGone = Unavailable "SPEC_GONE",
    State = Internal "STATE",
    StateNamesFull = ResourceExhausted "STATE_NAMES_FULL",
    Stopping = Unavailable "STOPPING",
    Store = Internal "STORE",
    SubmissionExpired = NotFound "SUBMISSION_EXPIRED",
    SubmissionRejected = FailedPrecondition "SUBMISSION_REJECTED",
    SubmissionUnknown = NotFound "SUBMISSION_UNKNOWN",
    TrainerDiffers = PermissionDenied "TRAINER_DIFFERS",
    UploadsFull = ResourceExhausted "UPLOADS_FULL",
    UploadsKept = ResourceExhausted "UPLOADS_KEPT",
    UploadEnded = Internal "UPLOAD_ENDED",
    UploadOvertaken = FailedPrecondition "UPLOAD_OVERTAKEN",
    UploadQuota = ResourceExhausted "UPLOAD_QUOTA",
    UploadTooSlow = Unavailable "UPLOAD_TOO_SLOW",
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/errors.md");

    /// Returns a kind as gRPC writes it: `FAILED_PRECONDITION` for `FailedPrecondition`.
    fn code(kind: Kind) -> String {
        let mut code = String::new();
        for letter in format!("{kind:?}").chars() {
            if letter.is_uppercase() && !code.is_empty() {
                code.push('_');
            }
            code.push(letter.to_ascii_uppercase());
        }
        code
    }

    #[test]
    fn the_page_of_errors_has_a_row_for_each_reason_and_no_other() {
        let rows: Vec<Vec<&str>> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        for reason in Reason::ALL {
            let name = format!("`{}`", reason.name());
            let row = rows
                .iter()
                .find(|row| row[0] == name)
                .unwrap_or_else(|| panic!("{name} has no row"));
            assert_eq!(row[1], code(reason.kind()), "{name}");
            assert!(
                row.len() == 4 && row.iter().all(|cell| !cell.is_empty()),
                "{name}: {row:?}"
            );
        }
        assert_eq!(
            rows.len(),
            Reason::ALL.len(),
            "a row of a reason that is none, or twice"
        );
    }
}
