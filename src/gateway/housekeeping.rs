//! What the house does by itself while it serves: follow what other processes change, measure
//! whether it may take in more, and forget what is old.
//!
//! Policy, tokens and root keys are changed by other instances and by the command line, through the
//! stores. A process that has not followed for ten seconds does not know what is in force and
//! refuses work until it does.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::audit::leaf::Cause;
use crate::storage::housekeeping::{self, Forgotten};
use crate::storage::{Location, Step, Unit, deliveries};
use crate::telemetry::metrics as figures;

use super::keys::Rotation;
use super::{Error, Gateway, Result};

/// How often the policy is followed.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often old rows are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How often sealed parts of the log are looked for whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);
/// Older knowledge is no knowledge.
const STALE: Duration = Duration::from_secs(10);
/// Rows forgotten in one unit of work: other work waits no longer than for so many.
const CHUNK: i64 = 500;
/// Units of forgetting in one round, so that a round ends.
const CHUNKS: usize = 200;
/// Unsettled promises that the store should hold at most.
const PROMISES: i64 = 1_000_000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the operator set about the chores.
#[derive(Clone, Debug)]
pub struct Chores {
    /// Days after which settled promises are forgotten.
    pub settled_days: u32,
    /// Second places of the root key, for a rotation that is taken up again.
    pub copies: Vec<PathBuf>,
    /// How often the whole log is read again.
    pub scrub_every: Duration,
}

impl Default for Chores {
    fn default() -> Self {
        Self { settled_days: 30, copies: Vec::new(), scrub_every: Duration::from_secs(86_400) }
    }
}

/// The running chores.
pub struct Housekeeping {
    house: Gateway,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What is known about how the house stands, and since when.
pub struct Freshness {
    began: Instant,
    /// Milliseconds after `began` of the last time everything was followed; `u64::MAX` in a process
    /// that does not follow because it ends soon.
    followed: AtomicU64,
    measured: Mutex<Measured>,
}

#[derive(Clone, Copy, Default)]
struct Measured {
    room: Room,
    /// Since when work waits and nothing is committed.
    stuck_since: Option<Instant>,
    size: u64,
}

/// How much more may be taken in. Ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    #[default]
    Enough,
    /// So little that traffic should go elsewhere.
    Little(&'static str),
    /// None: work is refused and comes again.
    None(&'static str),
}

impl Default for Freshness {
    fn default() -> Self {
        Self { began: Instant::now(), followed: AtomicU64::new(u64::MAX), measured: Mutex::new(Measured::default()) }
    }
}

impl Freshness {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn note_followed(&self) {
        self.followed.store(self.now(), Ordering::Relaxed);
    }

    /// Whether this process knows what is in force.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let followed = self.followed.load(Ordering::Relaxed);
        followed == u64::MAX
            || self.now().saturating_sub(followed) <= u64::try_from(STALE.as_millis()).unwrap_or(u64::MAX)
    }

    fn measured(&self) -> Measured {
        self.measured.lock().map_or_else(|poisoned| *poisoned.into_inner(), |measured| *measured)
    }

    fn set(&self, measured: Measured) {
        match self.measured.lock() {
            Ok(mut slot) => *slot = measured,
            Err(poisoned) => *poisoned.into_inner() = measured,
        }
    }
}

impl Gateway {
    /// Begins the chores. They end with [`Housekeeping::stop`].
    #[must_use]
    pub fn keep_house(&self, chores: Chores) -> Housekeeping {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        // From now on silence is staleness.
        self.freshness.note_followed();
        tasks.spawn(follow(self.clone(), stopped.clone()));
        tasks.spawn(super::scrub::daily(self.clone(), chores.scrub_every, stopped.clone()));
        tasks.spawn(forget(self.clone(), chores, stopped.clone()));
        tasks.spawn(super::mirror::run(self.clone(), stopped.clone()));
        tasks.spawn(super::anchor::run(self.clone(), stopped));
        Housekeeping { house: self.clone(), stop, tasks }
    }

    /// How much more work may be taken in, by what was measured last.
    #[must_use]
    pub fn room(&self) -> Room {
        if !self.freshness.is_fresh() {
            return Room::None("it is not known what is in force: the stores have not answered for ten seconds");
        }
        let (free, most) = self.database.queue();
        let queue = if free.saturating_mul(5) < most {
            Room::Little("the queue of writes is nearly full")
        } else {
            Room::Enough
        };
        queue.max(self.freshness.measured().room)
    }

    /// Refuses work that must come again later.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] when there is no room for it.
    pub(super) fn has_room(&self) -> Result<()> {
        match self.room() {
            Room::Enough | Room::Little(_) => Ok(()),
            Room::None(_) => Err(Error::StoreUnavailable(crate::storage::Error::Overloaded)),
        }
    }

    /// Forgets what is older than it needs to be, in small units of work. Gives the number of rows.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forget_old(&self, chores: &Chores) -> Result<usize> {
        let ages = [
            (Forgotten::SeenEvents, SignedDuration::from_hours(7 * 24)),
            (Forgotten::IdempotentAnswers, SignedDuration::from_hours(24)),
            (Forgotten::SettledDeliveries, SignedDuration::from_hours(24 * i64::from(chores.settled_days))),
            (Forgotten::Checkpoints, SignedDuration::from_hours(24)),
        ];
        let now = self.source.now();
        let mut total = 0;
        for (what, age) in ages {
            let before = now.checked_sub(age).unwrap_or(now).into();
            for _ in 0..CHUNKS {
                let gone = std::sync::Arc::new(AtomicU64::new(0));
                let slot = std::sync::Arc::clone(&gone);
                let unit = Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                    let rows = housekeeping::forget(transaction, what, before, CHUNK)?;
                    slot.store(u64::try_from(rows).unwrap_or(0), Ordering::Relaxed);
                    Ok(Step::Commit)
                });
                self.database.write(unit).await.map_err(Error::store)?;
                let rows = usize::try_from(gone.load(Ordering::Relaxed)).unwrap_or(0);
                total += rows;
                if rows == 0 || what == Forgotten::Checkpoints {
                    break;
                }
            }
        }
        Ok(total)
    }

    /// Follows the policy, and every second time tokens and root keys too.
    async fn follow_once(&self, round: u64) -> Result<()> {
        self.follow_policy().await?;
        if round.is_multiple_of(2) {
            self.reload_tokens().await?;
            self.follow_root_keys().await?;
        }
        self.freshness.note_followed();
        Ok(())
    }

    async fn measure(&self) -> Result<()> {
        self.look_at_clock().await?;
        let promises = self.database.read(deliveries::open_count).await.map_err(Error::store)?;
        let inside = self.database.read(housekeeping::free_inside).await.map_err(Error::store)?;
        let (free, most) = self.database.queue();
        let size = self.database.head().borrow().size;
        let before = self.freshness.measured();
        let stuck_since = match before.stuck_since {
            _ if free == most || size != before.size => None,
            Some(since) => Some(since),
            None => Some(Instant::now()),
        };
        let room = self
            .disk_room(inside)
            .max(of_promises(promises))
            .max(stuck_since.map_or(Room::Enough, |since| of_standstill(since.elapsed())));
        if room != before.room {
            match room {
                Room::Enough => tracing::info!("there is room for work again"),
                Room::Little(reason) | Room::None(reason) => {
                    tracing::warn!(reason, "there is little or no room for more work")
                }
            }
        }
        metrics::gauge!(figures::STORE_QUEUE)
            .set(f64::from(u32::try_from(most.saturating_sub(free)).unwrap_or(u32::MAX)));
        self.freshness.set(Measured { room, stuck_since, size });
        Ok(())
    }

    /// The least room of the disks that the stores and the journal of stops lie on.
    fn disk_room(&self, inside: u64) -> Room {
        let mut room = Room::Enough;
        let mut folders: Vec<(&Path, u64)> = self.settings.journal.iter().map(|place| (place.as_path(), 0)).collect();
        for (location, inside) in [(&self.settings.database, inside), (&self.settings.keys, 0)] {
            if let Location::Sqlite(path) = location {
                folders.push((path.as_path(), inside));
            }
        }
        for (path, inside) in folders {
            let Ok(disk) = rustix::fs::statvfs(path) else { continue };
            let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(inside);
            let all = disk.f_blocks.saturating_mul(disk.f_frsize);
            metrics::gauge!(figures::STORE_FREE)
                .set(f64::from(u32::try_from(free / MIB).unwrap_or(u32::MAX)) * 1_048_576.0);
            room = room.max(of_disk(free, all));
        }
        room
    }
}

impl Housekeeping {
    /// Ends the chores where they stand; each is safe to cut short.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        if let Err(error) = self.house.tell_refusals().await {
            tracing::warn!(error = crate::telemetry::cause(&error), "the last refusals at the door are not in the log");
        }
        if let Err(error) = self.house.leave_instances().await {
            tracing::warn!(
                error = crate::telemetry::cause(&error),
                "the other instances were not told that this one stops"
            );
        }
    }
}

/// Turns red below a tenth or 1 GiB, refuses below a twentieth or 512 MiB.
const fn of_disk(free: u64, all: u64) -> Room {
    if free < all / 20 || free < 512 * MIB {
        Room::None("the disk is full")
    } else if free < all / 10 || free < GIB {
        Room::Little("the disk is nearly full")
    } else {
        Room::Enough
    }
}

const fn of_promises(open: i64) -> Room {
    if open >= PROMISES {
        Room::None("too many promises wait for their recipients")
    } else if open >= PROMISES / 5 * 4 {
        Room::Little("many promises wait for their recipients")
    } else {
        Room::Enough
    }
}

const fn of_standstill(time: Duration) -> Room {
    if time.as_secs() >= 15 {
        Room::None("work waits and nothing has been committed for 15 seconds")
    } else if time.as_secs() >= 5 {
        Room::Little("work waits and nothing has been committed for 5 seconds")
    } else {
        Room::Enough
    }
}

async fn follow(house: Gateway, mut stopped: watch::Receiver<bool>) {
    let mut failing = false;
    for round in 0.. {
        // The counting read is not part of following: a slow count must not look like staleness.
        let followed = house.follow_once(round).await;
        let measured = house.measure().await;
        match followed.and(measured) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(
                    error = crate::telemetry::cause(&error),
                    "what other processes change cannot be followed"
                );
            }
            Err(_) => {}
        }
        if pause(&mut stopped, FOLLOW_EVERY).await {
            return;
        }
    }
}

async fn forget(house: Gateway, chores: Chores, mut stopped: watch::Receiver<bool>) {
    let mut swept: Option<Instant> = None;
    let mut expired: Option<Instant> = None;
    loop {
        if pause(&mut stopped, FORGET_EVERY).await {
            return;
        }
        let round = async {
            house.tell_refusals().await?;
            house.forget_old(&chores).await?;
            house.take_up_rotation(&chores).await?;
            if expired.is_none_or(|at| at.elapsed() >= EXPIRE_EVERY) {
                house.expire_log_parts().await?;
                expired = Some(Instant::now());
            }
            if swept.is_none_or(|at| at.elapsed() >= Duration::from_secs(86_400)) {
                house.sweep_keys().await?;
                swept = Some(Instant::now());
            }
            Ok::<(), Error>(())
        };
        // Cut short where it stands: each unit of it is whole.
        let done = tokio::select! {
            done = round => done,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        if let Err(error) = done {
            tracing::warn!(error = crate::telemetry::cause(&error), "a chore was not finished and comes again");
        }
    }
}

impl Gateway {
    /// A rotation whose process was killed is taken up by whoever finds it.
    async fn take_up_rotation(&self, chores: &Chores) -> Result<()> {
        let status = self.key_status(&[], 0).await?;
        if status.job.is_none_or(|job| job.worked_at) {
            return Ok(());
        }
        let how = Rotation { copies: chores.copies.clone(), cause: Cause::Planned, patience: Duration::from_secs(10) };
        let done = self.rewrap(&how, |_| {}).await?;
        tracing::info!(
            count = done.map_or(0, |done| done.rewrapped),
            "a rotation of the root key that was cut short is finished"
        );
        Ok(())
    }
}

/// Waits; true if the chores are to end.
pub(super) async fn pause(stopped: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        _ = stopped.wait_for(|stopped| *stopped) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_turns_red_before_it_is_full() {
        assert_eq!(of_disk(60 * GIB, 100 * GIB), Room::Enough);
        assert!(matches!(of_disk(9 * GIB, 100 * GIB), Room::Little(_)));
        assert!(matches!(of_disk(4 * GIB, 100 * GIB), Room::None(_)));
        assert!(matches!(of_disk(900 * MIB, 4 * GIB), Room::Little(_)));
        assert!(matches!(of_disk(500 * MIB, GIB), Room::None(_)));
        assert!(Room::None("") > Room::Little("z") && Room::Little("") > Room::Enough);
    }

    #[test]
    fn promises_and_standstill() {
        assert_eq!(of_promises(799_999), Room::Enough);
        assert!(matches!(of_promises(800_000), Room::Little(_)));
        assert!(matches!(of_promises(1_000_000), Room::None(_)));
        assert_eq!(of_standstill(Duration::from_secs(4)), Room::Enough);
        assert!(matches!(of_standstill(Duration::from_secs(5)), Room::Little(_)));
        assert!(matches!(of_standstill(Duration::from_secs(15)), Room::None(_)));
    }
}
