//! Mail by SMTP: servers that take it, refuse it, or say nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Shop, number};

/// What a mail server does with mails.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Taking,
    /// It knows nobody that a mail is for.
    Refusing,
    /// It accepts connections and never says a word.
    Silent,
}

/// A mail server that counts the mails it has taken.
struct MailServer {
    url: String,
    taken: Arc<AtomicUsize>,
}

impl MailServer {
    async fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        drop(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(tokio::spawn(talk(stream, kind, count.clone())));
            }
        }));
        Self { url, taken }
    }
}

async fn talk(stream: TcpStream, kind: Kind, taken: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if kind == Kind::Silent {
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {}
        return Ok(());
    }
    stream.write_all(b"220 mail.example\r\n").await?;
    let (mut line, mut in_text) = (String::new(), false);
    while stream.read_line(&mut line).await? > 0 {
        let command = std::mem::take(&mut line);
        let answer = match command.trim_end() {
            "." => {
                in_text = false;
                taken.fetch_add(1, Ordering::Relaxed);
                "250 taken"
            }
            _ if in_text => continue,
            "DATA" => {
                in_text = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            to if to.starts_with("RCPT") && kind == Kind::Refusing => "550 nobody is called that",
            _ => "250 well",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn row(health: &Value) -> &Value {
    let rows = health["services"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == "notification").unwrap()
}

#[tokio::test]
async fn a_mail_server_that_says_nothing_holds_up_no_stop_and_the_mails_go_out_later() {
    let silent = MailServer::start(Kind::Silent).await;
    let mut shop = Shop::with(&["--smtp", &silent.url]).await;
    for n in 0..40 {
        shop.order(&format!("user_{n}"), "tea-sylhet", 1).await;
    }
    shop.until("mails wait", "/health", |health| number(row(health), "inHand") == 40).await;
    let began = Instant::now();
    shop.stop_service("notification").await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    shop.start_service("notification").await;
    shop.until("they wait again", "/health", |health| number(row(health), "inHand") == 40).await;
    let began = Instant::now();
    shop.terminate().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());

    let taking = MailServer::start(Kind::Taking).await;
    shop.restart(&["--smtp", &taking.url]).await;
    let proof = shop.settled(40).await;
    assert_eq!((number(&proof, "mails"), taking.taken.load(Ordering::Relaxed)), (40, 40));
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_is_a_dead_letter_and_nothing_says_that_all_is_well() {
    let refusing = MailServer::start(Kind::Refusing).await;
    let shop = Shop::with(&["--smtp", &refusing.url]).await;
    shop.until("all is well", "/health", |health| health["status"] == "ok").await;
    let id = shop.order("user_1", "tea-sylhet", 1).await;
    shop.ended(&id).await;
    let dead = |health: &Value| row(health)["deadLetters"] == 1;
    let health = shop.until("it is a dead letter", "/health", dead).await;
    assert_eq!(health["status"], "degraded", "{health}");
    let proof = shop.until("the proof knows it", "/proof", |p| p["deadLetters"] == 1).await;
    assert_eq!((&proof["ok"], &proof["lost"]), (&json!(false), &json!(0)), "{proof}");
    let letters = shop.get("/dead-letters").await;
    let error = letters["deadLetters"][0]["error"].as_str().unwrap();
    assert!(error.contains("nobody is called that"), "{error}");
}
