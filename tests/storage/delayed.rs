//! The real disk with something before each operation: a random delay, so that other processes come between any two of
//! them, or what a test wants to happen just then.

use kdir::disk::real::RealDisk;
use kdir::disk::{Access, Disk, DiskFile, FileId, Folder, FolderEntry, Result, SharedLock, Stat};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Called with the name of each operation before it.
type Before = Arc<dyn Fn(&'static str) + Send + Sync>;

/// A disk, folder or file that calls something before each operation.
pub(crate) struct Delayed<T> {
    inner: T,
    before: Before,
}

/// A disk of which one operation in four waits, for up to 4 ms, by this seed.
pub(crate) fn disk(seed: u64) -> Arc<dyn Disk> {
    let random = AtomicU64::new(seed);
    disk_with(move |_| {
        let mut drawn = random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        drawn ^= drawn >> 27;
        if drawn.is_multiple_of(4) {
            std::thread::sleep(Duration::from_micros((drawn >> 8) % 4000));
        }
    })
}

/// A disk that calls `before` with the name of each operation.
pub(crate) fn disk_with(before: impl Fn(&'static str) + Send + Sync + 'static) -> Arc<dyn Disk> {
    Arc::new(Delayed { inner: RealDisk::default(), before: Arc::new(before) })
}

impl<T> Delayed<T> {
    fn before(&self, operation: &'static str) -> &T {
        (self.before)(operation);
        &self.inner
    }

    fn also<U>(&self, inner: U) -> Delayed<U> {
        Delayed { inner, before: Arc::clone(&self.before) }
    }
}

impl Disk for Delayed<RealDisk> {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.also(self.before("open").open(path, access)?)))
    }
    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        self.before("stat").stat(path)
    }
    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        self.before("resolve").resolve(path)
    }
    fn create_folder(&self, path: &Path) -> Result<()> {
        self.before("create_folder").create_folder(path)
    }
    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>> {
        Ok(Arc::new(self.also(self.before("open_folder").open_folder(path)?)))
    }
    fn scratch(&self) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.also(self.before("scratch").scratch()?)))
    }
    fn share(&self, path: &Path) -> Result<Option<Arc<dyn SharedLock>>> {
        self.before("share").share(path)
    }
}

impl Folder for Delayed<Arc<dyn Folder>> {
    fn id(&self) -> FileId {
        self.inner.id()
    }
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.also(RealDisk::default()))
    }
    fn is_named(&self) -> Result<bool> {
        self.before("is_named").is_named()
    }
    fn shared_file_system(&self) -> Result<Option<&'static str>> {
        self.before("shared_file_system").shared_file_system()
    }
    fn booted_ms(&self) -> i64 {
        self.inner.booted_ms()
    }
    fn boot(&self) -> uuid::Uuid {
        self.inner.boot()
    }
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.also(self.before("open").open(name, access)?)))
    }
    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        self.before("stat").stat(name)
    }
    fn list(&self) -> Result<Vec<FolderEntry>> {
        self.before("list").list()
    }
    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>> {
        Ok(Arc::new(self.also(self.before("open_folder").open_folder(name)?)))
    }
    fn create_folder(&self, name: &str) -> Result<()> {
        self.before("create_folder").create_folder(name)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.before("rename").rename(from, to)
    }
    fn remove_file(&self, name: &str) -> Result<()> {
        self.before("remove_file").remove_file(name)
    }
    fn remove_folder(&self, name: &str) -> Result<()> {
        self.before("remove_folder").remove_folder(name)
    }
    fn sync(&self) -> Result<()> {
        self.before("sync").sync()
    }
    fn lock_exclusive(&self) -> Result<()> {
        self.before("lock_exclusive").lock_exclusive()
    }
    fn unlock(&self) {
        self.before("unlock").unlock();
    }
}

impl DiskFile for Delayed<Arc<dyn DiskFile>> {
    fn stat(&self) -> Result<Stat> {
        self.before("stat").stat()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.before("read_at").read_at(buffer, position)
    }
    fn next_data(&self, position: u64) -> Result<Range<u64>> {
        self.before("next_data").next_data(position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        self.before("write_at").write_at(bytes, position)
    }
    fn set_len(&self, size: u64) -> Result<()> {
        self.before("set_len").set_len(size)
    }
    fn set_modified(&self, modified_ms: i64) -> Result<()> {
        self.before("set_modified").set_modified(modified_ms)
    }
    fn sync(&self) -> Result<()> {
        self.before("sync").sync()
    }
    fn drop_cache(&self, position: u64, size: u64) -> Result<()> {
        self.before("drop_cache").drop_cache(position, size)
    }
    fn try_lock(&self) -> Result<bool> {
        self.before("try_lock").try_lock()
    }
    fn lock(&self) -> Result<()> {
        self.before("lock").lock()
    }
    fn holder(&self) -> Option<u32> {
        self.before("holder").holder()
    }
    fn try_lock_range(&self, range: Range<u64>) -> Result<bool> {
        self.before("try_lock_range").try_lock_range(range)
    }
    fn unlock_range(&self, range: Range<u64>) -> Result<()> {
        self.before("unlock_range").unlock_range(range)
    }
    fn locked_range(&self, range: Range<u64>) -> Result<Option<Range<u64>>> {
        self.before("locked_range").locked_range(range)
    }
}
