//! An open watch of which the filters have changed, or what they go by: the hub lists what is watched, with the client's
//! own credentials, and tells the client what it would see otherwise.

use super::catch_up::Failed;
use super::splice::Splice;
use crate::filter::Judge;
use crate::limits;
use crate::object::TypeMeta;
use crate::request::{Asked, accept, classify};
use crate::watch::news::News;
use crate::watch::relay::Ended;
use bytes::Bytes;
use tokio::time::sleep;

impl Splice {
    /// Tells the client what is different. An error ends the stream.
    pub(super) async fn reconsider(&mut self) -> Result<(), Ended> {
        if self.shared.upstream.link().is_down() {
            // Nobody can be asked, and nothing more comes here. It is news again for whoever holds the watch.
            if let Some(lens) = &mut self.relay.lens {
                lens.news.mark_changed();
            }
            return Err(Ended::Broke);
        }
        let Some((old, mut new)) = self.judges() else {
            return Ok(());
        };
        if !old.says_the_same(&new) {
            sleep(limits::FILTERS_SETTLE).await;
            new = self.judges().map_or(new, |(_, new)| new);
            if !self.relay.told.takes_bookmarks() {
                // It would go on at the version of what it is told again, which is old.
                self.sends_back();
                return Err(Ended::Backwards);
            }
            match self.tell_news(old, &new).await {
                Ok(()) => {}
                Err(Failed::Later) => {
                    log::debug!("filters: no list to see what is different; it is tried again");
                    sleep(limits::OWN_RETRY_MIN).await;
                    if let Some(lens) = &mut self.relay.lens {
                        lens.news.mark_changed();
                    }
                    return Ok(());
                }
                Err(why) => {
                    log::debug!("filters: the client must list again: {why}");
                    return Err(Ended::Backwards);
                }
            }
        }
        if let Some(lens) = &mut self.relay.lens {
            lens.stage.take(new);
        }
        Ok(())
    }

    /// Once: what the client then lists is as it is now.
    pub(super) fn sends_back(&self) {
        if let Some(asked) = self.asked() {
            self.shared.filters.sends_back(&asked, self.who);
        }
    }

    fn asked(&self) -> Option<Asked> {
        classify(&self.ask.again(None, self.secs_left())?).ok()
    }

    /// Who judged so far, and who does from now on.
    pub(super) fn judges(&mut self) -> Option<(Judge, Judge)> {
        let asked = self.asked()?;
        let lens = self.relay.lens.as_mut()?;
        // What changes behind this is news again.
        lens.news.mark_unchanged();
        let old = lens.stage.judge().clone();
        // Whoever no longer knows what he goes by is no better than who knew it last.
        let new = self.shared.filters.whoever_judges(&asked);
        let new = new.filter(|new| !new.is_blind());
        let new = new.unwrap_or_else(|| old.clone());
        Some((old, new))
    }

    async fn tell_news(&mut self, old: Judge, new: &Judge) -> Result<(), Failed> {
        let _turn = self.shared.differences.turn(self.rank).await;
        let unknown = Failed::Never("what the client was told is not known");
        let since = self.relay.told.version().ok_or(unknown)?;
        let mut news = News::new(self.relay.encoding, since, old);
        let items = TypeMeta::new("v1", new.kind.name());
        let accept = accept::only_list(self.relay.encoding, &items);
        let mut there = |object: &[u8], verdict: &_| news.there(object, verdict);
        let (head, keeper) = self.list(accept, Some(new), &mut there).await?;
        if let Some(keeper) = keeper {
            keeper.finish();
        }
        if news.is_empty() {
            return Ok(());
        }
        let type_meta = TypeMeta::new(&head.type_meta.api_version, new.kind.name());
        let mut out = Vec::new();
        news.write(&type_meta, &mut out);
        self.relay.write(Bytes::from(out)).await;
        self.relay.held = None;
        if let Some(lens) = &mut self.relay.lens {
            let hidden = std::mem::take(&mut news.hidden).into_iter();
            hidden.for_each(|(key, is_gone)| lens.stage.now(key, is_gone));
        }
        Ok(())
    }
}
