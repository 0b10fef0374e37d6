//! Whether the API server knows a kind that somebody else installs.
use tokio::sync::watch;

/// Whether a kind is known. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Presence(watch::Sender<Option<bool>>);

impl Default for Presence {
    /// Nobody has asked yet.
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Presence {
    /// Whether the kind is there, as far as is known.
    pub(crate) fn is_there(&self) -> bool {
        *self.0.borrow() == Some(true)
    }

    /// Tells it; whether that is news.
    pub(crate) fn tell(&self, is_there: bool) -> bool {
        let news = |known: &mut Option<bool>| known.replace(is_there) != Some(is_there);
        self.0.send_if_modified(news)
    }

    /// Waits until somebody has asked.
    pub(crate) async fn wait_until_known(&self) {
        // It fails only without a sender, and this is one.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}
