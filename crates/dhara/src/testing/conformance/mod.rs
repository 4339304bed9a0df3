//! The contract of [`Broker`](crate::broker::Broker), as checks that every back end passes.
//!
//! [`CHECKS`] is the list; each check is given a [`Factory`] that opens brokers on data of its own.
//! What a back end cannot do by its [`Capabilities`](crate::broker::Capabilities) is no failure, but
//! it is told: [`Outcome::Lacks`]. Checks wait for what is to come, never for time to pass; where
//! they see that something does *not* come they wait [`Factory::quiet`].
//!
//! [`broker_conformance!`](crate::broker_conformance) makes a test of every check:
//!
//! ```ignore
//! mod mem {
//!     dhara::broker_conformance!(Mem::new, lacks: ["durable"]);
//! }
//! ```

mod content;
mod end;
mod flow;
mod groups;
mod kit;
mod order;
mod progress;
mod redelivery;
mod replay;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use kit::Kit;

use crate::answer::BoxFuture;
use crate::broker::{Broker, BrokerError};
use crate::testing::runs;
use crate::world::World;

/// Opens brokers of one back end, all on the same data, which is empty at first.
pub trait Factory: Send + Sync + 'static {
    /// Opens a broker. The one before was closed. A back end that is not durable begins empty.
    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn Broker>, BrokerError>>;

    /// The world that the brokers were opened with.
    fn world(&self) -> World;

    /// How long to wait before something is taken not to come. Where time is paused this costs
    /// nothing.
    fn quiet(&self) -> Duration {
        Duration::from_millis(30)
    }

    /// How long to wait for what must come.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// How a check ended that found nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The back end does what the check is about.
    Passed,
    /// The back end says that it has not the ability of this name.
    Lacks(&'static str),
}

/// What a check found wrong.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with this description.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self(format!("the broker answered with an error: {error} ({error:?})"))
    }
}

/// What a check gives.
pub type Checked = Result<Outcome, Failure>;

/// One check of the contract.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(Kit) -> BoxFuture<'static, Checked>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", self.name)
    }
}

/// Runs the check called `name` with brokers of `factory`.
pub async fn run(name: &str, factory: Arc<dyn Factory>) -> Checked {
    let check = CHECKS.iter().find(|check| check.name == name);
    let check = check.ok_or_else(|| Failure::new(format!("there is no check {name}")))?;
    (check.run)(Kit::new(factory)).await
}

/// Gives the names of all checks to a macro. The one list: [`CHECKS`] and the tests of every back
/// end are made of it.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_broker_check {
    ($then:ident $($with:tt)*) => {
        $crate::$then! {
            [$($with)*]
            topics::a_topic_has_the_partitions_it_was_declared_with
            topics::declaring_again_changes_nothing
            topics::names_that_not_every_broker_could_carry_are_refused
            topics::a_refused_batch_publishes_nothing
            topics::publishing_and_subscribing_declare_unknown_topics
            content::a_message_arrives_as_it_was_published
            content::no_key_and_an_empty_key_are_two_things
            content::binary_bodies_and_repeated_headers_arrive_untouched
            content::one_huge_message_arrives
            content::positions_tell_where_messages_lie
            order::messages_of_one_key_keep_their_order
            order::a_batch_keeps_the_order_of_each_key
            order::many_publishers_lose_nothing_and_keep_their_order
            order::a_key_lies_where_kafka_would_put_it
            order::messages_without_a_key_reach_every_partition
            order::a_cancelled_publish_leaves_no_hole_in_a_partition
            groups::two_groups_both_get_everything
            groups::two_members_share_the_partitions
            groups::members_share_two_topics
            groups::a_member_that_joins_takes_over_without_gap_or_overlap
            groups::a_member_that_leaves_hands_on_what_it_had
            groups::a_partition_is_not_handed_on_before_it_is_released
            groups::readers_alone_each_get_everything
            groups::an_alone_reader_from_the_latest_sees_only_what_is_new
            groups::a_group_that_began_at_the_latest_misses_nothing_after
            redelivery::what_was_acked_does_not_come_again
            redelivery::what_was_not_acked_comes_again_to_the_next_member
            redelivery::acks_out_of_order_skip_nothing
            redelivery::what_was_not_acked_comes_again_after_a_restart
            redelivery::what_was_acked_is_remembered_after_a_restart
            redelivery::what_is_given_back_comes_again_and_is_counted
            redelivery::what_is_given_back_with_a_delay_comes_after_it
            redelivery::a_delayed_delivery_does_not_hold_up_others
            redelivery::a_dropped_subscription_leaves_its_group
            flow::no_more_is_in_hand_than_was_asked_for
            flow::no_more_bytes_are_in_hand_than_were_asked_for
            flow::a_message_larger_than_the_bound_is_still_given
            flow::a_paused_partition_gives_nothing_until_it_is_resumed
            flow::a_cancelled_next_loses_nothing
            flow::one_busy_partition_does_not_starve_the_others
            flow::a_waiting_reader_is_told_of_what_is_published
            replay::a_new_group_begins_with_the_earliest_message
            replay::seeking_back_gives_the_messages_again
            replay::seeking_forward_leaves_messages_out
            replay::receipts_from_before_a_seek_are_void
            replay::seeking_at_the_assignment_decides_where_deliveries_begin
            replay::everything_acked_is_there_after_a_restart
            progress::progress_counts_what_was_acked
            progress::progress_of_an_unknown_group_has_no_position
            end::a_closed_subscription_says_so
            end::a_closed_broker_ends_its_subscriptions
            end::a_closed_broker_takes_no_more_work
            end::shutting_down_with_deliveries_in_hand_loses_none
        }
    };
}

/// Makes [`CHECKS`] of the list.
#[doc(hidden)]
#[macro_export]
macro_rules! list_broker_checks {
    ([] $($room:ident::$name:ident)*) => {
        /// All checks.
        pub const CHECKS: &[Check] = &[$(Check {
            name: stringify!($name),
            run: |kit| Box::pin($room::$name(kit)),
        },)*];
    };
}

for_each_broker_check!(list_broker_checks);

/// Makes a test of every check of [`CHECKS`](crate::testing::conformance::CHECKS).
///
/// The first argument is a function without arguments that gives a factory with data of its own;
/// `lacks` names the abilities that the back end is known to lack, and a check that finds another
/// one missing fails. `paused` after it runs the tests in paused time, `threads` on several threads.
#[macro_export]
macro_rules! broker_conformance {
    ($factory:expr, lacks: [$($lacks:literal),*] $(, $paused:ident)?) => {
        $crate::for_each_broker_check!(test_broker_checks ($factory) [$($lacks),*] [$($paused)?]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! test_broker_checks {
    ([$factory:tt $lacks:tt []] $($room:ident::$name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            $crate::testing::conformance::expect(stringify!($name), $factory, &$lacks).await;
        }
    )*};
    ([$factory:tt $lacks:tt [threads]] $($room:ident::$name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
        async fn $name() {
            $crate::testing::conformance::expect(stringify!($name), $factory, &$lacks).await;
        }
    )*};
    ([$factory:tt $lacks:tt [paused]] $($room:ident::$name:ident)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            $crate::testing::conformance::expect(stringify!($name), $factory, &$lacks).await;
        }
    )*};
}

/// Runs a check as a test: it passes, or its back end lacks what it is known to lack.
///
/// It runs [`runs`] times, each with a factory that `make` gives.
///
/// # Panics
///
/// When the check fails, or finds an ability missing that is not among `lacks`.
#[expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by a panic and tells by printing"
)]
pub async fn expect<F: Factory>(name: &str, make: impl Fn() -> F, lacks: &[&str]) {
    for _ in 0..runs() {
        match run(name, Arc::new(make())).await {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::Lacks(what)) if lacks.contains(&what) => {
                println!("{name}: not checked, as this back end is not able to: {what}");
            }
            Ok(Outcome::Lacks(what)) => panic!("{name}: the back end lacks {what} unexpectedly"),
            Err(failure) => panic!("{name}: {failure}"),
        }
    }
}
