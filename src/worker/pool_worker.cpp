// A handler worker: one process for one (database, role), connected as that role. It claims a lane, gives it a turn,
// and looks for the next; it ends when it has been idle for long, when it is asked to, or with its server.
#include "pg/clock.hpp"
#include "pg/identity.hpp"
#include "pg/settings.hpp"
#include "worker/lane_turn.hpp"
#include "worker/processes.hpp"
#include "worker/wakeup.hpp"

#include <unordered_map>

namespace saga::worker {

namespace {

constexpr std::int64_t kTroubleUs = 1'000'000;  // pause of a lane whose turn could not be finished

int my_slot_index = -1;
std::uint64_t my_generation = 0;

void release_slot(int code, Datum) {
  SharedState &s = shared_state_unchecked();
  WorkerSlot &slot = s.workers[my_slot_index];
  if (slot.generation != my_generation) return;
  // A worker that ends in the middle of an event was stopped from outside, or by the event.
  const bool lost = code != 0 && pg_atomic_read_u64(&slot.event_number) != 0;
  release_all_of(my_slot_index, lost ? pg::settings::batch_size : 0);
  pg_atomic_write_u64(&slot.event_number, 0);
  pg_atomic_write_u32(&slot.hard_stopped, 0);
  pg_atomic_write_u32(&slot.asleep, 0);
  Oid database = InvalidOid;
  {
    pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
    database = slot.database;
    slot.state = WorkerState::Free;
    slot.database = InvalidOid;
    slot.pid = 0;
    slot.process = -1;
  }
  for (const DatabaseEntry &d : s.databases) {
    if (d.database == database) set_latch_of(d.engine_process);
  }
}

class PoolWorker {
 public:
  PoolWorker(WorkerSlot &slot, DatabaseEntry &database) : slot_(slot), database_(database) {}

  void run();

 private:
  bool wait_for_work();
  void serve(const Claim &claim);
  void block(const store::Subscription &subscription, const pg::Error &error);
  const store::Subscription *subscription(int id);
  void set_state(WorkerState state);

  WorkerSlot &slot_;
  DatabaseEntry &database_;
  std::uint64_t config_seen_ = 0;
  std::unordered_map<int, store::Subscription> subscriptions_;
};

void PoolWorker::run() {
  for (;;) {
    pg::check_for_interrupts();
    reload_settings_if_asked();
    if (slot_.retire) return;
    if (const auto claim = claim_lane(my_slot_index, MyDatabaseId, slot_.role)) {
      set_state(WorkerState::Busy);
      serve(*claim);
      set_state(WorkerState::Idle);
    } else if (!wait_for_work()) {
      return;
    }
  }
}

void PoolWorker::set_state(WorkerState state) {
  slot_.state = state;
  if (state == WorkerState::Idle) pgstat_report_activity(STATE_IDLE, "pg_saga worker");
}

/// Sleeps until a commit, a due event or the idle timeout. False: idle for too long.
bool PoolWorker::wait_for_work() {
  const std::int64_t idle_since = pg::monotonic_us();
  const std::int64_t give_up = idle_since + std::int64_t{pg::settings::worker_idle_timeout_ms} * 1000;
  for (;;) {
    pg_atomic_write_u32(&slot_.asleep, 1);
    pg_memory_barrier();
    const std::int64_t now = pg::monotonic_us();
    const std::int64_t due = next_due_us(MyDatabaseId, slot_.role);
    if (lane_is_ready(MyDatabaseId, slot_.role) || slot_.retire || ConfigReloadPending) break;
    if (now >= give_up && due > now + kTroubleUs) {
      pg_atomic_write_u32(&slot_.asleep, 0);
      return false;
    }
    const std::int64_t until = std::min(due, std::max(give_up, now + 1000));
    pg::call([&] {
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                      static_cast<long>(std::max<std::int64_t>((until - now + 999) / 1000, 0)), PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
      CHECK_FOR_INTERRUPTS();
    });
  }
  pg_atomic_write_u32(&slot_.asleep, 0);
  return true;
}

/// The subscription as it is now; nullptr: it is gone. Read again whenever any setting or function changed.
const store::Subscription *PoolWorker::subscription(int id) {
  pg::Transaction transaction;
  const std::uint64_t version = store::config_version();
  if (version != config_seen_) subscriptions_.clear();
  config_seen_ = version;
  auto known = subscriptions_.find(id);
  if (known == subscriptions_.end()) {
    auto found = store::subscription_by_id(id);
    if (found) known = subscriptions_.emplace(id, std::move(*found)).first;
  }
  transaction.commit();
  return known == subscriptions_.end() ? nullptr : &known->second;
}

void PoolWorker::serve(const Claim &claim) {
  TurnEnd end;
  end.next_due = DT_NOEND;
  // Of a lane whose turn does not run (paused, just changed) nothing was read: it is looked at again soon.
  end.not_before_us = pg::monotonic_us() + kTroubleUs / 10;
  const store::Subscription *found = nullptr;
  try {
    found = subscription(claim.subscription_id);
    if (found != nullptr && !found->paused_reason && found->run_as_oid == GetUserId()) {
      std::array<char, 256> text{};
      strlcpy(text.data(), (found->topic + "/" + found->consumer_group).c_str(), text.size());
      pgstat_report_activity(STATE_RUNNING, text.data());
      LaneTurn turn{slot_, claim, *found};
      end = turn.run();
    }
  } catch (const pg::Error &error) {
    end.more = true;
    end.read_all = false;
    end.not_before_us = pg::monotonic_us() + kTroubleUs;
    end.mode = claim.mode;
    end.mode_left = claim.mode_left;
    ereport(WARNING,
            (errcode(error.code()), errmsg("pg_saga: %s", error.message().c_str()),
             errdetail("Lane %d of subscription %d pauses for a second.", claim.partition, claim.subscription_id)));
    if (found != nullptr && (error.code() == pg::kInvalidHandler || error.code() == ERRCODE_INSUFFICIENT_PRIVILEGE)) {
      block(*found, error);
    }
  }
  release_lane(claim, end);
  announce_progress(database_);
  pgstat_report_stat(false);
  if (session_is_dirty()) reset_session();
}

/// The handler is missing or may not be run: the subscription parks visibly until resume() confirms it.
void PoolWorker::block(const store::Subscription &subscription, const pg::Error &error) {
  try {
    pg::Transaction transaction;
    {
      pg::OwnerScope owner;
      pg::Spi spi;
      store::block_subscription(subscription.id, error.message());
      store::config_changed();
      mark_config_changed();
    }
    transaction.commit();
  } catch (const pg::Error &again) {
    ereport(WARNING, (errcode(again.code()), errmsg("pg_saga: %s", again.message().c_str())));
  }
}

/// Chunks of up to a megabyte come and go all the time: without this the heap is trimmed and grown for each.
void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kKeep = 8 * 1024 * 1024;
  (void)mallopt(M_TRIM_THRESHOLD, kKeep);
  (void)mallopt(M_TOP_PAD, kKeep / 8);
  (void)mallopt(M_MMAP_THRESHOLD, kKeep);
#endif
}

void run_worker() {
  const StartInfo info = start_info();
  SharedState &s = shared_state();
  WorkerSlot &slot = s.workers[info.slot];
  my_slot_index = info.slot;
  my_generation = info.generation;
  set_up_process();
  keep_freed_memory();
  if (slot.generation != info.generation) return;
  before_shmem_exit(release_slot, Datum{0});
  pg::call([&] { BackgroundWorkerInitializeConnectionByOid(info.database, info.role, 0); });
  pin_session_settings();
  {
    pg::Transaction transaction;
    const std::string name = "pg_saga worker " + pg::role_name(info.role).value_or("?");
    if (superuser_arg(info.role) && !pg::settings::superuser_handlers) {
      throw pg::Error{ERRCODE_INSUFFICIENT_PRIVILEGE,
                      "superusers may not own running handlers",
                      {},
                      "Set saga.superuser_handlers = on, or subscribe with run_as => a plain role."};
    }
    pgstat_report_appname(name.c_str());
    transaction.commit();
  }
  DatabaseEntry *database = database_entry(info.database, false);
  if (database == nullptr) return;
  {
    pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
    slot.pid = MyProcPid;
    slot.process = MyProc->pgprocno;
    slot.state = WorkerState::Idle;
  }
  install_cancel_handler(slot);
  PoolWorker{slot, *database}.run();
}

}  // namespace

}  // namespace saga::worker

extern "C" {
SAGA_EXPORT void saga_worker_main(Datum argument);
void saga_worker_main(Datum) {
  saga::pg::boundary([] { saga::worker::run_worker(); });
}
}
