//! The command line, and what keeps the shop from starting.

use hyper::StatusCode;

use super::support::{Shop, number, program, run};

async fn refusal(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(dir.path()).args(arguments);
    let finished = run(&mut command).await;
    assert!(!finished.success, "{arguments:?}");
    assert_eq!((finished.err.lines().count(), finished.out.as_str()), (1, ""), "{}", finished.err);
    finished.err
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for (arguments, named) in [
        (vec!["--lisen", "x"], "--lisen"),
        (vec!["--listen", "here"], "here"),
        (vec!["--listen", taken.as_str()], taken.as_str()),
        (vec!["--data", "/proc/nowhere"], "/proc/nowhere"),
        (vec!["--data", "/dev/null"], "/dev/null"),
        (vec!["--broker", "carrier-pigeon://x"], "carrier-pigeon"),
        (vec!["--broker", "file:/proc/nowhere"], "/proc/nowhere"),
        (vec!["--store", "punchcards:x"], "punchcards"),
        (vec!["--store", "sqlite:/proc/nowhere"], "/proc/nowhere"),
        (vec!["--smtp", "gopher://x"], "gopher"),
        (vec!["stray"], "stray"),
    ] {
        let said = refusal(&arguments).await;
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_second_shop_on_the_same_folder_is_told_so() {
    let shop = Shop::start().await;
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(shop.data());
    let finished = run(&mut command).await;
    assert!(!finished.success && finished.err.lines().count() == 1, "{}", finished.err);
    assert_eq!(shop.ask(hyper::Method::GET, "/health", &[], b"").await.status, StatusCode::OK);
}

#[tokio::test]
async fn help_and_version_are_shown() {
    let help = run(program().arg("--help")).await;
    assert!(help.success && help.out.contains("--broker URL") && help.out.contains("SHOP_SMTP"));
    let version = run(program().arg("--version")).await;
    assert_eq!(version.out.trim(), concat!("shop ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_broker_that_keeps_nothing_serves_as_well() {
    let mut shop = Shop::start().await;
    shop.terminate().await;
    shop.restart(&["--broker", "mem:"]).await;
    let id = shop.order("user_1", "tea-sylhet", 1).await;
    assert_eq!(shop.ended(&id).await["status"], "confirmed");
    assert_eq!(shop.get("/health").await["broker"], "mem:");
}

/// One broker's offsets mean nothing in another, nor those of one that keeps nothing in its next
/// process: no event is passed over for them, and the proof is not misled.
#[tokio::test]
async fn a_shop_on_another_broker_begins_there_anew() {
    let mut shop = Shop::start().await;
    let log = format!("file:{}", shop.data().join("log2").display());
    let mut placed = 0;
    for broker in ["mem:", "mem:", &log] {
        shop.terminate().await;
        shop.restart(&["--broker", broker]).await;
        shop.stop_service("payment").await;
        for _ in 0..20 {
            shop.order("user_1", "tea-sylhet", 1).await;
        }
        placed += 20;
        let proof = shop.until("they are known", "/proof", |proof| proof["sold"] == placed).await;
        assert_eq!((number(&proof, "inFlight"), number(&proof, "lost")), (20, 0), "{proof}");
        shop.start_service("payment").await;
        shop.settled(placed).await;
    }
}
