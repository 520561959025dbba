// One per database: loads the subscriptions into shared memory, starts and retires handler workers with the backlog,
// takes ticks, enforces time limits, sweeps. It runs our own statements only, never a handler.
#include <csignal>

#include "pg/clock.hpp"
#include "pg/identity.hpp"
#include "pg/memory.hpp"
#include "pg/settings.hpp"
#include "store/maintenance.hpp"
#include "store/progress.hpp"
#include "store/subscriptions.hpp"
#include "worker/lanes.hpp"
#include "worker/processes.hpp"
#include "worker/wakeup.hpp"

namespace saga::worker {

namespace {

constexpr std::int64_t kGrowthUs = 20'000;             // between two additions to the pool
constexpr std::int64_t kHardLimitGraceUs = 1'000'000;  // after the cancel, until the worker is terminated
constexpr std::int64_t kFirstRestartUs = 1'000'000;
constexpr std::int64_t kLastRestartUs = 60'000'000;
constexpr std::int64_t kMaintenanceUs = 60'000'000;
constexpr int kRolesMax = 64;

/// A role whose workers do not come up (no LOGIN, no CONNECT): tried again after growing pauses.
struct RoleThrottle {
  Oid role;
  std::int64_t pause_us;
  std::int64_t not_before_us;
};

struct StartedWorker {
  int slot;
  std::uint64_t generation;
  BackgroundWorkerHandle *handle;
};

void release_database(int, Datum) {
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  for (DatabaseEntry &d : s.databases) {
    if (d.database != start_info().database) continue;
    d.engine_process = -1;
    d.engine_pid = 0;
    if (d.state != DatabaseState::Absent) {
      d.state = DatabaseState::Unknown;
      d.not_before_us = std::max(d.not_before_us, pg::monotonic_us() + kFirstRestartUs);
    }
  }
  set_latch_of(s.launcher_process);
}

class Engine {
 public:
  explicit Engine(DatabaseEntry &database) : database_(database) {}

  void run();

 private:
  void synchronise();
  void take_tick();
  void supervise();
  void grow_pool();
  void reap_failed_starts();
  bool start_worker(Oid role);
  void sweep();
  void make_room(Oid role);
  void shrink_pool(int surplus);
  int live_workers() const;
  bool throttled(Oid role) const;
  std::int64_t wait_us();

  DatabaseEntry &database_;
  std::uint32_t config_seen_ = 0;
  std::uint64_t published_seen_ = 0;
  std::int64_t next_tick_us_ = 0;
  std::int64_t next_sweep_us_ = 0;
  std::int64_t next_maintenance_us_ = 0;
  std::int64_t next_growth_us_ = 0;
  std::int64_t next_deadline_us_ = INT64_MAX;
  std::int64_t shortest_limit_us_ = INT64_MAX;
  bool demand_left_ = false;
  std::vector<RoleThrottle> throttles_;
  std::vector<StartedWorker> starting_;
};

void Engine::run() {
  for (;;) {
    pg::check_for_interrupts();
    reload_settings_if_asked();
    synchronise();
    take_tick();
    supervise();
    reap_failed_starts();
    grow_pool();
    sweep();
    const std::int64_t wait = wait_us();
    if (wait <= 0) continue;
    pg::call([&] {
      pgstat_report_stat(false);
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, static_cast<long>((wait + 999) / 1000),
                      PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
    });
  }
}

/// Shared lanes become what the subscriptions say.
void Engine::synchronise() {
  const std::uint32_t config = pg_atomic_read_u32(&database_.config_version);
  if (config == config_seen_) return;
  std::vector<store::Subscription> subscriptions;
  bool runnable = false;
  {
    pg::Transaction transaction;
    if (!store::installed()) {
      transaction.commit();
      pg::LockGuard guard{shared_state().lock, LW_EXCLUSIVE};
      database_.state = DatabaseState::Absent;
      runnable = false;
    } else {
      runnable = store::installation().runnable && !pg::settings::start_paused;
      subscriptions = store::all_subscriptions();
      transaction.commit();
    }
  }
  if (!synchronise_lanes(MyDatabaseId, subscriptions, runnable)) {
    ereport(WARNING, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                      errmsg("pg_saga has no room in shared memory for all lanes of this database"),
                      errhint("Raise saga.max_lanes and restart the server.")));
  }
  shortest_limit_us_ = INT64_MAX;
  for (const auto &s : subscriptions) shortest_limit_us_ = std::min(shortest_limit_us_, s.timeout_us);
  config_seen_ = config;
  if (database_.state == DatabaseState::Absent) proc_exit(0);
}

/// At most one tick per interval, and only while something is published.
void Engine::take_tick() {
  const std::uint64_t published = pg_atomic_read_u64(&database_.published);
  const std::int64_t now = pg::monotonic_us();
  if (published == published_seen_ || now < next_tick_us_) return;
  pg::Transaction transaction;
  if (store::installation().runnable) {
    pg::OwnerScope owner;
    pg::Spi spi;
    store::append_tick(store::installation().era);
  }
  transaction.commit();
  published_seen_ = published;
  next_tick_us_ = now + std::int64_t{pg::settings::tick_interval_ms} * 1000;
}

/// Soft limit: cancel, addressed to the event. Hard limit: terminate. Both on the monotonic clock.
void Engine::supervise() {
  SharedState &s = shared_state();
  const std::int64_t now = pg::monotonic_us();
  next_deadline_us_ = INT64_MAX;
  for (WorkerSlot &w : s.workers) {
    if (w.database != MyDatabaseId || w.state == WorkerState::Free || w.pid == 0) continue;
    const std::uint64_t number = pg_atomic_read_u64(&w.event_number);
    if (number == 0) continue;
    const auto deadline = static_cast<std::int64_t>(pg_atomic_read_u64(&w.deadline_us));
    const bool asked = pg_atomic_read_u64(&w.stop_event) == number && pg_atomic_read_u32(&w.stop_reason) != 0;
    if (now < deadline && !asked) {
      next_deadline_us_ = std::min(next_deadline_us_, deadline);
    } else if (!asked) {
      pg_atomic_write_u64(&w.stop_event, number);
      pg_atomic_write_u32(&w.stop_reason, static_cast<std::uint32_t>(StopReason::TimeLimit));
      kill(w.pid, SIGINT);
      next_deadline_us_ = std::min(next_deadline_us_, now + kHardLimitGraceUs);
    } else if (now >= deadline + kHardLimitGraceUs) {
      pg_atomic_write_u32(&w.hard_stopped, 1);
      kill(w.pid, SIGTERM);
      next_deadline_us_ = std::min(next_deadline_us_, now + kHardLimitGraceUs);
    } else {
      next_deadline_us_ = std::min(next_deadline_us_, deadline + kHardLimitGraceUs);
    }
  }
}

int Engine::live_workers() const {
  int count = 0;
  for (const WorkerSlot &w : shared_state().workers) {
    if (w.state != WorkerState::Free && w.database == MyDatabaseId) ++count;
  }
  return count;
}

bool Engine::throttled(Oid role) const {
  const std::int64_t now = pg::monotonic_us();
  return std::any_of(throttles_.begin(), throttles_.end(),
                     [&](const RoleThrottle &t) { return t.role == role && t.not_before_us > now; });
}

/// One more worker per role that has lanes waiting and nobody idle, every kGrowthUs.
void Engine::grow_pool() {
  const std::int64_t now = pg::monotonic_us();
  if (now < next_growth_us_) {
    demand_left_ = true;  // unknown: look when the time has come
    return;
  }
  pg_atomic_write_u32(&database_.workers_wanted, 0);
  std::array<Demand, kRolesMax> demands{};
  std::int64_t due = 0;
  const int count = demand_of(MyDatabaseId, demands.data(), kRolesMax, &due);
  demand_left_ = false;
  int workers = live_workers();
  if (workers > pg::settings::max_workers) shrink_pool(workers - pg::settings::max_workers);
  for (int i = 0; i < count; ++i) {
    const Demand &d = demands[static_cast<std::size_t>(i)];
    if (d.lanes == 0) continue;
    demand_left_ = true;
    if (d.idle > 0) wake_idle_worker(MyDatabaseId, d.role);
    if (d.idle > 0 || throttled(d.role)) continue;
    if (workers >= pg::settings::max_workers) {
      if (d.workers == 0) make_room(d.role);
      continue;
    }
    if (start_worker(d.role)) ++workers;
  }
  next_growth_us_ = now + kGrowthUs;
}

/// saga.max_workers was lowered: so many end after their lane turn, idle ones first.
void Engine::shrink_pool(int surplus) {
  SharedState &s = shared_state();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  for (const WorkerState state : {WorkerState::Idle, WorkerState::Busy}) {
    for (WorkerSlot &w : s.workers) {
      if (surplus <= 0) return;
      if (w.state != state || w.database != MyDatabaseId) continue;
      --surplus;
      w.retire = true;
      set_latch_of(w.process);
    }
  }
}

/// The pool is full and a role has nobody: the role with most workers gives one up after its lane turn.
void Engine::make_room(Oid role) {
  SharedState &s = shared_state();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  WorkerSlot *victim = nullptr;
  int most = 0;
  for (WorkerSlot &w : s.workers) {
    if (w.state == WorkerState::Free || w.database != MyDatabaseId || w.role == role) continue;
    if (w.retire) return;  // somebody is leaving already
    int of_role = 0;
    for (const WorkerSlot &other : s.workers) {
      if (other.state != WorkerState::Free && other.database == MyDatabaseId && other.role == w.role) ++of_role;
    }
    if (w.state != WorkerState::Busy) of_role += kWorkersMax;  // an idle one first
    if (of_role > most) {
      most = of_role;
      victim = &w;
    }
  }
  if (victim == nullptr) return;
  victim->retire = true;
  set_latch_of(victim->process);
}

bool Engine::start_worker(Oid role) {
  SharedState &s = shared_state();
  StartInfo info{MyDatabaseId, role, -1, 0};
  {
    pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
    for (int i = 0; i < kWorkersMax && info.slot < 0; ++i) {
      WorkerSlot &w = s.workers[i];
      if (w.state != WorkerState::Free) continue;
      w.state = WorkerState::Starting;
      w.retire = false;
      w.database = MyDatabaseId;
      w.role = role;
      w.pid = 0;
      w.process = -1;
      w.generation = ++s.generation_clock;
      info.slot = i;
      info.generation = w.generation;
    }
  }
  if (info.slot < 0) return false;
  pg::MemoryScope scope{TopMemoryContext};
  BackgroundWorkerHandle *handle = start_process("saga_worker_main", "pg_saga worker", info);
  if (handle != nullptr) {
    starting_.push_back({info.slot, info.generation, handle});
    return true;
  }
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  s.workers[info.slot].state = WorkerState::Free;
  next_growth_us_ = pg::monotonic_us() + kFirstRestartUs;
  return false;
}

/// A worker that ended before it reported for work gives its slot back; its role pauses.
void Engine::reap_failed_starts() {
  SharedState &s = shared_state();
  for (std::size_t i = 0; i < starting_.size();) {
    const StartedWorker started = starting_[i];
    pid_t pid = 0;
    const BgwHandleStatus status = pg::call([&] { return GetBackgroundWorkerPid(started.handle, &pid); });
    if (status == BGWH_NOT_YET_STARTED) {
      ++i;
      continue;
    }
    WorkerSlot &slot = s.workers[started.slot];
    const bool reported = slot.generation != started.generation || slot.state != WorkerState::Starting;
    if (status == BGWH_STARTED && !reported) {
      ++i;
      continue;
    }
    auto known = std::find_if(throttles_.begin(), throttles_.end(), [&](const auto &t) { return t.role == slot.role; });
    if (status == BGWH_STOPPED && !reported) {
      if (known == throttles_.end()) known = throttles_.insert(known, RoleThrottle{slot.role, kFirstRestartUs / 2, 0});
      known->pause_us = std::min(known->pause_us * 2, kLastRestartUs);
      known->not_before_us = pg::monotonic_us() + known->pause_us;
      pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
      slot.state = WorkerState::Free;
    } else if (known != throttles_.end() && status == BGWH_STARTED) {
      throttles_.erase(known);
    }
    pfree(started.handle);
    starting_.erase(starting_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

/// The safety net of the wake-ups, and maintenance.
void Engine::sweep() {
  const std::int64_t now = pg::monotonic_us();
  if (now >= next_sweep_us_) {
    if (next_sweep_us_ != 0) force_all_lanes(MyDatabaseId);
    next_sweep_us_ = now + std::int64_t{pg::settings::sweep_interval_s} * 1'000'000;
    next_growth_us_ = 0;
    grow_pool();
  }
  if (now < next_maintenance_us_) return;
  next_maintenance_us_ = now + kMaintenanceUs;
  try {
    pg::Transaction transaction;
    if (store::installation().runnable && store::maintain()) mark_config_changed();
    transaction.commit();
  } catch (const pg::Error &error) {
    ereport(LOG, (errmsg("pg_saga maintenance will try again: %s", error.message().c_str())));
  }
}

std::int64_t Engine::wait_us() {
  const std::int64_t now = pg::monotonic_us();
  std::int64_t until = std::min({next_sweep_us_, next_maintenance_us_, next_deadline_us_});
  const bool tick_pending = pg_atomic_read_u64(&database_.published) != published_seen_;
  if (tick_pending) until = std::min(until, next_tick_us_);
  if (demand_left_) until = std::min(until, std::max(next_growth_us_, now + kGrowthUs));
  if (!starting_.empty()) until = std::min(until, now + 10 * kGrowthUs);
  until = std::min(until, next_due_us(MyDatabaseId, InvalidOid));
  if (live_workers() > 0 && shortest_limit_us_ != INT64_MAX) until = std::min(until, now + shortest_limit_us_);
  if (!tick_pending) {
    pg_atomic_write_u32(&database_.engine_asleep, 1);
    pg_memory_barrier();
    if (pg_atomic_read_u64(&database_.published) != published_seen_) return 0;
  }
  if (pg_atomic_read_u32(&database_.config_version) != config_seen_) return 0;
  return std::max<std::int64_t>(until - now, 1000);
}

void run_engine() {
  set_up_process();
  const StartInfo info = start_info();
  before_shmem_exit(release_database, Datum{0});
  pg::call([&] { BackgroundWorkerInitializeConnectionByOid(info.database, InvalidOid, 0); });
  pin_session_settings();
  pgstat_report_appname("pg_saga engine");
  DatabaseEntry *entry = database_entry(info.database, true);
  if (entry == nullptr) return;
  bool installed = false;
  {
    pg::Transaction transaction;
    installed = store::installed();
    transaction.commit();
  }
  {
    pg::LockGuard guard{shared_state().lock, LW_EXCLUSIVE};
    entry->state = installed ? DatabaseState::Served : DatabaseState::Absent;
    entry->not_before_us = 0;
    if (installed) {
      entry->engine_process = MyProc->pgprocno;
      entry->engine_pid = MyProcPid;
    }
  }
  if (!installed) return;
  pgstat_report_activity(STATE_IDLE, "pg_saga engine");
  Engine{*entry}.run();
}

}  // namespace

}  // namespace saga::worker

extern "C" {
SAGA_EXPORT void saga_engine_main(Datum argument);
void saga_engine_main(Datum) {
  saga::pg::boundary([] { saga::worker::run_engine(); });
}
}
