//! The error codes of the protocol.

use std::fmt;

/// Writes the enum and what it knows of each code from one table.
macro_rules! codes {
    ($($code:literal $variant:ident $name:ident $again:ident $meaning:literal;)*) => {
        /// An error code of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", stringify!($name), "`: ", $meaning, ".")] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code there is, upwards.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code with this number.
            pub const fn from_code(code: i16) -> Option<Self> {
                Some(match code {
                    $($code => Self::$variant,)*
                    _ => return None,
                })
            }

            /// The name as Kafka's documentation writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }

            /// What has happened, in words.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }

            /// Whether a client tries the same request again, as Kafka's own clients do.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => codes!(@$again),)*
                }
            }
        }
    };
    (@retry) => { true };
    (@fail) => { false };
}

impl ErrorCode {
    /// The number that travels.
    pub const fn code(self) -> i16 {
        self as i16
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.meaning())
    }
}

codes! {
    -1 UnknownServerError UNKNOWN_SERVER_ERROR fail "something went wrong in the broker that has no code of its own";
    0 None NONE fail "no error";
    1 OffsetOutOfRange OFFSET_OUT_OF_RANGE fail "the partition has no such offset";
    2 CorruptMessage CORRUPT_MESSAGE retry "a record batch is damaged, too large, or has no key where one is needed";
    3 UnknownTopicOrPartition UNKNOWN_TOPIC_OR_PARTITION retry "there is no such topic or partition";
    4 InvalidFetchSize INVALID_FETCH_SIZE fail "the size of a fetch is not valid";
    5 LeaderNotAvailable LEADER_NOT_AVAILABLE retry "the partition has no leader at the moment";
    6 NotLeaderOrFollower NOT_LEADER_OR_FOLLOWER retry "the broker is not the leader of the partition, or not one of its replicas";
    7 RequestTimedOut REQUEST_TIMED_OUT retry "it took longer than the request allows";
    8 BrokerNotAvailable BROKER_NOT_AVAILABLE fail "the broker is not there";
    9 ReplicaNotAvailable REPLICA_NOT_AVAILABLE retry "the replica is not there";
    10 MessageTooLarge MESSAGE_TOO_LARGE fail "a record batch is larger than the topic takes";
    11 StaleControllerEpoch STALE_CONTROLLER_EPOCH fail "another controller has taken over";
    12 OffsetMetadataTooLarge OFFSET_METADATA_TOO_LARGE fail "the metadata beside a committed offset is too long";
    13 NetworkException NETWORK_EXCEPTION retry "the connection broke before the response";
    14 CoordinatorLoadInProgress COORDINATOR_LOAD_IN_PROGRESS retry "the coordinator is still reading its state";
    15 CoordinatorNotAvailable COORDINATOR_NOT_AVAILABLE retry "there is no coordinator at the moment";
    16 NotCoordinator NOT_COORDINATOR retry "another broker coordinates it";
    17 InvalidTopicException INVALID_TOPIC_EXCEPTION fail "the name is none that a topic may have";
    18 RecordListTooLarge RECORD_LIST_TOO_LARGE fail "a record batch is larger than a segment of the log";
    19 NotEnoughReplicas NOT_ENOUGH_REPLICAS retry "too few replicas are in sync, and nothing was written";
    20 NotEnoughReplicasAfterAppend NOT_ENOUGH_REPLICAS_AFTER_APPEND retry "it was written, and too few replicas are in sync";
    21 InvalidRequiredAcks INVALID_REQUIRED_ACKS fail "the number of acks is none of -1, 0 and 1";
    22 IllegalGeneration ILLEGAL_GENERATION fail "the group has another generation";
    23 InconsistentGroupProtocol INCONSISTENT_GROUP_PROTOCOL fail "no protocol of the member is one of the group's";
    24 InvalidGroupId INVALID_GROUP_ID fail "the id is none that a group may have";
    25 UnknownMemberId UNKNOWN_MEMBER_ID fail "the group has no such member";
    26 InvalidSessionTimeout INVALID_SESSION_TIMEOUT fail "the session time-out is not between the bounds";
    27 RebalanceInProgress REBALANCE_IN_PROGRESS fail "the group is rebalancing: join again";
    28 InvalidCommitOffsetSize INVALID_COMMIT_OFFSET_SIZE fail "what is to be committed is too large";
    29 TopicAuthorizationFailed TOPIC_AUTHORIZATION_FAILED fail "the client may not do this with the topic";
    30 GroupAuthorizationFailed GROUP_AUTHORIZATION_FAILED fail "the client may not do this with the group";
    31 ClusterAuthorizationFailed CLUSTER_AUTHORIZATION_FAILED fail "the client may not do this with the cluster";
    32 InvalidTimestamp INVALID_TIMESTAMP fail "the time of a record is too far from now";
    33 UnsupportedSaslMechanism UNSUPPORTED_SASL_MECHANISM fail "there is no such SASL mechanism";
    34 IllegalSaslState ILLEGAL_SASL_STATE fail "the authentication is not where this request belongs";
    35 UnsupportedVersion UNSUPPORTED_VERSION fail "the version of the request is not served";
    36 TopicAlreadyExists TOPIC_ALREADY_EXISTS fail "a topic of this name is there already";
    37 InvalidPartitions INVALID_PARTITIONS fail "the number of partitions is not valid";
    38 InvalidReplicationFactor INVALID_REPLICATION_FACTOR fail "the replication factor is not valid";
    39 InvalidReplicaAssignment INVALID_REPLICA_ASSIGNMENT fail "the assignment of replicas is not valid";
    40 InvalidConfig INVALID_CONFIG fail "the configuration is not valid";
    41 NotController NOT_CONTROLLER retry "another broker is the controller";
    42 InvalidRequest INVALID_REQUEST fail "the request contradicts itself, or is not meant for this broker";
    43 UnsupportedForMessageFormat UNSUPPORTED_FOR_MESSAGE_FORMAT fail "the format of the stored records does not allow it";
    44 PolicyViolation POLICY_VIOLATION fail "a policy forbids it";
    45 OutOfOrderSequenceNumber OUT_OF_ORDER_SEQUENCE_NUMBER fail "a batch of the producer is missing before this one";
    46 DuplicateSequenceNumber DUPLICATE_SEQUENCE_NUMBER fail "the batch was written before";
    47 InvalidProducerEpoch INVALID_PRODUCER_EPOCH fail "the producer has an older epoch than the partition knows";
    48 InvalidTxnState INVALID_TXN_STATE fail "the transaction is not where this request belongs";
    49 InvalidProducerIdMapping INVALID_PRODUCER_ID_MAPPING fail "the producer id is not the one of the transactional id";
    50 InvalidTransactionTimeout INVALID_TRANSACTION_TIMEOUT fail "the time-out of the transaction is above the bound";
    51 ConcurrentTransactions CONCURRENT_TRANSACTIONS retry "the transaction before is still being ended";
    52 TransactionCoordinatorFenced TRANSACTION_COORDINATOR_FENCED fail "another coordinator of transactions has taken over";
    53 TransactionalIdAuthorizationFailed TRANSACTIONAL_ID_AUTHORIZATION_FAILED fail "the client may not use the transactional id";
    54 SecurityDisabled SECURITY_DISABLED fail "the broker checks no rights";
    55 OperationNotAttempted OPERATION_NOT_ATTEMPTED fail "an earlier step failed, and this one was not tried";
    56 KafkaStorageError KAFKA_STORAGE_ERROR retry "a disk failed";
    57 LogDirNotFound LOG_DIR_NOT_FOUND fail "the broker has no such folder of logs";
    58 SaslAuthenticationFailed SASL_AUTHENTICATION_FAILED fail "the authentication failed";
    59 UnknownProducerId UNKNOWN_PRODUCER_ID fail "the partition knows nothing of the producer any more";
    60 ReassignmentInProgress REASSIGNMENT_IN_PROGRESS fail "the partition is being moved";
    61 DelegationTokenAuthDisabled DELEGATION_TOKEN_AUTH_DISABLED fail "delegation tokens are switched off";
    62 DelegationTokenNotFound DELEGATION_TOKEN_NOT_FOUND fail "there is no such delegation token";
    63 DelegationTokenOwnerMismatch DELEGATION_TOKEN_OWNER_MISMATCH fail "the delegation token belongs to somebody else";
    64 DelegationTokenRequestNotAllowed DELEGATION_TOKEN_REQUEST_NOT_ALLOWED fail "delegation tokens are not given on such a connection";
    65 DelegationTokenAuthorizationFailed DELEGATION_TOKEN_AUTHORIZATION_FAILED fail "the client may not do this with delegation tokens";
    66 DelegationTokenExpired DELEGATION_TOKEN_EXPIRED fail "the delegation token has expired";
    67 InvalidPrincipalType INVALID_PRINCIPAL_TYPE fail "there is no such kind of principal";
    68 NonEmptyGroup NON_EMPTY_GROUP fail "the group has members";
    69 GroupIdNotFound GROUP_ID_NOT_FOUND fail "there is no such group";
    70 FetchSessionIdNotFound FETCH_SESSION_ID_NOT_FOUND retry "there is no such fetch session";
    71 InvalidFetchSessionEpoch INVALID_FETCH_SESSION_EPOCH retry "the fetch session has another epoch";
    72 ListenerNotFound LISTENER_NOT_FOUND retry "the leader has no listener of this name";
    73 TopicDeletionDisabled TOPIC_DELETION_DISABLED fail "topics cannot be removed here";
    74 FencedLeaderEpoch FENCED_LEADER_EPOCH retry "the request knows an older epoch of the leader";
    75 UnknownLeaderEpoch UNKNOWN_LEADER_EPOCH retry "the request knows a newer epoch of the leader";
    76 UnsupportedCompressionType UNSUPPORTED_COMPRESSION_TYPE fail "the client cannot read the compression of the partition";
    77 StaleBrokerEpoch STALE_BROKER_EPOCH fail "the broker has started again since";
    78 OffsetNotAvailable OFFSET_NOT_AVAILABLE retry "the leader is new, and does not know yet how far reading is safe";
    79 MemberIdRequired MEMBER_ID_REQUIRED fail "join again with the member id of this response";
    80 PreferredLeaderNotAvailable PREFERRED_LEADER_NOT_AVAILABLE retry "the preferred leader is not there";
    81 GroupMaxSizeReached GROUP_MAX_SIZE_REACHED fail "the group takes no more members";
    82 FencedInstanceId FENCED_INSTANCE_ID fail "another member has joined under this instance id";
    83 EligibleLeadersNotAvailable ELIGIBLE_LEADERS_NOT_AVAILABLE retry "no replica that may become leader is there";
    84 ElectionNotNeeded ELECTION_NOT_NEEDED retry "the right leader leads already";
    85 NoReassignmentInProgress NO_REASSIGNMENT_IN_PROGRESS fail "the partition is not being moved";
    86 GroupSubscribedToTopic GROUP_SUBSCRIBED_TO_TOPIC fail "the group still reads the topic";
    87 InvalidRecord INVALID_RECORD fail "a record was refused";
    88 UnstableOffsetCommit UNSTABLE_OFFSET_COMMIT retry "a transaction holds offsets of the group open";
    89 ThrottlingQuotaExceeded THROTTLING_QUOTA_EXCEEDED retry "the client does this too often: wait as long as the response says";
    90 ProducerFenced PRODUCER_FENCED fail "another producer has taken over the transactional id";
    91 ResourceNotFound RESOURCE_NOT_FOUND fail "there is no such thing";
    92 DuplicateResource DUPLICATE_RESOURCE fail "the request names a thing twice";
    93 UnacceptableCredential UNACCEPTABLE_CREDENTIAL fail "the credential is too weak, or of the wrong kind";
    94 InconsistentVoterSet INCONSISTENT_VOTER_SET fail "the set of voters is another one";
    95 InvalidUpdateVersion INVALID_UPDATE_VERSION fail "the version of a feature is not valid";
    96 FeatureUpdateFailed FEATURE_UPDATE_FAILED fail "the features could not be set";
    97 PrincipalDeserializationFailure PRINCIPAL_DESERIALIZATION_FAILURE fail "the principal of a forwarded request could not be read";
    98 SnapshotNotFound SNAPSHOT_NOT_FOUND fail "there is no such snapshot";
    99 PositionOutOfRange POSITION_OUT_OF_RANGE fail "the position lies outside the snapshot";
    100 UnknownTopicId UNKNOWN_TOPIC_ID retry "there is no topic with this id";
    101 DuplicateBrokerRegistration DUPLICATE_BROKER_REGISTRATION fail "another broker has this id";
    102 BrokerIdNotRegistered BROKER_ID_NOT_REGISTERED fail "no broker has this id";
    103 InconsistentTopicId INCONSISTENT_TOPIC_ID retry "the topic of this name has another id";
    104 InconsistentClusterId INCONSISTENT_CLUSTER_ID fail "the cluster has another id";
    105 TransactionalIdNotFound TRANSACTIONAL_ID_NOT_FOUND fail "there is no such transactional id";
    106 FetchSessionTopicIdError FETCH_SESSION_TOPIC_ID_ERROR retry "the fetch session names topics by id and by name";
    107 IneligibleReplica INELIGIBLE_REPLICA fail "a replica may not be counted as in sync";
    108 NewLeaderElected NEW_LEADER_ELECTED fail "the change of the partition came with a new leader";
    109 OffsetMovedToTieredStorage OFFSET_MOVED_TO_TIERED_STORAGE fail "the offset is kept in remote storage";
    110 FencedMemberEpoch FENCED_MEMBER_EPOCH fail "the group has given the member up: join again";
    111 UnreleasedInstanceId UNRELEASED_INSTANCE_ID fail "a member with this instance id has not left yet";
    112 UnsupportedAssignor UNSUPPORTED_ASSIGNOR fail "the broker knows no such assignor";
    113 StaleMemberEpoch STALE_MEMBER_EPOCH fail "the member has an older epoch than the group: heartbeat first";
    114 MismatchedEndpointType MISMATCHED_ENDPOINT_TYPE fail "the request is for a broker and came to a controller, or the other way round";
    115 UnsupportedEndpointType UNSUPPORTED_ENDPOINT_TYPE fail "there is no such kind of endpoint";
    116 UnknownControllerId UNKNOWN_CONTROLLER_ID fail "there is no such controller";
    117 UnknownSubscriptionId UNKNOWN_SUBSCRIPTION_ID fail "there is no such telemetry subscription";
    118 TelemetryTooLarge TELEMETRY_TOO_LARGE fail "the telemetry is larger than the broker takes";
    119 InvalidRegistration INVALID_REGISTRATION fail "the registration of the broker is not valid";
    120 TransactionAbortable TRANSACTION_ABORTABLE fail "the transaction failed and can be aborted, and the producer goes on";
    121 InvalidRecordState INVALID_RECORD_STATE fail "the records are not where this acknowledgement belongs";
    122 ShareSessionNotFound SHARE_SESSION_NOT_FOUND retry "there is no such share session";
    123 InvalidShareSessionEpoch INVALID_SHARE_SESSION_EPOCH retry "the share session has another epoch";
    124 FencedStateEpoch FENCED_STATE_EPOCH fail "the share group's state has a newer epoch";
    125 InvalidVoterKey INVALID_VOTER_KEY fail "the voter has another key";
    126 DuplicateVoter DUPLICATE_VOTER fail "the voter is there already";
    127 VoterNotFound VOTER_NOT_FOUND fail "there is no such voter";
    128 InvalidRegularExpression INVALID_REGULAR_EXPRESSION fail "the regular expression is not valid";
    129 RebootstrapRequired REBOOTSTRAP_REQUIRED fail "what the client knows of the cluster is too old: it begins anew";
    130 StreamsInvalidTopology STREAMS_INVALID_TOPOLOGY fail "the topology of the streams is not valid";
    131 StreamsInvalidTopologyEpoch STREAMS_INVALID_TOPOLOGY_EPOCH fail "the epoch of the topology is not valid";
    132 StreamsTopologyFenced STREAMS_TOPOLOGY_FENCED fail "the group has a newer topology";
    133 ShareSessionLimitReached SHARE_SESSION_LIMIT_REACHED retry "the broker takes no more share sessions";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_without_a_gap() {
        for (place, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(code.code() + 1), Ok(place));
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
        }
        assert_eq!(ErrorCode::from_code(134), None);
    }

    #[test]
    fn a_code_says_what_it_means() {
        let code = ErrorCode::UnknownTopicOrPartition;
        let told = "UNKNOWN_TOPIC_OR_PARTITION (3): there is no such topic or partition";
        assert_eq!(code.to_string(), told);
        assert!(code.is_retriable());
        assert!(!ErrorCode::MessageTooLarge.is_retriable());
    }
}
