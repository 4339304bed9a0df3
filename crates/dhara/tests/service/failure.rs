//! Failing handlers: retries, order, dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dhara::broker::Batch;
use dhara::store::Param;
use dhara::world::timeout;
use dhara::{Failure, FailureKind, HandlerExt, Retry, Running, Service, State};

use crate::support::{
    Ledger, OrderCreated, PaymentCompleted, System, eventually, message, order, order_message,
};

#[derive(Debug)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the gateway is down")
    }
}

impl Failure for Down {}

#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the card was refused")
    }
}

impl Failure for Refused {
    fn kind(&self) -> FailureKind {
        FailureKind::Permanent
    }
}

fn quick() -> Retry {
    Retry::forever().base(Duration::from_millis(1)).cap(Duration::from_millis(4))
}

/// Fails the first deliveries of key "bad", then notes everything.
#[derive(Clone)]
struct Flaky {
    ledger: Ledger,
    failures: Arc<AtomicU32>,
}

impl Flaky {
    fn new(failures: u32) -> Self {
        Self { ledger: Ledger::default(), failures: Arc::new(AtomicU32::new(failures)) }
    }

    fn attempt(&self, order: &OrderCreated) -> Result<(), Down> {
        let left = self.failures.load(Ordering::SeqCst);
        if order.order_id == "bad" && left > 0 {
            self.failures.store(left - 1, Ordering::SeqCst);
            return Err(Down);
        }
        self.ledger.add(&order.order_id, order.amount);
        Ok(())
    }
}

async fn flaky(order: OrderCreated, State(flaky): State<Flaky>) -> Result<(), Down> {
    flaky.attempt(&order)
}

/// One key fails for a while: it keeps its order, and the others do not wait for it.
async fn a_failing_key_waits_alone(with_store: bool) {
    let system = System::mem().await;
    let state = Flaky::new(20);
    // One lane, so that the keys do share it.
    let mut service = Service::new("flaky").state(state.clone()).lanes(1).on(flaky.retry(quick()));
    if with_store {
        service = service.store(system.store.clone());
    }
    let running = service.start(&system.broker).await.unwrap();
    let publisher = system.publisher();
    for amount in 0..30 {
        for key in ["bad", "good"] {
            publisher.publish(&order(key, amount)).await.unwrap();
        }
    }
    state.ledger.until("all handled", |ledger| ledger.total() >= 60).await;
    assert_eq!(state.ledger.of("bad"), (0..30).collect::<Vec<_>>());
    assert_eq!(state.ledger.of("good"), (0..30).collect::<Vec<_>>());
    eventually("everything acked", || async {
        let status = running.status().await.unwrap();
        (status.lag == 0 && status.in_hand == 0 && status.retrying == 0).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_failing_key_waits_alone_without_a_store() {
    a_failing_key_waits_alone(false).await;
}

#[tokio::test]
async fn a_failing_key_waits_alone_with_a_store() {
    a_failing_key_waits_alone(true).await;
}

#[tokio::test]
async fn others_are_handled_while_a_key_fails_on() {
    let system = System::mem().await;
    let state = Flaky::new(u32::MAX);
    let service = Service::new("flaky").state(state.clone()).lanes(1).on(flaky.retry(quick()));
    let running = service.store(system.store.clone()).start(&system.broker).await.unwrap();
    let publisher = system.publisher();
    publisher.publish(&order("bad", 0)).await.unwrap();
    for amount in 0..50 {
        publisher.publish(&order("good", amount)).await.unwrap();
    }
    state.ledger.until("the good key is through", |ledger| ledger.of("good").len() == 50).await;
    assert!(state.ledger.of("bad").is_empty());
    eventually("only the bad one is in hand", || async {
        (running.status().await.unwrap().in_hand == 1).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn of_two_handlers_only_the_failed_one_is_retried() {
    let system = System::mem().await;
    let state = Flaky::new(3);
    async fn steady(order: OrderCreated, State(flaky): State<Flaky>) -> PaymentCompleted {
        flaky.ledger.add("steady", order.amount);
        PaymentCompleted { order_id: order.order_id }
    }
    for (name, store) in [("plain", false), ("stored", true)] {
        let mut service = Service::new(name)
            .state(Flaky { ledger: Ledger::default(), failures: Arc::new(AtomicU32::new(3)) })
            .on(steady)
            .on(flaky.retry(quick()));
        if store {
            service = service.store(system.store.clone());
        }
        let running = service.start(&system.broker).await.unwrap();
        if !store {
            system.publisher().publish(&order("bad", 7)).await.unwrap();
        }
        eventually("both handlers are through", || async {
            let status = running.status().await.unwrap();
            (status.handled == 1 && status.outbox == 0).then_some(())
        })
        .await;
        running.stop().await.unwrap();
    }
    assert_eq!(system.read("payments", 2).await.len(), 2, "one of each service");
    assert_eq!(state.failures.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_fails_for_good_goes_to_the_dead_letters_untouched() {
    let system = System::mem().await;
    async fn refuse(order: OrderCreated) -> Result<(), Refused> {
        if order.amount > 100 { Err(Refused) } else { Ok(()) }
    }
    let service = Service::new("strict").on(refuse).store(system.store.clone());
    let running = service.start(&system.broker).await.unwrap();
    let letter = order_message("evt_12345", "a", 101);
    let fine = order_message("evt_12346", "b", 1);
    system.broker.publish(Batch::Many(vec![letter.clone(), fine])).await.unwrap();
    let row = eventually("the dead letter", || async {
        let store = running.store().unwrap();
        let rows = store.query("SELECT * FROM dhara_dead_letters", &[]).await.unwrap();
        rows.into_iter().next()
    })
    .await;
    assert_eq!(row.get::<Vec<u8>>("body").unwrap(), letter.body);
    assert_eq!(row.get::<String>("event_id").unwrap(), "evt_12345");
    assert_eq!(row.get::<String>("handler").unwrap(), "refuse");
    assert!(row.get::<String>("error").unwrap().contains("the card was refused"));
    eventually("the other is handled", || async {
        (running.status().await.unwrap().handled == 2).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn attempts_are_counted_and_the_last_one_is_followed_by_a_dead_letter() {
    let system = System::mem().await;
    let state = Flaky::new(u32::MAX);
    let retry = quick().attempts(4);
    let service = Service::new("flaky").state(state.clone()).on(flaky.retry(retry));
    let running = service.store(system.store.clone()).start(&system.broker).await.unwrap();
    system.publisher().publish(&order("bad", 0)).await.unwrap();
    let attempts = eventually("the dead letter", || async {
        let sql = "SELECT attempts FROM dhara_dead_letters WHERE handler = $1";
        let rows = running.store().unwrap().query(sql, &[Param::from("flaky")]).await.unwrap();
        rows.first().map(|row| row.get::<u32>("attempts").unwrap())
    })
    .await;
    assert_eq!(attempts, 4);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_panic_is_a_failure_of_that_delivery_alone() {
    let system = System::mem().await;
    let ledger = Ledger::default();
    async fn explode(order: OrderCreated, State(ledger): State<Ledger>) {
        assert!(order.amount != 13, "thirteen");
        ledger.add(&order.order_id, order.amount);
    }
    let service = Service::new("brittle").state(ledger.clone()).on(explode.retry(Retry::never()));
    let running = service.store(system.store.clone()).start(&system.broker).await.unwrap();
    for amount in [12, 13, 14] {
        system.publisher().publish(&order("a", amount)).await.unwrap();
    }
    ledger.until("the others", |ledger| ledger.total() == 2).await;
    let error = eventually("the dead letter", || async {
        let sql = "SELECT error FROM dhara_dead_letters";
        let rows = running.store().unwrap().query(sql, &[]).await.unwrap();
        rows.first().map(|row| row.get::<String>("error").unwrap())
    })
    .await;
    assert!(error.contains("panicked") && error.contains("thirteen"), "{error}");
    running.stop().await.unwrap();
}

/// Bad bytes, what their dead letter's error must name, and the event id where it can be read.
fn bad_bodies() -> Vec<(Vec<u8>, &'static str, Option<&'static str>)> {
    let event = |id: u32, data: &str| {
        let head = r#"{"eventId":"evt_ID","eventType":"OrderCreated","timestamp":"2026-11-22T10:30:00Z","source":"x","data":"#;
        format!("{head}{data}}}").replace("ID", &id.to_string()).into_bytes()
    };
    let mut cut = event(1, r#"{"order_id":"a","amount":1}"#);
    cut.truncate(cut.len() - 9);
    let mut not_utf8 = event(2, r#"{"order_id":"?","amount":1}"#);
    let mark = not_utf8.iter().position(|byte| *byte == b'?').unwrap();
    not_utf8[mark] = 0xff;
    let deep = format!(
        r#"{{"order_id":"a","amount":1,"more":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let huge = format!(r#"{{"order_id":"{}","amount":1}}"#, "x".repeat(50 << 20));
    vec![
        (cut, "", Some("evt_1")),
        (event(3, r#"{"order_id":"a","amount":"one"}"#), "amount", Some("evt_3")),
        (event(4, r#"{"order_id":"a"}"#), "amount", Some("evt_4")),
        (br#"{"eventType":"OrderCreated","timestamp":"2026-11-22T10:30:00Z","source":"x","data":{}}"#.to_vec(), "eventId", None),
        (event(5, &deep), "deep", Some("evt_5")),
        (not_utf8, "UTF-8", Some("evt_2")),
        (event(6, &huge), "limit", Some("evt_6")),
        (b"\x00\x01\x02".to_vec(), "", None),
        (Vec::new(), "", None),
    ]
}

#[tokio::test]
async fn bad_bytes_go_to_the_dead_letters_with_the_place_and_the_reason() {
    let system = System::mem().await;
    let ledger = Ledger::default();
    async fn note(order: OrderCreated, State(ledger): State<Ledger>) {
        ledger.add(&order.order_id, order.amount);
    }
    let service = Service::new("note").state(ledger.clone()).on(note).lanes(1);
    let running = service.store(system.store.clone()).start(&system.broker).await.unwrap();
    for (number, (body, named, event_id)) in bad_bodies().into_iter().enumerate() {
        let sent = message("bad", &body);
        let good = order_message(&format!("evt_good_{number}"), "good", 1);
        system.broker.publish(Batch::Many(vec![sent, good])).await.unwrap();
        ledger.until("the next event", |ledger| ledger.of("good").len() > number).await;
        let row = eventually(&format!("the dead letter of case {number}"), || async {
            let sql = "SELECT * FROM dhara_dead_letters ORDER BY number DESC";
            let rows = running.store().unwrap().query(sql, &[]).await.unwrap();
            (rows.len() == number + 1).then(|| rows.into_iter().next()).flatten()
        })
        .await;
        let error: String = row.get("error").unwrap();
        assert!(row.get::<Vec<u8>>("body").unwrap() == body, "case {number}: the bytes changed");
        let (partition, offset) =
            (row.get::<u32>("partition").unwrap(), row.get::<u64>("offset").unwrap());
        let place = format!("orders/{partition} offset {offset}");
        assert!(error.contains(&place) && error.contains(named), "case {number}: {error}");
        let found: Option<String> = row.get("event_id").unwrap();
        assert_eq!(found.as_deref(), event_id, "case {number}: {error}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_store_bad_bytes_go_untouched_to_a_topic_of_dead_letters() {
    async fn nothing(_: OrderCreated) {}
    let system = System::mem().await;
    let running = Service::new("note").on(nothing).start(&system.broker).await.unwrap();
    let bodies = bad_bodies();
    for (body, ..) in &bodies {
        system.broker.publish(Batch::One(message("bad", body))).await.unwrap();
    }
    let letters = system.deliveries("note.dead-letters", bodies.len()).await;
    for (letter, (body, named, event_id)) in letters.iter().zip(&bodies) {
        assert!(letter.body == body, "the bytes changed");
        assert_eq!(letter.key.as_deref(), Some(b"bad".as_slice()));
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(known, _)| known.as_ref() == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(header("dhara-dead-service").as_deref(), Some("note"));
        assert_eq!(header("dhara-dead-topic").as_deref(), Some("orders"));
        assert_eq!(header("dhara-dead-event-id").as_deref(), *event_id);
        let partition = header("dhara-dead-partition").unwrap();
        let place = format!("orders/{partition} offset {}", header("dhara-dead-offset").unwrap());
        let error = header("dhara-dead-error").unwrap();
        assert!(error.contains(&place) && error.contains(named), "{error}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_always_panics_gives_up_although_it_may_retry_for_ever() {
    async fn panics(_: OrderCreated) {
        panic!("as always");
    }
    let system = System::mem().await;
    let service = Service::new("panics").on(panics.retry(Retry::forever()));
    let running = service.start(&system.broker).await.unwrap();
    system.publisher().publish(&order("a", 1)).await.unwrap();
    let letters = system.read("panics.dead-letters", 1).await;
    assert_eq!(letters.len(), 1);
    running.stop().await.unwrap();
}

/// A handler that waits until it is let go.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<tokio::sync::Notify>,
    open: Arc<tokio::sync::Notify>,
    ledger: Ledger,
}

impl Gate {
    fn service(&self) -> Service<Self> {
        Service::new("gated").state(self.clone()).on(wait_at)
    }

    /// A service that runs and whose handler waits with the order of 1.
    async fn with_a_delivery_at_it() -> (System, Self, Running) {
        let (system, gate) = (System::mem().await, Self::default());
        let running = gate.service().start(&system.broker).await.unwrap();
        system.publisher().publish(&order("a", 1)).await.unwrap();
        gate.entered.notified().await;
        (system, gate, running)
    }
}

async fn wait_at(order: OrderCreated, State(gate): State<Gate>) {
    gate.entered.notify_one();
    gate.open.notified().await;
    gate.ledger.add(&order.order_id, order.amount);
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_caller_has_gone_still_ends_and_the_next_start_gets_everything() {
    let (system, gate, running) = Gate::with_a_delivery_at_it().await;
    let given_up = timeout(Duration::from_millis(1), running.stop()).await;
    assert!(given_up.is_none(), "the handler was still at work");
    gate.open.notify_one();

    let began = system.world.instant();
    let running = gate.service().start(&system.broker).await.unwrap();
    system.publisher().publish(&order("a", 2)).await.unwrap();
    gate.entered.notified().await;
    gate.open.notify_one();
    gate.ledger.until("both handled", |ledger| ledger.of("a") == [1, 2]).await;
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(5), "the partition came after {waited:?}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_does_not_keep_the_service_from_stopping() {
    let (system, gate, running) = Gate::with_a_delivery_at_it().await;
    running.stop().await.unwrap();

    let running = gate.service().start(&system.broker).await.unwrap();
    gate.entered.notified().await;
    gate.open.notify_one();
    gate.ledger.until("delivered again", |ledger| ledger.of("a") == [1]).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_that_nobody_can_read_do_not_hold_up_their_key_behind_a_failure() {
    for with_store in [false, true] {
        let system = System::mem().await;
        let state = Flaky::new(3);
        let mut service =
            Service::new("flaky").state(state.clone()).lanes(1).on(flaky.retry(quick()));
        if with_store {
            service = service.store(system.store.clone());
        }
        let running = service.start(&system.broker).await.unwrap();
        let other = order_message("evt_3", "bad", 3);
        let other = String::from_utf8(other.body.to_vec()).unwrap();
        let messages = vec![
            order_message("evt_1", "bad", 1),
            message("bad", b"{\"eventId\": garbage"),
            // An event of a type that no handler takes.
            message("bad", other.replace("OrderCreated", "OrderShipped").as_bytes()),
            order_message("evt_4", "bad", 4),
        ];
        system.broker.publish(Batch::Many(messages)).await.unwrap();
        state.ledger.until("the key goes on", |ledger| ledger.of("bad") == [1, 4]).await;
        running.stop().await.unwrap();
    }
}
