//! The cache as its users and its accidents have it.

use std::process::Command;
use std::sync::atomic::AtomicBool;

use crate::gpu::tensorrt::cache::*;

/// A folder of its own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("uretinex-cache-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn cache(&self) -> EngineCache {
        EngineCache::new(Some(&self.0.join("deep/engines"))).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place(gpu: &str) -> Place {
    Place::engine(
        "lite-restoration",
        Key::new(&[("kind", "engine"), ("gpu", gpu), ("network", "lite r")]),
    )
}

/// Obtains an engine whose body is `built`; says what was read, how often was built, and the phases.
fn obtain(cache: &EngineCache, place: &Place, built: &[u8]) -> (Result<Vec<u8>>, u32, Vec<Phase>) {
    let (mut builds, mut phases) = (0, Vec::new());
    let read = EngineCache::obtain(
        Some(cache),
        place,
        "gpu",
        &mut |body| match &body[..] {
            b"refused" => Err(Error::new(ErrorKind::BackendFailed, "TensorRT refuses it")),
            b"large" => Err(Error::new(ErrorKind::OutOfMemory, "the GPU has no room")),
            _ => Ok(body),
        },
        &mut |_| {
            builds += 1;
            Ok(built.to_vec())
        },
        &mut |phase| {
            phases.push(phase);
            Ok(())
        },
    );
    (read, builds, phases)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_folder_is_the_first_that_is_given() {
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    for (option, variable, xdg, home, folder) in [
        ("/a", "/b", "/c", "/d", Some("/a")),
        ("a", "/b", "/c", "/d", Some("a")),
        ("", "/b", "/c", "/d", Some("/b")),
        ("", "", "/c", "/d", Some("/c/uretinex/engines")),
        ("", "", "relative", "/d", Some("/d/.cache/uretinex/engines")),
        ("", "", "", "/d", Some("/d/.cache/uretinex/engines")),
        ("", "", "", "", None),
    ] {
        let cache = EngineCache::choose(path(option), path(variable), path(xdg), path(home));
        let case = [option, variable, xdg, home];
        assert_eq!(cache.ok().map(|c| c.folder), folder.map(PathBuf::from), "{case:?}");
    }
    let nothing = Some(PathBuf::new());
    let e = EngineCache::choose(nothing.clone(), nothing.clone(), nothing.clone(), nothing).unwrap_err();
    assert!(e.to_string().contains(CACHE_VARIABLE), "{e}");
}

#[test]
fn what_is_built_is_found_again_and_nothing_else() {
    let folder = Folder::new();
    let cache = folder.cache();
    let first = obtain(&cache, &place("H200"), b"one");
    assert_eq!((first.0.unwrap(), first.1), (b"one".to_vec(), 1));
    assert_eq!(first.2, [Phase::Loading, Phase::Building]);
    let before = names(cache.folder());
    let second = obtain(&cache, &place("H200"), b"two");
    assert_eq!((second.0.unwrap(), second.1), (b"one".to_vec(), 0));
    assert_eq!(second.2, [Phase::Loading]);
    // Whoever finds an engine writes nothing: the folder may be one that can only be read.
    assert_eq!(names(cache.folder()), before);
    let other = obtain(&cache, &place("A100"), b"three");
    assert_eq!((other.0.unwrap(), other.1), (b"three".to_vec(), 1));
    assert!(!names(cache.folder()).iter().any(|n| n.ends_with(PART)));
}

#[test]
fn a_file_that_is_not_right_is_made_anew() {
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 6] = [
        ("cut short", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("empty", |path| fs::write(path, b"").unwrap()),
        ("changed", |path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("without its beginning", |path| fs::write(path, b"one").unwrap()),
        ("of another GPU", |path| {
            let key = place("A100").key;
            fs::write(path, [file::head(&key, b"one"), b"one".to_vec()].concat()).unwrap();
        }),
        ("refused", |path| {
            let key = place("H200").key;
            fs::write(path, [file::head(&key, b"refused"), b"refused".to_vec()].concat()).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let folder = Folder::new();
        let cache = folder.cache();
        obtain(&cache, &place("H200"), b"one").0.unwrap();
        harm(&cache.folder().join(place("H200").name));
        let again = obtain(&cache, &place("H200"), b"two");
        assert_eq!((again.0.unwrap(), again.1), (b"two".to_vec(), 1), "{what}");
        let kept = obtain(&cache, &place("H200"), b"three");
        assert_eq!((kept.0.unwrap(), kept.1), (b"two".to_vec(), 0), "{what}");
    }
}

#[test]
fn what_is_refused_when_new_is_an_error() {
    let folder = Folder::new();
    let (read, builds, _) = obtain(&folder.cache(), &place("H200"), b"refused");
    assert_eq!((read.unwrap_err().kind(), builds), (ErrorKind::BackendFailed, 1));
}

#[test]
fn an_engine_without_room_on_the_gpu_is_not_built_again() {
    let folder = Folder::new();
    let (cache, place) = (folder.cache(), place("H200"));
    cache.store(&place, b"large");
    let (read, builds, _) = obtain(&cache, &place, b"one");
    assert_eq!((read.unwrap_err().kind(), builds), (ErrorKind::OutOfMemory, 0));
    assert_eq!(cache.load(&place).unwrap(), b"large");
}

#[test]
fn without_a_folder_to_write_to_it_works_as_well() {
    let folder = Folder::new();
    fs::write(folder.0.join("deep"), b"a file where the folder should be").unwrap();
    let cache = folder.cache();
    for _ in 0..2 {
        let (read, builds, phases) = obtain(&cache, &place("H200"), b"one");
        assert_eq!((read.unwrap(), builds), (b"one".to_vec(), 1));
        assert_eq!(phases, [Phase::Loading, Phase::Building]);
    }
    assert!(cache.entries().is_err() || cache.entries().unwrap().is_empty());
}

/// Runs one test of this file again, in a process of its own, after `before` in its shell.
fn process(test: &str, before: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args([
            &format!("gpu::tensorrt::cache::tests::{test}"),
            "--exact",
            "--nocapture",
        ])
        .env("URETINEX_TEST_FOLDER", folder);
    command
}

fn inside() -> Option<EngineCache> {
    EngineCache::new(Some(Path::new(&std::env::var_os("URETINEX_TEST_FOLDER")?))).ok()
}

#[test]
fn a_full_disk_costs_the_cache_and_not_the_engine() {
    if let Some(cache) = inside() {
        let large = vec![1; 1 << 20];
        for _ in 0..2 {
            let (read, builds, _) = obtain(&cache, &place("H200"), &large);
            assert_eq!((read.unwrap().len(), builds), (1 << 20, 1));
        }
        return;
    }
    // Files of a process that may write 8 blocks of 512 bytes end there, as on a disk that is full.
    let folder = Folder::new();
    let full = "trap '' XFSZ; ulimit -f 8;";
    let out = process("a_full_disk_costs_the_cache_and_not_the_engine", full, &folder.0)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let left = names(&folder.0);
    assert!(left.iter().all(|n| n.ends_with(LOCK)), "{left:?}");
}

#[test]
fn processes_that_want_the_same_engine_build_it_once() {
    if let Some(cache) = inside() {
        let mut build = |_: &mut Tell<'_>| {
            let log = cache.folder().join("builds.log");
            let mut log = OpenOptions::new().append(true).create(true).open(log).unwrap();
            writeln!(log, "{}", std::process::id()).unwrap();
            std::thread::sleep(Duration::from_millis(400));
            Ok(b"one".to_vec())
        };
        let place = place("H200");
        let body = EngineCache::obtain(Some(&cache), &place, "gpu", &mut Ok, &mut build, &mut |_| Ok(()));
        assert_eq!(body.unwrap(), b"one");
        return;
    }
    let folder = Folder::new();
    let mut processes: Vec<_> = (0..4)
        .map(|_| {
            process("processes_that_want_the_same_engine_build_it_once", "", &folder.0)
                .spawn()
                .unwrap()
        })
        .collect();
    assert!(processes.iter_mut().all(|p| p.wait().unwrap().success()));
    let builds = fs::read_to_string(folder.0.join("builds.log")).unwrap();
    assert_eq!(builds.lines().count(), 1, "{builds}");
}

#[test]
fn waiting_is_told_and_can_be_cancelled() {
    let folder = Folder::new();
    let cache = folder.cache();
    let held = cache.lock("gpu", &mut || Ok(())).unwrap();
    let waited = AtomicBool::new(false);
    let cancelled = EngineCache::obtain(
        Some(&cache),
        &place("H200"),
        "gpu",
        &mut Ok,
        &mut |_| panic!("built in spite of the lock"),
        &mut |phase| {
            if phase != Phase::Waiting {
                return Ok(());
            }
            waited.store(true, Ordering::Relaxed);
            Err(Error::new(ErrorKind::BackendFailed, "enough"))
        },
    );
    assert!(cancelled.is_err() && waited.into_inner());
    drop(held);
    assert_eq!(obtain(&cache, &place("H200"), b"one").1, 1);
}

#[test]
fn what_is_in_it_is_listed_and_cleared() {
    let folder = Folder::new();
    let cache = folder.cache();
    assert!(cache.entries().unwrap().is_empty());
    assert_eq!(cache.clear().unwrap(), (0, 0));
    obtain(&cache, &place("H200"), b"one").0.unwrap();
    obtain(&cache, &place("A100"), b"two").0.unwrap();
    let damaged = cache.folder().join(place("A100").name);
    fs::write(&damaged, b"rubbish, rubbish").unwrap();
    fs::write(cache.folder().join("letter.txt"), b"not ours").unwrap();
    fs::write(cache.folder().join(".old.engine.1-0.part"), b"left over").unwrap();
    let entries = cache.entries().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in &entries {
        match &entry.contents {
            Ok(contents) => assert_eq!((contents.gpu.as_str(), contents.network.as_str()), ("H200", "lite r")),
            Err(fault) => assert!(
                entry.path == damaged && fault.contains("no file of this cache"),
                "{fault}"
            ),
        }
    }
    let bytes = entries.iter().map(|e| e.bytes).sum();
    assert_eq!(cache.clear().unwrap(), (2, bytes));
    assert_eq!(names(cache.folder()), ["letter.txt"]);
}

#[test]
fn file_names_are_plain() {
    let place = Place::engine("../../NVIDIA H200/x\n", Key::new(&[]));
    assert!(
        place.name.starts_with("_.._NVIDIA_H200_x_-") && place.name.ends_with(".engine"),
        "{}",
        place.name
    );
}
