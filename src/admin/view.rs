//! The pages of [`super::index`] as files: `run_dir/cache/{agent}/index` in memory, and a link to each agent's folder in
//! `cache_dir`, made once, so that looking there tells what is kept. Agents name themselves: a name that is not plainly
//! one gets no file, and nothing is replaced or removed that the hub has not put there.

use super::index::{self, Page};
use crate::hub::Shared;
use crate::limits::{
    AGENT_BYTES_MAX, INDEX_BYTES_MAX, INDEX_EVERY, LINK_RETRY_EVERY, LINKS_MAX, LINKS_WILD_MAX,
    RUN_ENTRIES_MAX,
};
use crate::request::agent::Class;
use crate::sys::clock::rfc3339;
use crate::sys::file::{FileError, make_private_directory, read_bounded, write_whole};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

const INDEX: &str = "index";
/// What every index of the hub's begins with.
const MARK: &str = "# edge-hub ";

/// Writes what has changed, every [`INDEX_EVERY`], for as long as the hub runs.
pub async fn keep(shared: Rc<Shared>) {
    let (mut pages_dir, mut links) = {
        let config = shared.config.borrow();
        // A link leads from where it lies, the hub's own paths from where it was started.
        let run = std::path::absolute(&config.run_dir).unwrap_or_else(|_| config.run_dir.clone());
        (
            View::new(&run),
            Links::new(&config.cache_dir, &run.join("cache")),
        )
    };
    let mut tick = interval(INDEX_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let mut pages = pages(&shared);
        pages.retain(|page| is_name(&page.agent));
        let written = pages_dir.write(&pages, shared.clock().now());
        // The folder of the links is on flash, and the one thread has streams to serve.
        if let Some(work) = links.due(&pages, Instant::now())
            && let Ok(done) = spawn_blocking(move || work.run()).await
        {
            links.take(done, Instant::now());
        }
        let mut told = links.troubles();
        told.extend(written.err().map(|error| format!("run_dir: {error}")));
        shared.tell_of_view(told);
    }
}

fn pages(shared: &Shared) -> Vec<Page> {
    let mut cache = shared.cache.borrow_mut();
    let shown = cache.shown(Instant::now());
    index::pages(&shown, |agent| cache.class(agent))
}

/// Whether the name of an agent may be that of a file. `_internal` is the hub's own; what begins with `.` is hidden, and
/// with `-` an option to whoever says `rm *`.
fn is_name(agent: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.: ".contains(&b);
    agent.len() <= AGENT_BYTES_MAX
        && agent.bytes().all(plain)
        && agent.bytes().next().is_some_and(|b| !b"_.- ".contains(&b))
        && !agent.ends_with(['.', ' '])
}

/// The pages' files.
struct View {
    run_dir: PathBuf,
    /// `run_dir/cache`.
    dir: PathBuf,
    /// What was written, as digests of the text. `None`: what an earlier hub has left is still to be removed.
    written: Option<Vec<(String, u64)>>,
}

impl View {
    fn new(run_dir: &Path) -> View {
        View {
            run_dir: run_dir.to_owned(),
            dir: run_dir.join("cache"),
            written: None,
        }
    }

    /// Makes the files say what the pages say. What could not be done is tried again the next time.
    fn write(&mut self, pages: &[Page], now_unix_secs: u64) -> Result<(), FileError> {
        let dir = &self.dir;
        let written = self.written.get_or_insert_with(|| left_by_another(dir));
        written.retain(|(agent, _)| {
            let stays = pages.iter().any(|page| page.agent == *agent);
            if !stays {
                remove(&dir.join(agent));
            }
            stays
        });
        for page in pages {
            let digest = digest(&page.text);
            let file = dir.join(&page.agent).join(INDEX);
            let is_same = |(agent, of): &(String, u64)| *agent == page.agent && *of == digest;
            if written.iter().any(is_same) && file.exists() {
                continue;
            }
            let text = format!(
                "{MARK}{}: kept for {} at {}\n{}",
                env!("CARGO_PKG_VERSION"),
                page.agent,
                rfc3339(now_unix_secs),
                page.text
            );
            for folder in [&self.run_dir, dir, &dir.join(&page.agent)] {
                make_private_directory(folder)?;
            }
            write_whole(&file, text.as_bytes(), 0o600)?;
            written.retain(|(agent, _)| *agent != page.agent);
            written.push((page.agent.clone(), digest));
        }
        Ok(())
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The agents of which an index is there, each with a digest that none of ours has but by chance, which costs one
/// page until its next change. Folders without an index of a hub's are somebody else's.
fn left_by_another(dir: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let names = entries
        .take(RUN_ENTRIES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| is_name(name) && is_index(&dir.join(name).join(INDEX)))
        .map(|name| (name, 0))
        .collect()
}

fn is_index(file: &Path) -> bool {
    // The pages' bound is one of lines; the first ones come on top.
    let text = read_bounded(file, 2 * INDEX_BYTES_MAX);
    text.is_ok_and(|text| text.starts_with(MARK.as_bytes()))
}

fn remove(folder: &Path) {
    // What else lies there was not put there by the hub, and keeps the folder.
    let _ = fs::remove_file(folder.join(INDEX)).and_then(|()| fs::remove_dir(folder));
}

/// The links to the folders.
struct Links {
    cache_dir: PathBuf,
    to: PathBuf,
    /// How it went, for the agents that are shown.
    done: Vec<(String, Linked)>,
    /// After a failure, when to try again.
    not_before: Option<Instant>,
}

/// How it went with one link.
#[derive(Debug)]
enum Linked {
    /// It is there.
    There,
    /// Something else is there, and stays.
    Taken,
    /// There are as many as there may be. It will be tried again: somebody may remove some.
    Full,
    /// It will be tried again.
    Failed(io::Error),
}

/// Links to be made, by a thread that may wait for flash.
struct Work {
    cache_dir: PathBuf,
    to: PathBuf,
    agents: Vec<(String, Option<Class>)>,
}

impl Links {
    fn new(cache_dir: &Path, to: &Path) -> Links {
        Links {
            cache_dir: cache_dir.to_owned(),
            to: to.to_owned(),
            done: Vec::new(),
            not_before: None,
        }
    }

    /// What is to be done now, if anything is.
    fn due(&mut self, pages: &[Page], now: Instant) -> Option<Work> {
        self.done
            .retain(|(agent, _)| pages.iter().any(|page| page.agent == *agent));
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let settled = |how: &Linked| matches!(how, Linked::There | Linked::Taken);
        let open = |page: &&Page| {
            let mut done = self.done.iter();
            !done.any(|(agent, how)| *agent == page.agent && settled(how))
        };
        let agents: Vec<_> = pages
            .iter()
            .filter(open)
            .map(|page| (page.agent.clone(), page.class))
            .collect();
        (!agents.is_empty()).then(|| Work {
            cache_dir: self.cache_dir.clone(),
            to: self.to.clone(),
            agents,
        })
    }

    fn take(&mut self, done: Vec<(String, Linked)>, now: Instant) {
        let again = |how: &Linked| matches!(how, Linked::Full | Linked::Failed(_));
        let any = done.iter().any(|(_, how)| again(how));
        self.not_before = any.then(|| now + LINK_RETRY_EVERY);
        self.done
            .retain(|(agent, _)| done.iter().all(|(other, _)| other != agent));
        self.done.extend(done);
    }

    /// A sentence for each that somebody can do something about; one for all that have the same cause.
    fn troubles(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (agent, how) in &self.done {
            let path = self.cache_dir.join(agent);
            let text = match how {
                Linked::There => continue,
                Linked::Taken => format!(
                    "cache_dir: {} is no link of this hub's, and was left alone, so it does not show what is kept; \
                     that is in {}; move it away and restart the hub",
                    path.display(),
                    self.to.join(agent).display()
                ),
                Linked::Full => format!(
                    "cache_dir: {} has as many links as the hub makes; what is kept for others is in {}; \
                     remove those of programs that are gone",
                    self.cache_dir.display(),
                    self.to.display()
                ),
                Linked::Failed(error) => format!(
                    "cache_dir: no links can be made in {} ({error}); what is kept is shown in {}",
                    self.cache_dir.display(),
                    self.to.display()
                ),
            };
            if !told.contains(&text) {
                told.push(text);
            }
        }
        told
    }
}

impl Work {
    fn run(self) -> Vec<(String, Linked)> {
        let link = |(agent, class): &(String, Option<Class>)| {
            let how = self.link(agent, *class);
            (agent.clone(), how.unwrap_or_else(Linked::Failed))
        };
        self.agents.iter().map(link).collect()
    }

    fn link(&self, agent: &str, class: Option<Class>) -> io::Result<Linked> {
        let (link, to) = (self.cache_dir.join(agent), self.to.join(agent));
        match fs::read_link(&link) {
            Ok(leads) if leads == to => return Ok(Linked::There),
            Ok(_) => return Ok(Linked::Taken),
            // What reading a link says of what is none.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Linked::Taken);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir_all(&self.cache_dir)?;
        // Anybody may call themselves anything: names that `*` alone let in do not take the places of the others.
        let places = match class {
            Some(Class::Pinned | Class::Named) => LINKS_MAX,
            Some(Class::Wild) | None => LINKS_WILD_MAX,
        };
        if self.count()? >= places {
            return Ok(Linked::Full);
        }
        symlink(to, link)?;
        Ok(Linked::There)
    }

    fn count(&self) -> io::Result<usize> {
        let entries = fs::read_dir(&self.cache_dir)?;
        let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
        Ok(entries
            .filter_map(Result::ok)
            .filter(is_link)
            .take(LINKS_MAX)
            .count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::TestDirectory;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    fn page(agent: &str, text: &str) -> Page {
        Page {
            agent: agent.to_owned(),
            class: Some(Class::Wild),
            text: text.to_owned(),
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn names_of_files() {
        for (agent, want) in [
            ("kubelet", true),
            ("cilium 1.18 abc", true),
            ("a:b_c.d-e", true),
            (&"x".repeat(AGENT_BYTES_MAX), true),
            (&"x".repeat(AGENT_BYTES_MAX + 1), false),
            ("", false),
            (".", false),
            ("..", false),
            (".hidden", false),
            ("_internal", false),
            ("-rf", false),
            ("a/b", false),
            ("/etc", false),
            ("../x", false),
            ("a.", false),
            (" a", false),
            ("A", false),
            ("a\nb", false),
            ("a\0b", false),
            ("é", false),
        ] {
            assert_eq!(is_name(agent), want, "{agent:?}");
        }
    }

    #[test]
    fn written_when_changed_and_removed_when_gone() {
        let directory = TestDirectory::new();
        let run = directory.path().join("run");
        let mut view = View::new(&run);
        view.write(&[page("a", "one\n"), page("b", "two\n")], 0)
            .unwrap();
        let index = run.join("cache/a/index");
        let text = fs::read_to_string(&index).unwrap();
        assert!(
            text.ends_with("kept for a at 1970-01-01T00:00:00Z\none\n"),
            "{text}"
        );
        for (path, mode) in [(run.clone(), 0o700), (index.clone(), 0o600)] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, mode);
        }
        // A new file has another number: this one was not written again.
        let number = || fs::metadata(&index).unwrap().ino();
        let before = number();
        view.write(&[page("a", "one\n"), page("b", "two\n")], 9)
            .unwrap();
        assert_eq!(number(), before);
        view.write(&[page("a", "1\n"), page("b", "two\n")], 9)
            .unwrap();
        assert!(
            fs::read_to_string(&index)
                .unwrap()
                .ends_with("at 1970-01-01T00:00:09Z\n1\n")
        );
        view.write(&[page("a", "1\n")], 9).unwrap();
        assert_eq!(names(&run.join("cache")), ["a"]);
        // Somebody has tidied up.
        fs::remove_dir_all(&run).unwrap();
        view.write(&[page("a", "1\n")], 9).unwrap();
        assert!(index.exists());
    }

    #[test]
    fn what_an_earlier_hub_left_goes_and_nothing_else() {
        let directory = TestDirectory::new();
        let run = directory.path();
        View::new(run)
            .write(&[page("old", ""), page("kept", "")], 0)
            .unwrap();
        let foreign = run.join("cache/apt");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("index"), "of packages").unwrap();
        fs::write(run.join("cache/old/notes"), "mine").unwrap();
        fs::write(run.join("cache/file"), "").unwrap();
        View::new(run).write(&[page("kept", "")], 0).unwrap();
        assert_eq!(names(&run.join("cache")), ["apt", "file", "kept", "old"]);
        assert_eq!(names(&run.join("cache/old")), ["notes"]);
        assert_eq!(names(&foreign), ["index"]);
    }

    #[test]
    fn what_cannot_be_written_is_tried_again() {
        let directory = TestDirectory::new();
        let run = directory.path().join("run");
        fs::write(&run, "").unwrap();
        let mut view = View::new(&run);
        for _ in 0..2 {
            let error = view.write(&[page("a", "")], 0).unwrap_err().to_string();
            assert!(error.contains("/run"), "{error}");
        }
        fs::remove_file(&run).unwrap();
        view.write(&[page("a", "")], 0).unwrap();
        assert!(run.join("cache/a/index").exists());
    }

    /// Makes what is due, and returns the troubles.
    fn make(links: &mut Links, pages: &[Page], now: Instant) -> Option<Vec<String>> {
        let done = links.due(pages, now)?.run();
        links.take(done, now);
        Some(links.troubles())
    }

    #[test]
    fn a_link_is_made_once() {
        let directory = TestDirectory::new();
        let (cache, to) = (
            directory.path().join("a/cache"),
            directory.path().join("to"),
        );
        let now = Instant::now();
        let mut links = Links::new(&cache, &to);
        assert_eq!(make(&mut links, &[page("kubelet", "")], now), Some(vec![]));
        assert_eq!(
            fs::read_link(cache.join("kubelet")).unwrap(),
            to.join("kubelet")
        );
        assert_eq!(make(&mut links, &[page("kubelet", "1")], now), None);
        // The next start finds it.
        let mut links = Links::new(&cache, &to);
        assert_eq!(make(&mut links, &[page("kubelet", "")], now), Some(vec![]));
        // Its agent is gone: it stays, for a write less when it comes back.
        assert_eq!(make(&mut links, &[], now), None);
        assert_eq!(names(&cache), ["kubelet"]);
    }

    #[test]
    fn what_is_there_already_stays() {
        let directory = TestDirectory::new();
        let cache = directory.path();
        fs::create_dir(cache.join("folder")).unwrap();
        fs::write(cache.join("file"), "mine").unwrap();
        symlink("/nowhere", cache.join("elsewhere")).unwrap();
        let pages = ["folder", "file", "elsewhere", "new"].map(|agent| page(agent, ""));
        let now = Instant::now();
        let mut links = Links::new(cache, Path::new("/run/edge-hub/cache"));
        let told = make(&mut links, &pages, now).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|text| text.contains("left alone")));
        assert_eq!(
            fs::read_link(cache.join("elsewhere")).unwrap(),
            Path::new("/nowhere")
        );
        assert_eq!(fs::read(cache.join("file")).unwrap(), b"mine");
        assert!(cache.join("folder").is_dir() && cache.join("new").is_symlink());
        assert_eq!(make(&mut links, &pages, now), None, "not looked at again");
    }

    #[test]
    fn links_up_to_the_bound() {
        let directory = TestDirectory::new();
        let now = Instant::now();
        let mut links = Links::new(directory.path(), Path::new("/to"));
        let mut pages: Vec<Page> = (0..LINKS_WILD_MAX)
            .map(|i| page(&format!("w{i}"), ""))
            .collect();
        assert_eq!(make(&mut links, &pages, now), Some(vec![]));
        pages.extend([page("x", ""), page("y", "")]);
        let told = make(&mut links, &pages, now).unwrap();
        assert_eq!(told.len(), 1, "one line for both: {told:?}");
        assert_eq!(directory.names().len(), LINKS_WILD_MAX);
        assert_eq!(make(&mut links, &pages, now), None);
        fs::remove_file(directory.path().join("w0")).unwrap();
        let now = now + LINK_RETRY_EVERY;
        assert_eq!(make(&mut links, &pages[1..], now).unwrap().len(), 1);
        assert!(directory.names().contains(&"x".to_owned()));
        let now = now + LINK_RETRY_EVERY;
        pages = (0..LINKS_MAX - LINKS_WILD_MAX)
            .map(|i| Page {
                class: Some(Class::Named),
                ..page(&format!("n{i}"), "")
            })
            .collect();
        assert_eq!(make(&mut links, &pages, now), Some(vec![]));
        assert_eq!(directory.names().len(), LINKS_MAX);
        pages.push(Page {
            class: Some(Class::Pinned),
            ..page("kubelet", "")
        });
        assert_eq!(make(&mut links, &pages, now).unwrap().len(), 1);
        assert_eq!(directory.names().len(), LINKS_MAX);
    }

    #[test]
    fn a_folder_that_cannot_be_had_is_tried_again_later() {
        let directory = TestDirectory::new();
        let cache = directory.path().join("cache");
        fs::write(&cache, "").unwrap();
        let mut links = Links::new(&cache, Path::new("/to"));
        let pages = [page("a", ""), page("b", "")];
        let now = Instant::now();
        let told = make(&mut links, &pages, now).unwrap();
        assert!(
            told.len() == 1 && told[0].contains("no links can be made"),
            "{told:?}"
        );
        fs::remove_file(&cache).unwrap();
        let soon = now + LINK_RETRY_EVERY - Duration::from_millis(1);
        assert_eq!(make(&mut links, &pages, soon), None);
        assert_eq!(
            make(&mut links, &pages, now + LINK_RETRY_EVERY),
            Some(vec![])
        );
        assert_eq!(names(&cache), ["a", "b"]);
    }
}
