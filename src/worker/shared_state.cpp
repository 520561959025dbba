#include "worker/shared_state.hpp"

#include "pg/compat.hpp"
#include "pg/error.hpp"
#include "pg/settings.hpp"

namespace saga::worker {

namespace {

constexpr const char *kTranche = "pg_saga";

SharedState *state = nullptr;
int initialisations = 0;  // in the postmaster: more than one means that a process crashed
shmem_startup_hook_type previous_startup_hook = nullptr;
#if PG_VERSION_NUM >= 150000
shmem_request_hook_type previous_request_hook = nullptr;
#endif

Size shared_size() {
  return add_size(offsetof(SharedState, lanes),
                  mul_size(static_cast<Size>(pg::settings::lane_limit), sizeof(LaneEntry)));
}

void reserve() {
  RequestAddinShmemSpace(shared_size());
  RequestNamedLWLockTranche(kTranche, 1);
}

void initialise(SharedState &s) {
  std::memset(static_cast<void *>(&s), 0, shared_size());
  s.lock = &GetNamedLWLockTranche(kTranche)->lock;
  s.launcher_process = -1;
  s.lanes_capacity = pg::settings::lane_limit;
  pg_atomic_init_u64(&s.everything, 1);
  for (auto &counter : s.published) pg_atomic_init_u64(&counter, 0);
  for (DatabaseEntry &d : s.databases) {
    d.engine_process = -1;
    pg_atomic_init_u32(&d.config_version, 1);
    pg_atomic_init_u64(&d.published, 0);
    pg_atomic_init_u32(&d.engine_asleep, 0);
    pg_atomic_init_u32(&d.workers_wanted, 0);
    pg_atomic_init_u32(&d.waiters, 0);
    ConditionVariableInit(&d.progressed);
  }
  for (WorkerSlot &w : s.workers) {
    w.process = -1;
    pg_atomic_init_u32(&w.asleep, 0);
    pg_atomic_init_u64(&w.event_number, 0);
    pg_atomic_init_u64(&w.deadline_us, 0);
    pg_atomic_init_u64(&w.stop_event, 0);
    pg_atomic_init_u32(&w.stop_reason, 0);
    pg_atomic_init_u32(&w.hard_stopped, 0);
  }
  for (int i = 0; i < s.lanes_capacity; ++i) {
    s.lanes[i].subscription = -1;
    s.lanes[i].claimed_by = -1;
  }
}

extern "C" {

static void saga_shmem_startup() {
  if (previous_startup_hook != nullptr) previous_startup_hook();
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found = false;
  state = static_cast<SharedState *>(ShmemInitStruct("pg_saga", shared_size(), &found));
  if (!found) {
    initialise(*state);
    state->crashed_before = ++initialisations > 1;
  }
  LWLockRelease(AddinShmemInitLock);
}

#if PG_VERSION_NUM >= 150000
static void saga_shmem_request() {
  if (previous_request_hook != nullptr) previous_request_hook();
  reserve();
}
#endif

}  // extern "C"

}  // namespace

void request_shared_state() {
#if PG_VERSION_NUM >= 150000
  previous_request_hook = shmem_request_hook;
  shmem_request_hook = saga_shmem_request;
#else
  reserve();
#endif
  previous_startup_hook = shmem_startup_hook;
  shmem_startup_hook = saga_shmem_startup;
}

bool shared_state_ready() noexcept { return state != nullptr; }

SharedState &shared_state_unchecked() noexcept { return *state; }

SharedState &shared_state() {
  if (state == nullptr) {
    throw pg::Error{pg::kNotPreloaded, "pg_saga is not loaded by the server",
                    "Its workers and its shared memory exist only if the server loads the library at start.",
                    "Add pg_saga to shared_preload_libraries and restart the server."};
  }
  return *state;
}

std::uint32_t counter_of(Oid database, int topic_id, std::int16_t partition) noexcept {
  std::uint64_t hash = (std::uint64_t{database} << 32) ^ (static_cast<std::uint64_t>(topic_id) << 11) ^
                       static_cast<std::uint64_t>(partition + 1);
  hash *= 0x9E3779B97F4A7C15ULL;
  return static_cast<std::uint32_t>(hash >> 50) % kCounters;
}

DatabaseEntry *database_entry(Oid database, bool create) noexcept {
  SharedState &s = *state;
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  DatabaseEntry *free_entry = nullptr;
  for (DatabaseEntry &d : s.databases) {
    if (d.database == database) return &d;
    if (free_entry == nullptr && !OidIsValid(d.database)) free_entry = &d;
  }
  if (!create || free_entry == nullptr) return nullptr;
  free_entry->database = database;
  free_entry->state = DatabaseState::Unknown;
  free_entry->engine_process = -1;
  free_entry->not_before_us = 0;
  return free_entry;
}

void set_latch_of(int process) noexcept {
  if (process >= 0) SetLatch(&pg::compat::proc_by_number(process)->procLatch);
}

}  // namespace saga::worker
