//! Notices that files have changed, by looking.
//!
//! Every second all files are looked at (which are there, which inode, how large, changed when),
//! and when they have changed and then stood still for a second, a reload is asked for. Looking was
//! chosen over the kernel's notices (inotify): those belong to a folder's inode, so each link on
//! the way to a file would have to be watched, and again whenever one is swapped, as configuration
//! management does; they do not exist on network file systems; and their queue can overflow. A few
//! hundred `stat` a second on the core that serves nobody cost nothing that anyone could notice.

use std::time::Duration;

use super::read::{Look, System, Wanted};
use super::{Reloader, Trigger, lock};

/// How often files are looked at, and how long they must have stood still.
const LOOK: Duration = Duration::from_secs(1);

/// Runs for ever.
pub(super) async fn keep(reloader: Reloader) {
    // Nothing yet: what changed between the reading at start and now is not to be missed.
    let mut handled = Look::default();
    let mut before = handled.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = look(&reloader).await;
        let rests = now == before;
        before = now;
        if !rests || before == handled {
            continue;
        }
        handled = before.clone();
        if let Ok(told) = reloader.ask(Trigger::Watch) {
            // The next look is one at what the reload has made the files to look at.
            let _ = told.await;
        }
    }
}

/// Away from the control thread: a network file system may hang.
async fn look(reloader: &Reloader) -> Look {
    let reloader = reloader.clone();
    let work = move || Look::at(&System, &wanted(&reloader));
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// Everything whose change may matter.
fn wanted(reloader: &Reloader) -> Wanted {
    let accepted = lock(&reloader.0.accepted);
    let mut wanted = Wanted::default();
    if accepted.watches_policies {
        wanted = accepted.wanted.clone();
        wanted.files.push(reloader.0.file.clone());
    }
    let certificates = [&reloader.0.tls, &reloader.0.control_tls];
    for certificate in certificates.into_iter().flatten() {
        wanted.files.extend(certificate.wanted().files);
    }
    wanted
}
