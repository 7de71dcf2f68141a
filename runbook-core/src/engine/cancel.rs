//! [`Cancel`]: the word to end a whole run.

use std::sync::OnceLock;

use tokio::sync::Notify;

/// Said once; everybody who waits hears it, now and later.
#[derive(Default)]
pub(crate) struct Cancel {
    by: OnceLock<String>,
    notify: Notify,
}

impl Cancel {
    pub(crate) fn cancel(&self, by: String) {
        let _ = self.by.set(by);
        self.notify.notify_waiters();
    }

    /// Who said it, if it was said.
    pub(crate) fn by(&self) -> Option<&str> {
        self.by.get().map(String::as_str)
    }

    pub(crate) async fn cancelled(&self) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.by.get().is_some() {
                return;
            }
            notified.await;
        }
    }
}
