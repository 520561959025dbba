#include "worker/processes.hpp"

#include <csignal>

#include "pg/clock.hpp"
#include "pg/guard.hpp"

namespace saga::worker {

namespace {

constexpr std::int64_t kLeaveUs = 10'000'000;  // a database that is being dropped is left alone so long

struct Pin {
  const char *name;
  const char *value;
};

// What ALTER DATABASE or ALTER ROLE may have set and what would bend or stop the engine.
constexpr std::array kSessionPins{Pin{"statement_timeout", "0"},
                                  Pin{"lock_timeout", "0"},
                                  Pin{"idle_in_transaction_session_timeout", "0"},
                                  Pin{"default_transaction_read_only", "off"},
                                  Pin{"default_transaction_isolation", "read committed"},
                                  Pin{"default_transaction_deferrable", "off"},
                                  Pin{"row_security", "on"},
                                  Pin{"session_replication_role", "origin"}};

}  // namespace

BackgroundWorkerHandle *start_process(const char *entry_point, const char *title, const StartInfo &info) {
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = BGW_NEVER_RESTART;
  worker.bgw_notify_pid = MyProcPid;
  strlcpy(worker.bgw_library_name, "pg_saga", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, entry_point, sizeof worker.bgw_function_name);
  strlcpy(worker.bgw_name, title, sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, title, sizeof worker.bgw_type);
  std::memcpy(worker.bgw_extra, &info, sizeof info);
  BackgroundWorkerHandle *handle = nullptr;
  const bool registered = pg::call([&] { return RegisterDynamicBackgroundWorker(&worker, &handle); });
  return registered ? handle : nullptr;
}

StartInfo start_info() {
  StartInfo info;
  std::memcpy(&info, MyBgworkerEntry->bgw_extra, sizeof info);
  return info;
}

void set_up_process() {
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
}

void pin_session_settings() {
  pg::call([] {
    for (const Pin &pin : kSessionPins) {
      (void)set_config_option(pin.name, pin.value, PGC_SUSET, PGC_S_OVERRIDE, GUC_ACTION_SET, true, 0, false);
    }
  });
}

void reload_settings_if_asked() {
  if (!ConfigReloadPending) return;
  ConfigReloadPending = false;
  pg::call([] { ProcessConfigFile(PGC_SIGHUP); });
}

void leave_database(Oid database) noexcept {
  DatabaseEntry *entry = database_entry(database, false);
  if (entry == nullptr) return;
  SharedState &s = shared_state_unchecked();
  pg::LockGuard guard{s.lock, LW_EXCLUSIVE};
  entry->not_before_us = pg::monotonic_us() + kLeaveUs;
  if (entry->engine_process >= 0 && entry->engine_pid > 0) kill(entry->engine_pid, SIGTERM);
  for (const WorkerSlot &w : s.workers) {
    if (w.database == database && w.state != WorkerState::Free && w.pid > 0) kill(w.pid, SIGTERM);
  }
}

void register_launcher() {
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = 1;
  strlcpy(worker.bgw_library_name, "pg_saga", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, "saga_launcher_main", sizeof worker.bgw_function_name);
  strlcpy(worker.bgw_name, "pg_saga launcher", sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, "pg_saga launcher", sizeof worker.bgw_type);
  RegisterBackgroundWorker(&worker);
}

}  // namespace saga::worker
