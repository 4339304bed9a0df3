//! What handlers are given, and what becomes of what they return.

use dhara::{Events, FromState, HandlerError, HandlerExt, Meta, Service, State};

use crate::support::{Ledger, OrderCreated, PaymentCompleted, PaymentFailed, System, order};

#[tokio::test]
async fn a_returned_event_is_published_and_tells_where_it_came_from() {
    let system = System::mem().await;
    async fn charge(order: OrderCreated) -> PaymentCompleted {
        PaymentCompleted { order_id: order.order_id }
    }
    let running = Service::new("payment").on(charge).start(&system.broker).await.unwrap();
    let published = system.publisher().publish(&order("order_1", 5)).await.unwrap();

    let seen = system.read("payments", 1).await.remove(0);
    let cause = published.event_id.to_string();
    assert_eq!(seen.event_type, "PaymentCompleted");
    assert_eq!(seen.key.as_deref(), Some(b"order_1".as_slice()));
    assert_eq!(seen.source, "payment");
    assert_eq!(seen.causation.as_ref(), Some(&cause));
    assert_eq!(seen.correlation.as_ref(), Some(&cause), "the first event begins the correlation");
    assert_ne!(seen.id, cause);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_correlation_goes_on_through_a_chain_of_services() {
    let system = System::mem().await;
    async fn charge(order: OrderCreated) -> PaymentCompleted {
        PaymentCompleted { order_id: order.order_id }
    }
    #[derive(serde::Serialize, serde::Deserialize, dhara::Event)]
    #[event(topic = "mails")]
    struct Mailed {}
    async fn mail(_: PaymentCompleted) -> Mailed {
        Mailed {}
    }
    let payment = Service::new("payment").on(charge).start(&system.broker).await.unwrap();
    let mailing = Service::new("mailing").on(mail).start(&system.broker).await.unwrap();
    let first = system.publisher().publish(&order("order_1", 5)).await.unwrap();

    let payment_event = system.read("payments", 1).await.remove(0);
    let mailed = system.read("mails", 1).await.remove(0);
    assert_eq!(mailed.correlation, Some(first.event_id.to_string()));
    assert_eq!(mailed.causation, Some(payment_event.id));
    payment.stop().await.unwrap();
    mailing.stop().await.unwrap();
}

#[derive(Events)]
enum Charged {
    Completed(PaymentCompleted),
    Failed(PaymentFailed),
}

#[tokio::test]
async fn a_handler_may_return_none_one_many_or_one_of_several() {
    let system = System::mem().await;
    async fn one_of(order: OrderCreated) -> Result<Charged, HandlerError> {
        let order_id = order.order_id;
        Ok(match order.amount {
            ..10 => Charged::Completed(PaymentCompleted { order_id }),
            _ => Charged::Failed(PaymentFailed { order_id }),
        })
    }
    async fn many(order: OrderCreated) -> Vec<PaymentCompleted> {
        vec![PaymentCompleted { order_id: order.order_id }; 2]
    }
    async fn none(_: OrderCreated) -> Option<PaymentCompleted> {
        None
    }
    async fn pair(order: OrderCreated) -> (PaymentCompleted, PaymentFailed) {
        let order_id = order.order_id;
        (PaymentCompleted { order_id: order_id.clone() }, PaymentFailed { order_id })
    }
    let service = Service::new("payment").on(one_of).on(many).on(none).on(pair);
    let running = service.start(&system.broker).await.unwrap();
    for (id, amount) in [("a", 1), ("b", 100)] {
        system.publisher().publish(&order(id, amount)).await.unwrap();
    }
    let seen = system.read("payments", 10).await;
    let count = |key: &str, event_type: &str| {
        let of_key = seen.iter().filter(|seen| seen.key.as_deref() == Some(key.as_bytes()));
        of_key.filter(|seen| seen.event_type == event_type).count()
    };
    assert_eq!((count("a", "PaymentCompleted"), count("a", "PaymentFailed")), (4, 1));
    assert_eq!((count("b", "PaymentCompleted"), count("b", "PaymentFailed")), (3, 2));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_takes_state_a_part_of_it_and_meta() {
    #[derive(Clone)]
    struct Shared {
        ledger: Ledger,
        factor: Factor,
    }
    #[derive(Clone, Copy)]
    struct Factor(i64);
    impl FromState<Shared> for Factor {
        fn from_state(state: &Shared) -> Self {
            state.factor
        }
    }
    async fn note(
        order: OrderCreated,
        meta: Meta,
        State(factor): State<Factor>,
        State(shared): State<Shared>,
    ) {
        let key = format!("{}|{}|{}", meta.service, meta.handler, meta.partition.topic);
        assert_eq!(meta.idempotency_key(), format!("payment/noting/{}", meta.event_id));
        assert_eq!((meta.attempt, meta.causation_id), (1, None));
        shared.ledger.add(&key, order.amount * factor.0);
    }
    let system = System::mem().await;
    let ledger = Ledger::default();
    let running = Service::new("payment")
        .state(Shared { ledger: ledger.clone(), factor: Factor(3) })
        .on(note.named("noting"))
        .start(&system.broker)
        .await
        .unwrap();
    system.publisher().publish(&order("a", 5)).await.unwrap();
    ledger.until("handled", |ledger| ledger.total() == 1).await;
    assert_eq!(ledger.of("payment|noting|orders"), [15]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn events_of_one_key_are_handled_in_order_and_of_others_meanwhile() {
    let system = System::mem().await;
    let ledger = Ledger::default();
    async fn slow(order: OrderCreated, State(ledger): State<Ledger>) {
        // Later events are handled sooner: order must come from the lanes, not from the waiting.
        for _ in order.amount..40 {
            tokio::task::yield_now().await;
        }
        ledger.add(&order.order_id, order.amount);
    }
    let service = Service::new("slow").state(ledger.clone()).on(slow);
    let running = service.start(&system.broker).await.unwrap();
    let publisher = system.publisher();
    for amount in 0..40 {
        for key in 0..10 {
            publisher.publish(&order(&format!("key_{key}"), amount)).await.unwrap();
        }
    }
    ledger.until("all handled", |ledger| ledger.total() == 400).await;
    for key in 0..10 {
        assert_eq!(ledger.of(&format!("key_{key}")), (0..40).collect::<Vec<_>>());
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stopped_service_goes_on_where_it_stood() {
    let system = System::mem().await;
    let ledger = Ledger::default();
    async fn note(order: OrderCreated, State(ledger): State<Ledger>) {
        ledger.add(&order.order_id, order.amount);
    }
    let service = || Service::new("note").state(ledger.clone()).on(note);
    let publisher = system.publisher();
    for round in 0..5 {
        let running = service().start(&system.broker).await.unwrap();
        for amount in 0..20 {
            publisher.publish(&order("a", round * 20 + amount)).await.unwrap();
        }
        let wanted = usize::try_from(round).unwrap() * 20 + 7;
        ledger.until("some handled", |ledger| ledger.total() >= wanted).await;
        running.stop().await.unwrap();
    }
    let running = service().start(&system.broker).await.unwrap();
    ledger.until("all handled", |ledger| ledger.total() >= 100).await;
    let status = running.status().await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(ledger.of("a"), (0..100).collect::<Vec<_>>(), "nothing twice after graceful stops");
    assert_eq!(status.name, "note");
}
