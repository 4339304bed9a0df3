//! A suite that cannot fail proves nothing: brokers that break a rule on purpose, each of which the
//! conformance suite must catch.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dhara::broker::mem::{MemBroker, MemOptions};
use dhara::broker::{
    Batch, Broker, BrokerError, Capabilities, Delivery, Positions, Progress, Receipt, Signal,
    Start, Subscribe, Subscription, Topic, TopicPartition, TopicSpec,
};
use dhara::testing::conformance::{CHECKS, Factory, Outcome, run};
use dhara::world::World;
use dhara::{Answer, BoxFuture};

/// The rule that a broker breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    AcksWhatLiesBelow,
    AcksNothing,
    AcksWhatIsInHandAtTheEnd,
    ReversesEachSignal,
    DropsWhatIsGivenBack,
    ForgetsAttempts,
    IgnoresDelays,
    DeliversTwice,
    IgnoresTheBoundOfCount,
    IgnoresTheBoundOfBytes,
    IgnoresPause,
    IgnoresSeek,
    LosesOnCancel,
    LetsGoTooSoon,
    DropsHeaders,
    TakesEmptyKeysForNone,
    PublishesPartOfABatch,
    BeginsWithTheLatest,
    ForgetsOnRestart,
    TellsNoProgress,
}

impl Fault {
    const ALL: [(Self, &'static str); 20] = [
        (Self::AcksWhatLiesBelow, "acks_out_of_order_skip_nothing"),
        (Self::AcksNothing, "what_was_acked_does_not_come_again"),
        (Self::AcksWhatIsInHandAtTheEnd, "what_was_not_acked_comes_again_to_the_next_member"),
        (Self::ReversesEachSignal, "a_batch_keeps_the_order_of_each_key"),
        (Self::DropsWhatIsGivenBack, "what_is_given_back_comes_again_and_is_counted"),
        (Self::ForgetsAttempts, "what_is_given_back_comes_again_and_is_counted"),
        (Self::IgnoresDelays, "what_is_given_back_with_a_delay_comes_after_it"),
        (Self::DeliversTwice, "messages_of_one_key_keep_their_order"),
        (Self::IgnoresTheBoundOfCount, "no_more_is_in_hand_than_was_asked_for"),
        (Self::IgnoresTheBoundOfBytes, "no_more_bytes_are_in_hand_than_were_asked_for"),
        (Self::IgnoresPause, "a_paused_partition_gives_nothing_until_it_is_resumed"),
        (Self::IgnoresSeek, "seeking_back_gives_the_messages_again"),
        (Self::LosesOnCancel, "a_cancelled_next_loses_nothing"),
        (Self::LetsGoTooSoon, "a_partition_is_not_handed_on_before_it_is_released"),
        (Self::DropsHeaders, "a_message_arrives_as_it_was_published"),
        (Self::TakesEmptyKeysForNone, "no_key_and_an_empty_key_are_two_things"),
        (Self::PublishesPartOfABatch, "a_refused_batch_publishes_nothing"),
        (Self::BeginsWithTheLatest, "a_new_group_begins_with_the_earliest_message"),
        (Self::ForgetsOnRestart, "everything_acked_is_there_after_a_restart"),
        (Self::TellsNoProgress, "progress_counts_what_was_acked"),
    ];
}

#[derive(Debug)]
struct Broken {
    inner: MemBroker,
    fault: Fault,
}

impl Broker for Broken {
    fn id(&self) -> Option<Arc<str>> {
        self.inner.id()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.durable = self.fault == Fault::ForgetsOnRestart;
        capabilities
    }

    fn declare<'a>(&'a self, topics: &'a [TopicSpec]) -> Answer<'a, Result<(), BrokerError>> {
        self.inner.declare(topics)
    }

    fn publish(&self, mut batch: Batch) -> Answer<'_, Result<Positions, BrokerError>> {
        let change = |message: &mut dhara::broker::Message| match self.fault {
            Fault::DropsHeaders => message.headers.clear(),
            Fault::TakesEmptyKeysForNone => {
                message.key = message.key.take().filter(|it| !it.is_empty())
            }
            _ => {}
        };
        match &mut batch {
            Batch::One(message) => change(message),
            Batch::Many(messages) => messages.iter_mut().for_each(change),
        }
        match (self.fault, batch) {
            (Fault::PublishesPartOfABatch, Batch::Many(messages)) => Answer::later(async {
                let mut all = Vec::new();
                for message in messages {
                    if let Positions::One(one) = self.inner.publish(message.into()).await? {
                        all.push(one);
                    }
                }
                Ok(Positions::Many(all))
            }),
            (_, batch) => self.inner.publish(batch),
        }
    }

    fn subscribe(
        &self,
        mut request: Subscribe,
    ) -> Answer<'_, Result<Arc<dyn Subscription>, BrokerError>> {
        match self.fault {
            Fault::IgnoresTheBoundOfCount => request.max_in_hand = 4096,
            Fault::IgnoresTheBoundOfBytes => request.max_bytes = 1 << 30,
            Fault::BeginsWithTheLatest => request.start = Start::Latest,
            _ => {}
        }
        Answer::later(async move {
            let inner = self.inner.subscribe(request).await?;
            let in_hand = Mutex::default();
            Ok(Arc::new(BrokenReader { inner, fault: self.fault, in_hand })
                as Arc<dyn Subscription>)
        })
    }

    fn progress<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Topic],
    ) -> Answer<'a, Result<Vec<Progress>, BrokerError>> {
        Answer::later(async move {
            let mut rows = self.inner.progress(group, topics).await?;
            if self.fault == Fault::TellsNoProgress {
                rows.iter_mut().for_each(|row| row.committed = None);
            }
            Ok(rows)
        })
    }

    fn close(&self) -> Answer<'_, Result<(), BrokerError>> {
        self.inner.close()
    }
}

#[derive(Debug)]
struct BrokenReader {
    inner: Arc<dyn Subscription>,
    fault: Fault,
    /// Slot, epoch and tag of what is in hand.
    in_hand: Mutex<BTreeSet<(u32, u32, u64)>>,
}

fn parts(receipt: &Receipt) -> (u32, u32, u64) {
    (receipt.slot(), receipt.epoch(), receipt.tag())
}

fn forge((slot, epoch, tag): (u32, u32, u64)) -> Receipt {
    Receipt::new(slot, epoch, tag)
}

fn copy(of: &Delivery) -> Delivery {
    Delivery {
        topic: of.topic.clone(),
        partition: of.partition,
        offset: of.offset,
        key: of.key.clone(),
        body: of.body.clone(),
        headers: of.headers.clone(),
        timestamp: of.timestamp,
        attempt: of.attempt,
        receipt: forge(parts(&of.receipt)),
    }
}

impl BrokenReader {
    fn change(&self, deliveries: &mut Vec<Delivery>) {
        match self.fault {
            Fault::ReversesEachSignal => deliveries.reverse(),
            Fault::ForgetsAttempts => deliveries.iter_mut().for_each(|it| it.attempt = 1),
            Fault::DeliversTwice => deliveries.extend(deliveries.last().map(copy)),
            _ => {}
        }
        let mut in_hand = self.in_hand.lock().unwrap();
        in_hand.extend(deliveries.iter().map(|it| parts(&it.receipt)));
    }

    async fn give(&self) -> Result<Signal, BrokerError> {
        let mut signal = self.inner.next().await?;
        match &mut signal {
            Signal::Deliveries(deliveries) => self.change(deliveries),
            Signal::Revoked(partitions) if self.fault == Fault::LetsGoTooSoon => {
                self.inner.release(partitions).await?;
            }
            _ => {}
        }
        if self.fault == Fault::LosesOnCancel {
            tokio::task::yield_now().await;
        }
        Ok(signal)
    }

    fn settled(&self, receipts: &[Receipt]) {
        let mut in_hand = self.in_hand.lock().unwrap();
        receipts.iter().for_each(|receipt| {
            in_hand.remove(&parts(receipt));
        });
    }
}

impl Subscription for BrokenReader {
    fn next(&self) -> Answer<'_, Result<Signal, BrokerError>> {
        Answer::later(self.give())
    }

    fn ack(&self, mut receipts: Vec<Receipt>) -> Answer<'_, Result<(), BrokerError>> {
        self.settled(&receipts);
        match self.fault {
            Fault::AcksNothing => return Answer::now(Ok(())),
            Fault::AcksWhatLiesBelow => {
                let highest = receipts.iter().map(parts).max();
                let in_hand = self.in_hand.lock().unwrap();
                let below = in_hand.iter().filter(|it| Some(**it) < highest);
                receipts.extend(below.copied().map(forge));
            }
            _ => {}
        }
        self.inner.ack(receipts)
    }

    fn give_back(
        &self,
        receipts: Vec<Receipt>,
        delay: Duration,
    ) -> Answer<'_, Result<(), BrokerError>> {
        self.settled(&receipts);
        match self.fault {
            Fault::DropsWhatIsGivenBack => self.inner.ack(receipts),
            Fault::IgnoresDelays => self.inner.give_back(receipts, Duration::ZERO),
            _ => self.inner.give_back(receipts, delay),
        }
    }

    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        if self.fault == Fault::IgnoresPause { Ok(()) } else { self.inner.pause(partitions) }
    }

    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.inner.resume(partitions)
    }

    fn seek(&self, partition: &TopicPartition, offset: u64) -> Result<(), BrokerError> {
        if self.fault == Fault::IgnoresSeek { Ok(()) } else { self.inner.seek(partition, offset) }
    }

    fn release(&self, partitions: &[TopicPartition]) -> Answer<'_, Result<(), BrokerError>> {
        self.inner.release(partitions)
    }

    fn close(&self) -> Answer<'_, Result<(), BrokerError>> {
        Answer::later(async {
            if self.fault == Fault::AcksWhatIsInHandAtTheEnd {
                let in_hand = std::mem::take(&mut *self.in_hand.lock().unwrap());
                self.inner.ack(in_hand.into_iter().map(forge).collect()).await?;
            }
            self.inner.close().await
        })
    }
}

struct OpensBroken(Fault, World);

impl Factory for OpensBroken {
    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn Broker>, BrokerError>> {
        Box::pin(async {
            let inner = MemBroker::new(&self.1, MemOptions::default());
            Ok(Arc::new(Broken { inner, fault: self.0 }) as Arc<dyn Broker>)
        })
    }

    fn world(&self) -> World {
        self.1.clone()
    }
}

/// The names of the checks that find something wrong with the broker.
async fn caught_by(fault: Fault) -> Vec<&'static str> {
    let mut caught = Vec::new();
    for check in CHECKS {
        let factory = Arc::new(OpensBroken(fault, World::real()));
        match run(check.name, factory).await {
            Err(_) => caught.push(check.name),
            Ok(Outcome::Passed | Outcome::Lacks(_)) => {}
        }
    }
    caught
}

#[tokio::test(start_paused = true)]
async fn every_broken_rule_is_caught_by_the_check_that_is_about_it() {
    for (fault, check) in Fault::ALL {
        let caught = caught_by(fault).await;
        assert!(caught.contains(&check), "{fault:?} was caught only by {caught:?}");
    }
}
