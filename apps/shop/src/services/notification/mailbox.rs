//! Mails as files in a folder, named after the event that asked for each.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dhara::world::{Task, World};
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::letter::{Letter, MailError};

/// Mails that come within this time are synced together: nobody waits for a mail as for an answer,
/// and every sync holds up the ones of the log.
const GATHER: Duration = Duration::from_millis(40);
/// How many mails one sync covers at most.
const GROUP: usize = 512;
/// Up to so many files are synced one by one; more of them by a sync of the file system, which is
/// cheaper than that (11 ms against 28 ms for 50 files).
const ONE_BY_ONE: usize = 4;

/// A folder of mails.
#[derive(Clone)]
pub(crate) struct Mailbox {
    queue: mpsc::Sender<Post>,
    count: Arc<Count>,
}

/// How many mails there are: those that were there at the start, and those that were added.
struct Count {
    dir: PathBuf,
    world: World,
    added: AtomicU64,
    found: OnceCell<u64>,
}

struct Post {
    letter: Letter,
    answer: oneshot::Sender<Result<(), MailError>>,
}

impl Mailbox {
    pub(super) fn open(world: &World, dir: &Path) -> Result<Self, MailError> {
        let dir = dir.join("mail");
        world.disk().create_dir_all(&dir).map_err(|error| trouble(&dir, &error))?;
        let (queue, posts) = mpsc::channel(GROUP);
        let (added, found) = (AtomicU64::new(0), OnceCell::new());
        let count = Arc::new(Count { dir: dir.clone(), world: world.clone(), added, found });
        drop(world.spawn(deliver(world.clone(), count.clone(), posts)));
        Ok(Self { queue, count })
    }

    /// Puts a mail into the folder; the answer comes when it is on disk.
    pub(super) async fn put(&self, letter: Letter) -> Result<(), MailError> {
        let (answer, answered) = oneshot::channel();
        let gone = || MailError::Unavailable("the mailbox is closed".to_owned());
        self.queue.send(Post { letter, answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(super) async fn delivered(&self) -> Result<u64, MailError> {
        Ok(self.count.found().await? + self.count.added.load(Ordering::Relaxed))
    }
}

impl Count {
    /// How many mails were there before the first was added.
    async fn found(&self) -> Result<u64, MailError> {
        let count = || async {
            let dir = self.dir.clone();
            let counted = self.world.spawn_blocking(move || count_mails(&dir)).await;
            let counted = counted.map_err(|error| MailError::Unavailable(error.to_string()))?;
            counted.map_err(|error| trouble(&self.dir, &error))
        };
        self.found.get_or_try_init(count).await.copied()
    }
}

fn count_mails(dir: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(dir)? {
        count += u64::from(entry?.path().extension().is_some_and(|ext| ext == "eml"));
    }
    Ok(count)
}

async fn deliver(world: World, count: Arc<Count>, mut posts: mpsc::Receiver<Post>) {
    let mut group = Vec::new();
    while let Some(first) = posts.recv().await {
        // What is added is not to be counted as found.
        if let Err(error) = count.found().await {
            drop(first.answer.send(Err(error)));
            continue;
        }
        group.push(first);
        world.sleep(GATHER).await;
        while group.len() < GROUP
            && let Ok(post) = posts.try_recv()
        {
            group.push(post);
        }
        let (letters, answers): (Vec<_>, Vec<_>) =
            group.drain(..).map(|post| (post.letter, post.answer)).unzip();
        let dir = count.dir.clone();
        let counted = count.clone();
        let written: Task<io::Result<()>> =
            world.spawn_blocking(move || write_group(&dir, &letters, &counted.added));
        let outcome = match written.await {
            Ok(outcome) => outcome,
            Err(error) => Err(io::Error::other(error)),
        };
        for answer in answers {
            let outcome = outcome.as_ref().copied().map_err(|error| trouble(&count.dir, error));
            // A handler that was given up is run again.
            drop(answer.send(outcome));
        }
    }
}

/// Writes and syncs the mails. `added` rises with each that was not there before, also where a later
/// one fails: the next attempt finds what this one has made.
fn write_group(dir: &Path, letters: &[Letter], added: &AtomicU64) -> io::Result<()> {
    let mut files = Vec::with_capacity(letters.len());
    for letter in letters {
        let path = dir.join(format!("{}.eml", letter.id));
        let file = match File::create_new(&path) {
            Ok(file) => {
                added.fetch_add(1, Ordering::Relaxed);
                file
            }
            // An earlier attempt may have been cut off in the middle of the file.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::create(&path)?,
            Err(error) => return Err(error),
        };
        (&file).write_all(&letter.bytes)?;
        if letters.len() <= ONE_BY_ONE {
            files.push(file);
        }
    }
    let folder = File::open(dir)?;
    if letters.len() > ONE_BY_ONE {
        return Ok(rustix::fs::syncfs(&folder)?);
    }
    files.iter().try_for_each(File::sync_all)?;
    folder.sync_all()
}

fn trouble(dir: &Path, error: &io::Error) -> MailError {
    MailError::Unavailable(format!("the mailbox {} cannot be written: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn letter(id: &str) -> Letter {
        let to = vec!["user@example.com".parse().unwrap()];
        let envelope = lettre::address::Envelope::new(None, to).unwrap();
        Letter { id: id.to_owned(), envelope, bytes: b"Subject: hello\r\n\r\nhello\r\n".to_vec() }
    }

    #[tokio::test]
    async fn a_mail_that_is_sent_again_is_one_mail_also_after_a_restart() {
        let dir = Folder::new("mailbox");
        for round in 0..2 {
            let mailbox = Mailbox::open(&World::real(), dir.path()).unwrap();
            mailbox.put(letter("evt_1")).await.unwrap();
            let many = (0..20).map(|n| mailbox.put(letter(&format!("evt_{n}"))));
            for outcome in futures_util::future::join_all(many).await {
                outcome.unwrap();
            }
            assert_eq!(mailbox.delivered().await.unwrap(), 20, "round {round}");
        }
        let text = std::fs::read_to_string(dir.path().join("mail/evt_7.eml")).unwrap();
        assert!(text.starts_with("Subject: hello"), "{text}");
    }

    #[tokio::test]
    async fn mails_are_counted_once_each_also_when_one_of_their_group_failed() {
        let dir = Folder::new("mailbox");
        let mailbox = Mailbox::open(&World::real(), dir.path()).unwrap();
        assert_eq!(mailbox.delivered().await.unwrap(), 0);
        let hindrance = dir.path().join("mail/evt_2.eml");
        std::fs::create_dir(&hindrance).unwrap();
        let put = || (1..4).map(|n| mailbox.put(letter(&format!("evt_{n}"))));
        let group = futures_util::future::join_all(put()).await;
        assert!(group.iter().all(Result::is_err), "a folder stands where a mail is to be");
        std::fs::remove_dir(&hindrance).unwrap();
        for outcome in futures_util::future::join_all(put()).await {
            outcome.unwrap();
        }
        assert_eq!(mailbox.delivered().await.unwrap(), 3);
    }
}
