// One per cluster, connected to no database: it starts an engine in every database that has the extension, one at
// a time after a start of the server, later where a commit announced itself; restarts are throttled.
#include "pg/clock.hpp"
#include "pg/settings.hpp"
#include "pg/transaction.hpp"
#include "worker/processes.hpp"

namespace saga::worker {

namespace {

constexpr std::int64_t kStartTimeoutUs = 10'000'000;  // a start that never reports is given up
constexpr std::int64_t kRestartUs = 1'000'000;

std::vector<Oid> connectable_databases() {
  std::vector<Oid> found;
  pg::Transaction transaction;
  Oid *oids = nullptr;
  std::size_t count = 0;
  pg::call([&] {
    oids = static_cast<Oid *>(palloc(sizeof(Oid) * kDatabasesMax * 16));
    Relation relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
    while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
      const auto *database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
      if (!database->datallowconn || database->datistemplate || count == kDatabasesMax * 16) continue;
      oids[count++] = database->oid;
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
  });
  found.assign(oids, oids + count);
  transaction.commit();
  return found;
}

bool contains(const std::vector<Oid> &list, Oid oid) { return std::find(list.begin(), list.end(), oid) != list.end(); }

/// Databases that were dropped leave their entries to others.
void forget_dropped(const std::vector<Oid> &existing) {
  SharedState &s = shared_state();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  for (DatabaseEntry &d : s.databases) {
    if (OidIsValid(d.database) && d.engine_process < 0 && !contains(existing, d.database)) {
      d.database = InvalidOid;
      d.state = DatabaseState::Unknown;
    }
  }
}

/// The next database that needs an engine; nullptr: none, or one is being started right now.
DatabaseEntry *next_to_start(std::int64_t now_us) {
  SharedState &s = shared_state();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  DatabaseEntry *found = nullptr;
  for (DatabaseEntry &d : s.databases) {
    if (!OidIsValid(d.database)) continue;
    if (d.state == DatabaseState::Starting) {
      if (now_us < d.not_before_us) return nullptr;
      d.state = DatabaseState::Unknown;
    }
    if (d.state == DatabaseState::Absent && pg_atomic_exchange_u32(&d.workers_wanted, 0) != 0) {
      d.state = DatabaseState::Unknown;
    }
    if (d.state == DatabaseState::Unknown && d.not_before_us <= now_us && found == nullptr) found = &d;
  }
  if (found != nullptr) {
    found->state = DatabaseState::Starting;
    found->not_before_us = now_us + kStartTimeoutUs;
  }
  return found;
}

std::int64_t next_restart_us() {
  SharedState &s = shared_state();
  pg::LockGuard guard{s.lock, LW_SHARED};
  std::int64_t earliest = INT64_MAX;
  for (const DatabaseEntry &d : s.databases) {
    if (!OidIsValid(d.database)) continue;
    if (d.state == DatabaseState::Unknown || d.state == DatabaseState::Starting) {
      earliest = std::min(earliest, d.not_before_us);
    }
  }
  return earliest;
}

bool start_engine(const DatabaseEntry &entry) {
  const StartInfo info{entry.database, InvalidOid, -1, 0};
  return start_process("saga_engine_main", "pg_saga engine", info) != nullptr;
}

void start_engines() {
  const std::vector<Oid> existing = connectable_databases();
  forget_dropped(existing);
  while (DatabaseEntry *entry = next_to_start(pg::monotonic_us())) {
    if (!contains(existing, entry->database) || !start_engine(*entry)) {
      pg::LockGuard guard{shared_state().lock, LW_EXCLUSIVE};
      entry->state = DatabaseState::Unknown;
      entry->not_before_us = pg::monotonic_us() + 5 * kRestartUs;
    }
  }
}

void run_launcher() {
  set_up_process();
  pg::call([] { BackgroundWorkerInitializeConnection(nullptr, nullptr, 0); });
  shared_state().launcher_process = MyProc->pgprocno;
  ereport(LOG, (errmsg("pg_saga launcher started"),
                errdetail("Up to %d handler workers per database (saga.max_workers); max_worker_processes is %d.",
                          pg::settings::max_workers, max_worker_processes)));
  for (const Oid database : connectable_databases()) (void)database_entry(database, true);
  for (;;) {
    pg::check_for_interrupts();
    reload_settings_if_asked();
    start_engines();
    const std::int64_t due = next_restart_us();
    const std::int64_t wait_us = due == INT64_MAX ? std::int64_t{pg::settings::sweep_interval_s} * 1'000'000
                                                  : std::max<std::int64_t>(due - pg::monotonic_us(), 1000);
    pg::call([&] {
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, static_cast<long>(wait_us / 1000),
                      PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
    });
  }
}

}  // namespace

}  // namespace saga::worker

extern "C" {
SAGA_EXPORT void saga_launcher_main(Datum argument);
void saga_launcher_main(Datum) {
  saga::pg::boundary([] { saga::worker::run_launcher(); });
}
}
